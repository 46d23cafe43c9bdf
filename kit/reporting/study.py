"""The studies, run: does a seeded history still cost the voice, on which models, and which cure works?

`Study` runs what `design` says, into a folder: a ledger for each stage, and ``study.json`` with which it is gone on with
(`study_page` writes a page of it). Two smaller studies are plans of one ledger each: `dose_plan` (after how many turns?) and
`persistence_plan` (does it stay?).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from .. import show
from ..cases import Case, case, growing, histories
from ..endpoint import ENDS, PRICES, Price, endpoint
from ..errors import InputError, clipped
from ..files import named_path, read_text
from ..stats import bounds_if_missing, clustered_counts, fisher, holm, wilson
from ..stats.comparisons import p_words
from ..stats.intervals import Interval, percent
from ..trials import run
from ..trials.arms import Arm
from ..trials.arms import arm as arm_of
from ..trials.ledger import Ledger
from ..trials.plan import Analysis, Plan, Settings, estimate
from ..trials.runner import Callback
from .design import AS_IS, CURES, CUT_TOKENS, MODELS, Counts, Design, Stage, Verdict
from .pieces import days_of, span, times_of

DOSES = (0, 2, 4, 6, 8, 12, 16, 20)  # turns before the last, of the dose study
PERSISTENCE_CASE = "1b+4"  # four more turns after the one that a history ends with
ABOUT = "study.json"  # in a study's folder: with what it was asked for
_MAX_ABOUT_BYTES = 1 << 20
# What a file of another form can raise.
UNREADABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError)


@dataclass(frozen=True)
class ModelRate:
    """How often a seeded history cost a model its voice, beside how often that happens without any.

    Attributes:
        k, n: Text, and known, of the first turns of the histories as they are.
        interval: The rate over histories: what another history would do, not another trial of these.
        lost_voice: Text, silent or late.
        n_lost: Attempts that were lost after asking; `bounds` allow for whatever they would have come to.
        background_k, background_n: The same without a history: sessions of one user message.
        p: Of the difference to the background (Fisher), Holm-adjusted over the models; ``None``: nothing to compare with.
    """

    model: str
    k: int
    n: int
    interval: Interval
    lost_voice: int
    n_lost: int
    bounds: Interval
    background_k: int
    background_n: int
    p: float | None

    @property
    def background(self) -> Interval:
        """The rate without a history."""
        return wilson(self.background_k, self.background_n)

    @property
    def is_more(self) -> bool:
        """Whether text is shown to be more frequent than without a history."""
        return self.p is not None and self.p <= 0.05 and self.k / self.n > self.background_k / self.background_n

    def __str__(self) -> str:
        if not self.n:
            return "nothing is known"
        text = f"{self.k} of {self.n} replies were text ({percent(self.k / self.n)}; 95 % over histories: {span(self.interval, ' to ')})"
        if self.background_n:
            text += f", without a history {self.background_k} of {self.background_n} ({span(self.background, ' to ')})"
        if self.p is not None:
            text += f": {'more with a history' if self.is_more else 'no more is shown'}, {p_words(self.p)}"
        if self.lost_voice > self.k:
            text += f"; the voice was lost in {self.lost_voice}"
        if self.n_lost:
            attempts = "attempt was" if self.n_lost == 1 else "attempts were"
            text += f"; {self.n_lost} {attempts} lost after asking, with which it is {span(self.bounds, ' to ')}"
        return text


class StagedStudy:
    """A study in a folder: a ledger for each of its plans, and one page. Run it again to go on.

    Attributes:
        folder, where: Where its ledgers are, and the endpoint.
        seed: Of the order, and of the stand-in's draws.
        ledgers: By the name of their plan, in the order in which they were run.
        complete: Whether every stage that its rules asked for was run to its end.
        due: The day (UTC) before which the next stage does not begin; empty if nothing keeps it.
    """

    PREFIX = ""  # of the names of its ledgers

    def __init__(self, folder: str | Path, where: str, seed: int) -> None:
        self.folder = named_path(folder).resolve()
        self.where, self.seed = where, seed
        self.ledgers: dict[str, Ledger] = {}
        self.complete, self.due = False, ""

    def _next_plans(self) -> dict[str, Plan]:
        """Return what is to be run next, by name; empty: nothing is, now. Without ledgers, the study begins."""
        raise NotImplementedError

    def _take(self, plan: Plan, ledger: Ledger) -> None:
        """Take note of what a plan came to, whole or not."""

    async def run(
        self,
        *,
        at_once: int = 8,
        budget_usd: float | None = None,
        progress: Callback | bool | None = True,
        keep_events: bool = True,
        keep_sound: bool = False,
    ) -> Self:
        """Run it, or go on with it. What the whole study spends never passes the budget.

        Events are kept unless told otherwise: without them no bundle can be made of what was paid for.

        Raises:
            InputError, ConnectError, LedgerError: As `kit.run` does. Nothing is lost; the same call goes on.
        """
        self.ledgers, self.complete = {}, False
        # What earlier calls spent is in the ledgers, and is taken off as they are gone through.
        remaining_usd = budget_usd
        while plans := self._next_plans():
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, plan in plans.items():
                ledger = self.ledgers[name] = await run(
                    plan,
                    self.folder / f"{self.PREFIX}{name}.sqlite",
                    at_once=at_once,
                    budget_usd=remaining_usd,
                    progress=progress,
                    keep_events=keep_events,
                    keep_sound=keep_sound,
                )
                if remaining_usd is not None:
                    remaining_usd = max(0.0, remaining_usd - ledger.spent()["usd"])
                self._take(plan, ledger)
                # The budget, or a stop: the same call goes on from here.
                if (ledger.last_run or {}).get("ended") != "complete":
                    return self
        self.complete = not self.due
        return self

    @property
    def simulated(self) -> bool | None:
        """Whether a stand-in answered; ``None``: not known, or not of all of it."""
        marks = {ledger.simulated for ledger in self.ledgers.values()}
        return marks.pop() if len(marks) == 1 else None

    @property
    def n_planned(self) -> int:
        """Trials and controls of all plans so far."""
        return sum(ledger.counts()["planned"] for ledger in self.ledgers.values())

    @property
    def usd(self) -> float:
        """What was spent."""
        return float(sum(ledger.spent()["usd"] for ledger in self.ledgers.values()))

    @property
    def days(self) -> str:
        """The first and the last day of its attempts, after a comma; nothing before there are any."""
        return days_of(at for ledger in self.ledgers.values() for at in times_of(ledger))


class Study(StagedStudy):
    """The study of seeded histories: how often they cost the voice, on which models, and which cure works.

    Args:
        where: ``"standin"`` rehearses; ``"openai"`` measures, and is paid for.
        models: By default `MODELS`; elsewhere than at OpenAI the endpoint's own.
        cures: Arms; by default `CURES`.
        drift: The stand-in's rule.
        days: Spread the rounds of the histories over so many days, 1 to 3.
        access: How another endpoint is reached and what it costs, as `Settings` takes it: ``key_env, auth, headers, price``. The headers
            and the key's variable are kept nowhere: whoever goes on gives them again.
    """

    def __init__(
        self,
        folder: str | Path,
        where: str = "standin",
        *,
        access: Mapping[str, Any] | None = None,
        models: Sequence[str] | None = None,
        cures: Sequence[str | Arm] | None = None,
        seed: int = 0,
        drift: str = "documented",
        days: int = 1,
    ) -> None:
        # The models that end soon are left out where nobody names one.
        self.left_out = tuple(ENDS) if models is None and where in ("standin", "openai") else ()
        if models is None:
            models = MODELS if where in ("standin", "openai") else [endpoint(where).model or ""]
        names = [arm_of(cure).name for cure in (CURES if cures is None else cures)]
        if not models or not names or AS_IS in names:
            raise InputError("the study needs a model at least, and a cure beside as_is")
        super().__init__(folder, where, seed)
        self.drift = drift
        # In memory with the headers and the key's variable, which the folder does not get.
        self.access = dict(access or {})
        self.cures = tuple(CURES if cures is None else cures)
        # The rules; this class does what they say.
        self.design = Design(tuple(models), tuple(names), days=days)
        # What was run so far: the counts of each stage, in order; and the stage that is run next, or now.
        self.results: list[tuple[Stage, dict[tuple[str, str], Counts]]] = []
        self._stage: Stage | None = None

    @classmethod
    def load(cls, folder: str | Path, headers: Mapping[str, str] | None = None, key_env: str | None = None) -> Study:
        """Return the study that was begun in a folder.

        Args:
            headers: More headers of the handshake, which the folder does not hold.
            key_env: The variable that holds a URL's key, which it does not hold either.

        Raises:
            InputError: If there is none, or one of its arms is no arm of the kit's own.
        """
        path = named_path(folder).resolve() / ABOUT
        try:
            about = read_about(path, {"headers": headers, "key_env": key_env})
            # What is left are the arguments by their names: a file with others is refused by Python itself.
            return cls(path.parent, about.pop("where"), **about)
        except UNREADABLE as exc:
            raise InputError(f"{clipped(str(path))} is no study that can be gone on with: {clipped(str(exc))}") from exc

    def price(self) -> str:
        """Say what it costs, in three figures, and which models end soon."""
        ending = [f"{model} ends on {ENDS[model]}" for model in self.design.models if model in ENDS]
        if self.left_out:
            ending.append(f"left out, since they end on {min(ENDS.values())}: {', '.join(self.left_out)}")
        # A rehearsal says what the real thing would cost.
        if self.where == "standin":
            usd, prefix = trial_usd("openai"), "free, simulated; on OpenAI's models of these names "
            if not set(self.design.models) <= set(PRICES):
                return "free, simulated"
        elif self.free:
            return "free: no key is sent"
        # Unknown is not free.
        elif any(self._settings_of(model).reckoned_price is None for model in self.design.models):
            return "unpriced: the kit does not know what this costs; --price says it"
        else:
            usd, prefix = trial_usd(self.where, self.access), ""
        nothing, as_in_2024, most = self.design.price(usd)
        text = f"{prefix}about ${nothing:.0f} if nothing drifts, ${as_in_2024:.0f} if all drift as in 2024, ${most:.0f} at most"
        return "; ".join([text, *ending])

    @property
    def free(self) -> bool:
        """Whether nobody pays."""
        return all(self._settings_of(model).free for model in self.design.models)

    def _settings_of(self, model: str, *, cut: bool = False) -> Settings:
        return _settings(self.where, model or None, cut, {"drift": self.drift}, self.access)

    def plans(self, stage: Stage) -> dict[str, Plan]:
        """Return the plans of a stage, by the name of their ledger."""
        # What is drawn in one stage must be no copy of another's: a seed for each.
        seed = self.seed * 100 + len(self.results)
        cases: Sequence[Case] = histories()
        if stage.n_histories < len(cases):
            cases = random.Random(f"kit study {seed}").sample(cases, stage.n_histories)
        arms_by_name = {arm_of(cure).name: cure for cure in self.cures}
        # Models with the same arms share a plan: its order mixes them over the same hours.
        groups: dict[tuple[str, ...], list[str]] = {}
        for model, arms in stage.arms.items():
            groups.setdefault(tuple(arms), []).append(model)
        stem, plans = stage.name.replace(" ", "-"), {}
        for n, (arms, models) in enumerate(groups.items(), 1):
            plans[f"{stem}-{n}" if len(groups) > 1 else stem] = Plan(
                cases,
                [arms_by_name.get(name, name) for name in arms],
                stage.rounds,
                settings=[self._settings_of(model, cut=stage.cut) for model in models],
                seed=seed,
                controls=stage.controls,
                analysis=Analysis(within=("case",), over=("model",), family="pooled", alpha=self.design.alpha),
            )
        return plans

    @property
    def as_is_ledgers(self) -> list[Ledger]:
        """Those of the histories as they are; the looks run cures beside as is, in trials that are no part of the rate."""
        return list(self.ledgers.values())[: len(self.design.blocks)]

    def _next_plans(self) -> dict[str, Plan]:
        if not self.ledgers:
            self.results = []
            about = {
                "where": self.where, "access": self.access, "models": self.design.models, "cures": self.design.cures,
                "seed": self.seed, "drift": self.drift, "days": self.design.days,
            }  # fmt: skip
            write_about(self.folder / ABOUT, about)
        self._stage = self.design.next_stage(self.results)
        plans = self.plans(self._stage) if self._stage is not None else {}
        self.due = self._due_of(plans)
        return {} if self.due else plans

    def _due_of(self, plans: Mapping[str, Plan]) -> str:
        """Return the day (UTC) before which these plans do not begin; empty if they may, or have begun already."""
        is_later_block = self.design.days > 1 and 0 < len(self.results) < len(self.design.blocks)
        # A block that has begun goes on, whatever day it is.
        if not is_later_block or any((self.folder / f"{name}.sqlite").exists() for name in plans):
            return ""
        # Of the first run: to look at a stage that is complete opens another run, which asks nothing.
        (row,) = list(self.ledgers.values())[-1].rows("SELECT MAX(ended_at) AS last FROM attempts")
        last = datetime.fromtimestamp(row["last"], UTC).date()
        return "" if datetime.now(UTC).date() > last else str(last + timedelta(days=1))

    def _take(self, plan: Plan, ledger: Ledger) -> None:
        assert self._stage is not None
        if not self.results or self.results[-1][0] is not self._stage:
            self.results.append((self._stage, {}))
        for settings in plan.settings:
            for arm in plan.arms:
                # `IS` in the query: a setting without a model is NULL there.
                rows = ledger.rows(_FIRST_TURNS, (arm.name, settings.where.model))
                decided = [row for row in rows if row["role"] == "measure" and row["counts"] and row["known"]]
                counts = sum(row["text"] for row in decided), len(decided)
                self.results[-1][1][settings.where.model or "", arm.name] = counts

    # ------------------------------------------------------------------------------------------------------- what is said

    def rates(self) -> list[ModelRate]:
        """Return how often a history cost each model its voice: a rate over histories, not over trials."""
        rates = []
        for model in self.design.models:
            rows = [row for ledger in self.as_is_ledgers for row in ledger.rows(_FIRST_TURNS, (AS_IS, model))]
            measured = [row for row in rows if row["role"] == "measure"]
            # One attempt per trial counts; the others are in `lost`, if they were lost after asking.
            decided = [row for row in measured if row["counts"] and row["known"]]
            n_of = Counter(row["case_name"] for row in decided)
            k_of = Counter(row["case_name"] for row in decided if row["text"])
            k, n, n_lost = k_of.total(), n_of.total(), sum(not row["known"] for row in measured)
            # All alike: the spread between histories cannot be seen, so the histories are what counts.
            all_alike = wilson(k and len(n_of), len(n_of)) if k in (0, n) else None
            interval = all_alike or clustered_counts([k_of[name] for name in n_of], list(n_of.values()))
            without = [row for row in rows if row["role"] == "negative" and row["counts"] and row["known"]]
            background_k = sum(row["text"] for row in without)
            p = fisher(k, n, background_k, len(without))
            voiceless = sum(row["text"] or row["outcome"] in ("silent", "late") for row in decided)
            bounds = bounds_if_missing(k, n, n_lost)
            rates.append(ModelRate(model, k, n, interval, voiceless, n_lost, bounds, background_k, len(without), p))
        # Over the models, each of which was asked whether it drifts.
        adjusted = holm([rate.p for rate in rates])
        return [replace(rate, p=p) for rate, p in zip(rates, adjusted, strict=True)]

    def verdicts(self) -> list[Verdict]:
        """Return what is shown of each cure, in the order of the models."""
        return self.design.verdicts(self.results)

    def sentences(self) -> list[str]:
        """Say what is shown of each cure, in the order of the models."""
        mark = show.origin_word(self.simulated)
        return [f"{verdict}{f' ({mark})' if mark else ''}" for verdict in self.verdicts()]

    @property
    def state(self) -> str:
        """How far it has come, in a phrase."""
        if self.complete:
            return "complete"
        if self.due:
            return f"block {len(self.results)} of {len(self.design.blocks)} is done; the next may begin on {self.due} (UTC)"
        return "not complete: run it again to go on"

    def __repr__(self) -> str:
        return (
            f"<Study {self.folder}: {len(self.results)} stages, {self.n_planned} trials, ${self.usd:.2f}, {self.state}>"
        )

    def _repr_html_(self) -> str:
        rates = show.table([[show.esc(rate.model), show.esc(rate)] for rate in self.rates()], ["model", "as it is"])
        sentences = "".join(f"<p>{show.esc(sentence)}</p>" for sentence in self.sentences())
        return show.card(
            f"<b>study</b> {show.origin(self.simulated)} {show.esc(repr(self).strip('<>'))}", rates, sentences
        )


# Of first turns, in all attempts: which are known, and what they came to. Ledgers of before the outcome was recorded have none.
_FIRST_TURNS = (
    "SELECT r.role, r.case_name, r.n_history_items, a.counts, t.outcome, COALESCE(t.final_modality = 'text', 0) AS text, "
    "t.outcome NOT IN ('failed', 'censored') AS known FROM turns t JOIN attempts a USING (attempt_id) "
    "JOIN trials r ON r.trial_id = a.trial_id WHERE t.turn = 0 AND r.arm = ? AND r.asked_model IS ?"
)


# How an endpoint is reached, of which a file keeps nothing: a header's value may be a key, and a file that somebody sent must not
# choose which of this machine's variables goes to the address that it names.
_SAID_AGAIN = ("headers", "key_env")


def write_about(path: Path, about: Mapping[str, Any]) -> None:
    """Write what a study is gone on with, without any key.

    Raises:
        InputError: If its address holds one.
    """
    if "://" in about["where"] and endpoint(about["where"]).sends_key:
        raise InputError(
            "the address, which a study keeps in a file, holds a key: give it by key_env= (--key-env) or headers= (--header)"
        )
    access = {name: value for name, value in about["access"].items() if name not in _SAID_AGAIN and value is not None}
    access |= {"price": str(access["price"])} if "price" in access else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "access": access}, indent=1) + "\n", encoding="utf-8")


def read_about(path: Path, again: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read what `write_about` wrote, with what is said again: ``headers`` and ``key_env``.

    Raises:
        InputError, ValueError, TypeError, AttributeError: If the file is none.
    """
    about: dict[str, Any] = json.loads(read_text(path, _MAX_ABOUT_BYTES))
    access = {name: value for name, value in about.pop("access", {}).items() if name not in _SAID_AGAIN}
    access |= {"price": Price.parse(access["price"])} if "price" in access else {}
    return about | {"access": access | {name: value for name, value in (again or {}).items() if value}}


def trial_usd(
    endpoint_name: str = "openai", access: Mapping[str, Any] | None = None
) -> Callable[[str, str, bool], float]:
    """Return the price of a trial at the kit's prices, by model, arm, and whether its reply is cut; 0 where it is free."""
    prices: dict[tuple[str, str, bool], float] = {}

    def usd(model: str, arm: str, cut: bool) -> float:
        key = (model, arm, cut)
        # An estimate makes a whole plan, and a study's price asks for the same a hundred times.
        if key not in prices:
            settings = _settings(endpoint_name, model or None, cut, {}, access)
            cases = histories() if arm_of(arm).max_responses == 1 else (case("1b"),)
            plan = Plan(cases, arm, 1, settings=settings, controls=0)
            # An arm that asks again may ask that often; reckoned as if it always did.
            prices[key] = (estimate(plan).usd or 0.0) / plan.n_trials * arm_of(arm).max_responses
        return prices[key]

    return usd


def _settings(
    where: str, model: str | None, cut: bool, stand_in: Mapping[str, Any], access: Mapping[str, Any] | None = None
) -> Settings:
    # A reply is decided by its first part; cut, the rest of it is not paid for.
    options = dict(access or {}) | ({"max_output_tokens": CUT_TOKENS} if cut else {})
    return Settings(where, model=model, stand_in=stand_in if where == "standin" else {}, **options)


_BY_MODEL = Analysis(over=("model",))


def _plan_of_part(
    cases: Any,
    where: str = "standin",
    *,
    default: Sequence[str] = MODELS,
    analysis: Analysis = _BY_MODEL,
    models: Sequence[str] | None = None,
    repeats: int = 20,
    seed: int = 0,
    drift: str = "documented",
    access: Mapping[str, Any] | None = None,
) -> Plan:
    """A plan of one ledger, of histories as they are, with replies that are cut; elsewhere than at OpenAI of the endpoint's own model."""
    if models is None:
        models = default if where in ("standin", "openai") else [""]
    settings = [_settings(where, model or None, True, {"drift": drift}, access) for model in models]
    return Plan(cases, AS_IS, repeats, settings=settings, seed=seed, analysis=analysis)


def dose_plan(where: str = "standin", *, doses: Sequence[int] = DOSES, **options: Any) -> Plan:
    """Return the plan of the dose study: after how many turns of text does it stop speaking?

    Args:
        doses: Turns before the user's last, even numbers; 0 is the background.
        options: ``models`` (by default the cheapest and the newest), ``repeats`` (of each length and model), ``seed``, ``drift``, and
            ``access`` (see `Study`).
    """
    newest = ("gpt-realtime-2.1", "gpt-realtime-2.1-mini")
    pooled = Analysis(over=("model",), family="pooled")
    return _plan_of_part(growing(doses), where, default=newest, analysis=pooled, **options)


def persistence_plan(where: str = "standin", **options: Any) -> Plan:
    """Return the plan of the persistence study: once a reply has come as text, do the next four, too? `options`: see `dose_plan`."""
    return _plan_of_part(PERSISTENCE_CASE, where, **options)


PARTS: dict[str, tuple[Callable[..., Plan], str]] = {
    # the smaller studies, each a plan of its own → what it asks
    "dose": (dose_plan, "After how many turns of text does it stop speaking?"),
    "persistence": (persistence_plan, "Once a reply has come as text, does it stay text?"),
}
