"""A plan: cases × arms × settings × repeats, in a random order that its seed decides, frozen and hashed before the first trial.

::

    plan = Plan(cases=["1b", "2b"], arms=[arms.as_is, arms.one_user_message], repeats=40, seed=7)
    plan                                       # trials, sessions, tokens, dollars, minutes
    ledger = await run(plan, "runs/joke.sqlite")
"""

from __future__ import annotations

import hashlib
import inspect
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .. import show
from ..cases import Case, case
from ..clip import Clip
from ..endpoint import Endpoint, Price, endpoint
from ..errors import InputError, clipped
from ..history import History
from ..stats import StopRule
from ..wire.dialect import GA
from . import arms as _arms
from .arms import Arm, arm

Role = Literal["measure", "positive", "negative"]

CONTROLS_WHEN_PAID = 3  # of each kind: a session that cannot speak, or cannot write, shows in all of them
MAX_OUTPUT_TOKENS = (
    1_024  # some 40 s of speech: a joke never reaches it, and a budget can be kept (the models allow 4,096 and more)
)


@dataclass(frozen=True)
class Settings:
    """What every trial of a row of the plan has in common. ``None`` leaves a setting as the server has it.

    Attributes:
        endpoint: ``"standin"`` unless another is named: ``openai``, ``azure``, ``xai``, a ``ws://`` URL, an `Endpoint`.
        model: The model, or Azure's deployment.
        voice, instructions: As `Session.update` takes them.
        turn_detection: ``"manual"``, ``"server_vad"``, ``"semantic_vad"``, or the API's own object.
        max_output_tokens: Of each response; what a budget reckons with. A reply that reaches it is ``incomplete``.
        dialect: ``ga`` or ``beta``.
        key_env: The environment variable that holds a URL's key.
        price: What to reckon with where the kit knows no price, or yours is another; on the stand-in, a rehearsal.
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
    price: Price | None = None
    stand_in: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = self.where
        if self.stand_in and where.name != "standin":
            raise InputError(f"{', '.join(self.stand_in)}: only the stand-in takes this, and {where.name} is not it")
        if self.stand_in:
            _try_out(self.stand_in)
        limit = self.max_output_tokens
        if not (limit in (None, "inf") or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0)):
            raise InputError(f"max_output_tokens is a positive whole number, 'inf' or None, not {clipped(limit)}")

    @cached_property
    def where(self) -> Endpoint:
        """The endpoint. No key is read."""
        return endpoint(self.endpoint, model=self.model, dialect_name=self.dialect, key_env=self.key_env)

    @property
    def name(self) -> str:
        """What it is called in tables: the endpoint, its model, and the stand-in's drift rule and faults."""
        told = [self.where.name, self.where.model or "?"]
        if self.where.name == "standin":
            told.append(f"drift={self.stand_in.get('drift', 'documented')}")
            told += [f"fault={each}" for each in self.stand_in.get("faults", ())]
        return " ".join(told)

    @property
    def reckoned_price(self) -> Price | None:
        """The price that costs are reckoned with; ``None`` if there is none."""
        return self.price or self.where.price

    @property
    def free(self) -> bool:
        """Nobody pays: the stand-in, or a URL that is sent no key; and no price was given."""
        return self.where.key_env is None and self.reckoned_price is None

    def session(self) -> dict[str, Any]:
        """What `Session.update` is given before an arm adds its own."""
        vad: Any = self.turn_detection
        if isinstance(vad, str):
            vad = None if vad == "manual" else {"type": vad}
        named = {"voice": self.voice, "instructions": self.instructions, "max_output_tokens": self.max_output_tokens}
        told = {word: value for word, value in named.items() if value is not None} | dict(self.more)
        return told | ({} if self.turn_detection is None else {"turn_detection": vad})

    def describe(self) -> dict[str, Any]:
        """What a plan freezes of it."""
        where = self.where
        told: dict[str, Any] = {
            "name": self.name,
            "endpoint": where.name,
            "url": where.shown_url,
            "model": where.model,
            "dialect": where.dialect,
            "session": self.session(),
        }
        if where.name == "standin":
            told["stand_in"] = {word: _plain(value) for word, value in self.stand_in.items()}
        if self.price is not None:
            told["price"] = {kind: list(getattr(self.price, kind)) for kind in ("text", "audio", "image")}
        return told


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
        """What is asked for: ``audio``, or ``text`` in a positive control."""
        return "text" if self.role == "positive" else "audio"

    @property
    def n_turns(self) -> int:
        """User turns that get an answer, the seeded one included."""
        return 1 + len(self.case.turns)


class Plan:
    """Cases × arms × settings × repeats.

    The order is random by the seed, in rounds: each round has every case, arm and setting once, so that the time of day
    favours none and any beginning of the plan is balanced.

    Args:
        cases: `Case` objects or names of the kit's own.
        arms: `Arm` objects, classes, or names; ``as_is`` alone if none is given.
        settings: One `Settings` or several; the stand-in if none is given.
        repeats: Trials per case, arm and setting.
        seed: Of the order, of the trial ids and so of the stand-in's draws.
        max_attempts: How often a trial may be tried. Only a failure of transport before any answer (no connection, a drop, the
            service saying "too fast") is tried again; a reply that took too long is a result, and so is a refusal.
        timeout_s: For one user turn with all its responses; a trial has as many of these as turns, and one to begin.
        stop: Stop early: a width (0.2 is ±10 points: then no more trials begin once every case × arm × setting is known to
            within it) or a `StopRule`.
        controls: How many positive and negative controls per setting; 3 of each where somebody pays, else none.

    Raises:
        InputError: For what cannot be a plan: nothing to repeat, two of the same name, an unknown case or arm.
    """

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
        stop: float | StopRule | None = None,
        controls: int | None = None,
    ) -> None:
        self.cases = tuple(each if isinstance(each, Case) else case(each) for each in _several(cases, Case))
        self.arms = tuple(arm(each) for each in _several(arms, Arm))
        self.settings = tuple(_several(settings or Settings(), Settings))
        self.repeats = _whole(repeats, "repeats", 1)
        self.seed = _whole(seed, "seed", None)
        self.max_attempts = _whole(max_attempts, "max_attempts", 1)
        if not (isinstance(timeout_s, int | float) and 0 < timeout_s < float("inf")):
            raise InputError(f"timeout_s must be a positive number of seconds, not {clipped(timeout_s)}")
        self.timeout_s = float(timeout_s)
        for what, names in (
            ("case", [each.name for each in self.cases]),
            ("arm", [each.name for each in self.arms]),
            ("settings", [json.dumps(each.describe(), sort_keys=True) for each in self.settings]),
        ):
            if not names:
                raise InputError(f"a plan needs at least one {what}")
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                hint = (
                    "; give one another: dataclasses.replace(case, name=…), or rename its file"
                    if what == "case"
                    else ""
                )
                raise InputError(
                    f"two {what.removesuffix('s')}s are the same or have the same name: {clipped(min(twice))}{hint}"
                )
        paid = not all(each.free for each in self.settings)
        self.controls = _whole(controls, "controls", 0) if controls is not None else CONTROLS_WHEN_PAID * paid
        n_cells = len(self.cases) * len(self.arms) * len(self.settings)
        self.stop = stop if isinstance(stop, StopRule | None) else StopRule(width=stop, n_arms=n_cells)
        if self.stop is not None and self.stop.n_arms != n_cells:
            raise InputError(
                f"the stop rule is for {self.stop.n_arms} arms, and this plan watches {n_cells} (cases × arms × settings); "
                "give a width, stop=0.2, and the kit splits alpha over them"
            )

    # ----------------------------------------------------------------------------------------------------- its trials

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, controls included, in planned order."""
        draw = random.Random(f"kit plan {self.seed}")
        rows: list[tuple[Role, Case, Arm, int, int]] = []
        for repeat in range(self.repeats):
            row: list[tuple[Role, Case, Arm, int, int]] = [
                ("measure", each, how, n, repeat)
                for each in self.cases
                for how in self.arms
                for n in range(len(self.settings))
            ]
            for control in range(self.controls):
                if control * self.repeats // self.controls == repeat:  # spread over the plan
                    for n in range(len(self.settings)):
                        row.append(("positive", _POSITIVE, _arms.as_is, n, control))
                        row.append(("negative", _NEGATIVE, _arms.as_is, n, control))
            draw.shuffle(row)
            rows += row
        names = {id(how): how.name for how in (*self.arms, _arms.as_is)}
        trials = []
        for at, (role, each, how, n, repeat) in enumerate(rows):
            cell = (each.name, names[id(how)], n)
            trials.append(Trial(self._id(role, cell, repeat), at, role, each, how, self.settings[n], n, repeat, cell))
        return tuple(trials)

    def _id(self, role: Role, cell: tuple[str, str, int], repeat: int) -> str:
        about = json.dumps([self.seed, role, *cell, repeat])
        return hashlib.sha256(about.encode()).hexdigest()[:16]

    @property
    def n_trials(self) -> int:
        """Trials that are measured; controls come on top."""
        return len(self.cases) * len(self.arms) * len(self.settings) * self.repeats

    @property
    def n_controls(self) -> int:
        return 2 * self.controls * len(self.settings)

    # ------------------------------------------------------------------------------------------------------ frozen

    def describe(self) -> dict[str, Any]:
        """Everything that decides what its trials do, as JSON; audio as length and digest. This is what is hashed."""
        return {
            "plan": 1,
            "cases": [_case(each) for each in self.cases],
            "arms": [each.describe() for each in self.arms],
            "settings": [each.describe() for each in self.settings],
            "repeats": self.repeats,
            "seed": self.seed,
            "max_attempts": self.max_attempts,
            "timeout_s": self.timeout_s,
            "stop": {"width": self.stop.width, "alpha": self.stop.alpha, "n_arms": self.stop.n_arms}
            if self.stop
            else None,
            "controls": self.controls,
        }

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `describe`, as hexadecimal. The same plan has the same hash on any machine."""
        told = json.dumps(self.describe(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()

    def __repr__(self) -> str:
        from .estimate import estimate

        return f"<Plan {self.hash[:12]}: {estimate(self)}>"

    def _repr_html_(self) -> str:
        from .estimate import estimate

        rows = [
            ["cases", show.esc(", ".join(each.name for each in self.cases))],
            ["arms", show.esc(", ".join(each.name for each in self.arms))],
            ["settings", show.esc("; ".join(each.name for each in self.settings))],
            ["repeats", f"{self.repeats} of each, order by seed {self.seed}"],
            [
                "controls",
                show.esc(
                    f"{self.controls} positive and {self.controls} negative per setting" if self.controls else "none"
                ),
            ],
            [
                "stops",
                show.esc(
                    f"when every rate is known to ±{50 * self.stop.width:g} points" if self.stop else "at its end"
                ),
            ],
        ]
        return show.card(
            f"<b>plan</b> <code>{self.hash[:12]}</code>", show.table(rows, ["", ""]), show.esc(str(estimate(self)))
        )


# ------------------------------------------------------------------------------------------------------------- controls

_POSITIVE = Case("control: text asked", History().user("Tell me a joke."), "text", note="the session asks for text")
_NEGATIVE = Case(
    "control: no history", History().user("Tell me a joke."), "audio", note="one user turn and nothing else"
)


# ---------------------------------------------------------------------------------------------------------------- parts


def _several(given: Any, kind: type) -> list[Any]:
    single = isinstance(given, str | kind) or (isinstance(given, type) and issubclass(given, kind))
    if not single and not isinstance(given, Iterable):
        raise InputError(f"expected {kind.__name__} objects or names, not {clipped(given)}")
    listed = [given] if single else list(given)
    if kind is Settings and not all(isinstance(each, Settings) for each in listed):
        raise InputError(f"settings are Settings(endpoint=…, model=…), one or a list, not {clipped(given)}")
    return listed


def _try_out(stand_in: Mapping[str, Any]) -> None:
    """Better now than when the plan is run. (Replies are left to then: another machine may have the voice that they need.)"""
    from ..standin import StandIn

    try:
        StandIn(**{word: value for word, value in stand_in.items() if word != "replies"})
    except TypeError:
        known = inspect.signature(StandIn).parameters
        strange = [word for word in stand_in if word not in known]
        raise InputError(
            f"a stand-in takes {', '.join(known)}, not {', '.join(strange) or clipped(stand_in)}"
        ) from None


def _whole(value: object, what: str, at_least: int | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or (at_least is not None and value < at_least):
        least = "" if at_least is None else f" of at least {at_least}"
        raise InputError(f"{what} must be a whole number{least}, not {clipped(value)}")
    return value


def _case(each: Case) -> dict[str, Any]:
    turns = [_clip(said) if isinstance(said, Clip) else said for said in each.turns]
    told = {
        "name": each.name,
        "reported": each.reported,
        "items": [_item(item) for item in each.history],
        "turns": turns,
    }
    return told | ({"note": each.note} if each.note else {})


def _item(item: Any) -> dict[str, Any]:
    told: dict[str, Any] = dict(item.spelled(GA))
    for part, spelled in zip(item.parts, told.get("content", ()), strict=False):
        if part.clip is not None:
            spelled["audio"] = _clip(part.clip)
    return told


def _clip(clip: Clip) -> dict[str, Any]:
    digest = hashlib.sha256(clip.to_bytes()).hexdigest()[:16]
    return {"audio_ms": clip.duration_ms, "sha256": digest, "text": clip.text}


def _plain(value: object) -> Any:
    """A setting as JSON: itself if it is JSON already, else its words."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return str(value)
