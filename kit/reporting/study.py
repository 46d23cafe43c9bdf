"""The studies: does a seeded history still cost the voice, on which models, and which cure works? And after how many turns?

Nobody has published how often it happens on the models of today. This asks for what an engineer pays out of pocket. Money goes
where the question is: first every model with the histories as they are; then, only where replies came as text, the cures, each
beside its own as-is at the same time; and a cure that is clearly good, or clearly no good, is not asked about again.

=========  ==========================================================  ====================================================
stage      what is run                                                 what it decides
=========  ==========================================================  ====================================================
whole      every model, 40 histories as they are, whole replies        the rate of drift over histories
cut        the same twice more, replies cut after about a second       the rate; and whether cutting changes it: if it seems
                                                                       to (Fisher, p < 0.05), everything after is whole
look 1-4   models with 2 texts or more: as is and the cures that are   cures, by Fisher's exact test on all looks together,
           still open, up to 20, 40, 80, 160 trials of each            Holm over every model × cure, alpha split over the looks
=========  ==========================================================  ====================================================

A reply is decided by its first content part, which is there before the cut. Looks spend 0.1, 0.2, 0.3 and 0.4 of alpha, so that the
family errs in at most alpha, whatever was stopped when. A cure that after look 2 is less than 5 points better is given up. The
design is that of an independent check of this kit (simulated there against fixed designs: a tenth of the price at the same power);
`simulate` repeats the simulation with this code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import fisher_exact

from .. import show
from ..cases import Case, case, growing, histories
from ..endpoint import ENDS, PRICES, endpoint
from ..errors import InputError
from ..files import named_path
from ..stats import clustered, wilson
from ..trials import run
from ..trials.arms import Arm
from ..trials.arms import arm as arm_of
from ..trials.ledger import Ledger
from ..trials.plan import Analysis, Plan, Settings, estimate
from ..trials.runner import Callback

MODELS = tuple(model for model in PRICES if model not in ENDS)
"""The models whose prices the kit knows, without those that the service switches off on a known day (`ENDS`)."""

CURES = ("one_user_message", "delete_and_retry", "history_in_instructions", "modality_each_response")
"""The cures used most: pipecat's default since 2024-10; livekit's recovery loop; the one that threads recommend; the one that is
tried first (wire/README.md, "Modality drift")."""

AS_IS = "as_is"
CUT_TOKENS = 30  # of output: about a second of speech; a reply that reaches it is incomplete, and counts
CUT_ROUNDS = 2  # beside one round of whole replies
LOOKS = (20, 40, 80, 160)  # trials of each arm and model, up to and with this look
SPENDING = (0.1, 0.2, 0.3, 0.4)  # of alpha
FEWEST_TEXTS = 2  # of a model, for its cures to be asked about
FUTILITY = 0.05  # a cure that is less than this better after look 2 is given up
DOSES = (0, 2, 4, 6, 8, 12, 16, 20)  # turns before the last, of the dose study

Counts = tuple[int, int]
"""Text, and known one way or the other."""


@dataclass(frozen=True)
class Stage:
    """What is run next: each model with its arms, each arm once with each of the histories, `rounds` times."""

    name: str
    arms: Mapping[str, tuple[str, ...]]
    n_histories: int
    rounds: int
    cut: bool

    @property
    def n_each(self) -> int:
        """Trials of each arm and model."""
        return self.n_histories * self.rounds


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


@dataclass(frozen=True)
class Design:
    """The rules of the study, without any socket: which stage is next, and what is shown, from counts alone.

    Args:
        models, cures: What is asked about; together they are the family.
        alpha: The family's error.
    """

    models: tuple[str, ...] = MODELS
    cures: tuple[str, ...] = CURES
    alpha: float = 0.05
    n_histories: int = 40

    def next_stage(self, results: Sequence[tuple[Stage, Mapping[tuple[str, str], Counts]]]) -> Stage | None:
        """Return what is to be run after these stages and their counts by (model, arm); ``None``: the study is over."""
        as_is = {model: (AS_IS,) for model in self.models}
        if not results:
            return Stage("whole", as_is, self.n_histories, 1, cut=False)
        if len(results) == 1:
            return Stage("cut", as_is, self.n_histories, CUT_ROUNDS, cut=True)
        look = len(results) - 1  # from 1
        if look > len(LOOKS):
            return None
        pending = [verdict for verdict in self.verdicts(results) if verdict.outcome == "open"]
        arms = {
            model: (AS_IS, *(verdict.cure for verdict in pending if verdict.model == model))
            for model in dict.fromkeys(verdict.model for verdict in pending)
        }
        if not arms:
            return None
        n = LOOKS[look - 1] - (LOOKS[look - 2] if look > 1 else 0)
        n_histories = min(n, self.n_histories)
        return Stage(f"look {look}", arms, n_histories, n // n_histories, cut=not self.cutting_changes(results))

    def cutting_changes(self, results: Sequence[tuple[Stage, Mapping[tuple[str, str], Counts]]]) -> bool:
        """Whether replies that were cut came as text more or less often than whole ones, over all models."""
        whole, cut = (_sum(counts.values()) for _, counts in results[:2])
        return bool(_p(whole, cut) < 0.05)

    def verdicts(self, results: Sequence[tuple[Stage, Mapping[tuple[str, str], Counts]]]) -> list[Verdict]:
        """Return what is shown of every model × cure so far."""
        drifting = [
            model
            for model in self.models
            if sum(counts.get((model, AS_IS), (0, 0))[0] for _, counts in results[:2]) >= FEWEST_TEXTS
        ]
        verdicts: dict[tuple[str, str], Verdict] = {
            (model, cure): Verdict(model, cure, 0, 0, 0, 0, 1.0, "open" if model in drifting else "not asked", 0)
            for model in self.models
            for cure in self.cures
        }
        totals: dict[tuple[str, str], tuple[Counts, Counts]] = {}
        for look, (stage, counts) in enumerate(results[2:], 1):
            compared = [(model, cure) for model, arms in stage.arms.items() for cure in arms if cure != AS_IS]
            for model, cure in compared:  # as is beside this cure, and no other as is: same hours, same number
                control, treated = totals.get((model, cure), ((0, 0), (0, 0)))
                totals[model, cure] = (
                    _sum((control, counts.get((model, AS_IS), (0, 0)))),
                    _sum((treated, counts.get((model, cure), (0, 0)))),
                )
            level = self.alpha * SPENDING[look - 1]
            ps = {key: _p(*totals[key]) for key in compared}
            for key, shown in _holm(ps, len(verdicts), level).items():
                (k0, n0), (k1, n1) = totals[key]
                better = k0 / n0 - k1 / n1 if n0 and n1 else 0.0
                outcome = "open"
                if shown:
                    outcome = "cures" if better > 0 else "harms"
                elif look >= 2 and better < FUTILITY:
                    outcome = "given up"
                verdicts[key] = Verdict(*key, k0, n0, k1, n1, ps[key], outcome, look)
        return list(verdicts.values())

    def price(self, usd: Callable[[str, str, bool], float]) -> tuple[float, float, float]:
        """Return what it costs if nothing drifts, as in 2024 (every history drifts, some cures work at once), and at most.

        Args:
            usd: The price of one trial, by model, arm, and whether its reply is cut.
        """
        n = self.n_histories
        first = sum(n * (usd(m, AS_IS, False) + CUT_ROUNDS * usd(m, AS_IS, True)) for m in self.models)

        def looks(upto: int, cut: bool) -> float:
            return sum(LOOKS[upto - 1] * usd(m, a, cut) for m in self.models for a in (AS_IS, *self.cures))

        # In 2024 a cure showed at look 1, or was no better at look 2.
        return first, first + looks(2, True), first + looks(len(LOOKS), False)


def _sum(counts: Iterable[Counts]) -> Counts:
    listed = list(counts)
    return sum(k for k, _ in listed), sum(n for _, n in listed)


def _p(a: Counts, b: Counts) -> float:
    if not a[1] or not b[1]:
        return 1.0
    return float(fisher_exact([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]).pvalue)


def _holm(ps: Mapping[tuple[str, str], float], family: int, level: float) -> dict[tuple[str, str], bool]:
    """Holm's step-down over a family of which only some were tested: the others count as not shown."""
    shown, going = {}, True
    for rank, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        going = going and p <= level / (family - rank)
        shown[key] = going
    return shown


# ----------------------------------------------------------------------------------------------------------- without sockets

Truth = Callable[[str, str, int], float]
"""The chance of text, by model, arm, and number of the history."""


@dataclass
class Simulated:
    """What a simulation of the study came to.

    Attributes:
        usd: Dollars of each study.
        verdicts: Of each study.
    """

    usd: list[float] = field(default_factory=list)
    verdicts: list[list[Verdict]] = field(default_factory=list)

    def share(self, condition: Callable[[Verdict], bool]) -> float:
        """Of all verdicts in all studies, the share for which it holds."""
        verdicts = [verdict for study in self.verdicts for verdict in study]
        return sum(map(condition, verdicts)) / len(verdicts)

    def any_share(self, condition: Callable[[Verdict], bool]) -> float:
        """The share of studies in which it holds for some verdict."""
        return sum(any(map(condition, verdicts)) for verdicts in self.verdicts) / len(self.verdicts)


def simulate(
    design: Design,
    truth: Truth,
    n_studies: int = 200,
    seed: int = 0,
    usd: Callable[[str, str, bool], float] | None = None,
) -> Simulated:
    """Run the design many times against a known truth: what it costs, and what it claims. `usd`: of one trial (`trial_usd`)."""
    draw = random.Random(f"kit study {seed}")
    usd = usd or trial_usd()
    out = Simulated()
    for _ in range(n_studies):
        results: list[tuple[Stage, dict[tuple[str, str], Counts]]] = []
        spent = 0.0
        while (stage := design.next_stage(results)) is not None:
            counts = {}
            for model, arms in stage.arms.items():
                for name in arms:
                    picked = range(stage.n_histories) if stage.n_histories == design.n_histories else None
                    chosen = picked or draw.sample(range(design.n_histories), stage.n_histories)
                    k = sum(draw.random() < truth(model, name, h) for _ in range(stage.rounds) for h in chosen)
                    counts[model, name] = (k, stage.n_each)
                    spent += stage.n_each * usd(model, name, stage.cut)
            results.append((stage, counts))
        out.usd.append(spent)
        out.verdicts.append(design.verdicts(results))
    return out


def trial_usd(endpoint_name: str = "openai") -> Callable[[str, str, bool], float]:
    """Return the price of a trial at the kit's prices, by model, arm, and whether its reply is cut; 0 where nobody pays."""
    known: dict[tuple[str, str, bool], float] = {}

    def usd(model: str, arm: str, cut: bool) -> float:
        key = (model, arm, cut)
        if key not in known:
            settings = _settings(endpoint_name, model, cut, {})
            cases = histories() if arm_of(arm).max_responses == 1 else (case("1b"),)
            plan = Plan(cases, arm, 1, settings=settings, controls=0)
            # An arm that asks again may ask that often; reckoned as if it always did.
            known[key] = (estimate(plan).usd or 0.0) / plan.n_trials * arm_of(arm).max_responses
        return known[key]

    return usd


def _settings(where: str, model: str | None, cut: bool, stand_in: Mapping[str, Any]) -> Settings:
    limit = {"max_output_tokens": CUT_TOKENS} if cut else {}
    return Settings(where, model=model, stand_in=stand_in if where == "standin" else {}, **limit)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- for real


class Study:
    """The study in a folder: a ledger for each stage and model, and one page. Run it again to go on.

    Args:
        folder: Where its ledgers are.
        where: ``"standin"`` rehearses; ``"openai"`` measures, and is paid for.
        models: By default `MODELS`; elsewhere than at OpenAI the endpoint's own.
        cures: Arms; by default `CURES`.
        seed: Of the order, and of the stand-in's draws.
        drift: The stand-in's rule.
    """

    def __init__(
        self,
        folder: str | Path,
        where: str = "standin",
        *,
        models: Sequence[str] | None = None,
        cures: Sequence[str | Arm] | None = None,
        seed: int = 0,
        drift: str = "documented",
    ) -> None:
        if models is None:
            models = MODELS if where in ("standin", "openai") else [endpoint(where).model or ""]
        names = [arm_of(cure).name for cure in (CURES if cures is None else cures)]
        if not models or not names or AS_IS in names:
            raise InputError("the study needs a model at least, and a cure beside as_is")
        self.folder = named_path(folder).resolve()
        self.where, self.seed, self.drift = where, seed, drift
        self.cures = tuple(CURES if cures is None else cures)
        self.design = Design(tuple(models), tuple(names))
        self.results: list[tuple[Stage, dict[tuple[str, str], Counts]]] = []
        self.ledgers: list[Ledger] = []
        self.complete = False
        """Whether every stage that its rules asked for was run to its end."""

    def price(self) -> str:
        """Say what it costs, in three figures."""
        ending = [f"{model} ends on {ENDS[model]}" for model in self.design.models if model in ENDS]
        if endpoint(self.where).name == "standin":
            usd, prefix = trial_usd("openai"), "free, simulated; on OpenAI's models of these names "
            if not set(self.design.models) <= set(PRICES):
                return "free, simulated"
        elif not set(self.design.models) <= set(PRICES):
            return "unpriced: the kit does not know what this costs"
        else:
            usd, prefix = trial_usd(self.where), ""
        nothing, as_in_2024, most = self.design.price(usd)
        text = f"{prefix}about ${nothing:.0f} if nothing drifts, ${as_in_2024:.0f} if all drift as in 2024, ${most:.0f} at most"
        return "; ".join([text, *ending])

    def plans(self, stage: Stage) -> dict[str, Plan]:
        """Return the plans of a stage, by the name of their ledger."""
        # What is drawn in one stage must be no copy of another's: a seed for each.
        seed = self.seed * 100 + len(self.results)
        cases: Sequence[Case] = histories()
        if stage.n_histories < len(cases):
            cases = random.Random(f"kit study {seed}").sample(cases, stage.n_histories)
        arms_by_name = {arm_of(cure).name: cure for cure in self.cures}
        groups: dict[tuple[str, ...], list[str]] = {}
        for model, arms in stage.arms.items():
            groups.setdefault(tuple(arms), []).append(model)
        stem, out = stage.name.replace(" ", "-"), {}
        for n, (arms, models) in enumerate(groups.items(), 1):
            out[f"{stem}-{n}" if len(groups) > 1 else stem] = Plan(
                cases,
                [arms_by_name.get(name, name) for name in arms],
                stage.rounds,
                settings=[_settings(self.where, model or None, stage.cut, {"drift": self.drift}) for model in models],
                seed=seed,
                controls=3 if stage.name == "whole" else 0,
                analysis=Analysis(within=("case",), over=("model",), family="pooled", alpha=self.design.alpha),
            )
        return out

    async def run(
        self,
        *,
        at_once: int = 8,
        budget_usd: float | None = None,
        progress: Callback | bool | None = True,
        keep_events: bool = True,
        keep_sound: bool = False,
    ) -> Study:
        """Run it, or go on with it. What the whole study spends never passes the budget.

        Events are kept unless told otherwise: without them no bundle can be made of what was paid for.

        Raises:
            InputError, ConnectError, LedgerError: As `kit.run` does. Nothing is lost; the same call goes on.
        """
        self.results, self.ledgers, self.complete = [], [], False
        self.folder.mkdir(parents=True, exist_ok=True)
        remaining_usd = budget_usd
        while (stage := self.design.next_stage(self.results)) is not None:
            counts: dict[tuple[str, str], Counts] = {}
            for name, plan in self.plans(stage).items():
                ledger = await run(
                    plan,
                    self.folder / f"{name}.sqlite",
                    at_once=at_once,
                    budget_usd=remaining_usd,
                    progress=progress,
                    keep_events=keep_events,
                    keep_sound=keep_sound,
                )
                self.ledgers.append(ledger)
                if remaining_usd is not None:
                    remaining_usd = max(0.0, remaining_usd - ledger.spent()["usd"])
                counts |= _counts(ledger, plan)
                if (ledger.last_run or {}).get("ended") != "complete":
                    self.results.append((stage, counts))
                    return self
            self.results.append((stage, counts))
        self.complete = True
        return self

    # ------------------------------------------------------------------------------------------------------- what is said

    @property
    def simulated(self) -> bool | None:
        marks = {ledger.simulated for ledger in self.ledgers}
        return marks.pop() if len(marks) == 1 else None

    def rates(self) -> list[tuple[str, str]]:
        """Say of each model how often a history cost the voice: a rate over histories, not over trials."""
        rows = []
        for model in self.design.models:
            texts, of_history = [], []
            for ledger in self.ledgers[:2]:
                for row in ledger.rows(_FIRST_TURNS, (AS_IS, model)):
                    texts.append(row["text"])
                    of_history.append(row["case_name"])
            k, n = sum(texts), len(texts)
            if not n:
                rows.append((model, "nothing is known"))
                continue
            # All alike: the spread between histories cannot be seen, so the histories are what counts.
            alike = k in (0, n)
            interval = (
                wilson(k and len(set(of_history)), len(set(of_history))) if alike else clustered(texts, of_history)
            )
            low, high = 100 * (interval.low or 0), 100 * (interval.high or 0)
            rows.append(
                (
                    model,
                    f"{k} of {n} replies were text ({100 * k / n:.0f} %; 95 % over histories: {low:.0f} to {high:.0f} %)",
                )
            )
        return rows

    def sentences(self) -> list[str]:
        """Say what is shown of each cure, in the order of the models."""
        mark = show.origin_word(self.simulated)
        return [f"{_sentence(verdict)}{f' ({mark})' if mark else ''}" for verdict in self.design.verdicts(self.results)]

    def __repr__(self) -> str:
        n = sum(ledger.counts()["planned"] for ledger in self.ledgers)
        usd = sum(ledger.spent()["usd"] for ledger in self.ledgers)
        state = "complete" if self.complete else "not complete: run it again to go on"
        return f"<Study {self.folder}: {len(self.results)} stages, {n} trials, ${usd:.2f}, {state}>"

    def _repr_html_(self) -> str:
        rates = show.table([[show.esc(model), show.esc(text)] for model, text in self.rates()], ["model", "as it is"])
        sentences = "".join(f"<p>{show.esc(sentence)}</p>" for sentence in self.sentences())
        return show.card(
            f"<b>study</b> {show.origin(self.simulated)} {show.esc(repr(self).strip('<>'))}", rates, sentences
        )

    def write(self) -> Path:
        """Write ``study.html`` into its folder: rates, cures, rules, and where the ledgers are. One file that fetches nothing."""
        stages = show.table(
            [
                [show.esc(stage.name), show.esc(", ".join(stage.arms)), str(sum(n for _, n in counts.values()))]
                for stage, counts in self.results
            ],
            ["stage", "models", "replies that count"],
        )
        ledgers = "".join(f"<li><code>{show.esc(ledger.path.name)}</code></li>" for ledger in self.ledgers)
        rules = show.esc((__doc__ or "").partition("\n\n")[2])
        page = (
            "<!doctype html><html lang='en'><meta charset='utf-8'><title>Does a seeded history cost the voice?</title>"
            "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            "<body style='font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em'>"
            "<h1>Does a seeded history cost the voice, and which cure works?</h1>"
            f"{self._repr_html_()}<h2>What was run</h2>{stages}<h2>By which rules</h2><pre>{rules}</pre>"
            f"<h2>Ledgers</h2><ul>{ledgers}</ul></body></html>"
        )
        path = self.folder / "study.html"
        path.write_text(page, encoding="utf-8")
        return path


_FIRST_TURNS = (
    "SELECT r.case_name, t.final_modality = 'text' AS text FROM turns t JOIN attempts a USING (attempt_id) "
    "JOIN trials r ON r.trial_id = a.trial_id WHERE t.turn = 0 AND a.counts = 1 AND r.role = 'measure' AND r.arm = ? "
    "AND r.asked_model IS ? AND t.outcome NOT IN ('failed', 'censored')"
)


def _counts(ledger: Ledger, plan: Plan) -> dict[tuple[str, str], Counts]:
    counts = {}
    for settings in plan.settings:
        for arm in plan.arms:
            rows = ledger.rows(_FIRST_TURNS, (arm.name, settings.where.model))
            counts[settings.where.model or "", arm.name] = (sum(row["text"] or 0 for row in rows), len(rows))
    return counts


def _sentence(v: Verdict) -> str:
    if v.outcome == "not asked":
        return f"{v.model}: {v.cure} was not asked about, since fewer than {FEWEST_TEXTS} replies were text as it is."
    if not v.n1:
        return f"{v.model}: {v.cure} has no result yet."
    counts = f"{v.k1} of {v.n1} text, against {v.k0} of {v.n0} as it is at the same time"
    says = {
        "cures": f"drifts less often with {v.cure}: {counts}; p = {v.p:.2g}, shown at look {v.look} beyond the whole family's alpha.",
        "harms": f"drifts more often with {v.cure}: {counts}; p = {v.p:.2g}, shown at look {v.look} beyond the whole family's alpha.",
        "given up": f"{v.cure} was given up after look {v.look}, less than {100 * FUTILITY:.0f} points better: {counts}.",
        "open": f"no difference is shown for {v.cure}: {counts}; p = {v.p:.2g}.",
    }
    return f"{v.model}: {says[v.outcome]}" if v.outcome in ("given up", "open") else f"{v.model} {says[v.outcome]}"


def dose_plan(
    where: str = "standin",
    *,
    models: Sequence[str] | None = None,
    repeats: int = 20,
    doses: Sequence[int] = DOSES,
    seed: int = 0,
    drift: str = "documented",
) -> Plan:
    """Return the plan of the dose study: after how many turns of text does it stop speaking?

    Args:
        models: By default the cheapest and the newest of `MODELS`; elsewhere than at OpenAI the endpoint's own.
        repeats: Of each length and model.
        doses: Turns before the user's last, even numbers; 0 is the background.
    """
    if models is None:
        models = ("gpt-realtime-2.1", "gpt-realtime-2.1-mini") if where in ("standin", "openai") else [""]
    settings = [_settings(where, model or None, True, {"drift": drift}) for model in models]
    return Plan(
        growing(doses),
        AS_IS,
        repeats,
        settings=settings,
        seed=seed,
        analysis=Analysis(over=("model",), family="pooled"),
    )
