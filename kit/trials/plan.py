"""A plan: cases × arms × settings × repeats, in a random order that its seed decides, frozen and hashed before the first trial.

::

    plan = Plan(cases=["1b", "2b"], arms=[arms.as_is, arms.one_user_message], repeats=40, seed=7)
    plan                                       # trials, sessions, tokens, dollars, minutes
    ledger = await run(plan, "runs/joke.sqlite")
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .. import show
from ..cases import Case, case
from ..clip import Clip
from ..endpoint import DEFAULT_MODEL, PRICES, Endpoint, Price, endpoint
from ..errors import InputError, LedgerError, clipped
from ..history import History
from ..stats import StopRule
from ..wire.dialect import GA
from . import arms as _arms
from .arms import Arm, all_arms, arm
from .ledger import Ledger

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
        pass

        return f"<Plan {self.hash[:12]}: {estimate(self)}>"

    def _repr_html_(self) -> str:
        pass

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


# What a plan will take: sessions, responses, tokens, dollars, minutes; and the most that one trial can cost.
#
# Guesses of a size, from the documented rates: a user's audio 10 tokens a second, an assistant's 20; text four characters a
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

    def __str__(self) -> str:
        controls = f" and {self.n_controls:,} controls" if self.n_controls else ""
        tokens = f"{self.n_input_tokens + self.n_output_tokens:,} tokens"
        if self.free:
            cost = "free, simulated" if self.simulated else "no key is sent, so nothing is reckoned"
        elif self.usd is None:
            cost = "unpriced: the kit does not know what this costs"
        else:
            cost = (
                f"about ${self.usd:,.2f}{self.as_of}; a budget of ${self.enough_usd:,.0f} is enough if replies are as long as expected, "
                f"${self.worst_usd:,.2f} at worst"
            )
        return (
            f"{_n(self.n_trials, 'trial')}{controls}, {_n(self.n_sessions, 'session')}, about {_n(self.n_responses, 'response')} and {tokens}: "
            f"{cost}; about {_minutes(self.minutes)} at {AT_ONCE} at once{self.elsewhere}"
        )


def estimate(plan: Plan) -> Estimate:
    """What a plan will take, at 8 at once."""
    n_in = n_out = n_responses = 0
    usd: float | None = 0.0
    worst: float | None = 0.0
    dearest = 0.0
    seconds = elsewhere = 0.0
    models = list(dict.fromkeys(each.where.model or "" for each in plan.settings))
    if len(models) == 1 or not set(models) <= set(PRICES):
        models = [DEFAULT_MODEL]  # what a stand-in's one model is called says nothing of what would be measured
    of_cell: dict[object, tuple[int, float, int, int, int]] = {}
    for trial in plan.trials:
        key = (trial.role, *trial.cell)
        if key not in of_cell:
            text, audio, replies = _likely(trial)
            price = trial.settings.reckoned_price
            made = replies * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS)
            of_cell[key] = (
                replies,
                0.0 if price is None else _usd(price, text, audio, replies),
                text + audio,
                made,
                text,
            )
        replies, cost, given, made, text = of_cell[key]
        n_in, n_out, n_responses = n_in + given, n_out + made, n_responses + replies
        there = trial.settings.where.model or ""
        elsewhere += _usd(PRICES[there if there in models else models[0]], text, given - text, replies)
        seconds += (_STAND_IN_S if trial.settings.where.name == "standin" else _SERVICE_S) * replies
        if not trial.settings.free:
            most = worst_usd(trial)
            usd = None if usd is None or trial.settings.reckoned_price is None else usd + cost
            worst = None if worst is None or most is None else worst + most
            dearest = max(dearest, most or 0.0)
    free = all(each.free for each in plan.settings)
    minutes_there = n_responses * _SERVICE_S / AT_ONCE / 60
    simulated = all(each.where.name == "standin" for each in plan.settings)
    on = models[0] if len(models) == 1 else f"OpenAI's {len(models)} models of these names"
    when = _dates(PRICES[name] for name in models)
    measured = f". On {on}: about ${elsewhere:,.2f}{when}, {_minutes(minutes_there)}" if simulated else ""
    return Estimate(
        plan.n_trials,
        plan.n_controls,
        n_responses,
        n_in,
        n_out,
        usd,
        worst,
        None if usd is None or worst is None else float(math.ceil(min(usd + AT_ONCE * dearest, worst))),
        seconds / AT_ONCE / 60,
        free,
        simulated,
        _dates(price for each in plan.settings if (price := each.reckoned_price)),
        measured,
    )


def worst_usd(trial: Trial) -> float | None:
    """The most that one attempt at a trial can cost; ``None`` where there is no price, 0 where nobody pays."""
    settings = trial.settings
    price = settings.reckoned_price
    if price is None:
        return 0.0 if settings.free else None
    arm, history = trial.arm, trial.case.history
    most_out = _most_output(settings)
    told = settings.instructions
    text = len(told.encode()) if told else 10 * _INSTRUCTIONS_TOKENS
    text += len(str(arm.settings(history).get("instructions", "")).encode())
    items_text, audio = _size(arm.history(history), bytes_per_token=1)
    text += items_text
    usd = 0.0
    for said in (None, *trial.case.turns):
        if said is not None:
            more_text, more_audio = _size(History().user(arm.turn(said)), bytes_per_token=1)
            text, audio = text + more_text, audio + more_audio
        for left in reversed(range(arm.max_responses)):
            # Asked again is only after a reply in text, so all but the last of a turn are text. What an arm adds on the way
            # (silence, say) is within the ten seconds of audio that each response is given here.
            audio += 100
            usd += text * price.text[0] + audio * price.audio[0]
            usd += most_out * (price.text[2] if left else max(price.text[2], price.audio[2]))
            if left or price.text[0] > price.audio[0]:
                text += most_out
            else:
                audio += most_out
    return usd / 1e6


def tokens_of(trial: Trial) -> int:
    """About how many tokens an attempt takes: for a limit per minute."""
    text, audio, replies = _likely(trial)
    return text + audio + replies * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS)


def _most_output(settings: Settings) -> int:
    limit = settings.max_output_tokens
    if isinstance(limit, int):
        return limit
    return _LEAST_KNOWN_OUTPUT.get(settings.where.model or "", _MOST_OUTPUT)


def _likely(trial: Trial) -> tuple[int, int, int]:
    """Input tokens of text and audio over all responses, and how many responses."""
    arm: Arm = trial.arm
    history = arm.history(trial.case.history)
    told = trial.settings.instructions or ""
    extra = str(arm.settings(trial.case.history).get("instructions", ""))
    text, audio = _size(history, bytes_per_token=4)
    text += (len(told) // 4 if told else _INSTRUCTIONS_TOKENS) + len(extra) // 4
    total_text = total_audio = 0
    for said in (None, *trial.case.turns):
        if said is not None:
            more_text, more_audio = _size(History().user(said), bytes_per_token=4)
            text, audio = text + more_text, audio + more_audio
        total_text, total_audio = total_text + text, total_audio + audio
        text, audio = text + _REPLY_TEXT_TOKENS, audio + _REPLY_AUDIO_TOKENS
    return total_text, total_audio, trial.n_turns


def _size(history: History, *, bytes_per_token: int) -> tuple[int, int]:
    """Tokens of text and of audio. At one byte per token they are a bound: no tokeniser makes more of a text."""
    text = audio = 0
    for item in history:
        texts = [part.text or dict(part.extra).get("transcript") or "" for part in item.parts]
        words = " ".join(map(str, texts)) if item.parts else item.text
        clips_ms = sum(part.clip.duration_ms for part in item.parts if part.clip)
        text += _PER_ITEM_TOKENS * 4 // bytes_per_token + len(words.encode()) // bytes_per_token
        audio += math.ceil(clips_ms / 100)
    return text, audio


def _usd(price: Price, text: int, audio: int, replies: int) -> float:
    made = replies * (_REPLY_TEXT_TOKENS * price.text[2] + _REPLY_AUDIO_TOKENS * price.audio[2])
    return (text * price.text[0] + audio * price.audio[0] + made) / 1e6


def _dates(prices: Iterable[Price]) -> str:
    dates = sorted({price.as_of for price in prices})
    return f" at the prices of {' and '.join(dates)}" if dates else ""


def _n(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _minutes(minutes: float) -> str:
    if minutes < 1 / 60:
        return "a second"
    if minutes >= 90:
        return f"{minutes / 60:.1f} h"
    return f"{minutes * 60:.0f} s" if minutes < 1.5 else f"{minutes:.0f} min"


# A plan from what its ledger says of it, so that a run can be gone on with where the plan's own cell is not at hand.


def plan_of(ledger: Ledger, *, key_env: str | None = None) -> Plan:
    """The plan of a ledger, if it is made of the kit's own cases and arms.

    Args:
        key_env: The environment variable that holds a URL's key; no ledger says which.

    Raises:
        LedgerError: If it cannot be made again exactly: it has a case or an arm of your own, a clip, an address with secrets in
            it. Then only the code that made it can go on: ``run(plan, path)``.
    """
    told = ledger.plan
    try:
        plan = Plan(
            [_case_rebuilding(each) for each in told["cases"]],
            [_arm(each) for each in told["arms"]],
            told["repeats"],
            settings=[_settings(each, key_env) for each in told["settings"]],
            seed=told["seed"],
            max_attempts=told["max_attempts"],
            timeout_s=told["timeout_s"],
            stop=StopRule(**told["stop"]) if told["stop"] else None,
            controls=told["controls"],
        )
    except (InputError, KeyError, TypeError, ValueError) as exc:
        raise _cannot(ledger, str(exc)) from exc
    if plan.hash != ledger.plan_hash:
        theirs, ours = told, plan.describe()
        different = [word for word in ours if _differ(ours[word], theirs.get(word))]
        raise _cannot(ledger, f"its {', '.join(different) or 'form'} cannot be made again from here")
    return plan


def _cannot(ledger: Ledger, why: str) -> LedgerError:
    return LedgerError(
        f"the plan of {ledger.path} cannot be rebuilt ({why}); go on from the code that made it: run(plan, path)"
    )


def _differ(ours: object, theirs: object) -> bool:
    return bool(json.loads(json.dumps(ours)) != theirs)


def _case_rebuilding(told: Mapping[str, Any]) -> Case:
    name, _, more = str(told["name"]).partition("+")
    turns = told.get("turns") or ()
    return case(name).then(*turns) if more and turns else case(str(told["name"]))


def _arm(told: Mapping[str, Any]) -> Arm:
    stem = str(told["name"]).partition("(")[0]
    for each in all_arms():
        if each.name == stem and "code" not in told:
            return type(each)(**{name: ast.literal_eval(value) for name, value in told["options"].items()})
    raise InputError(f"the arm {stem} is not one of the kit's")


def _settings(told: Mapping[str, Any], key_env: str | None) -> Settings:
    session = dict(told["session"])
    given: dict[str, Any] = {name: session.pop(name, None) for name in ("voice", "instructions", "max_output_tokens")}
    if "turn_detection" in session:
        given["turn_detection"] = session.pop("turn_detection") or "manual"
    rates: Any = [tuple(told["price"][kind]) for kind in ("text", "audio", "image")] if "price" in told else None
    url = told["endpoint"] == "url"
    return Settings(
        told["url"] if url else told["endpoint"],
        model=told["model"],
        dialect=told["dialect"],
        key_env=key_env if url else None,
        price=Price(*rates) if rates else None,
        stand_in=told.get("stand_in", {}),
        more=session,
        **given,
    )
