"""How the stand-in's GPT-Live sessions behave: when they are silent or late, what they say and hear, and which address is whose."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import InputError, clipped
from .drift import Draws
from .options import values_of


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
