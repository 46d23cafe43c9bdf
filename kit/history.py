"""A conversation history: built, imported, checked, saved. Written once, spelled per dialect.

::

    history = (History()
               .user("Tell me a joke.")
               .assistant("Why don't skeletons fight each other? They don't have the guts!")
               .user("Another one, please."))

A history is a value: every builder returns a new one, so a longer case is a shorter one plus its turns. It stores no
dialect; `wire.dialect` spells it when it is sent and says, before that, what the service would refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pybase64

from . import show
from .errors import HistoryError, clipped
from .wire.dialect import BETA, GA, MAX_APPEND_BYTES, Dialect, dialect, spell_part
from .wire.refusals import Refusal, refuse_item

if TYPE_CHECKING:
    from .clip import Clip

__all__ = ["Finding", "Findings", "History", "HistoryItem", "Part"]

# What a history is made of: items and their parts, spelled for a dialect when they are sent.


ASSISTANT_AUDIO = ("audio", "output_audio")  # what a server's own dump calls it


@dataclass(frozen=True, slots=True)
class Part:
    """One content part: text or a clip, spelled as its role and dialect want it.

    `wire_type` is ``None`` but for a part that was imported with a type that is wrong for its role in both dialects (or
    that the kit does not build, such as ``input_image``): that type is kept, so that `History.lint` can name it.
    """

    text: str | None = None
    clip: Clip | None = None
    wire_type: str | None = None
    extra: tuple[tuple[str, Any], ...] = ()
    """Fields beside the payload, as they came (``transcript``, ``image_url``, ``detail``)."""

    def spelled(self, role: str, d: Dialect) -> dict[str, Any]:
        out: dict[str, Any] = {"type": self.wire_type or spell_part("audio" if self.clip else "text", role, d)}
        if self.text is not None:
            out["text"] = self.text
        if self.clip is not None:
            out["audio"] = pybase64.b64encode(self.clip.to_bytes()).decode("ascii")
        return out | dict(self.extra)


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One item: a message (``role`` and ``parts``), a function call or its output (``fields``)."""

    type: str
    role: str | None = None
    parts: tuple[Part, ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()
    """Everything else, as it goes over the wire: ``id``, ``call_id``, ``name``, ``arguments``, ``output``, …"""

    def spelled(self, d: Dialect) -> dict[str, Any]:
        """The item as it goes over the wire."""
        out: dict[str, Any] = {"type": self.type} | dict(self.fields)
        if self.role is not None:
            out["role"] = self.role
        if self.type == "message":
            out["content"] = [part.spelled(self.role or "", d) for part in self.parts]
        return out

    def get(self, name: str) -> Any:
        """A field by its wire name; ``None`` if it has none such."""
        return dict(self.fields).get(name)

    @property
    def text(self) -> str:
        """What it says, in words."""
        if self.type == "function_call":
            return f"{self.get('name')}({self.get('arguments')})"
        if self.type == "function_call_output":
            return str(self.get("output"))
        said = (
            part.text or dict(part.extra).get("transcript") or (part.clip.text if part.clip else "")
            for part in self.parts
        )
        return " ".join(str(words) for words in said if words)


def words(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise HistoryError(f"{what} must be text, not {clipped(value)}")
    return whole(value, what)


def whole(text: str, what: str) -> str:
    """Text that can be sent: JSON's escapes can say half of a surrogate pair, UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise HistoryError(
            f"{what} holds half of a character (a lone surrogate) at position {exc.start}: {clipped(text)}; "
            "read it as UTF-8, or take that character out"
        ) from exc
    return text


def part_of(role: str, content: object) -> Part:
    if isinstance(content, str):
        return Part(whole(content, f"a {role} turn"))
    from .clip import Clip  # with numpy, which a session of text has no use for

    if not isinstance(content, Clip):
        hint = "; open a sound file with Clip.load()" if role == "user" else ""
        raise HistoryError(
            f"a {role} turn is text{' or a Clip' if role == 'user' else ''}, not {clipped(content)}{hint}"
        )
    if role != "user":
        raise HistoryError(
            f"the API takes no {role} audio from a client, in neither dialect; give the turn's transcript"
        )
    return Part(clip=content)


# Items out of other people's JSON: the API's events and items, and Chat Completions messages.


_ROLES = ("system", "user", "assistant")
_TEXTS = ("text", "input_text", "output_text")
"""What parts of text are called: in Chat Completions, and in the Responses and Realtime APIs."""


def place_after(previous: object, items: Sequence[HistoryItem], n: int) -> int:
    """Where an event's ``previous_item_id`` puts its item; at the end if it has none."""
    if previous is None:
        return len(items)
    if previous == "root":
        return 0
    for at, item in enumerate(items):
        if item.get("id") == previous:
            return at + 1
    raise HistoryError(
        f"entry {n} goes after item {clipped(previous)}, which is not before it in the list; "
        "add that item, or leave previous_item_id out"
    )


def item_of(told: Mapping[str, Any], n: int) -> HistoryItem:
    kind = told.get("type", "message" if "role" in told else None)
    if not isinstance(kind, str):
        raise HistoryError(f"entry {n} has no type; an item is a message, a function_call or a function_call_output")
    role = told.get("role")
    fields = tuple((k, v) for k, v in told.items() if k not in ("type", "role", "content", "object"))
    if kind != "message":
        return HistoryItem(kind, fields=fields)
    if not isinstance(role, str) or role not in _ROLES:
        raise HistoryError(f"entry {n} has role {clipped(role)}; a message is from 'system', 'user' or 'assistant'")
    content = told.get("content")
    if isinstance(content, str):
        return HistoryItem(kind, role, (Part(whole(content, f"entry {n}")),), fields)
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise HistoryError(f"entry {n} has content {clipped(content)}; it must be a list of content parts")
    return HistoryItem(kind, role, tuple(_imported(part, role, n) for part in content), fields)


def _imported(told: Mapping[str, Any], role: str, n: int) -> Part:
    kind = told.get("type")
    if not isinstance(kind, str):
        raise HistoryError(
            f"entry {n} has a content part without a type: {clipped(told)}; it is input_text or the like"
        )
    text, audio = told.get("text"), told.get("audio")
    clip = None
    payload = ("type", *(name for name in ("text", "audio") if isinstance(told.get(name), str)))
    extra = {k: v for k, v in told.items() if k not in payload}
    if isinstance(audio, str):
        from .clip import Clip

        try:
            clip = Clip.from_pcm(pybase64.b64decode(audio, validate=True), text=str(told.get("transcript") or ""))
        except ValueError as exc:
            raise HistoryError(f"entry {n} has audio that is not base64 of 24 kHz PCM ({exc})") from exc
    # Spelled anew only where that gives the same part: a server's own dump has input_audio without its audio.
    seedable = kind in GA.seedable[role] or kind in BETA.seedable[role]
    same = seedable and (clip is not None if kind == "input_audio" else isinstance(text, str) and clip is None)
    words = whole(text, f"entry {n}") if isinstance(text, str) else None
    return Part(words, clip, None if same else kind, tuple(extra.items()))


def from_message(history: History, n: int, message: Mapping[str, Any]) -> History:
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):  # parts of text; a Realtime item has no use for the others
        other = [part for part in content if not (isinstance(part, Mapping) and part.get("type") in _TEXTS)]
        if other:
            raise HistoryError(
                f"message {n} has a part that is not text: {clipped(other[0])}; leave it out or use a Clip"
            )
        content = "\n".join(str(part.get("text", "")) for part in content)
    if role == "tool":
        return history.function_output(
            words(content, f"message {n}'s content"), words(message.get("tool_call_id"), "tool_call_id")
        )
    if role in ("system", "developer"):
        return history.system(words(content, f"message {n}'s content"))
    if role == "user":
        return history.user(words(content, f"message {n}'s content"))
    if role != "assistant":
        raise HistoryError(
            f"message {n} has role {clipped(role)}; there are system, developer, user, assistant and tool"
        )
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list | tuple):
        raise HistoryError(f"message {n} has tool_calls {clipped(calls)}; they come as a list")
    if content is None and not calls:
        raise HistoryError(
            f"message {n} is an assistant's and has neither content nor tool_calls: {clipped(dict(message))}; "
            "give its words as content, or leave it out"
        )
    if content or not calls:
        history = history.assistant(words(content, f"message {n}'s content"))
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise HistoryError(f"message {n} has a tool call without a function: {clipped(call)}")
        history = history.function_call(function.get("name"), function.get("arguments", ""), call.get("id"))  # type: ignore[arg-type]
    return history


# What the service would refuse of a history, before anything is sent or paid for.


@dataclass(frozen=True, slots=True)
class Finding:
    """One item that the service would refuse, and the `error` that it would send.

    Attributes:
        index: Which item, from 0.
        code, message, param: The service's own.
        advice: What to do about it.
    """

    index: int
    code: str | None
    message: str
    param: str | None
    advice: str

    def __str__(self) -> str:
        return f"item {self.index}: {self.message} {self.advice}"


class Findings(list[Finding]):
    """What `History.lint` found; empty means that the service should take every item."""

    def __init__(self, found: Iterable[Finding], d: Dialect) -> None:
        super().__init__(found)
        self.dialect = d.name

    def __repr__(self) -> str:
        if not self:
            return f"<lint ({self.dialect}): the service should take every item>"
        return "\n".join([f"<lint ({self.dialect}): {len(self)} would be refused>", *map(str, self)])

    def _repr_html_(self) -> str:
        if not self:
            return show.esc(repr(self))
        rows = [
            [str(f.index), show.esc(f.code), show.esc(f.message), show.esc(f.param), show.esc(f.advice)] for f in self
        ]
        return show.table(rows, ["item", "code", "the service's error", "param", "what to do"])


_ADVICE = {
    "invalid_value": "Use .user(), .assistant() or .system(), which spell the type for each dialect.",
    "missing_required_parameter": "Give it, or leave the item out.",
    "string_above_max_length": "Shorten the id to 32 characters.",
}


def lint(items: Iterable[HistoryItem], d: Dialect) -> Iterator[Finding]:
    seen: set[str] = set()
    calls: set[str] = set()
    for n, item in enumerate(items):
        wire = item.spelled(d)
        refusal = refuse_item(wire, d)
        if refusal is not None:
            advice = _ADVICE.get(refusal.code or "", "")
            if item.role == "assistant" and any(part.wire_type in ASSISTANT_AUDIO for part in item.parts):
                advice = "Assistant audio can be seeded in neither dialect: .with_transcripts() makes it text."
            yield _found(n, refusal, advice)
            continue
        item_id, call_id = wire.get("id"), wire.get("call_id")
        if isinstance(item_id, str) and item_id in seen:
            # The code is unverified.
            message = f"Error adding item: the item with id '{item_id}' already exists."
            yield _found(n, Refusal("item_create_duplicate_id", message), "Give each item its own id, or none.")
            continue
        if isinstance(item_id, str):
            seen.add(item_id)
        if item.type == "function_call" and call_id:
            calls.add(call_id)
        if item.type == "function_call_output" and call_id not in calls:
            # That the service checks this was reported; its words and code are unverified.
            message = f"No tool call found for function call output with call_id {call_id}."
            yield _found(n, Refusal("invalid_value", message, "item.call_id"), "Put its .function_call() before it.")
        for m, part in enumerate(item.parts):
            if part.clip is not None and part.clip.n_samples * 2 > MAX_APPEND_BYTES:
                # The limit is documented for input_audio_buffer.append; that it holds for items is unverified.
                message = f"Audio of {part.clip.n_samples * 2} bytes is over the limit of {MAX_APPEND_BYTES}."
                yield _found(n, Refusal("invalid_value", message, f"item.content[{m}].audio"), "Use a shorter clip.")


def _found(n: int, refusal: Refusal, advice: str) -> Finding:
    return Finding(n, refusal.code, refusal.message, refusal.param, advice)


_MAX_FILE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class History:
    """Items to seed before the first response. Immutable; builders return a longer history."""

    items: tuple[HistoryItem, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.items, tuple) or not all(isinstance(item, HistoryItem) for item in self.items):
            raise HistoryError(
                f"History() begins empty and is built with .user() and its siblings, not of {clipped(self.items)}; "
                "History.from_events() takes a list of items"
            )

    # ------------------------------------------------------------------------------------------------------- builders

    def user(self, *content: str | Clip) -> History:
        """A user's turn: text, a `Clip`, or several parts of one message."""
        return self._message("user", content)

    def assistant(self, text: str) -> History:
        """An assistant's turn, as text. The API takes assistant audio from nobody, in neither dialect."""
        return self._message("assistant", (text,))

    def system(self, text: str) -> History:
        """A system message, as an item of the conversation (not the session's instructions)."""
        return self._message("system", (text,))

    def function_call(self, name: str, arguments: str | Mapping[str, Any], call_id: str) -> History:
        """A call that the model made. `arguments` is JSON text, or a mapping that becomes it."""
        if isinstance(arguments, Mapping):
            try:
                arguments = json.dumps(dict(arguments), allow_nan=False)
            except (TypeError, ValueError, RecursionError) as exc:
                raise HistoryError(
                    f"arguments cannot be made JSON ({exc}): {clipped(arguments)}; use text, numbers, lists and mappings"
                ) from exc
        if not isinstance(arguments, str):
            raise HistoryError(f"arguments must be JSON text or a mapping, not {clipped(arguments)}")
        return self._add(
            "function_call", call_id=words(call_id, "call_id"), name=words(name, "name"), arguments=arguments
        )

    def function_output(self, output: str, call_id: str) -> History:
        """What a call gave back."""
        return self._add("function_call_output", call_id=words(call_id, "call_id"), output=words(output, "output"))

    def _message(self, role: str, content: Sequence[object]) -> History:
        if not content:
            raise HistoryError(f"a {role} turn needs content: text{' or a Clip' if role == 'user' else ''}")
        return History((*self.items, HistoryItem("message", role, tuple(part_of(role, part) for part in content))))

    def _add(self, type: str, **fields: Any) -> History:
        return History((*self.items, HistoryItem(type, fields=tuple(fields.items()))))

    def __add__(self, other: History) -> History:
        if not isinstance(other, History):
            return NotImplemented
        return History(self.items + other.items)

    # -------------------------------------------------------------------------------------------------- looking at it

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[HistoryItem]:
        return iter(self.items)

    def __getitem__(self, index: int | slice) -> HistoryItem | History:
        return History(self.items[index]) if isinstance(index, slice) else self.items[index]

    def spelled(self, dialect_name: str | Dialect = "ga") -> list[dict[str, Any]]:
        """The items as they go over the wire, audio included."""
        d = dialect(dialect_name)
        return [item.spelled(d) for item in self.items]

    def lint(self, dialect_name: str | Dialect = "ga") -> Findings:
        """Every item that the service would refuse, with the error it would give; nothing is sent.

        What only the model can judge (whether it will speak, whether the history fits its window) is not looked at.
        """
        d = dialect(dialect_name)
        return Findings(lint(self.items, d), d)

    def __repr__(self) -> str:
        turns = ", ".join(item.role or item.type for item in self.items)
        return f"<History of {len(self)}: {turns}>" if self.items else "<History, empty>"

    def _repr_html_(self) -> str:
        if not self.items:
            return show.esc(repr(self))
        refused = {d.name: {found.index for found in lint(self.items, d)} for d in (GA, BETA)}
        rows = [
            [
                str(n),
                show.esc(item.role or item.type),
                show.esc(item.text) + "".join(show.player(p.clip.to_bytes()) for p in item.parts if p.clip),
                *(_as_sent(item, d, n in refused[d.name]) for d in (GA, BETA)),
            ]
            for n, item in enumerate(self.items)
        ]
        return show.table(rows, ["", "who", "says", "as GA sends it", "as beta sends it"])

    # ---------------------------------------------------------------------------------------------- import and export

    @classmethod
    def from_events(cls, events: Iterable[Mapping[str, Any]]) -> History:
        """From the JSON of the API's docs: `conversation.item.create` events, or bare items, in either dialect.

        A content type that is right in one of the dialects is respelled when sent in the other. One that is wrong for its
        role in both is kept, and `lint` names it. A ``previous_item_id`` is followed: the items are in the order of the
        conversation that the events would make.

        Raises:
            HistoryError: Naming the first entry that is neither an item nor an event that creates one.
        """
        if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
            raise HistoryError(f"a history is a list of events or items, not {clipped(events)}; put the item in a list")
        items: list[HistoryItem] = []
        for n, event in enumerate(events):
            if not isinstance(event, Mapping):
                raise HistoryError(f"entry {n} must be an event or an item (a JSON object), not {clipped(event)}")
            kind = event.get("type")
            told = event.get("item") if kind == "conversation.item.create" else event
            if not isinstance(told, Mapping) or (isinstance(kind, str) and "." in kind and told is event):
                raise HistoryError(
                    f"entry {n} has type {clipped(kind)}; a history takes conversation.item.create events and bare items"
                )
            previous = event.get("previous_item_id") if told is not event else None
            items.insert(place_after(previous, items, n), item_of(told, n))
        return cls(tuple(items))

    @classmethod
    def from_chat(cls, messages: Iterable[Mapping[str, Any]]) -> History:
        """From Chat Completions messages: roles system, developer, user, assistant (with tool calls) and tool.

        Raises:
            HistoryError: Naming the first message that cannot be an item.
        """
        if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
            raise HistoryError(f"chat messages come as a list, not {clipped(messages)}; put the message in a list")
        history = cls()
        for n, message in enumerate(messages):
            if not isinstance(message, Mapping):
                raise HistoryError(f"message {n} must be a JSON object with a role, not {clipped(message)}")
            history = from_message(history, n, message)
        return history

    def save(self, path: str | Path) -> Path:
        """Write the items as a JSON list, spelled for GA, audio included; returns the absolute path.

        Raises:
            HistoryError: If it cannot be written there.
        """
        target = _path(path).resolve()
        try:
            target.write_text(json.dumps(self.spelled("ga"), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as exc:
            raise HistoryError(f"cannot write {target}: {exc.strerror or exc}; check the path") from exc
        return target

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote, or any JSON list that `from_events` takes.

        Raises:
            HistoryError: If there is no such file, or it is not a JSON list of items.
        """
        source = _path(path)
        try:
            size = source.stat().st_size
            if size > _MAX_FILE_BYTES:
                raise HistoryError(
                    f"{source} is {size / 1e6:.0f} MB; a history of more than {_MAX_FILE_BYTES / 1e6:.0f} MB is not read"
                )
            told = json.loads(source.read_text(encoding="utf-8"))
        except OSError as exc:
            raise HistoryError(f"cannot read {source}: {exc.strerror or exc}; check the path") from exc
        except (ValueError, RecursionError) as exc:
            raise HistoryError(f"{source} is not JSON ({exc}); a history file is a JSON list of items") from exc
        if not isinstance(told, list):
            raise HistoryError(
                f"{source} holds {clipped(told, 40)}, not a list; a history file is a JSON list of items"
            )
        return cls.from_events(told)

    def with_transcripts(self) -> History:
        """Every assistant audio part turned into text of its transcript: what makes a server's own dump seedable."""

        def mended(part: Part) -> Part:
            transcript = dict(part.extra).get("transcript")
            spoken = part.wire_type in ASSISTANT_AUDIO and isinstance(transcript, str)
            return Part(str(transcript)) if spoken else part

        return History(
            tuple(
                replace(item, parts=tuple(map(mended, item.parts))) if item.role == "assistant" else item
                for item in self.items
            )
        )


def _path(path: object) -> Path:
    if not isinstance(path, str | Path) or not str(path):
        raise HistoryError(f"a path is text or a Path, not {clipped(path)}")
    return Path(path).expanduser()


def _as_sent(item: HistoryItem, d: Dialect, refused: bool) -> str:
    kinds = ", ".join(part.spelled(item.role or "", d)["type"] for part in item.parts) or item.type
    return f"<code>{show.esc(kinds)}</code>{' – refused, see lint()' if refused else ''}"
