"""How a stand-in behaves: what holds for all its sessions, and what one connection sets for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request

from ..errors import InputError, clipped
from .drift import Rule, rule
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
    # The same between two deltas of text or of a call's arguments.
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


# What an option is read by; in an error it is named by its sentence.
_READ: dict[str, Callable[[Any], dict[str, Any]]] = {
    "drift": lambda value: {"drift": rule(value)},
    "seed": lambda value: {"seed": _seed(value)},
    "pace": lambda value: {"pace": _number(value, "pace must be a factor of real time such as 1.0, or None") or None},
    "first_ms": lambda value: {"first_s": _number(value, "first_ms must be a number of milliseconds") / 1000},
    "token_ms": lambda value: {"token_s": _number(value, "token_ms must be a number of milliseconds") / 1000},
    "faults": lambda value: {"faults": parse_faults(value)},
    # Replies put an end to rules, and rules to replies.
    "replies": lambda value: {"replies": script(value), "rules": ()},
    "rules": lambda value: {"replies": None, "rules": parse_rules(value)},
    "strict": lambda value: {"strict": bool(value)},
}


def with_options(options: Options, **values: Any) -> Options:
    """Return options with some of them set, in the words of `StandIn`; what is ``None`` stays.

    Raises:
        InputError: For a value that cannot be, or options that exclude each other.
    """
    if values.get("replies") is not None and values.get("rules"):
        raise InputError(
            "replies and rules exclude each other: a list is said in order, rules answer what the user says"
        )
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if value is not None:
            fields |= _READ[name](value)
    options = replace(options, **fields)
    if options.strict and not options.rules and options.replies is None:
        raise InputError("strict needs rules or replies: without them every response would fail")
    texts = [*(options.replies or ()), *(item.reply for item in options.rules)]
    return replace(options, plain_voice=needs_plain_voice(texts))


def options_of(request: Request) -> dict[str, Any]:
    """Return what one connection sets for itself, for `with_options`.

    By query (``?drift=never&fault=drop@2&fault=stall@3``), or by header (``X-Stand-In-Drift``; faults with commas between them, replies
    and rules as JSON lists). A header wins.

    Raises:
        InputError: For a text that is none of its option's.
    """
    query = parse_qs(urlsplit(request.path).query, keep_blank_values=True)
    values: dict[str, Any] = {}
    for name in _READ:
        texts = request.headers.get_all(f"X-Stand-In-{name.replace('_', '-')}") or query.get(name, [])
        if name == "faults":
            texts = texts or query.get("fault", [])
            words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
            values |= {"faults": words} if texts else {}
        elif texts:
            text = texts[-1]
            if name == "drift":
                values[name] = text
            elif name in ("replies", "rules"):
                values[name] = json_list(text, name)
            elif name == "strict":
                values[name] = text not in ("", "0", "false", "no")
            else:
                try:
                    values[name] = int(text) if name == "seed" else float(text)
                except ValueError:
                    raise InputError(f"{name} must be a number, not {clipped(text)}") from None
    return values


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"seed must be a whole number, not {clipped(value)}")
    return value


def _number(value: object, sentence: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"{sentence}, not {clipped(value)}")
    return float(value)
