"""One trial of a ledger, to look at and to hear: what was asked, what came, when, and its sound where that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import show

_BYTES_PER_MS = 48  # PCM at 24 000 Hz, 16 bits
_LEAST_PERCENT = 0.8  # of the line of time: what is shorter could not be seen

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What `Ledger.trial` returns; a notebook shows it as a card.

    Attributes:
        trial: Its row of the view ``trial_states``.
        asked: The words of each user turn, from the plan; ``None`` where a turn is a clip that has none.
        attempts: Its rows of ``attempts``, in their order.
        turns, responses: Of the attempt that decides it, else of the last one; responses that belong to no turn are left out.
        sounds: FLAC files by response id, where `run` was asked to keep them.
    """

    trial: Row
    asked: Sequence[str | None]
    attempts: Sequence[Row]
    turns: Sequence[Row]
    responses: Sequence[Row]
    sounds: Mapping[str, bytes]

    @property
    def attempt(self) -> Row | None:
        """The attempt that decides the trial, else the last one; ``None``: it was never run."""
        return next((row for row in self.attempts if row["counts"]), self.attempts[-1] if self.attempts else None)

    @property
    def simulated(self) -> bool | None:
        """Whether a stand-in answered; ``None`` where that is not known."""
        mark = self.attempt["simulated"] if self.attempt else None
        return None if mark is None else bool(mark)

    def __repr__(self) -> str:
        modalities = " → ".join(str(turn["final_modality"] or turn["outcome"]) for turn in self.turns) or "nothing"
        mark = show.origin_word(self.simulated)
        name = " ".join(show.one_line(str(self.trial[key]), 40) for key in ("n", "case_name", "arm"))
        return f"<trial {name}: {self.trial['state']}, {modalities}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        trial, attempt = self.trial, self.attempt or {}
        names = f"case {show.esc(trial['case_name'], 80)} · {show.esc(str(trial['arm']).replace('_', ' '), 80)}"
        # The ledger counts repeats and turns from 0, people from 1.
        facts: list[tuple[str, object]] = [("state", trial["state"]), ("repeat", trial["repeat"] + 1)]
        named = {"model": "model", "voice": "voice", "drift_rule": "drift rule", "session_id": "session"}
        facts += [(word, attempt[key]) for key, word in named.items() if attempt.get(key)]
        if len(self.attempts) > 1:
            facts.append(("attempt", f"{attempt['attempt']} of {len(self.attempts)}"))
        if attempt.get("error"):
            facts.append(("failed by", f"{attempt['error_type']}: {attempt['error']}"))
        rows = [self._row(turn) for turn in self.turns]
        return show.card(
            f"<b>trial {trial['n']}</b> <code>{show.esc(trial['trial_id'])}</code> {names} {show.origin(self.simulated)}",
            show.facts(facts),
            show.table(rows, ["", "the user's turn", "came as", "when", "the reply"]) if rows else "nothing was asked",
        )

    def _row(self, turn: Row) -> list[str]:
        n = turn["turn"]
        replies = [row for row in self.responses if row["turn"] == n]
        # A ledger from elsewhere may have more turns than its plan.
        words = self.asked[n] if 0 <= n < len(self.asked) else None
        result = show.badge(turn["final_modality"]) if turn["final_modality"] else show.esc(turn["outcome"])
        texts = [show.esc(row["transcript"] or row["text"] or "", 400) + self._sound(row) for row in replies]
        return [str(n + 1), show.esc(words or "(a clip)", 400), result, self._line(replies), "<br>".join(texts) or "–"]

    def _sound(self, response: Row) -> str:
        flac = self.sounds.get(str(response["response_id"]))
        if flac is not None:
            return f"<br>{show.sound(flac, 'audio/flac')}"
        # A spoken reply whose sound was not kept has no mark: `no_sound` is for one that had none.
        return "" if response["n_audio_bytes"] else show.no_sound()

    def _line(self, replies: Sequence[Row]) -> str:
        """The replies of a turn on the trial's line of time: from asking to the end, and under it the sound at the ear's pace."""
        # One scale for all turns of the trial, so that their lines can be compared.
        end_ms = max((_span(row)[1] for row in self.responses if _span(row)), default=0.0)
        bars = []
        for row in replies:
            start, end, sound_at = _span(row)
            colour = show.COLOURS.get(str(row["modality"]), "#7F7F7F")
            # Above: from asking to the end, on the wire. Below it: the sound, as long as it takes to hear it.
            bars.append(_bar(start, end, end_ms, colour, 0))
            if sound_at is not None:
                bars.append(_bar(sound_at, sound_at + row["n_audio_bytes"] / _BYTES_PER_MS, end_ms, colour, 9))
        spans = [_span(row) for row in replies]
        says = f"{spans[0][0] / 1000:.2f} to {max(span[1] for span in spans) / 1000:.2f} s" if spans else "not asked"
        return (
            f'<div role="img" aria-label="{says}" title="{says} of {end_ms / 1000:.2f} s" style="position:relative;width:150px;'
            f'height:16px;margin-top:3px;border-left:1px solid currentColor">{"".join(bars)}</div>'
        )


def _span(response: Row) -> tuple[float, float, float | None]:
    """When a response was asked for, when all of it had been heard or had come, and when its sound began; ms in the session."""
    start = float(response["started_at_ms"] or 0.0)
    end = max(start + float(response[key] or 0.0) for key in ("first_audio_ms", "first_text_ms", "done_ms"))
    if not response["n_audio_bytes"] or response["first_audio_ms"] is None:
        return start, end, None
    sound_at = start + float(response["first_audio_ms"])
    # Audio comes faster than it is heard, so that its sound ends after the response (wire/README.md, Timing).
    return start, max(end, sound_at + response["n_audio_bytes"] / _BYTES_PER_MS), sound_at


def _bar(start_ms: float, end_ms: float, whole_ms: float, colour: str, top_px: int) -> str:
    offset = 100 * start_ms / max(whole_ms, 1.0)
    width = max(_LEAST_PERCENT, 100 * (end_ms - start_ms) / max(whole_ms, 1.0))
    return (
        f'<div style="position:absolute;top:{top_px}px;height:{7 if top_px == 0 else 5}px;left:{offset:.1f}%;width:{width:.1f}%;'
        f'background:{colour};opacity:{1 if top_px == 0 else 0.55}"></div>'
    )
