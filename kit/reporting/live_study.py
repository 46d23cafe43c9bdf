"""The study of GPT-Live: after how much history does it fall silent, and which placement of that history keeps it speaking?

GPT-Live has no text to fall back to: a seeded session that lost its voice is silent or late, without an error (14 of 48 in one product's
count, wire/LIVE.md). Two stages, each a ledger in the folder:

==========  ==========================================================  ======================================================
stage       what is run                                                 what it decides
==========  ==========================================================  ======================================================
dose        histories of 0 to 20 turns as they are, 20 of each          the share of lost voices by length
placements  the length that lost most, as is and placed otherwise,      placements, by Fisher's exact test beside as is at the
            40 of each; only if two voices or more were lost            same hour, Holm over model × placement
==========  ==========================================================  ======================================================

Lost is silent or late: no voice within the plan's deadline of the question. What the deadline and the window are stands with each
result, as the policy's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import show
from ..cases import growing
from ..endpoint import DEFAULT_LIVE_MODEL, endpoint
from ..errors import InputError
from ..stats import fisher, holm, wilson
from ..stats.comparisons import p_words
from ..stats.intervals import percent
from ..trials.plan import AT_ONCE, Analysis, Plan, Settings, live_usd
from ..wire.live import USD_PER_SECOND
from .pieces import Grid, bar, render, spaced, span
from .study import StagedStudy

QUESTION = "After how much history does GPT-Live fall silent, and what keeps it speaking?"
# Even: a history ends with the model, and the question is the user's.
DOSES = (0, 2, 4, 6, 8, 12, 16, 20)  # turns before the user's last
PLACEMENTS = (
    "short_tail", "summary_and_tail", "one_user_message", "history_in_instructions", "past_by_thinking", "commentary_ping", "nudge",
)  # fmt: skip
"""Ways to hand over the same past that products use (wire/LIVE.md, "Ways to hand over a past"); the last waits and asks again."""
AS_IS = "as_is"
FEWEST_LOST = 2  # of a stage, for placements to be asked about
SILENT_FROM = 9  # messages: from there one product counted 14 of 48 silent, with at most 5 none of 22

Count = tuple[int, int]
"""Voices lost (silent or late), and sessions of which it is known."""


@dataclass(frozen=True)
class Placed:
    """What is said of a placement on a model: voices lost with it and, at the same hour, as it is; `p` is Holm-adjusted."""

    model: str
    arm: str
    with_it: Count
    as_it_is: Count
    p: float | None

    @property
    def verdict(self) -> str:
        """``keeps it speaking``, ``silences it``, or that no difference is shown."""
        if self.p is None or self.p > 0.05:
            return "no difference shown"
        # The share, since trials may have been lost unevenly. A p is there only if both have some.
        better = self.with_it[0] / self.with_it[1] < self.as_it_is[0] / self.as_it_is[1]
        return "keeps it speaking" if better else "silences it"

    def __str__(self) -> str:
        (k, n), (k0, n0) = self.with_it, self.as_it_is
        p = "" if self.p is None else f", {p_words(self.p)}"
        return f"{self.model}: {spaced(self.arm)}: {self.verdict}: {k} of {n} lost, as it is {k0} of {n0}{p}"


class LiveStudy(StagedStudy):
    """The study of GPT-Live.

    Args:
        where: ``"standin"`` rehearses; ``"openai"`` measures, and is paid for by the second.
        models: By default the newest; may be several.
        placements: Arms; by default `PLACEMENTS`.
        silence: The stand-in's rule.
        pace: Of the stand-in: how fast its time runs.
        doses: Turns before the user's last, even numbers.
        repeats: Of each length, and of each placement.
    """

    PREFIX = "live-"

    def __init__(
        self,
        folder: str | Path,
        where: str = "standin",
        *,
        models: Sequence[str] | None = None,
        placements: Sequence[str] | None = None,
        seed: int = 0,
        silence: str = "documented",
        pace: float = 3.0,
        doses: Sequence[int] = DOSES,
        repeats: tuple[int, int] = (20, 40),
    ) -> None:
        super().__init__(folder, where, seed)
        self.silence, self.repeats = silence, repeats
        self.lengths = tuple(doses)
        self.models = tuple(models or (DEFAULT_LIVE_MODEL,))
        self.placements = tuple(placements or PLACEMENTS)
        if AS_IS in self.placements:
            raise InputError("the study needs a placement at least, beside as_is")
        stand_in = {"pace": pace, "live": {"silence": silence}} if where == "standin" else {}
        # The same objects for both stages: what is compared must differ in nothing else.
        self._settings = [Settings(where, model=model, protocol="live", stand_in=stand_in) for model in self.models]

    def dose_plan(self) -> Plan:
        """The first stage."""
        return self._plan(self.lengths, [AS_IS], self.repeats[0])

    def placement_plan(self, dose: int) -> Plan:
        """The second stage, at this length."""
        return self._plan([dose], [AS_IS, *self.placements], self.repeats[1])

    def _plan(self, doses: Sequence[int], arms: Sequence[str], repeats: int) -> Plan:
        # Text cannot occur, so what is compared is lost voice.
        analysis = Analysis(over=("model",), family="pooled", outcome="lost_voice")
        options: dict[str, Any] = {"settings": self._settings, "seed": self.seed, "analysis": analysis}
        return Plan(growing(doses), list(arms), repeats, controls=0, **options)

    def price(self) -> str:
        """Say what it costs, by the minute, in three figures, and how long it takes."""
        dose, placed = self.dose_plan(), self.placement_plan(max(self.lengths))
        first, second = (sum(live_usd(trial, worst=False) for trial in plan.trials) for plan in (dose, placed))
        worst = sum(live_usd(trial, worst=True) for plan in (dose, placed) for trial in plan.trials)
        minutes = (first + second) / USD_PER_SECOND / AT_ONCE / 60
        prefix = "free, simulated; on OpenAI " if endpoint(self.where).name == "standin" else ""
        rate = f"at ${USD_PER_SECOND * 60:.2f} a minute"
        return (
            f"{prefix}about ${first:.0f} if nothing falls silent, ${first + second:.0f} if it does from {SILENT_FROM} messages on, "
            f"${worst:.0f} at most ({rate}); up to {minutes:.0f} min at {AT_ONCE} at once"
        )

    def _next_plans(self) -> dict[str, Plan]:
        # The first stage decides whether there is a second.
        if not self.ledgers:
            return {"dose": self.dose_plan()}
        worst = self.worst_dose() if len(self.ledgers) == 1 else None
        return {} if worst is None else {"placements": self.placement_plan(worst)}

    # ------------------------------------------------------------------------------------------------------- what is said

    def _counts(self, stage: str, column: str) -> dict[tuple[str, str], Count]:
        """By model and case or arm. A nudged session that spoke in the end was not lost; unknown ones are left out."""
        if stage not in self.ledgers:
            return {}
        rows = self.ledgers[stage].rows(
            f"SELECT r.asked_model AS model, r.{column} AS part, SUM(t.outcome IN ('silent', 'late')) AS k, COUNT(*) AS n "
            "FROM turns t JOIN attempts a USING (attempt_id) JOIN trials r ON r.trial_id = a.trial_id WHERE t.turn = 0 "
            "AND a.counts = 1 AND t.outcome NOT IN ('failed', 'censored') GROUP BY 1, 2"
        )
        return {(row["model"], row["part"]): (row["k"], row["n"]) for row in rows}

    def doses(self) -> dict[tuple[str, int], Count]:
        """Lost voices by model and number of turns."""
        counts = self._counts("dose", "case_name")
        # A case of `growing` is called by its length: "8 turns".
        return {(model, int(name.split()[0])): count for (model, name), count in counts.items()}

    def worst_dose(self) -> int | None:
        """The length at which most voices were lost, the shortest of equals; ``None``: too few were for a comparison."""
        n_lost_by_dose: Counter[int] = Counter()
        for (_, dose), (k, _n) in self.doses().items():
            n_lost_by_dose[dose] += k
        # A single loss may be anything; a comparison on it would cost and show nothing.
        if n_lost_by_dose.total() < FEWEST_LOST:
            return None
        # `max` takes the first of equals: sorted, the shortest, which costs least.
        return max(sorted(n_lost_by_dose), key=lambda dose: n_lost_by_dose[dose])

    def placed(self) -> list[Placed]:
        """What is shown of each placement on each model."""
        counts = self._counts("placements", "arm")
        comparisons = [
            (model, arm, counts.get((model, arm), (0, 0)), counts.get((model, AS_IS), (0, 0)))
            for model in self.models
            for arm in self.placements
            if counts
        ]
        ps = holm(fisher(*with_it, *as_it_is) for _, _, with_it, as_it_is in comparisons)
        return [Placed(*row, p) for row, p in zip(comparisons, ps, strict=True)]

    def sentences(self) -> list[str]:
        """Say what came out, the silences first."""
        mark = f"[{show.origin_word(self.simulated)}] " if self.simulated is not False else ""
        sentences = []
        for model in self.models:
            losses = (
                f"the first voice is lost after a history of {dose} turns ({k} of {n})"
                for (name, dose), (k, n) in sorted(self.doses().items())
                if name == model and k
            )
            sentences.append(f"{mark}{model}: {next(losses, 'no voice was lost')}")
        return sentences + [f"{mark}{placed}" for placed in self.placed()]

    def write(self) -> Path:
        """Write ``live-study.html`` into the study's folder, one file that fetches nothing."""
        policies = "SELECT DISTINCT policy FROM attempts WHERE policy IS NOT NULL"
        doses = [[model, dose, *_rate(count)] for (model, dose), count in sorted(self.doses().items())]
        placed = [
            [v.model, spaced(v.arm), *_rate(v.with_it), "{} of {}".format(*v.as_it_is), v.verdict, "–" if v.p is None else p_words(v.p)]
            for v in self.placed()
        ]  # fmt: skip
        as_placed = [
            "model",
            "how the history is handed over",
            "",
            "voice lost",
            "95 %",
            "as it is",
            "shown",
            "p (Holm)",
        ]
        html = render(
            "live_study.html",
            question=QUESTION,
            study=self,
            in_short=[(sentence, "keeps" in sentence or "is lost" in sentence) for sentence in self.sentences()],
            doses=Grid(["model", "turns before the question", "", "voice lost", "95 %"], doses, group=1),
            placed=Grid(as_placed, placed, group=1),
            policies={row[0] for ledger in self.ledgers.values() for row in ledger.rows(policies)},
        )
        path = self.folder / "live-study.html"
        path.write_text(html, encoding="utf-8")
        return path


def _rate(count: Count) -> list[Any]:
    """A bar, the share in words, and its interval."""
    k, n = count
    if not n:
        return [bar(float("nan"), 0, 0), "nothing known", "–"]
    interval = wilson(k, n)
    return [bar(k / n, interval.low or 0.0, interval.high or 0.0), f"{k} of {n} ({percent(k / n)})", span(interval)]
