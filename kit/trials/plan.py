"""A plan: cases × arms × settings × repeats, in a random order that its seed decides, frozen and hashed before the first trial.

::

    plan = Plan(cases=["1b", "2b"], arms=[arms.as_is, arms.one_user_message], repeats=40, seed=7)
    plan                                       # trials, sessions, tokens, dollars, minutes
    ledger = await run(plan, "runs/joke.sqlite")
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from .. import show
from ..cases import Case, case
from ..clip import Clip
from ..endpoint import DEFAULT_MODEL, PRICES, Auth, Endpoint, Price, Protocol, endpoint
from ..errors import InputError, clipped
from ..history import History
from ..stats import StopRule
from ..version import __version__
from ..wire.dialect import GA
from ..wire.live import PRICED_MODELS, USD_PER_SECOND
from . import arms as _arms
from .arms import Arm, arm

Role = Literal["measure", "positive", "negative"]

CONTROLS_WHEN_PAID = 3  # of each kind: a session that cannot speak, or cannot write, shows in all of them
_MAX_TRIALS = 1_000_000  # each is an object and a row; a month at a service's pace
# Some 40 s of speech: a joke never reaches it, and a budget can be kept (models allow 4,096 and more).
MAX_OUTPUT_TOKENS = 1_024
# OpenAI's own yardstick for GPT-Live: a request is answered if voice begins within 5,000 ms, later voice is late and repairs
# nothing (openai-cookbook, examples/audio/duplex_voice_agent_evaluation, metrics contract v2, 2026).
DEADLINE_S = 5.0


@dataclass(frozen=True)
class Settings:
    """What the trials of a plan have in common. ``None`` leaves a setting as the server has it.

    Attributes:
        endpoint: ``"standin"`` unless another is named: ``openai``, ``azure``, ``xai``, a ``ws://`` URL, an `Endpoint`.
        model: The model, or Azure's deployment.
        voice, instructions: As `Session.update` takes them.
        turn_detection: ``"manual"``, ``"server_vad"``, ``"semantic_vad"``, or the API's own object.
        max_output_tokens: Of each response; what a budget reserves. A reply that reaches it is ``incomplete``.
        dialect: ``ga`` or ``beta``.
        key_env: The environment variable that holds a URL's key.
        auth, headers: As `connect` takes them. The plan freezes how the key is sent and the headers' names; their values are in
            no ledger, and whoever goes on with one gives them again.
        protocol: ``"realtime"`` or ``"live"``; by default what the model belongs to.
        price: The price to use where the kit knows none, or yours differs; on the stand-in, a rehearsal.
        stand_in: For the stand-in only: ``drift, pace, faults, …`` as `kit.standin.StandIn` takes them. Its ``seed`` is the
            plan's unless given.
        more: Any other setting in the kit's words (``speed``, ``temperature``, ``truncation``, …).
    """

    endpoint: str | Endpoint = "standin"
    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    turn_detection: str | Mapping[str, Any] | None = None
    max_output_tokens: int | Literal["inf"] | None = MAX_OUTPUT_TOKENS
    dialect: str = "ga"
    key_env: str | None = None
    auth: Auth | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    protocol: Protocol | None = None
    price: Price | None = None
    stand_in: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # All of it now, an endpoint that is none too, and not when the first reply is to be paid.
        if not isinstance(self.price, Price | None):
            raise InputError(f"price is a Price, see kit.endpoint.Price.parse, not {clipped(self.price)}")
        if self.where.name != "standin" and self.stand_in:
            raise InputError(f"{', '.join(self.stand_in)}: only the stand-in takes this, not {self.where.name}")
        if self.stand_in:
            from ..standin import StandIn

            try:
                # Made and never entered: its options are checked, and no port is opened. Replies wait until the plan is run:
                # another machine may have their voice.
                StandIn(**{name: value for name, value in self.stand_in.items() if name != "replies"})
            except TypeError:
                names = inspect.signature(StandIn).parameters
                unknown = ", ".join(name for name in self.stand_in if name not in names) or clipped(self.stand_in)
                raise InputError(f"a stand-in takes {', '.join(names)}, not {unknown}") from None
        limit = self.max_output_tokens
        if not (limit in (None, "inf") or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0)):
            raise InputError(f"max_output_tokens is a positive whole number, 'inf' or None, not {clipped(limit)}")

    @cached_property
    def where(self) -> Endpoint:
        """The endpoint. No key is read."""
        return endpoint(
            self.endpoint,
            model=self.model,
            dialect_name=self.dialect,
            key_env=self.key_env,
            auth=self.auth,
            headers=self.headers,
            protocol=self.protocol,
        )

    @property
    def name(self) -> str:
        """The name in tables: the endpoint, its model, and the stand-in's drift rule and faults."""
        options, rules = self.stand_in, []
        if self.where.name == "standin" and self.live:
            rules = [f"silence={options.get('live', {}).get('silence', 'documented')}"]
        elif self.where.name == "standin":
            faults = (f"fault={name}" for name in options.get("faults", ()))
            rules = [f"drift={options.get('drift', 'documented')}", *faults]
        return " ".join([self.where.label, self.where.model or "?", *rules])

    @property
    def live(self) -> bool:
        """Whether it is GPT-Live: a question is asked aloud, and every second is paid. Else a reply is asked for by an event, and
        paid by its tokens."""
        return self.where.protocol == "live"

    @property
    def controls(self) -> tuple[Role, ...]:
        """The kinds of control that there are: GPT-Live cannot be asked for text."""
        return ("negative",) if self.live else ("positive", "negative")

    @cached_property
    def reckoned_price(self) -> Price | None:
        """The price that costs are computed with; ``None`` if there is none."""
        return self.price or self.where.price

    @cached_property
    def is_priced(self) -> bool:
        """Whether a budget can be kept: by a price of tokens, or by GPT-Live's seconds where no backend's tokens come beside them."""
        if self.live:
            return self.where.model in PRICED_MODELS and "delegation" not in self.more
        return self.reckoned_price is not None

    @cached_property
    def free(self) -> bool:
        """Whether it costs nothing: the stand-in, or a URL that is sent no key; and no price was given."""
        return not self.where.sends_key and self.reckoned_price is None

    def session(self) -> dict[str, Any]:
        """Return the arguments of `Session.update`, or of GPT-Live's start, before an arm adds its own."""
        named: dict[str, Any] = {"voice": self.voice, "instructions": self.instructions}
        if not self.live:
            named["max_output_tokens"] = self.max_output_tokens
        fields = {name: value for name, value in named.items() if value is not None} | dict(self.more)
        vad: Any = self.turn_detection
        # GPT-Live has no turns to be detected.
        if vad is None or self.live:
            return fields
        if isinstance(vad, str):
            # JSON's null turns detection off; a key that is left out leaves it as the server has it.
            vad = None if vad == "manual" else {"type": vad}
        return fields | {"turn_detection": vad}

    def describe(self) -> dict[str, Any]:
        """Return what a plan freezes of it."""
        where = self.where
        fields: dict[str, Any] = {
            "name": self.name,
            "endpoint": where.name,
            "url": where.shown_url,
            "model": where.model,
            "dialect": where.dialect,
            "session": self.session(),
        }
        # Like the keys below only where it is set: one that is always there would change every plan's hash.
        if self.live:
            fields["protocol"] = "live"
        if self.auth is not None:
            fields["auth"] = self.auth
        if where.extra_headers:  # by name: a value may be a key
            fields["headers"] = sorted(name for name, _ in where.extra_headers)
        if where.name == "standin":
            fields["stand_in"] = {}
            for name, value in self.stand_in.items():
                try:
                    fields["stand_in"][name] = json.loads(json.dumps(value))
                except (TypeError, ValueError):  # no JSON: its words
                    fields["stand_in"][name] = str(value)
        if self.price is not None:
            fields["price"] = {kind: list(getattr(self.price, kind)) for kind in ("text", "audio", "image")}
        return fields


@dataclass(frozen=True, slots=True)
class Trial:
    """One planned session.

    Attributes:
        trial_id: Opaque, and the same in every plan of the same seed: the stand-in draws from it, and it names no arm.
        n: Its place in the planned order, from 0.
        role: ``measure``, or a control: ``positive`` asks for text and must read text, ``negative`` has no history and must
            read audio.
        settings_n: Which of the plan's settings.
        repeat: From 0.
        cell: What is repeated: the names of case and arm, and which settings.
    """

    trial_id: str
    n: int
    role: Role
    case: Case
    arm: Arm
    settings: Settings
    settings_n: int
    repeat: int
    cell: tuple[str, str, int]

    @property
    def modality(self) -> str:
        """The modality asked for: ``audio``, or ``text`` in a positive control."""
        return "text" if self.role == "positive" else "audio"

    @property
    def n_turns(self) -> int:
        """User turns that get an answer, the seeded one included."""
        return 1 + len(self.case.turns)


@dataclass(frozen=True)
class Analysis:
    """What will be said of the results, chosen before there are any; part of the plan's hash.

    Attributes:
        baseline: The arm that the others are compared with.
        outcome: The primary outcome, as `kit.tables.compare_df` takes it.
        within, over: What arms are compared within, and what is kept apart in pooled rows.
        family: Which comparisons share `alpha`: ``"all"`` rows, or only the ``"pooled"`` ones.
        alpha: The family's error.
        margin: A difference (0.1 is 10 points) below which arms count as equivalent; ``None``: no equivalence is claimed.
        level: Of the intervals.
    """

    baseline: str = "as_is"
    outcome: str = "final"
    within: tuple[str, ...] = ("case",)
    over: tuple[str, ...] = ()
    family: Literal["all", "pooled"] = "all"
    alpha: float = 0.05
    margin: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("level", self.level), ("margin", self.margin)):
            if value is not None and not (isinstance(value, float) and 0 < value < 1):
                raise InputError(f"{name} is a number between 0 and 1, not {clipped(value)}")


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Plan:
    """Cases × arms × settings × repeats.

    The order is random by the seed, in rounds: each round has every case, arm and setting once, so that the time of day
    favours none and any beginning of the plan is balanced.

    Args:
        cases: `Case` objects or names of the kit's own.
        arms: `Arm` objects, classes, or names; ``as_is`` alone by default.
        settings: One `Settings` or several; the stand-in by default.
        repeats: Trials per case, arm and setting.
        seed: Of the order, of the trial ids and so of the stand-in's draws.
        max_attempts: How often a trial may be tried. Only what is lost before any reply begins (a drop, the service saying
            "too fast") is tried again. A reply that has begun decides its trial, and so does a refusal. Attempts that come to
            no session are waited out and do not count.
        timeout_s: How long one user turn with all its responses is observed; the beginning of a session may take as long.
        deadline_s: When the first content of a reply is due. Content that comes later is ``late``; nothing at all within
            `timeout_s` is ``silent``.
        stop: Stop early: a width (0.2 is ±10 points: then no more trials begin once every case × arm × setting is known to
            within it) or a `StopRule`.
        controls: How many positive and negative controls per setting; 3 of each where somebody pays, else none.
        analysis: What will be said of it. Its baseline is the first arm by default.

    Raises:
        InputError: For what cannot be a plan: nothing to repeat, two of the same name, an unknown case or arm.
    """

    cases: tuple[Case, ...]
    arms: tuple[Arm, ...]
    repeats: int
    settings: tuple[Settings, ...]
    seed: int
    max_attempts: int
    timeout_s: float
    deadline_s: float
    stop: StopRule | None
    controls: int
    analysis: Analysis
    skipped: dict[tuple[str, str, int], str]
    """Cells (case, arm, which settings) that an endpoint cannot carry, each with the reason. They have no trials."""
    _cells: list[tuple[Case, Arm, int]]

    def __init__(
        self,
        cases: Iterable[Case | str] | Case | str,
        arms: Iterable[Arm | str | type[Arm]] | Arm | str | type[Arm] = "as_is",
        repeats: int = 20,
        *,
        settings: Settings | Sequence[Settings] | None = None,
        seed: int = 0,
        max_attempts: int = 3,
        timeout_s: float = 60,
        deadline_s: float = DEADLINE_S,
        stop: float | StopRule | None = None,
        controls: int | None = None,
        analysis: Analysis | None = None,
    ) -> None:
        # Frozen: set here and nowhere else.
        vars(self).update(
            cases=tuple(item if isinstance(item, Case) else case(item) for item in _listed(cases)),
            arms=tuple(arm(item) for item in _listed(arms)),
            settings=tuple(_listed(settings or Settings())),
            repeats=_integer(repeats, "repeats", 1),
            seed=_integer(seed, "seed", None),
            max_attempts=_integer(max_attempts, "max_attempts", 1),
            timeout_s=_seconds(timeout_s, "timeout_s"),
            deadline_s=_seconds(deadline_s, "deadline_s"),
        )
        if not all(isinstance(item, Settings) for item in self.settings):
            raise InputError(f"settings are Settings(endpoint=…, model=…), one or a list, not {clipped(settings)}")
        _refuse_duplicates("case", [item.name for item in self.cases])
        _refuse_duplicates("arm", [item.name for item in self.arms])
        # Settings may share a name and differ in what it leaves out, so that all of them is compared.
        _refuse_duplicates("settings", [json.dumps(item.describe(), sort_keys=True) for item in self.settings])
        vars(self).update(skipped={}, _cells=[])
        for item, how, n in itertools.product(self.cases, self.arms, range(len(self.settings))):
            if reason := how.unsupported(self.settings[n].where, item.history):
                self.skipped[item.name, how.name, n] = reason
            else:
                self._cells.append((item, how, n))
        if not self._cells:
            raise InputError(f"nothing of this plan can be run: {next(iter(self.skipped.values()))}")
        # On a stand-in a control shows only that the stand-in works, so they are asked for there.
        paid = not all(item.free for item in self.settings)
        vars(self)["controls"] = CONTROLS_WHEN_PAID * paid if controls is None else _integer(controls, "controls", 0)
        n_all = self.n_trials + self.n_controls
        if n_all > _MAX_TRIALS:
            raise InputError(f"this plan has {n_all:,} trials, and at most {_MAX_TRIALS:,} are run: take fewer repeats")
        rule = stop if isinstance(stop, StopRule | None) else StopRule(width=stop, n_arms=len(self._cells))
        if rule is not None and rule.n_arms != len(self._cells):
            watched = f"this plan watches {len(self._cells)} (cases × arms × settings)"
            raise InputError(f"the rule is for {rule.n_arms} arms, and {watched}; give a width, stop=0.2")
        # GPT-Live has no text to drift into: there a voice is lost to silence.
        outcome = "lost_voice" if all(item.live for item in self.settings) else "final"
        analysis = analysis or Analysis(baseline=self.arms[0].name, outcome=outcome)
        if analysis.baseline not in [item.name for item in self.arms]:
            raise InputError(f"the baseline {clipped(analysis.baseline)} is no arm of this plan")
        vars(self).update(stop=rule, analysis=analysis)

    # ----------------------------------------------------------------------------------------------------- its trials

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, controls included, in planned order."""
        # By name and not by hash: Python's own hash of text differs between processes.
        draw = random.Random(f"kit plan {self.seed}")
        # A name is put together at every call, and there may be 100,000 trials.
        names = {id(how): how.name for how in (*self.arms, _arms.as_is)}
        trials: list[Trial] = []
        for repeat in range(self.repeats):
            row: list[tuple[Role, Case, Arm, int, int]] = [("measure", *cell, repeat) for cell in self._cells]
            for control in range(self.controls):
                if control * self.repeats // self.controls == repeat:  # spread over the plan
                    for n, settings in enumerate(self.settings):
                        row += [(role, _CONTROLS[role], _arms.as_is, n, control) for role in settings.controls]
            draw.shuffle(row)
            for role, item, how, n, of_cell in row:
                cell = (item.name, names[id(how)], n)
                # Not by its place in the order: with more repeats or arms, the trials that were there keep their ids.
                about = json.dumps([self.seed, role, *cell, of_cell])
                trial_id = hashlib.sha256(about.encode()).hexdigest()[:16]
                trials.append(Trial(trial_id, len(trials), role, item, how, self.settings[n], n, of_cell, cell))
        return tuple(trials)

    @property
    def n_trials(self) -> int:
        """Trials that are measured; controls come on top."""
        return len(self._cells) * self.repeats

    @property
    def n_controls(self) -> int:
        return self.controls * sum(len(item.controls) for item in self.settings)

    # ------------------------------------------------------------------------------------------------------ frozen

    def describe(self) -> dict[str, Any]:
        """Return everything that decides what its trials do and what will be said of them, as JSON; audio as length and digest.

        This is what is hashed. The kit's version stands for the code of its own cases and arms.
        """
        return {
            "plan": 2,
            "cases": [_case(item) for item in self.cases],
            "arms": [item.describe() for item in self.arms],
            "settings": [item.describe() for item in self.settings],
            "repeats": self.repeats,
            "seed": self.seed,
            "max_attempts": self.max_attempts,
            "timeout_s": self.timeout_s,
            "stop": asdict(self.stop) if self.stop else None,
            "controls": self.controls,
            "deadline_s": self.deadline_s,
            "analysis": asdict(self.analysis) | {"within": [*self.analysis.within], "over": [*self.analysis.over]},
            "kit_version": __version__,
            "skipped": [[*cell, reason] for cell, reason in self.skipped.items()],
        }

    @property
    def hash(self) -> str:
        """SHA-256 of `describe`, as hexadecimal. The same plan has the same hash on any machine and any Python."""
        return self.hashes[0]

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """`hash`, and that of the same plan in kit 0.1, so that a ledger of then can be gone on with (it hashed custom arms
        otherwise: those are not found again)."""
        described = self.describe()
        since = ("deadline_s", "analysis", "kit_version", "skipped")
        first = {name: value for name, value in described.items() if name not in since} | {"plan": 1}
        # One spelling of the same plan, whatever the version of Python and the order in which it was made.
        texts = (json.dumps(plan, sort_keys=True, separators=(",", ":")) for plan in (described, first))
        return tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts)

    def __repr__(self) -> str:
        return f"<Plan {self.hash[:12]}: {estimate(self)}>"

    def _repr_html_(self) -> str:
        """Money and time before anything is paid, in boxes that cannot be read past, and what the plan is."""
        cost = estimate(self)
        usd = [(cost.usd, "expected"), (cost.enough_usd, "is enough as a budget"), (cost.worst_usd, "at worst")]
        figures = [(f"${value:,.2f}", word) for value, word in usd if value is not None]
        if cost.free:
            figures = [("free", "simulated" if cost.simulated else "no key is sent")]
        elif cost.usd is None:
            figures = [("unpriced", "say budget_usd=, or a price")]
        figures += [(show.duration(60 * cost.minutes), f"at {AT_ONCE} at once"), (f"{cost.n_sessions:,}", "sessions")]
        box = (
            '<span style="display:inline-block;border:1px solid var(--jp-border-color1,#888);border-radius:5px;padding:3px 12px;'
            'margin:0 8px 4px 0"><b style="font-size:125%">{}</b><br><small>{}</small></span>'
        )
        boxes = "".join(box.format(show.esc(figure), show.esc(word)) for figure, word in figures)
        controls = f"{self.controls} positive and {self.controls} negative per setting" if self.controls else "none"
        facts = [
            ("cases", ", ".join(item.name for item in self.cases)),
            ("arms", ", ".join(item.name for item in self.arms)),
            ("settings", "; ".join(item.name for item in self.settings)),
            ("repeats", f"{self.repeats} of each, order by seed {self.seed}"),
            ("controls", controls),
            ("stops", f"when every rate is known to ±{50 * self.stop.width:g} points" if self.stop else "at its end"),
            *[("left out", f"{arm_} of {case_}: {reason}") for (case_, arm_, _), reason in self.skipped.items()],
        ]
        table = show.table([[name, show.esc(value)] for name, value in facts], ["", ""])
        head = f"<b>plan</b> <code>{self.hash[:12]}</code>"
        return show.card(head, boxes, show.esc(show.units(str(cost))), table)


# Nothing but the session's setting differs from an ordinary question, so that what is read is due to it.
_JOKE = History().user("Tell me a joke.")
_CONTROLS = {
    "positive": Case("control: text asked", _JOKE, "text", note="the session asks for text"),
    "negative": Case("control: no history", _JOKE, "audio", note="one user turn, nothing else"),
}


# ---------------------------------------------------------------------------------------------------------------- parts


def _listed(value: Any) -> list[Any]:
    """One or several, as a list; what each is, is looked at by whoever takes it."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _refuse_duplicates(kind: str, names: list[str]) -> None:
    if not names:
        raise InputError(f"a plan needs at least one {kind}")
    duplicates = [name for name, n in Counter(names).items() if n > 1]
    if duplicates:
        hint = "; give one another: dataclasses.replace(case, name=…), or rename its file" if kind == "case" else ""
        plural = f"{kind.removesuffix('s')}s"
        raise InputError(f"two {plural} are the same or have the same name: {clipped(min(duplicates))}{hint}")


def _integer(value: object, name: str, at_least: int | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or (at_least is not None and value < at_least):
        least = "" if at_least is None else f" of at least {at_least}"
        raise InputError(f"{name} must be a whole number{least}, not {clipped(value)}")
    return value


def _seconds(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive number of seconds, not {clipped(value)}")
    return float(value)


def _case(item: Case) -> dict[str, Any]:
    turns = [_clip(turn) if isinstance(turn, Clip) else turn for turn in item.turns]
    items = []
    for entry in item.history:
        fields: Any = entry.serialize(GA)
        for part, content in zip(entry.parts, fields.get("content", ()), strict=False):
            if part.clip is not None:
                content["audio"] = _clip(part.clip)
        items.append(fields)
    described = {"name": item.name, "reported": item.reported, "items": items, "turns": turns}
    return described | ({"note": item.note} if item.note else {})


def _clip(clip: Clip) -> dict[str, Any]:
    # A plan stays small, and still says whether it has the same sound.
    digest = hashlib.sha256(clip.to_bytes()).hexdigest()[:16]
    return {"audio_ms": clip.duration_ms, "sha256": digest, "text": clip.text}


# ----------------------------------------------------------------------------------------------------- what it will take
#
# Sizes are guesses from the documented rates: a user's audio 10 tokens a second, an assistant's 20; text four characters a
# token. `worst_usd` is no guess but a bound: at most one token per byte of text, every reply of the full `max_output_tokens` in
# audio and none of it cached.

_INSTRUCTIONS_TOKENS = 150  # what a server starts with (session.created, 2024-10 to 2026-09: some 600 characters)
_PER_ITEM_TOKENS = 4
_REPLY_AUDIO_TOKENS = 130  # 6.5 s of speech at 20 a second: a joke
_REPLY_TEXT_TOKENS = 35  # its transcript
_SERVICE_S = 6.0  # connect 0.7, seed 0.3, a reply streams at about twice real time
_STAND_IN_S = 0.06  # of one of 8 at once, on one core
AT_ONCE = 8
# gpt-realtime-2 and later allow 32,000 tokens of output, earlier ones 4,096 (wire/README.md, Rate limits, models, prices)
_MOST_OUTPUT = 32_000
_LEAST_KNOWN_OUTPUT = {"gpt-realtime": 4_096, "gpt-realtime-mini": 4_096, "gpt-realtime-1.5": 4_096}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will take. `usd` is ``None`` where a price is unknown; `str` of it is one sentence."""

    n_trials: int
    n_controls: int
    n_responses: int
    n_input_tokens: int
    n_output_tokens: int
    usd: float | None
    worst_usd: float | None
    """If every reply were as long as it may be, and every retry used."""
    enough_usd: float | None
    """A budget with which the plan comes to its end if replies are as expected: `usd`, and what the last sessions reserve."""
    minutes: float
    free: bool
    simulated: bool
    as_of: str
    """The months of the prices, as a phrase; empty where there is none."""
    elsewhere: str = ""
    """For a free plan: what it would cost as a measurement."""

    @property
    def n_sessions(self) -> int:
        """One each, if none has to be tried again."""
        return self.n_trials + self.n_controls

    @property
    def n_tokens(self) -> int:
        return self.n_input_tokens + self.n_output_tokens

    def __str__(self) -> str:
        controls = f" and {self.n_controls:,} controls" if self.n_controls else ""
        if self.free:
            cost = "free, simulated" if self.simulated else "no key is sent, so no cost is computed"
        elif self.usd is None:
            cost = "unpriced: the kit does not know what this costs"
        else:
            enough = f"a budget of ${self.enough_usd:,.0f} is enough if replies are as long as expected"
            cost = f"about ${self.usd:,.2f}{self.as_of}; {enough}, ${self.worst_usd:,.2f} at worst"
        trials, sessions = show.counted(self.n_trials, "trial"), show.counted(self.n_sessions, "session")
        size = f"{trials}{controls}, {sessions}, about {show.counted(self.n_responses, 'response')}"
        time = f"about {show.duration(60 * self.minutes)} at {AT_ONCE} at once"
        return f"{size} and {self.n_tokens:,} tokens: {cost}; {time}{self.elsewhere}"


def estimate(plan: Plan) -> Estimate:
    """Estimate what a plan will take, with 8 sessions at once."""
    models = list(dict.fromkeys(settings.where.model or "" for settings in plan.settings))
    if len(models) == 1 or not set(models) <= set(PRICES):
        # A rehearsal is priced as the measurement that it stands for.
        models = [DEFAULT_MODEL]  # what a stand-in's one model is called says nothing of what would be measured
    # Repeats of a cell cost the same, so that each cell is reckoned once.
    n_of = Counter((trial.role, *trial.cell) for trial in plan.trials)
    n_input_tokens = n_responses = 0
    usd_sum = elsewhere = seconds = 0.0
    most_usd: list[tuple[int, float | None]] = []
    for trial in {(trial.role, *trial.cell): trial for trial in plan.trials}.values():
        settings, n = trial.settings, n_of[trial.role, *trial.cell]
        text, audio = _likely(trial)
        if settings.live:
            usd_here = usd_there = live_usd(trial, worst=False)
            # It runs at the pace of speech, or at that of the stand-in's clock.
            seconds += n * live_seconds(trial, worst=False) / float(settings.stand_in.get("pace") or 1.0)
        else:
            model, price = settings.where.model or "", settings.reckoned_price
            usd_here = _usd(price, text, audio, trial) if price else 0.0
            usd_there = _usd(PRICES[model if model in models else models[0]], text, audio, trial)
            seconds += n * (_STAND_IN_S if settings.where.name == "standin" else _SERVICE_S) * trial.n_turns
        n_input_tokens += n * (text + audio)
        n_responses += n * trial.n_turns
        usd_sum += 0.0 if settings.free else n * usd_here
        elsewhere += n * usd_there
        most_usd.append((n, worst_usd(trial)))
    # A price that is not known makes the sum unknown; what is free costs 0 in any case.
    usd = usd_sum if all(settings.free or settings.is_priced for settings in plan.settings) else None
    priced = [(n, most) for n, most in most_usd if most is not None]
    worst = sum((n * most for n, most in priced), 0.0) if len(priced) == len(most_usd) else None
    enough = None
    if usd is not None and worst is not None:
        # At the end of a budget as many attempts as run at once have reserved their worst case.
        enough = float(math.ceil(min(usd + AT_ONCE * max(most for _, most in priced), worst)))
    simulated = all(settings.where.name == "standin" for settings in plan.settings)
    on = models[0] if len(models) == 1 else f"OpenAI's {len(models)} models of these names"
    when = _dates(PRICES[name] for name in models)
    seconds_there = n_responses * _SERVICE_S
    if all(settings.live for settings in plan.settings):
        on, when = "GPT-Live", f" at ${USD_PER_SECOND * 60:.2f} a minute"
        # Dollars back into seconds: there is one price for all of them.
        seconds_there = elsewhere / USD_PER_SECOND
    measured = f". On {on}: about ${elsewhere:,.2f}{when}, {show.duration(seconds_there / AT_ONCE)}"
    return Estimate(
        n_trials=plan.n_trials,
        n_controls=plan.n_controls,
        n_responses=n_responses,
        n_input_tokens=n_input_tokens,
        n_output_tokens=n_responses * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS),
        usd=usd,
        worst_usd=worst,
        enough_usd=enough,
        minutes=seconds / AT_ONCE / 60,
        free=all(settings.free for settings in plan.settings),
        simulated=simulated,
        as_of=_dates(price for settings in plan.settings if (price := settings.reckoned_price)),
        elsewhere=measured if simulated else "",
    )


def worst_usd(trial: Trial) -> float | None:
    """Return the most that one attempt at a trial can cost; ``None`` where there is no price, 0 where it is free."""
    settings = trial.settings
    if settings.free:
        return 0.0
    if settings.live:
        return live_usd(trial, worst=True)
    price = settings.reckoned_price
    if price is None:
        return None
    arm, history = trial.arm, trial.case.history
    limit = settings.max_output_tokens
    most_out = limit if isinstance(limit, int) else _LEAST_KNOWN_OUTPUT.get(settings.where.model or "", _MOST_OUTPUT)
    # A server's own instructions are not known beforehand: ten times what was seen.
    text = len(settings.instructions.encode()) if settings.instructions else 10 * _INSTRUCTIONS_TOKENS
    # Tools, and whatever else the session or a response is told in words, is input of every response.
    fields_asked = {name: value for name, value in arm.asks(history).items() if name != "input"}
    for fields in filter(None, (settings.more, arm.settings(history), fields_asked)):
        text += len(json.dumps(dict(fields), default=str, ensure_ascii=False).encode("utf-8", "replace"))
    audio, usd = 0, 0.0
    for added in (arm.history(history), *(History().user(arm.turn(turn)) for turn in trial.case.turns)):
        more_text, more_audio = _size(added, bytes_per_token=1)
        text, audio = text + more_text, audio + more_audio
        for n_left in reversed(range(arm.max_responses)):
            # Asked again is only after a reply in text, so all but the last of a turn are text. What an arm adds on the way
            # (silence, say) is within the ten seconds of audio that each response is given here.
            audio += 100
            usd += text * price.text[0] + audio * price.audio[0]
            usd += most_out * (price.text[2] if n_left else max(price.text[2], price.audio[2]))
            # A reply is input of all that follow: text if it was asked again, else what costs more.
            if n_left or price.text[0] > price.audio[0]:
                text += most_out
            else:
                audio += most_out
    return usd / 1e6


# GPT-Live runs by the second.
_START_S = 2.5  # from the opening of the socket to the first clip: the start, and a second of silence before it
_CLOSE_S = 2.0  # billed until the close is confirmed
_REPLY_S = 30.0  # the longest reply that is reckoned with
_LIKELY_REPLY_S = 6.0


def first_ask(history: History, *, keep: bool) -> tuple[History, str | Clip | None]:
    """Split a history whose last item is the user's: what is seeded, and what is asked aloud.

    Args:
        history: As the arm made it.
        keep: The arm leaves the last line in the history and asks by another way.
    """
    items = history.items
    if keep or not items or items[-1].role != "user":
        return history, None
    last = items[-1]
    return History(items[:-1]), next((part.clip for part in last.parts if part.clip), None) or last.text


def live_seconds(trial: Trial, *, worst: bool) -> float:
    """How long one attempt over GPT-Live lasts, in seconds: likely, or at most."""
    _, first = first_ask(trial.case.history, keep=trial.arm.keeps_last_line)
    # A fork is billed beside the session that it is made of, which only starts and closes.
    seconds = (2 if trial.arm.forks else 1) * (_START_S + _CLOSE_S)
    for content in (first, *trial.case.turns):
        # A line that is not spoken yet is reckoned at some 12 characters a second.
        asked_s = content.duration_ms / 1000 if isinstance(content, Clip) else 0.08 * len(content or "") + 1
        replies = trial.arm.max_responses if worst else 1
        seconds += asked_s + replies * ((10.0 + _REPLY_S) if worst else _LIKELY_REPLY_S)
    return seconds


def live_usd(trial: Trial, *, worst: bool) -> float:
    """What the seconds of one attempt cost, in dollars: likely, or at most (what a budget reserves)."""
    # Usage is in whole seconds (wire/LIVE.md, Events).
    return math.ceil(live_seconds(trial, worst=worst)) * USD_PER_SECOND


def tokens_of(trial: Trial) -> int:
    """Estimate how many tokens an attempt takes, for a limit per minute."""
    return sum(_likely(trial)) + trial.n_turns * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS)


def _likely(trial: Trial) -> tuple[int, int]:
    """Return input tokens of text and of audio, over all responses."""
    history, instructions = trial.case.history, trial.settings.instructions or ""
    extra = str(trial.arm.settings(history).get("instructions", ""))
    text = (len(instructions) // 4 if instructions else _INSTRUCTIONS_TOKENS) + len(extra) // 4
    audio = total_text = total_audio = 0
    for added in (trial.arm.history(history), *(History().user(turn) for turn in trial.case.turns)):
        more_text, more_audio = _size(added, bytes_per_token=4)
        text, audio = text + more_text, audio + more_audio
        total_text, total_audio = total_text + text, total_audio + audio
        # Each reply stays in the conversation and is input of the next response.
        text, audio = text + _REPLY_TEXT_TOKENS, audio + _REPLY_AUDIO_TOKENS
    return total_text, total_audio


def _size(history: History, *, bytes_per_token: int) -> tuple[int, int]:
    """Return tokens of text and of audio. At one byte per token they are a bound: no tokeniser makes more of a text."""
    text = audio = 0
    for item in history:
        texts = [part.text or dict(part.extra).get("transcript") or "" for part in item.parts]
        words = " ".join(map(str, texts)) if item.parts else item.text
        clips_ms = sum(part.clip.duration_ms for part in item.parts if part.clip)
        text += _PER_ITEM_TOKENS * 4 // bytes_per_token + len(words.encode()) // bytes_per_token
        # A user's audio is a token per 100 ms (wire/README.md, Usage).
        audio += math.ceil(clips_ms / 100)
    return text, audio


def _usd(price: Price, text: int, audio: int, trial: Trial) -> float:
    length, limit = _REPLY_TEXT_TOKENS + _REPLY_AUDIO_TOKENS, trial.settings.max_output_tokens
    cut = min(1.0, limit / length) if isinstance(limit, int) else 1.0  # replies that the plan cuts short
    output = cut * trial.n_turns * (_REPLY_TEXT_TOKENS * price.text[2] + _REPLY_AUDIO_TOKENS * price.audio[2])
    return (text * price.text[0] + audio * price.audio[0] + output) / 1e6


def _dates(prices: Iterable[Price]) -> str:
    dates = sorted({price.as_of for price in prices})
    return f" at the prices of {' and '.join(dates)}" if dates else ""
