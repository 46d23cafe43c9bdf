"""The stand-in's replies: a script or rules if there are any, a tool's call where one is due, else a recorded joke or plain answer.

It is not a language model and does not reason. Lines of the repertoire are chosen by the session's draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import speech
from ..errors import InputError, MissingExtra, clipped
from .drift import Draws
from .items import Item


@dataclass(frozen=True, slots=True)
class Say:
    """A message, spoken or written."""

    text: str
    aloud: bool = True
    # ``commentary`` or ``final_answer``, as reasoning models mark their messages.
    phase: str | None = None


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
    """Check the replies that a stand-in shall give: texts, `Call`, `Reasoned`, or the two as JSON objects; all can be spoken."""
    if isinstance(replies, str | bytes) or not isinstance(replies, Sequence):
        raise InputError(f"replies must be a list of texts, not {clipped(replies)}")
    parsed = tuple(map(_reply, replies))
    needs_plain_voice(parsed)  # refuses what cannot be spoken at all
    return parsed


def needs_plain_voice(replies: Iterable[Reply]) -> bool:
    """Whether a text among replies is not recorded, and no synthesiser is installed to speak it.

    Raises:
        InputError: For a text in which nothing can be spoken.
    """
    hums = False
    for reply in replies:
        for output in outputs(reply, aloud=True):
            try:
                if isinstance(output, Say):
                    speech.say(output.text)
            except MissingExtra:
                hums = True
    return hums


def _reply(value: object) -> Reply:
    if isinstance(value, dict):
        if isinstance(value.get("call"), str) and value.keys() <= {"call", "arguments", "say"}:
            value = Call(value["call"], value.get("arguments") or {}, value.get("say"))
        elif value.keys() == {"commentary", "answer"}:
            value = Reasoned(**value)
    if isinstance(value, Call):
        try:
            json.dumps(value.arguments)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the arguments of a call must be JSON: {exc}") from None
    if isinstance(value, str | Call | Reasoned):
        says = [output.text for output in outputs(value, aloud=True) if isinstance(output, Say)]
        with contextlib.suppress(TypeError, UnicodeError):  # no text, or half a character
            "".join(says).encode()
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


def json_list(text: str, name: str) -> list[Any]:
    """Read a JSON list; `name` says in an error what it was to be."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{name} must be a JSON list: {exc}") from None
    if not isinstance(values, list):
        raise InputError(f"{name} must be a JSON list, not {clipped(values)}")
    return values


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """Answer with `reply` when the user's words match.

    Args:
        when: A regular expression, searched in the words without regard to case. An empty one matches everything.
        reply: A text, `Call` or `Reasoned`. Groups of the expression can be used in it: ``\\1`` or ``\\g<city>``.
        after: The name of a tool: the rule then answers an output of that tool, and `when` is searched in the output.
    """

    when: str
    reply: Reply
    after: str | None = None

    def answer(self, item: Item | None, items: Sequence[Item]) -> Reply | None:
        """Return the reply to an item; ``None`` where the rule does not match. Among `items` is the call that an output belongs to."""
        words = words_of(item)
        calls: list[str | None] = [None]  # what it is an output of
        if item is not None and item.type == "function_call_output":
            call_id, words = item.fields["call_id"], str(item.fields["output"])
            fields_of_calls = (call.fields for call in items if call is not item)
            calls = [fields.get("name") or "" for fields in fields_of_calls if fields.get("call_id") == call_id]
        return _SEARCHER.ask("search", self, words) if self.after in calls else None


class NoReply(Exception):
    """There is no reply: a rule takes too long or makes none of these words, or none matches where one must."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        # ``rule_fails`` or ``no_rule_matches``, as the failed response says it.
        self.code = code


# What runs in the other process: a line with verb, pattern, words and reply, answered by the reply with the groups of the match put in,
# by null without a match, or by what is wrong, in a list. A group of a long text, put in many times, would fill the memory.
_SEARCHES = r"""
import json, re, signal, sys

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches it, too
alarm = getattr(signal, "alarm", lambda seconds: None)  # ends this process, where whoever would kill it was killed

def put(value, change):
    if isinstance(value, str):
        return change(value) if "\\" in value else value
    if isinstance(value, dict):
        return {name: put(item, change) for name, item in value.items()}
    return [put(item, change) for item in value] if isinstance(value, list) else value

print(flush=True)
for line in sys.stdin:
    verb, when, words, reply = json.loads(line)
    alarm(10)
    try:
        pattern = re.compile(when, re.IGNORECASE)
        match = pattern.search(words)
        if verb == "check":
            put(reply, lambda text: pattern.sub(text, ""))
            answer = None
        elif match and len(match[0]) * json.dumps(reply).count("\\") > 100_000:
            raise ValueError("the reply would have more than 100,000 characters")
        else:
            answer = put(reply, match.expand) if match else None
    except Exception as exc:
        answer = [str(exc) or type(exc).__name__]
    alarm(0)
    print(json.dumps(answer), flush=True)
"""


class _Searcher:
    """Searches regular expressions in a process of its own, begun at the first search: one that takes for ever is killed.

    `re` takes no time limit, and holds all of Python meanwhile; the package `regex` takes one, and forgets it in some patterns.
    """

    LIMIT_S = 1.0

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        # Whose child it is: a process that was forked off begins another.
        self._pid = 0
        # Stand-ins may run on several threads.
        self._lock = threading.Lock()

    def ask(self, verb: str, rule: ReplyRule, words: str) -> Reply | None:
        """Return the rule's reply to these words; ``None`` where it does not match.

        Raises:
            NoReply: In a sentence that names the rule.
        """
        reply = rule.reply
        if isinstance(reply, Call):
            plain: Any = {"call": reply.name, "arguments": reply.arguments, "say": reply.say}
        else:
            plain = asdict(reply) if isinstance(reply, Reasoned) else reply
        request = json.dumps([verb, rule.when, words, plain])
        with self._lock:
            child = self._child
            if child is None or child.poll() is not None or self._pid != os.getpid():
                pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                child = self._child = subprocess.Popen([sys.executable, "-I", "-S", "-c", _SEARCHES], **pipes)
                self._pid = os.getpid()
                assert child.stdout is not None
                child.stdout.readline()  # it runs: from here the time is the search's own
            assert child.stdin is not None and child.stdout is not None
            timer = threading.Timer(self.LIMIT_S, child.kill)
            timer.start()
            try:
                print(request, file=child.stdin, flush=True)
                line = child.stdout.readline()
            except OSError:  # killed before it had read all of it
                line = ""
            timer.cancel()
            if not line:
                self._child = None
                child.kill()
                child.communicate()  # closes its pipes
        try:
            answer = json.loads(line) if line else [f"it takes longer than {self.LIMIT_S:g} s; simplify the pattern"]
            if isinstance(answer, list):
                raise InputError(answer[0])
            return None if answer is None else script([answer])[0]
        except InputError as exc:  # also where nothing in it can be spoken, or too much
            raise NoReply("rule_fails", f"the rule for {clipped(rule.when)} cannot work: {exc}") from None


_SEARCHER = _Searcher()


def rules(values: Sequence[object]) -> tuple[ReplyRule, ...]:
    """Check rules: `ReplyRule` or JSON objects ``{"when": …, "reply": …, "after": …}``; their regular expressions work."""
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InputError(f"rules must be a list, not {clipped(values)}")
    parsed = []
    for value in values:
        if isinstance(value, ReplyRule):
            value = {"when": value.when, "reply": value.reply, "after": value.after}
        if not isinstance(value, dict) or not {"when", "reply"} <= value.keys() <= {"when", "reply", "after"}:
            raise InputError(f"a rule is {{'when': pattern, 'reply': reply, 'after': tool}}, not {clipped(value)}")
        when, after = value["when"], value.get("after")
        if not isinstance(when, str) or not isinstance(after, str | None):
            raise InputError(f"'when' is a regular expression and 'after' the name of a tool, in {clipped(value)}")
        rule = ReplyRule(when, _reply(value["reply"]), after)
        try:
            _SEARCHER.ask("check", rule, "")
        except NoReply as exc:
            raise InputError(str(exc)) from None
        parsed.append(rule)
    return tuple(parsed)


# Calls of tools

# Words of a function's name that say nothing of what it is about.
_VERBS = "the get set tell call make find show look send ask give fetch read write check start stop"
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
# The simplest value of each type of a JSON schema but a text.
_SIMPLEST: dict[str, Any] = {"integer": 1, "number": 1, "boolean": True, "null": None, "object": {}, "array": []}
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][a-z]+\b")


def tool_call(tools: Sequence[dict[str, Any]], choice: object, item: Item | None) -> Call | None:
    """Return the call that a response makes in answer to an item; ``None`` if it makes none.

    `choice` is ``auto``, ``none``, ``required``, or an object that names a tool. ``auto`` calls a function when a word of its name is
    in the user's words (``get_weather``: "weather"), and never in answer to a function's output.
    """
    functions = [tool for tool in tools if tool.get("type", "function") == "function"]
    words, matching = words_of(item), []
    for tool in functions:
        about = (part.lower() for part in _WORD.findall(tool["name"]) if part.lower() not in _VERBS.split())
        if any(part in words.lower() for part in about):
            matching.append(tool)
    if choice == "none":
        return None
    if isinstance(choice, dict):
        matching = [tool for tool in functions if tool["name"] == choice.get("name")]
    elif choice == "required":
        matching = matching or functions
    elif item is None or item.type == "function_call_output":
        return None
    return Call(matching[0]["name"], _arguments(matching[0].get("parameters"), words)) if matching else None


def _arguments(schema: object, words: str) -> dict[str, Any]:
    """Make the simplest arguments that a plain JSON schema requires; a text is a name out of the user's words, if there is one.

    Script a `Call` where a client needs more.
    """
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties") or {}
    names = iter(_CAPITALISED.findall(words))
    values: dict[str, Any] = {}
    for name in schema.get("required") or list(properties)[:1]:
        field = properties.get(name)
        field = field if isinstance(field, dict) else {}
        if "const" in field or "default" in field:
            values[name] = field.get("const", field.get("default"))
        elif field.get("enum"):
            values[name] = field["enum"][0]
        elif field.get("type") in ("integer", "number") and field.get("minimum") is not None:
            values[name] = field["minimum"]
        elif str(field.get("type")) in _SIMPLEST:
            values[name] = _SIMPLEST[str(field["type"])]
        else:
            values[name] = next(names, "something")
    return values


# Lines of the repertoire

# What the user's words ask for, and the tag of the answer: the first that matches; ``None`` is a joke.
_TAGS: list[tuple[re.Pattern[str], str | None]] = [
    (re.compile(pattern, re.IGNORECASE), tag)
    for pattern, tag in (
        (r"\b(bye|goodbye|see you)\b", "farewell"),
        (r"\b(jokes?|funny|hilarious|laugh|pun|another( one)?|one more|again|more|next)\b", None),
        (r"\b(thanks|thank you)\b", "thanks"),
        (r"\bcount\b", "long"),
        (r"^\W*(hi|hello|hey|good (morning|afternoon|evening))\b", "greeting"),
    )
]


def answered_item(items: Sequence[Item]) -> Item | None:
    """Return what a reply answers: the last item that is not the assistant's."""
    return next((item for item in reversed(items) if item.role == "user" or item.type == "function_call_output"), None)


def words_of(item: Item | None) -> str:
    """Return the words of an item: written, transcribed or recognised."""
    return "" if item is None else item.words or item.recognised or ""


def choose(items: Sequence[Item], spoken_before: Sequence[str], draws: Draws, turn: int) -> str:
    """Choose the text of reply number `turn`, from 0, to these items; no line comes twice while another is left.

    The same seed, trial and turn choose the same line.
    """
    item = answered_item(items)
    words = words_of(item)
    tag: str | None  # ``None`` for a joke
    if item is None:
        tag = "greeting"
    elif item.type == "function_call_output":
        tag = "after-tool"
    elif not words:
        # sound without words: heard if there is no recogniser, else silence or noise
        tag = "heard" if item.has("user", "audio") and item.recognised is None else "silence"
    else:
        tag = next((tag for pattern, tag in _TAGS if pattern.search(words)), "self")
    lines = speech.repertoire("joke") if tag is None else speech.repertoire("answer", tag=tag)
    used = set(spoken_before) | {item.words for item in items}
    fresh = [line.text for line in lines if line.text not in used]
    if not fresh:
        fresh = [line.text for line in speech.repertoire("answer", tag="no-more" if tag is None else tag)]
    return draws.random("reply", turn).choice(fresh or [line.text for line in speech.repertoire("answer")])
