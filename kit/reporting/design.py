"""The design of the study, without any socket: which stage is next, what is shown, what it costs, from counts alone.

Nobody has published how often it happens on the models of today. This asks for what an engineer pays out of pocket. Money goes
where the question is: first every model with the histories as they are; then, only where replies came as text, the cures, each
beside its own as-is at the same time; and a cure that is clearly good, or clearly no good, is not asked about again.

=========  ==========================================================  ====================================================
stage      what is run                                                 what it decides
=========  ==========================================================  ====================================================
whole      every model, 40 histories as they are, whole replies        the rate of drift over histories
cut        the same twice more, replies cut after about a second; and  the rate; and whether cutting changes it: if it seems
           40 sessions without a history                               to (Fisher, p < 0.05), three looks of whole replies
look 1-4   models with 2 texts or more: as is and the cures that are   cures, by Fisher's exact test on all looks together,
           still open, up to 20, 40, 80, 160 trials of each            Holm over every model × cure, alpha split over the looks
=========  ==========================================================  ====================================================

Over three days, where that is asked for, each round of the histories is a block on a day of its own (``whole``, ``cut``, ``cut 2``);
the looks follow on the last.

A reply is decided by its first content part, which is there before the cut. Looks spend 0.1, 0.2, 0.3 and 0.4 of alpha, so that the
family errs in at most alpha, whatever was stopped when. A cure that after look 2 is less than 5 points better is given up. A
comparison is pooled over the histories of its model; of a single history there are too few trials to say anything.
The design is that of an independent check of this kit (simulated there against fixed designs: a tenth of the price at the same power);
tests/test_study.py repeats the simulation with this code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..endpoint import ENDS, PRICES
from ..errors import InputError, clipped
from ..stats import fisher, holm
from ..stats.comparisons import p_words

MODELS = tuple(model for model in PRICES if model not in ENDS)
"""The models whose prices the kit knows, without those that the service switches off on a known day (`ENDS`)."""

CURES = ("one_user_message", "delete_and_retry", "history_in_instructions", "modality_each_response")
"""The cures used most: pipecat's default since 2024-10; livekit's recovery loop; the one that threads recommend; the one that is
tried first (wire/README.md, "Modality drift")."""

AS_IS = "as_is"
CUT_TOKENS = 30  # of output: about a second of speech; a reply that reaches it is incomplete, and counts
CUT_ROUNDS = 2  # beside one round of whole replies
LOOKS = (20, 40, 80, 160)  # trials of each arm and model, up to and with this look
WHOLE_LOOKS = 3  # where replies cannot be cut: a fourth would double the price of the whole study
SPENDING = (0.1, 0.2, 0.3, 0.4)  # of alpha
FEWEST_TEXTS = 2  # of a model, for its cures to be asked about
FUTILITY = 0.05  # a cure that is less than this better after look 2 is given up
# Controls of each kind and model. Three show whether text can be read at all; the rate without any history takes as many as there are
# histories: 0 of 40 is at most 9 %, 0 of 3 could be 56 %.
FIT_CONTROLS, BACKGROUND_CONTROLS = 3, 40
MOST_DAYS = 1 + CUT_ROUNDS  # a block is at least one round of the histories

Counts = tuple[int, int]
"""Text, and known one way or the other."""


@dataclass(frozen=True)
class Stage:
    """What is run next: each model with its arms, each arm once with each of the histories, `rounds` times."""

    # Also the stem of its ledgers' names; arms by model: a cure that is decided on one is not run there any more.
    name: str
    arms: Mapping[str, tuple[str, ...]]
    n_histories: int
    rounds: int
    cut: bool
    controls: int = 0
    """Sessions without a history, and as many that ask for text, of each model."""

    @property
    def n_each(self) -> int:
        """Trials of each arm and model."""
        return self.n_histories * self.rounds


Results = Sequence[tuple[Stage, Mapping[tuple[str, str], Counts]]]
"""The stages that were run, in order, each with its counts by (model, arm)."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a cure on a model.

    Attributes:
        k0, n0, k1, n1: Text and known: as is, beside the cure; and with the cure.
        p: Fisher's exact test, two-sided, unadjusted.
        outcome: ``cures`` (fewer texts, beyond the family's alpha), ``harms``, ``given up``, ``open`` (all looks are used, and
            nothing is shown), or ``not asked`` (the model hardly drifts).
        look: After which look that was so; 0: none.
    """

    model: str
    cure: str
    k0: int
    n0: int
    k1: int
    n1: int
    p: float
    outcome: str
    look: int

    def __str__(self) -> str:
        if self.outcome == "not asked":
            return f"{self.model}: {self.cure} was not asked about, since fewer than {FEWEST_TEXTS} replies were text as it is."
        if not self.n1:
            return f"{self.model}: {self.cure} has no result yet."
        counts = f"{self.k1} of {self.n1} text, against {self.k0} of {self.n0} as it is at the same time"
        if self.outcome == "given up":
            better = f"less than {100 * FUTILITY:.0f} points better"
            return f"{self.model}: {self.cure} was given up after look {self.look}, {better}: {counts}."
        if self.outcome == "open":
            return f"{self.model}: no difference is shown for {self.cure}: {counts}; {p_words(self.p)}."
        how_often = "less often" if self.outcome == "cures" else "more often"
        proof = f"{p_words(self.p)}, shown at look {self.look} beyond the whole family's alpha"
        return f"{self.model} drifts {how_often} with {self.cure}: {counts}; {proof}."


@dataclass(frozen=True)
class Design:
    """The rules of the study, without any socket: which stage is next, and what is shown, from counts alone.

    Args:
        models, cures: What is asked about; together they are the family.
        alpha: The family's error.
        days: Over how many days the rounds of the histories are spread, 1 to 3.
    """

    models: tuple[str, ...] = MODELS
    cures: tuple[str, ...] = CURES
    alpha: float = 0.05
    # Of the written dialogues; a look of fewer trials draws from them.
    n_histories: int = 40
    days: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.days, int) or not 1 <= self.days <= MOST_DAYS:
            raise InputError(f"the histories can be spread over 1 to {MOST_DAYS} days, not {clipped(self.days)}")

    @property
    def blocks(self) -> tuple[Stage, ...]:
        """The stages that run the histories as they are, in order; each on a day of its own where there are several days."""
        # One day is for the whole replies, the others are for the cut ones.
        n_cut = max(1, self.days - 1)
        as_is = {model: (AS_IS,) for model in self.models}
        rounds, controls = CUT_ROUNDS // n_cut, BACKGROUND_CONTROLS // n_cut
        return (
            Stage("whole", as_is, self.n_histories, 1, cut=False, controls=FIT_CONTROLS),
            *(
                Stage(f"cut {n}" if n > 1 else "cut", as_is, self.n_histories, rounds, cut=True, controls=controls)
                for n in range(1, n_cut + 1)
            ),
        )

    def next_stage(self, results: Results) -> Stage | None:
        """Return what is to be run after these stages and their counts by (model, arm); ``None``: the study is over."""
        # The histories come first whatever they show: their rate is the first question.
        if len(results) < len(self.blocks):
            return self.blocks[len(results)]
        look = 1 + len(results) - len(self.blocks)
        cut = not self.cutting_changes(results)
        if look > (len(LOOKS) if cut else WHOLE_LOOKS):
            return None
        pending = [verdict for verdict in self.verdicts(results) if verdict.outcome == "open"]
        arms = {
            model: (AS_IS, *(verdict.cure for verdict in pending if verdict.model == model))
            for model in dict.fromkeys(verdict.model for verdict in pending)
        }
        if not arms:
            return None
        # `LOOKS` are totals; a stage runs what is new.
        n = LOOKS[look - 1] - (LOOKS[look - 2] if look > 1 else 0)
        n_histories = min(n, self.n_histories)
        return Stage(f"look {look}", arms, n_histories, n // n_histories, cut)

    def cutting_changes(self, results: Results) -> bool:
        """Whether replies that were cut came as text more or less often than whole ones, over all models."""
        # Not of the family's alpha: it decides only how the cures are asked about, and errs to the dearer side.
        return p_of(*self.whole_and_cut(results)) < 0.05

    def whole_and_cut(self, results: Results) -> tuple[Counts, Counts]:
        """Return the counts of whole replies and of cut ones, over all models."""
        uncut, *cut = (_sum(counts.values()) for _, counts in results[: len(self.blocks)])
        return uncut, _sum(cut)

    def verdicts(self, results: Results) -> list[Verdict]:
        """Return what is shown of every model × cure so far."""
        # By the first blocks alone: later stages must not bring a model back that was found not to drift.
        drifting = [
            model
            for model in self.models
            if sum(counts.get((model, AS_IS), (0, 0))[0] for _, counts in results[: len(self.blocks)]) >= FEWEST_TEXTS
        ]
        verdicts: dict[tuple[str, str], Verdict] = {
            (model, cure): Verdict(model, cure, 0, 0, 0, 0, 1.0, "open" if model in drifting else "not asked", 0)
            for model in self.models
            for cure in self.cures
        }
        totals: dict[tuple[str, str], tuple[Counts, Counts]] = {}
        for look, (stage, counts) in enumerate(results[len(self.blocks) :], 1):
            compared = [(model, cure) for model, arms in stage.arms.items() for cure in arms if cure != AS_IS]
            for model, cure in compared:  # as is beside this cure, and no other as is: same hours, same number
                control, treated = totals.get((model, cure), ((0, 0), (0, 0)))
                totals[model, cure] = (
                    _sum((control, counts.get((model, AS_IS), (0, 0)))),
                    _sum((treated, counts.get((model, cure), (0, 0)))),
                )
            # The whole family is tested at this look's share of alpha: the shares sum to 1.
            level = self.alpha * SPENDING[look - 1]
            ps = {key: p_of(*totals[key]) for key in compared}
            # The family is every model × cure, also those not asked about: dropping some after a look would be
            # choosing.
            adjusted = holm([*ps.values(), *[1.0] * (len(verdicts) - len(ps))])
            for key, p in zip(ps, adjusted, strict=False):
                (k0, n0), (k1, n1) = totals[key]
                better = k0 / n0 - k1 / n1 if n0 and n1 else 0.0
                outcome = "open"
                if p is not None and p <= level:
                    outcome = "cures" if better > 0 else "harms"
                # Not at the first look: with 20 trials a good cure may look like none.
                elif look >= 2 and better < FUTILITY:
                    outcome = "given up"
                verdicts[key] = Verdict(*key, k0, n0, k1, n1, ps[key], outcome, look)
        return list(verdicts.values())

    def price(self, usd: Callable[[str, str, bool], float]) -> tuple[float, float, float]:
        """Return what it costs if nothing drifts, as in 2024 (every history drifts, some cures work at once), and at most.

        Args:
            usd: The price of one trial, by model, arm, and whether its reply is cut.
        """
        first = sum(self.usd_of(stage, usd) for stage in self.blocks)

        def looks(upto: int, cut: bool) -> float:
            return sum(LOOKS[upto - 1] * usd(m, a, cut) for m in self.models for a in (AS_IS, *self.cures))

        # In 2024 a cure showed at look 1, or was no better at look 2.
        most = max(looks(len(LOOKS), True), looks(WHOLE_LOOKS, False))
        return first, first + looks(2, True), first + most

    @staticmethod
    def usd_of(stage: Stage, usd: Callable[[str, str, bool], float]) -> float:
        """What a stage costs; a control no more than a trial as it is, which has a history to be read."""
        trials = stage.n_each * sum(usd(model, arm, stage.cut) for model, arms in stage.arms.items() for arm in arms)
        return trials + 2 * stage.controls * sum(usd(model, AS_IS, stage.cut) for model in stage.arms)


def _sum(counts: Iterable[Counts]) -> Counts:
    listed = list(counts)
    return sum(k for k, _ in listed), sum(n for _, n in listed)


@lru_cache(maxsize=100_000)  # a simulation asks the same of it thousands of times
def p_of(a: Counts, b: Counts) -> float:
    """Fisher's p between two counts; 1 where there is nothing to compare."""
    p = fisher(*a, *b)
    return 1.0 if p is None else p
