"""What a stand-in can be told to say: texts, calls, and replies in two parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, clipped
from .speaking import spoken


@dataclass(frozen=True, slots=True)
class Say:
    """A message, spoken or written."""

    text: str
    aloud: bool = True
    phase: str | None = None
    """``commentary`` or ``final_answer``, as reasoning models mark their messages."""


@dataclass(frozen=True, slots=True)
class Call:
    """A reply that calls a function; with `say`, after some words in the same response."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    say: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A reply in two messages, as gpt-realtime-2 and later give them: ``commentary``, then ``final_answer``."""

    commentary: str
    answer: str


Reply = str | Call | Reasoned
Output = Say | Call


def script(replies: Sequence[object]) -> tuple[Reply, ...]:
    """Replies as they are given to a stand-in: texts, `Call`, `Reasoned`, or the two as JSON objects.

    Raises:
        InputError: For anything else, or a text that cannot be spoken.
        MissingExtra: For a text that is not recorded where no synthesiser is installed.
    """
    if isinstance(replies, str | bytes) or not isinstance(replies, Sequence):
        raise InputError(f"replies must be a list of texts, not {clipped(replies)}")
    made = tuple(_reply(one) for one in replies)
    for reply in made:
        for text in texts(reply):
            spoken(text)
    return made


def _reply(one: object) -> Reply:
    if isinstance(one, dict) and isinstance(one.get("call"), str) and one.keys() <= {"call", "arguments", "say"}:
        one = Call(one["call"], one.get("arguments") or {}, one.get("say"))
    if isinstance(one, dict) and one.keys() == {"commentary", "answer"}:
        one = Reasoned(one["commentary"], one["answer"])
    if isinstance(one, Call):
        try:
            json.dumps(one.arguments)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the arguments of a call must be JSON: {exc}") from None
    if isinstance(one, str | Call | Reasoned) and all(isinstance(text, str) for text in texts(one)):
        return one
    raise InputError(
        f"a reply is a text, {{'call': name, 'arguments': {{…}}, 'say': text}} or {{'commentary': text, 'answer': text}}, "
        f"not {clipped(one)}"
    )


def texts(reply: Reply) -> list[str]:
    """What of a reply is spoken."""
    if isinstance(reply, str):
        return [reply]
    if isinstance(reply, Call):
        return [reply.say] if reply.say else []
    return [reply.commentary, reply.answer]


def outputs(reply: Reply, aloud: bool) -> list[Output]:
    """What a response makes of it, in order."""
    if isinstance(reply, str):
        return [Say(reply, aloud)]
    if isinstance(reply, Call):
        return [*([Say(reply.say, aloud)] if reply.say else []), reply]
    return [Say(reply.commentary, aloud, "commentary"), Say(reply.answer, aloud, "final_answer")]


def from_json(text: str) -> tuple[Reply, ...]:
    """A script as a file holds it: a JSON list."""
    try:
        given = json.loads(text)
    except ValueError as exc:
        raise InputError(f"replies must be a JSON list: {exc}") from None
    if not isinstance(given, list):
        raise InputError(f"replies must be a JSON list, not {clipped(given)}")
    return script(given)
