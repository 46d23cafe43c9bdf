"""What the stand-in says: recorded jokes and plain answers, chosen by seed. It is not a language model, and says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import speech
from ..errors import InputError, clipped
from .drift import Draws
from .items import Item
from .sound import spoken

# What a stand-in can be told to say: texts, calls, and replies in two parts.


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


# When the stand-in calls a tool, and with what: by `tool_choice`, or because the user's words name it. It does not reason.


_VERBS = frozenset(
    [
        "the",
        "get",
        "set",
        "tell",
        "call",
        "make",
        "find",
        "show",
        "look",
        "send",
        "ask",
        "give",
        "fetch",
        "read",
        "write",
        "check",
        "start",
        "stop",
    ]
)
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+\b")


def called(tools: Sequence[dict[str, Any]], choice: object, asked: Item | None, words: str) -> Call | None:
    """The call that a response makes; ``None`` if it makes none.

    Args:
        tools: The functions it may call.
        choice: ``auto``, ``none``, ``required``, or an object that names one.
        asked: The item that it answers.
        words: What that item says.

    ``auto`` calls a function when a word of its name is in the user's words (``get_weather``: "weather"), and never in answer
    to a function's output.
    """
    functions = [tool for tool in tools if tool.get("type", "function") == "function"]
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        wanted = [tool for tool in functions if tool["name"] == choice.get("name")]
    elif choice == "required":
        wanted = [tool for tool in functions if _named(tool["name"], words)] or functions
    elif asked is None or asked.type == "function_call_output":
        return None
    else:
        wanted = [tool for tool in functions if _named(tool["name"], words)]
    return Call(wanted[0]["name"], arguments(wanted[0].get("parameters"), words)) if wanted else None


def _named(name: str, words: str) -> bool:
    said = words.lower()
    return any(part.lower() in said for part in _WORD.findall(name) if part.lower() not in _VERBS)


def arguments(schema: object, words: str) -> dict[str, Any]:
    """Arguments that fit a JSON schema: its required properties, with a name out of the user's words where a text is wanted."""
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties") or {}
    names = iter(_CAPITALISED.findall(words))
    return {name: _value(properties.get(name) or {}, names) for name in schema.get("required") or list(properties)[:1]}


def _value(schema: Any, names: Any) -> Any:
    if not isinstance(schema, dict):
        return next(names, "something")
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if any_of := schema.get("anyOf") or schema.get("oneOf"):
        return _value(any_of[0], names)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        inner = schema.get("properties") or {}
        return {name: _value(inner.get(name) or {}, names) for name in schema.get("required") or []}
    if kind == "array":
        return [_value(schema.get("items") or {}, names)] * int(schema.get("minItems") or 0)
    plain = {
        "integer": int(schema.get("minimum") or 1),
        "number": schema.get("minimum") or 1,
        "boolean": True,
        "null": None,
    }
    return plain[kind] if kind in plain else next(names, "something")


def written(call: Call) -> str:
    """The arguments as the JSON text that a call carries."""
    return json.dumps(call.arguments, ensure_ascii=False)


_JOKE_LIKE = re.compile(
    r"\b(jokes?|funny|hilarious|laugh|pun|another( one)?|one more|again|more|next)\b", re.IGNORECASE
)
_GREETING = re.compile(r"^\W*(hi|hello|hey|good (morning|afternoon|evening))\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(thanks|thank you)\b", re.IGNORECASE)
_FAREWELL = re.compile(r"\b(bye|goodbye|see you)\b", re.IGNORECASE)
_COUNT = re.compile(r"\bcount\b", re.IGNORECASE)


def asked_item(items: Sequence[Item]) -> Item | None:
    """What a reply answers: the last item that is not the assistant's."""
    return next((item for item in reversed(items) if item.role == "user" or item.type == "function_call_output"), None)


def words_of(item: Item | None) -> str:
    """What was said, written or understood."""
    return "" if item is None else item.words or item.heard or ""


def _tag(item: Item | None) -> str | None:
    """What kind of answer is wanted; ``None`` for a joke."""
    if item is None:
        return "greeting"
    if item.type == "function_call_output":
        return "after-tool"
    words = words_of(item)
    if not words:
        # sound that nobody could make out: it was heard, not understood
        if item.has("user", "audio"):
            return "heard" if item.heard is None else "silence"
        return "silence"
    if _FAREWELL.search(words):
        return "farewell"
    if _JOKE_LIKE.search(words):
        return None
    if _THANKS.search(words):
        return "thanks"
    if _COUNT.search(words):
        return "long"
    return "greeting" if _GREETING.search(words) else "self"


def choose(items: Sequence[Item], said: Sequence[str], draws: Draws, turn: int) -> str:
    """The text of the next reply.

    Args:
        items: What the response reads.
        said: What was said before in this session, in order: nothing comes twice while something else is left.
        draws: The session's draws; the same seed, trial and turn choose the same line.
        turn: Which reply of the session this is, from 0.
    """
    tag = _tag(asked_item(items))
    lines = speech.repertoire("joke") if tag is None else speech.repertoire("answer", tag=tag)
    known = set(said) | {item.words for item in items}
    fresh = [line.text for line in lines if line.text not in known]
    if not fresh:
        fresh = [line.text for line in speech.repertoire("answer", tag="no-more" if tag is None else tag)]
    return draws.random("reply", turn).choice(fresh or [line.text for line in speech.repertoire("answer")])
