"""The stand-in's replies: a script if there is one, a tool's call where one is due, else a recorded joke or plain answer.

It is not a language model and does not reason. Lines of the repertoire are chosen by the session's draws.
"""

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


@dataclass(frozen=True, slots=True)
class Say:
    """A message, spoken or written."""

    text: str
    aloud: bool = True
    phase: str | None = None
    """``commentary`` or ``final_answer``, as reasoning models mark their messages."""


@dataclass(frozen=True, slots=True)
class Call:
    """A reply that calls a function; with `say`, after those words in the same response."""

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
    """Check the replies that a stand-in shall give: texts, `Call`, `Reasoned`, or the two as JSON objects.

    Raises:
        InputError: For anything else, or a text that cannot be spoken.
        MissingExtra: For a text that is not recorded where no synthesiser is installed.
    """
    if isinstance(replies, str | bytes) or not isinstance(replies, Sequence):
        raise InputError(f"replies must be a list of texts, not {clipped(replies)}")
    parsed = tuple(map(_reply, replies))
    for reply in parsed:
        for output in outputs(reply, aloud=True):
            if isinstance(output, Say):
                spoken(output.text)
    return parsed


def _reply(value: object) -> Reply:
    if isinstance(value, dict) and isinstance(value.get("call"), str) and value.keys() <= {"call", "arguments", "say"}:
        value = Call(value["call"], value.get("arguments") or {}, value.get("say"))
    if isinstance(value, dict) and value.keys() == {"commentary", "answer"}:
        value = Reasoned(value["commentary"], value["answer"])
    if isinstance(value, Call):
        try:
            json.dumps(value.arguments)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the arguments of a call must be JSON: {exc}") from None
    if isinstance(value, str | Call | Reasoned):
        says = [output.text for output in outputs(value, aloud=True) if isinstance(output, Say)]
        if all(isinstance(text, str) for text in says):
            return value
    raise InputError(
        f"a reply is a text, {{'call': name, 'arguments': {{…}}, 'say': text}} or {{'commentary': text, 'answer': text}}, "
        f"not {clipped(value)}"
    )


def outputs(reply: Reply, aloud: bool) -> list[Output]:
    """Return the messages and calls that a response makes of a reply, in order."""
    if isinstance(reply, str):
        return [Say(reply, aloud)]
    if isinstance(reply, Call):
        return [*([Say(reply.say, aloud)] if reply.say else []), reply]
    return [Say(reply.commentary, aloud, "commentary"), Say(reply.answer, aloud, "final_answer")]


def from_json(text: str) -> tuple[Reply, ...]:
    """Read a script from a JSON list, as a file holds it."""
    try:
        replies = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"replies must be a JSON list: {exc}") from None
    if not isinstance(replies, list):
        raise InputError(f"replies must be a JSON list, not {clipped(replies)}")
    return script(replies)


# Calls of tools

# Words of a function's name that say nothing of what it is about.
_VERBS = "the get set tell call make find show look send ask give fetch read write check start stop"
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+\b")


def tool_call(tools: Sequence[dict[str, Any]], choice: object, item: Item | None) -> Call | None:
    """Return the call that a response makes; ``None`` if it makes none.

    Args:
        tools: The functions it may call.
        choice: ``auto``, ``none``, ``required``, or an object that names one.
        item: The item that the response answers.

    ``auto`` calls a function when a word of its name is in the user's words (``get_weather``: "weather"), and never in answer
    to a function's output.
    """
    functions = [tool for tool in tools if tool.get("type", "function") == "function"]
    words = words_of(item)
    matching = [tool for tool in functions if _is_named(tool["name"], words)]
    if choice == "none":
        return None
    if isinstance(choice, dict):
        matching = [tool for tool in functions if tool["name"] == choice.get("name")]
    elif choice == "required":
        matching = matching or functions
    elif item is None or item.type == "function_call_output":
        return None
    return Call(matching[0]["name"], arguments(matching[0].get("parameters"), words)) if matching else None


def _is_named(name: str, words: str) -> bool:
    return any(part.lower() in words.lower() for part in _WORD.findall(name) if part.lower() not in _VERBS.split())


def arguments(schema: object, words: str) -> dict[str, Any]:
    """Make arguments for a JSON schema: its required properties, each the simplest value of its type.

    A text is a name out of the user's words, if there is one. Schemas inside of properties are not followed:
    script a `Call` where a client needs more.
    """
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties") or {}
    names = iter(_CAPITALISED.findall(words))
    plain: dict[str, Any] = {"integer": 1, "number": 1, "boolean": True, "null": None, "object": {}, "array": []}
    values: dict[str, Any] = {}
    for name in schema.get("required") or list(properties)[:1]:
        prop = properties.get(name)
        prop = prop if isinstance(prop, dict) else {}
        kind = prop.get("type")
        if "const" in prop or "default" in prop:
            values[name] = prop.get("const", prop.get("default"))
        elif prop.get("enum"):
            values[name] = prop["enum"][0]
        elif kind in ("integer", "number") and prop.get("minimum") is not None:
            values[name] = prop["minimum"]
        elif isinstance(kind, str) and kind in plain:
            values[name] = plain[kind]
        else:
            values[name] = next(names, "something")
    return values


def arguments_json(call: Call) -> str:
    """Return the arguments as the JSON text that a call carries."""
    return json.dumps(call.arguments, ensure_ascii=False)


# Lines of the repertoire

_JOKE_LIKE = re.compile(
    r"\b(jokes?|funny|hilarious|laugh|pun|another( one)?|one more|again|more|next)\b", re.IGNORECASE
)
_GREETING = re.compile(r"^\W*(hi|hello|hey|good (morning|afternoon|evening))\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(thanks|thank you)\b", re.IGNORECASE)
_FAREWELL = re.compile(r"\b(bye|goodbye|see you)\b", re.IGNORECASE)
_COUNT = re.compile(r"\bcount\b", re.IGNORECASE)


def answered_item(items: Sequence[Item]) -> Item | None:
    """Return what a reply answers: the last item that is not the assistant's."""
    return next((item for item in reversed(items) if item.role == "user" or item.type == "function_call_output"), None)


def words_of(item: Item | None) -> str:
    """Return the words of an item: written, transcribed or recognised."""
    return "" if item is None else item.words or item.recognised or ""


def _tag(item: Item | None) -> str | None:
    """Return which kind of answer the item asks for; ``None`` for a joke."""
    if item is None:
        return "greeting"
    if item.type == "function_call_output":
        return "after-tool"
    words = words_of(item)
    if not words:
        # sound without words: heard if there is no recogniser, else silence or noise
        if item.has("user", "audio"):
            return "heard" if item.recognised is None else "silence"
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


def choose(items: Sequence[Item], spoken_before: Sequence[str], draws: Draws, turn: int) -> str:
    """Choose the text of the next reply.

    Args:
        items: The items that the response reads.
        spoken_before: The texts of this session's replies: no line comes twice while another is left.
        draws: The session's draws; the same seed, trial and turn choose the same line.
        turn: Which reply of the session this is, from 0.
    """
    tag = _tag(answered_item(items))
    lines = speech.repertoire("joke") if tag is None else speech.repertoire("answer", tag=tag)
    used = set(spoken_before) | {item.words for item in items}
    fresh = [line.text for line in lines if line.text not in used]
    if not fresh:
        fresh = [line.text for line in speech.repertoire("answer", tag="no-more" if tag is None else tag)]
    return draws.random("reply", turn).choice(fresh or [line.text for line in speech.repertoire("answer")])
