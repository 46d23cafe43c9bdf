"""How a stand-in behaves: what holds for all its sessions, and what one connection sets for itself."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import InputError, clipped
from .drift import Draws, Rule, rule
from .faults import Fault
from .faults import faults as parse_faults
from .replies import Reply, ReplyRule, json_list, needs_plain_voice, script
from .replies import rules as parse_rules

# 60 minutes in the captures of 2026.
SESSION_S = 3600.0
# 15 MiB of audio in base64, and some.
MAX_FRAME_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stand-in takes before it refuses."""

    # At once; one more gets HTTP 503.
    sessions: int = 4_096
    # Of one message from a client; a longer one closes its socket with 1009.
    frame_bytes: int = MAX_FRAME_BYTES
    # Seconds of input audio that a session keeps; the service took 305 s (2026-10).
    buffer_s: float = 600.0
    # Of all that a client puts into one conversation; audio counts as PCM, 48 kB a second: 46 minutes.
    item_bytes: int = 128 << 20
    # From one client; a faster one is read no faster.
    messages_per_s: float = 5_000.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a stand-in behaves, the same for all its sessions."""

    drift: Rule
    seed: int = 0
    # How fast speech streams, and an idle timeout runs, as a multiple of real time; ``None``: speech as fast as it can.
    pace: float | None = None
    # A script, said in order, then the repertoire; or rules, of which the first that matches answers. Never both.
    replies: tuple[Reply, ...] | None = None
    rules: tuple[ReplyRule, ...] = ()
    # Whether a response that no reply and no rule is there for fails, instead of being taken from the repertoire.
    strict: bool = False
    # Seconds of real time from a request to the first content, whatever the pace; ``None``: as in the service's logs.
    first_s: float | None = None
    # Seconds of real time between two deltas of text or of a call's arguments, whatever the pace.
    token_s: float | None = None
    # Whether some reply or rule has a text that can only be hummed: the session's mark says so.
    plain_voice: bool = False
    faults: tuple[Fault, ...] = ()
    session_s: float = SESSION_S
    limits: Limits = Limits()

    @property
    def mark(self) -> str:
        """The text of the header ``X-Stand-In``."""
        voice = "; voice=plain" if self.plain_voice else ""
        return f"realtime-history-kit; drift={self.drift}; seed={self.seed}{voice}"


def with_options(
    options: Options,
    *,
    drift: str | Rule | None = None,
    seed: int | None = None,
    pace: float | None = None,
    faults: Sequence[str | Fault] | None = None,
    replies: Sequence[Reply | dict[str, Any]] | None = None,
    rules: Sequence[ReplyRule | dict[str, Any]] | None = None,
    strict: bool | None = None,
    first_ms: float | None = None,
    token_ms: float | None = None,
) -> Options:
    """Return options with some of them set; what is ``None`` stays. Replies put an end to rules, and rules to replies.

    Raises:
        InputError: For a value that cannot be, or options that exclude each other.
    """
    fields: dict[str, Any] = {}
    if drift is not None:
        fields["drift"] = rule(drift)
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InputError(f"seed must be a whole number, not {clipped(seed)}")
        fields["seed"] = seed
    if pace is not None:
        fields["pace"] = _number(pace, "pace must be a factor of real time such as 1.0, or None") or None
    if first_ms is not None:
        fields["first_s"] = _number(first_ms, "first_ms must be a number of milliseconds") / 1000
    if token_ms is not None:
        fields["token_s"] = _number(token_ms, "token_ms must be a number of milliseconds") / 1000
    if faults is not None:
        fields["faults"] = parse_faults(faults)
    if replies is not None and rules:
        raise InputError(
            "replies and rules exclude each other: a list is said in order, rules answer what the user says"
        )
    if replies is not None:
        fields |= {"replies": script(replies), "rules": ()}
    if rules is not None:
        fields |= {"replies": None, "rules": parse_rules(rules)}
    if strict is not None:
        fields["strict"] = bool(strict)
    options = replace(options, **fields)
    if options.strict and not options.rules and options.replies is None:
        raise InputError("strict needs rules or replies: without them every response would fail")
    texts = [*(options.replies or ()), *(item.reply for item in options.rules)]
    return replace(options, plain_voice=needs_plain_voice(texts))


def values_of(texts: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Return the arguments of `with_options` for what a URL or a header says in texts.

    Raises:
        InputError: For a text that is no number or no JSON list where one is wanted.
    """
    values: dict[str, Any] = dict(texts)
    for name, text in texts.items():
        if isinstance(text, list) or name == "drift":
            continue
        if name in ("replies", "rules"):
            values[name] = json_list(text, name)
        elif name == "strict":
            values[name] = text not in ("", "0", "false", "no")
        else:
            try:
                values[name] = int(text) if name == "seed" else float(text)
            except ValueError:
                raise InputError(f"{name} must be a number, not {clipped(text)}") from None
    return values


def _number(value: object, sentence: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"{sentence}, not {clipped(value)}")
    return float(value)


# How GPT-Live sessions behave: when they are silent or late, what they say and hear, and which address is whose.


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """When a session stays silent: with probability `q`, drawn once, if its history has at least `n` messages.

    ``documented`` is what one product counted in 2026-10 (lukacf/meerkat): 14 of 48 sessions with a summary and 9 to 14
    messages, 0 of 22 with at most 5. It is no law of OpenAI's.
    """

    name: str
    q: float
    n: int

    def __str__(self) -> str:
        return self.name

    def silent(self, n_messages: int, draws: Draws) -> bool:
        """Whether a session with so long a history stays silent."""
        return n_messages >= self.n and draws.uniform("live-silent") < self.q


def silence_rule(name: str) -> SilenceRule:
    """Read a rule: ``documented``, ``never``, ``always``, ``p=Q`` (any session) or ``p=Q@N`` (from N messages of history).

    Raises:
        InputError: For any other name.
    """
    plain = {"documented": (14 / 48, 9), "never": (0.0, 0), "always": (1.0, 0)}
    if name in plain:
        return SilenceRule(name, *plain[name])
    word, _, value = str(name).partition("=")
    number, _, least = value.partition("@")
    try:
        q, n = float(number), int(least or 0)
    except ValueError:
        q, n = -1.0, 0
    if word != "p" or not 0 <= q <= 1 or n < 0:
        raise InputError(
            f"no rule for silence is called {clipped(name)}; there are documented, never, always, p=Q and p=Q@N "
            "(0 ≤ Q ≤ 1, from N messages of history)"
        )
    return SilenceRule(str(name), q, n)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How the stand-in's Live sessions behave."""

    silence: SilenceRule = field(default_factory=lambda: silence_rule("documented"))
    late_ms: float = 0.0
    """Added before every reply's first word."""
    pace: float = 1.0
    """How fast the wall's time runs here, so that a rehearsal need not take as long as a talk; the client's runs as fast."""
    replies: tuple[str, ...] = ()
    """Texts to say, one after the other, before the repertoire's."""
    hears: tuple[str, ...] = ()
    """What the caller's turns are transcribed as, one after the other; then by the recogniser, where there is one."""
    drops_after_s: float | None = None
    """Cut the connection so long after the start, without `session.closed`."""
    null_codes: bool = False
    """Send errors with `code` null, as the service may."""
    delegates: tuple[str, ...] = ()
    """Words of the caller that make the voice hand its turn to the client or the backend, instead of answering itself."""
    greets: bool = False
    """Answer a history that ends with a user's message by a greeting, as one product saw it."""
    usage: bool = True
    """Send `session.usage.updated` every 15 s."""

    @staticmethod
    def from_words(words: Mapping[str, Any], *, pace: float) -> LiveOptions:
        """Make options of what a user wrote; `silence` is a rule's name.

        Raises:
            InputError: For a field that there is not.
        """
        names = {field.name for field in dataclasses.fields(LiveOptions)} - {"pace"}
        if set(words) - names:
            raise InputError(
                f"live= has no {clipped(sorted(set(words) - names)[0])}; there are {', '.join(sorted(names))}"
            )
        fields = dict(words)
        if isinstance(fields.get("silence"), str):
            fields["silence"] = silence_rule(fields["silence"])
        for name in ("replies", "hears", "delegates"):
            if name in fields:
                fields[name] = tuple(map(str, fields[name]))
        return LiveOptions(**fields, pace=pace)

    def with_texts(self, texts: Mapping[str, str | list[str]]) -> LiveOptions:
        """Return the options with those that one connection sets for itself, as a URL or a header says them.

        Raises:
            InputError: For one that means nothing to a Live session, or a value that cannot be.
        """
        foreign = sorted(set(texts) - {"drift", "seed", "pace", "replies", "faults"})
        if foreign:
            raise InputError(
                f"a GPT-Live connection cannot set {foreign[0]}; it can set drift (a rule for silence), seed, pace, replies "
                "and faults of the connection"
            )
        values = values_of({name: text for name, text in texts.items() if name in ("pace", "replies")})
        fields: dict[str, Any] = {}
        if "drift" in texts:
            fields["silence"] = silence_rule(str(texts["drift"]))
        if "pace" in values:
            if not 0 < values["pace"] < math.inf:
                raise InputError("pace must be a factor of real time above 0: a talk needs time to go by")
            fields["pace"] = values["pace"]
        if "replies" in values:
            if not all(isinstance(text, str) for text in values["replies"]):
                raise InputError("replies of a GPT-Live session are texts: it calls no tools by a script")
            fields["replies"] = tuple(values["replies"])
        return replace(self, **fields)


@dataclass(frozen=True, slots=True)
class Door:
    """Where a GPT-Live client knocked: a new session, a stored one by its id (fork), or one that runs (attach)."""

    verb: Literal["new", "fork", "attach"]
    session_id: str | None = None
    graceful: bool = False
    """The query's ``graceful_close=true``, of a sideband."""


def live_door(path: str) -> Door | None:
    """Read the target of a request; ``None`` if it is no address of GPT-Live."""
    address = urlsplit(path)
    match = re.search(r"/live/sessions(?:/([^/]+)/(fork|attach))?/?$", address.path)
    if match is None:
        return None
    graceful = "graceful_close=true" in address.query
    return Door(match[2], match[1], graceful) if match[1] else Door("new")  # type: ignore[arg-type]
