"""Answer the question that logs are asked: how often did a reply come as text where audio was asked for?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import show

SPOKEN = ("audio", "text", "mixed")
"""Modalities of a reply that said something; what only called a function, or nothing, counts apart."""
_OVER = ("completed", "incomplete", "cancelled", None)
"""Statuses after which what arrived is what was said: not `failed`. ``None``: the log does not show the end."""
MAX_GROUPS = 50
BY = ("restored", "seeded", "model", "day", "session", "file", "asked", "status")
"""By what replies are counted apart. `restored`: whether assistant messages stood before the first reply; `seeded`: how many."""


@dataclass(slots=True)
class _Group:
    """Replies that are counted together.

    Attributes:
        n, k: By session: replies that said something, and those of them that came as text.
    """

    n: Counter[str] = field(default_factory=Counter)
    k: Counter[str] = field(default_factory=Counter)

    def take(self, session: str, is_text: bool) -> None:
        self.n[session] += 1
        self.k[session] += is_text

    def __str__(self) -> str:
        n, k = self.n.total(), self.k.total()
        sessions, bounds = list(self.n), ""
        if len(sessions) > 1:
            from ..stats import clustered_counts  # with numpy and scipy, which take longer than most logs

            interval = clustered_counts([self.k[name] for name in sessions], [self.n[name] for name in sessions])
            if interval.low is not None and interval.high is not None:
                bounds = f", 95 % interval {_percent(interval.low)}–{_percent(interval.high)}"
        n_with = sum(1 for name in sessions if self.k[name])
        return (
            f"{k:,} of {n:,} ({_percent(k / n)} %{bounds}), in {n_with:,} of {show.counted(len(sessions), 'session')}"
        )


class Answer:
    """Counts of replies, row by row: memory is that of the sessions.

    Attributes:
        n_rows: Replies counted in any way.
        n_partial: Replies of which lines were lost.
        modalities: What all replies came as, by modality.
    """

    def __init__(self, by: Iterable[str] = ()) -> None:
        self.n_rows = self.n_partial = 0
        self.modalities: Counter[str] = Counter()
        self._asked_for_text = 0
        # A log without the request and without `session.created` does not say what was asked for. Audio is the API's default, so such
        # replies count, and their number is told.
        self._asked_unknown = 0  # of those that are counted
        self._unknown = 0  # of which the log does not show what they came as
        # Of all replies, and by each way to group them, by value. Groups by `restored`, `model` and `day` are shown where there are two.
        self._all = _Group()
        self._by = tuple(by)
        self._groups: dict[str, dict[str, _Group]] = {name: {} for name in ("restored", "model", "day", *self._by)}

    def take(self, row: Mapping[str, Any], session: str) -> None:
        """Count one row of `COLUMNS`. `session` is what its turns have in common."""
        self.n_rows += 1
        self.n_partial += bool(row["partial"])
        self.modalities[row["modality"] or "unknown"] += 1
        modalities = row["asked"]
        if modalities is not None and "audio" not in modalities:
            self._asked_for_text += 1
            return
        self._unknown += row["modality"] is None and row["status"] in _OVER
        if row["modality"] not in SPOKEN or row["status"] not in _OVER:
            return
        self._asked_unknown += modalities is None
        is_text = row["modality"] == "text"
        self._all.take(session, is_text)
        for name, groups in self._groups.items():
            value = _value(name, row, session)
            if value in groups or len(groups) < 10_000:
                groups.setdefault(value, _Group()).take(session, is_text)

    def lines(self, losses: str = "", n_sighted: int = 0) -> list[str]:
        """The answer in a few lines.

        Args:
            losses: What was lost on the way, said in the same breath as the rate.
            n_sighted: How often a framework itself says that a reply came as text. Where those are more than the replies that
                can be read as text, there is no rate.
        """
        if not self._all.n:
            kinds = ", ".join(f"{count:,} {word}" for word, count in self.modalities.most_common())
            sentence = "No reply was found, so the log does not say how often one came as text."
            if self._unknown:
                sentence = f"The log does not say what the replies came as ({kinds})."
            elif kinds:
                sentence = f"No reply that asked for audio said anything ({kinds})."
            return [sentence, losses] if losses else [sentence]
        lines = [f"Asked for audio, came as text: {self._all}."]
        if n_sighted > self.modalities["text"]:
            replies = f"{show.counted(n_sighted, 'reply', 'replies')} of {self.n_rows:,}"
            lines = [f"Came as text: at least {replies}, as the framework itself says; the log does not show which."]
        if losses:
            lines.append(f"Careful: {losses}")
        counts = (
            (self.n_partial, "Partial, counted by what is left of them"),
            (self._unknown, "Not counted, what they came as is not in the log"),
            (self._asked_for_text, "Asked for as text, not counted"),
            (self._asked_unknown, "Counted though the log does not say what was asked for"),
        )
        lines += [f"{sentence}: {show.counted(n, 'reply', 'replies')}." for n, sentence in counts if n]
        for name, groups in self._groups.items():
            if len(groups) > 1 or name in self._by:
                lines.append(f"By {name}:")
                chosen = sorted(groups.items())[:MAX_GROUPS]
                width = min(30, max(len(show.one_line(value, 30)) for value, _ in chosen))
                lines += [f"  {show.one_line(value, 30):<{width}}  {group}" for value, group in chosen]
                if len(groups) > MAX_GROUPS:
                    lines.append(f"  … {len(groups) - MAX_GROUPS:,} more")
        return lines


def beginning(n_seeded: int | None) -> str:
    """Say how a conversation began, by how many messages of the assistant stood before its first reply."""
    return "beginning not in the log" if n_seeded is None else "history restored" if n_seeded else "began fresh"


def _value(name: str, row: Mapping[str, Any], session: str) -> str:
    match name:
        case "restored":
            return beginning(row["n_seeded"])
        case "seeded":
            return "unknown" if row["n_seeded"] is None else f"{row['n_seeded']:4} assistant messages"
        case "day":
            at = str(row["at"] or "")
            return at[:10] if len(at) > 13 else "no date"
        case "session":
            return session
        case "asked":
            return "+".join(row["asked"] or ()) or "unknown"
    return str(row.get(name) or "unknown")


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f}" if rate in (0, 1) or 0.1 <= rate <= 0.9 else f"{100 * rate:.1f}"
