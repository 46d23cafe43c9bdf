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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pybase64

from . import chats, show
from .chats import MAX_FILE_BYTES, ROLES, text_value
from .errors import HistoryError, clipped
from .files import read_text, writable_path
from .wire.dialect import BETA, GA, MAX_APPEND_BYTES, Dialect, dialect, spell_part
from .wire.refusals import Refusal, refuse_item

if TYPE_CHECKING:
    from .clip import Clip

__all__ = ["Finding", "Findings", "History", "HistoryItem", "HistoryPart"]

ASSISTANT_AUDIO = ("audio", "output_audio")  # what a server's own dump calls it
_MAX_ROWS = 200  # of a table in a cell
_FILE_FORM = "a history file is a JSON list of items (chat messages: History.from_chat)"


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """One content part: text or a clip, spelled as its role and dialect want it.

    `wire_type` is ``None`` but for a part that was imported with a type that is wrong for its role in both dialects (or
    that the kit does not build, such as ``input_image``): that type is kept, so that `History.lint` can name it.
    """

    text: str | None = None  # ``None`` of sound, and of parts that the kit does not build
    clip: Clip | None = None
    wire_type: str | None = None
    extra: tuple[tuple[str, Any], ...] = ()
    """Fields beside the payload, as they came (``transcript``, ``image_url``, ``detail``)."""

    def serialize(self, role: str, d: Dialect) -> dict[str, Any]:
        """Spell the part as it goes over the wire."""
        part: dict[str, Any] = {"type": self.wire_type or spell_part("audio" if self.clip else "text", role, d)}
        if self.text is not None:
            part["text"] = self.text
        if self.clip is not None:
            part["audio"] = pybase64.b64encode(self.clip.to_bytes()).decode("ascii")
        return part | dict(self.extra)


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One item: a message (``role`` and ``parts``), a function call or its output (``fields``)."""

    type: str
    role: str | None = None
    parts: tuple[HistoryPart, ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()
    """Everything else, as it goes over the wire: ``id``, ``call_id``, ``name``, ``arguments``, ``output``, …"""

    def serialize(self, d: Dialect) -> dict[str, Any]:
        """Spell the item as it goes over the wire."""
        item: dict[str, Any] = {"type": self.type} | dict(self.fields)
        if self.role is not None:
            item["role"] = self.role
        if self.type == "message":
            item["content"] = [part.serialize(self.role or "", d) for part in self.parts]
        return item

    def get(self, name: str) -> Any:
        """Return a field by its wire name; ``None`` if it has no such field."""
        return dict(self.fields).get(name)

    @property
    def text(self) -> str:
        """Its words."""
        if self.type == "function_call":
            return f"{self.get('name')}({self.get('arguments')})"
        if self.type == "function_call_output":
            return str(self.get("output"))
        texts = (
            part.text or dict(part.extra).get("transcript") or (part.clip.text if part.clip else "")
            for part in self.parts
        )
        return " ".join(str(text) for text in texts if text)


# --------------------------------------------------------------------------------------------- items out of the API's JSON


def _item(entry: Mapping[str, Any], n: int) -> HistoryItem:
    """Read a bare item, in either dialect."""
    kind = entry.get("type", "message" if "role" in entry else None)
    if not isinstance(kind, str):
        raise HistoryError(f"entry {n} has no type; an item is a message, a function_call or a function_call_output")
    role = entry.get("role")
    # `object` is beta's, and always "realtime.item" (wire/README.md, Item event twins).
    fields = tuple((k, v) for k, v in entry.items() if k not in ("type", "role", "content", "object"))
    if kind != "message":
        return HistoryItem(kind, fields=fields)
    if role not in ROLES:
        raise HistoryError(f"entry {n} has role {clipped(role)}; a message is from 'system', 'user' or 'assistant'")
    content = entry.get("content")
    # No shape of the API's own, but a common one: all the words as one string.
    if isinstance(content, str):
        return HistoryItem(kind, role, (HistoryPart(text_value(content, f"entry {n}")),), fields)
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise HistoryError(f"entry {n} has content {clipped(content)}, no list of content parts (chats: from_chat)")
    return HistoryItem(kind, role, tuple(_part(part, str(role), n) for part in content), fields)


def _part(fields: Mapping[str, Any], role: str, n: int) -> HistoryPart:
    extra = dict(fields)  # less what is spelled anew when it is sent: all other fields stay as they came
    kind, text, clip = extra.pop("type", None), None, None
    if not isinstance(kind, str):
        raise HistoryError(f"entry {n} has a content part without a type, such as input_text: {clipped(fields)}")
    if isinstance(fields.get("text"), str):
        text = text_value(extra.pop("text"), f"entry {n}")
    if isinstance(fields.get("audio"), str):
        from .clip import Clip  # with numpy, which a session of text has no use for

        try:
            data = pybase64.b64decode(extra.pop("audio"), validate=True)
            clip = Clip.from_pcm(data, text=str(fields.get("transcript") or ""))
        except ValueError as exc:
            raise HistoryError(f"entry {n} has audio that is not base64 of 24 kHz PCM ({exc})") from exc
    # Spelled anew only where that yields the same part: a server's own dump has input_audio without its audio.
    seedable = kind in GA.seedable[role] or kind in BETA.seedable[role]
    same = seedable and (clip is not None if kind == "input_audio" else text is not None and clip is None)
    return HistoryPart(text, clip, None if same else kind, tuple(extra.items()))


def _entries(events: Iterable[Any]) -> Iterator[tuple[HistoryItem, object]]:
    """Read each item of events or bare items, and the id of the one that it goes after."""
    for n, entry in enumerate(chats.of_agents(chats.objects(events, "entry", "item"))):
        kind, previous = entry.get("type"), None
        if kind == "conversation.item.create" and isinstance(entry.get("item"), Mapping):
            previous, entry = entry.get("previous_item_id"), entry["item"]
        # Events have a dot in their name, items have none.
        elif isinstance(kind, str) and "." in kind:
            raise HistoryError(f"entry {n} is {clipped(kind)}, neither an item nor a conversation.item.create")
        yield _item(entry, n), previous


def _in_order(entries: Iterable[tuple[HistoryItem, object]]) -> Iterator[HistoryItem]:
    """Put each item after the one whose id is beside it: a linked list, so that any order is found in linear time."""
    items: list[HistoryItem] = []  # as they came; a place is an index into it, and −1 the beginning
    following: dict[int, int] = {}  # place of an item → the place of the one after it
    last = -1
    places: dict[str, int] = {"root": -1}  # of two with one id the first counts; `lint` names the second
    for n, (item, previous) in enumerate(entries):
        place = last if previous is None else places.get(previous) if isinstance(previous, str) else None
        if place is None:
            raise HistoryError(f"entry {n} goes after an unknown item, {clipped(previous)}; leave previous_item_id out")
        items.append(item)
        if isinstance(item_id := item.get("id"), str):
            places.setdefault(item_id, n)
        # Put in between: what came after its predecessor now comes after it.
        if place in following:
            following[n] = following[place]
        following[place] = n
        last = n if place == last else last
    place = -1
    while place in following:
        place = following[place]
        yield items[place]


# ------------------------------------------------- what the service would refuse, before anything is sent or paid for


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
    """The items that `History.lint` found; empty means that the service should take every item."""

    def __init__(self, findings: Iterable[Finding], d: Dialect, n_items: int) -> None:
        super().__init__(findings)
        self.dialect, self.n_items = d.name, n_items

    def __repr__(self) -> str:
        if not self:
            return f"<lint ({self.dialect}): the service should take every item>"
        return "\n".join([f"<lint ({self.dialect}): {len(self)} would be refused>", *map(str, self)])

    def _repr_html_(self) -> str:
        if not self:
            return f"✓ lint ({show.esc(self.dialect)}): the service should take all {self.n_items} items"
        rows = [[show.esc(cell) for cell in (f.index, f.code, f.message, f.param, f.advice)] for f in self]
        return show.table(rows, ["item", "code", "the service's error", "param", "what to do"])


# By the code of the refusal.
_ADVICE = {
    "invalid_value": "Use .user(), .assistant() or .system(), which spell the type for each dialect.",
    "missing_required_parameter": "Give it, or leave the item out.",
    "string_above_max_length": "Shorten the id to 32 characters.",
}


def _transcript(item: HistoryItem, part: HistoryPart) -> str | None:
    """The words of a part that was spoken and cannot be seeded as sound: an assistant's, or a user's without its audio."""
    words = dict(part.extra).get("transcript")
    silent = part.wire_type in ASSISTANT_AUDIO if item.role == "assistant" else part.wire_type == "input_audio"
    return words if silent and isinstance(words, str) else None


@dataclass(frozen=True, slots=True)
class History:
    """Items to seed before the first response. Immutable; builders return a longer history.

    ::

        history = History().system("Be brief.").user("Tell me a joke.").assistant("…").user("Another one, please.")
        history.lint("ga")                      # what the service would refuse, before anything is sent
        await session.seed(history)

    Built by `user`, `assistant`, `system`, `function_call`, `function_output`; made of what exists by `from_events` (the
    API's own items, a session's dump), `from_chat` (Chat Completions), `from_livekit`, `from_chatgpt`, `from_sharegpt`,
    `load`.

    Attributes:
        items: In the order of the conversation.
        notes: What an importer left out; it does not count when histories are compared.
    """

    items: tuple[HistoryItem, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    # What `lint` found, by dialect: a plan seeds the same history hundreds of times.
    _linted: dict[str, tuple[Finding, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # `History([…])` is a likely mistake, and a list could change under every longer history.
        if not isinstance(self.items, tuple) or not all(isinstance(item, HistoryItem) for item in self.items):
            raise HistoryError(f"build a History() with .user() or from_events(), not {clipped(self.items)}")

    # ------------------------------------------------------------------------------------------------------- builders

    def user(self, *content: str | Clip) -> History:
        """Add a user's turn: text, a `Clip`, or several parts of one message."""
        return self._message("user", content)

    def assistant(self, text: str) -> History:
        """Add an assistant's turn, as text. The API takes assistant audio from no client, in neither dialect."""
        return self._message("assistant", (text,))

    def system(self, text: str) -> History:
        """Add a system message, as an item of the conversation (not the session's instructions)."""
        return self._message("system", (text,))

    def function_call(self, name: str, arguments: str | Mapping[str, Any], call_id: str) -> History:
        """Add a call that the model made. `arguments` is JSON text, or a mapping that becomes it."""
        if isinstance(arguments, Mapping):
            try:
                # NaN would become a word that is no JSON.
                arguments = json.dumps(dict(arguments), allow_nan=False)
            except (TypeError, ValueError, RecursionError) as exc:
                raise HistoryError(f"arguments are no JSON ({exc}): {clipped(arguments)}; use text or numbers") from exc
        if not isinstance(arguments, str):
            raise HistoryError(f"arguments must be JSON text or a mapping, not {clipped(arguments)}")
        fields = {"call_id": text_value(call_id, "call_id"), "name": text_value(name, "name"), "arguments": arguments}
        return self + History((HistoryItem("function_call", fields=tuple(fields.items())),))

    def function_output(self, output: str, call_id: str) -> History:
        """Add what a call returned."""
        fields = {"call_id": text_value(call_id, "call_id"), "output": text_value(output, "output")}
        return self + History((HistoryItem("function_call_output", fields=tuple(fields.items())),))

    def _message(self, role: str, content: tuple[object, ...]) -> History:
        kinds = "text or a Clip" if role == "user" else "text"
        if not content:
            raise HistoryError(f"a {role} turn needs content: {kinds}")
        parts = []
        for value in content:
            if isinstance(value, str):
                parts.append(HistoryPart(text_value(value, f"a {role} turn")))
                continue
            from .clip import Clip  # with numpy, which a session of text has no use for

            if not isinstance(value, Clip):
                hint = "; open a sound file with Clip.load()" if role == "user" else ""
                raise HistoryError(f"a {role} turn is {kinds}, not {clipped(value)}{hint}")
            if role != "user":
                raise HistoryError(f"the API takes no {role} audio from a client; give the turn's transcript")
            parts.append(HistoryPart(clip=value))
        return self + History((HistoryItem("message", role, tuple(parts)),))

    def __add__(self, other: History) -> History:
        if not isinstance(other, History):
            return NotImplemented
        return History(self.items + other.items, self.notes + other.notes)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[HistoryItem]:
        return iter(self.items)

    def __getitem__(self, index: int | slice) -> HistoryItem | History:
        return History(self.items[index], self.notes) if isinstance(index, slice) else self.items[index]

    def serialize(self, dialect_name: str | Dialect = "ga") -> list[dict[str, Any]]:
        """Spell the items as they go over the wire, audio included."""
        d = dialect(dialect_name)
        return [item.serialize(d) for item in self.items]

    def lint(self, dialect_name: str | Dialect = "ga") -> Findings:
        """Find every item that the service would refuse, with the error it would send; nothing is sent.

        What only the model can judge (whether it will speak, whether the history fits its window) is not looked at.
        """
        d = dialect(dialect_name)
        if d.name in self._linted:
            return Findings(self._linted[d.name], d, len(self))
        refused: list[tuple[int, Refusal, str]] = []  # index, the service's word, advice
        # Of the items before: the service refuses a second item of an id, and an output without its call.
        item_ids: set[str] = set()
        call_ids: set[str] = set()
        for n, item in enumerate(self.items):
            wire = item.serialize(d)
            if refusal := refuse_item(wire, d):
                advice = _ADVICE.get(refusal.code or "", "")
                if any(_transcript(item, part) is not None for part in item.parts):
                    advice = "It was spoken, and its audio is not here: .with_transcripts() makes it text."
                elif item.role == "assistant" and any(part.wire_type in ASSISTANT_AUDIO for part in item.parts):
                    advice = "Assistant audio can be seeded in neither dialect; give the turn's words as text."
                refused.append((n, refusal, advice))
                continue
            item_id, call_id = wire.get("id"), wire.get("call_id")
            if isinstance(item_id, str) and item_id in item_ids:
                # The code is unverified (wire/README.md, Positions).
                message = f"Error adding item: the item with id '{item_id}' already exists."
                refusal = Refusal("item_create_duplicate_id", message)
                refused.append((n, refusal, "Give each item its own id, or none."))
                continue
            if isinstance(item_id, str):
                item_ids.add(item_id)
            if item.type == "function_call" and call_id:
                call_ids.add(call_id)
            if item.type == "function_call_output" and call_id not in call_ids:
                # That the service checks this was reported; its words and code are unverified.
                message = f"No tool call found for function call output with call_id {call_id}."
                refusal = Refusal("invalid_value", message, "item.call_id")
                refused.append((n, refusal, "Put its .function_call() before it."))
            for m, part in enumerate(item.parts):
                if part.clip is not None and part.clip.n_samples * 2 > MAX_APPEND_BYTES:
                    # The limit is documented for input_audio_buffer.append; that it holds for items is unverified.
                    message = f"Audio of {part.clip.n_samples * 2} bytes is over the limit of {MAX_APPEND_BYTES}."
                    refusal = Refusal("invalid_value", message, f"item.content[{m}].audio")
                    refused.append((n, refusal, "Use a shorter clip."))
        self._linted[d.name] = tuple(
            Finding(n, refusal.code, refusal.message, refusal.param, advice) for n, refusal, advice in refused
        )
        return Findings(self._linted[d.name], d, len(self))

    def __repr__(self) -> str:
        turns = ", ".join(item.role or item.type for item in self.items[:_MAX_ROWS])
        notes = "".join(f"; {show.one_line(note, 120)}" for note in self.notes[:9])
        return f"<History of {len(self)}: {turns}{notes}>" if self.items else "<History, empty>"

    def _repr_html_(self) -> str:
        if not self.items:
            return show.esc(repr(self))
        # For both dialects, since a history belongs to neither.
        refused = [(d, {finding.index for finding in self.lint(d)}) for d in (GA, BETA)]
        rows = []
        for n, item in enumerate(self.items[:_MAX_ROWS]):
            players = "".join(" " + show.player(part.clip.to_bytes()) for part in item.parts if part.clip)
            rows.append([str(n), show.esc(item.role or item.type), show.esc(item.text) + players])
            for d, indexes in refused:
                kinds = ", ".join(part.serialize(item.role or "", d)["type"] for part in item.parts) or item.type
                mark = " – refused, see lint()" if n in indexes else ""
                rows[-1].append(f"<code>{show.esc(kinds)}</code>{mark}")
        notes = [f"{len(self) - _MAX_ROWS:,} more items"] if len(self) > _MAX_ROWS else []
        table = show.table(rows, ["", "who", "says", "as GA sends it", "as beta sends it"])
        return table + show.esc("; ".join([*notes, *self.notes]))

    # ---------------------------------------------------------------------------------------------- import and export

    @classmethod
    def from_events(cls, events: Iterable[Any]) -> History:
        """Read the JSON of the API's docs: `conversation.item.create` events or bare items, in either dialect, or the history
        of an Agents SDK session.

        A content type that is right in one of the dialects is respelled when sent in the other. One that is wrong for its
        role in both is kept, and `lint` names it. An event's ``previous_item_id`` is followed: the items are in the order of
        the conversation that the events would make. What was spoken becomes seedable by `with_transcripts`.
        """
        return cls(tuple(_in_order(_entries(events))))

    @classmethod
    def from_chat(cls, messages: Iterable[Any] | str | Path, *, line: int = 0) -> History:
        """Read Chat Completions messages: roles system, developer, user, assistant (with tool calls, a refusal, or a spoken
        reply) and tool.

        A picture or a file is left out, and `notes` says so.

        Args:
            messages: A list of messages or of an SDK's message objects, an object with ``messages``, or the path of a file of
                them (JSON or JSON Lines).
            line: Which conversation of a JSON Lines file, from 0.
        """
        return cls._of(chats.of_chat(chats.read_chat(messages, line) if isinstance(messages, str | Path) else messages))

    @classmethod
    def from_livekit(cls, context: Any) -> History:
        """Read LiveKit's chat context: ``session.history.to_dict()``."""
        return cls._of(chats.of_livekit(context))

    @classmethod
    def from_chatgpt(cls, export: Any, *, index: int = 0) -> History:
        """Read a conversation of ChatGPT's data export: ``json.load(open("conversations.json"))``, the `index`-th of them."""
        return cls._of(chats.of_chatgpt(export, index))

    @classmethod
    def from_sharegpt(cls, conversation: Any) -> History:
        """Read ShareGPT's form, common for data sets: ``{"conversations": [{"from": "human", "value": "…"}, …]}``."""
        return cls._of(chats.of_sharegpt(conversation))

    @classmethod
    def _of(cls, imported: chats.Items) -> History:
        items, notes = imported
        return replace(cls.from_events(items), notes=tuple(notes))

    def save(self, path: str | Path) -> Path:
        """Write the items as a JSON list, spelled for GA, audio included; returns the absolute path."""
        target = writable_path(path, error=HistoryError).resolve()
        try:
            target.write_text(json.dumps(self.serialize("ga"), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as exc:
            raise HistoryError(f"cannot write {target}: {exc.strerror or exc}; check the path") from exc
        return target

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save` wrote, or any JSON list that `from_events` takes."""
        text = read_text(path, MAX_FILE_BYTES, error=HistoryError)
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise HistoryError(f"{path} is not JSON ({exc}); {_FILE_FORM}") from exc
        if not isinstance(entries, list):
            raise HistoryError(f"{path} holds {clipped(entries, 40)}; {_FILE_FORM}")
        return cls.from_events(entries)

    def with_transcripts(self) -> History:
        """Make text of every spoken part whose audio cannot be sent: an assistant's, and a user's that comes without audio.

        This makes a server's own dump of a conversation seedable. A user's turn that has its audio stays as it is.
        """
        items = []
        for item in self.items:
            words = [(part, _transcript(item, part)) for part in item.parts]
            parts = tuple(part if text is None else HistoryPart(text) for part, text in words)
            items.append(replace(item, parts=parts))
        return replace(self, items=tuple(items))
