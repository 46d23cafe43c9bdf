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

from .. import show
from ..errors import HistoryError, clipped
from ..wire.dialect import BETA, GA, Dialect, dialect
from .importing import from_message, item_of, place_after
from .items import ASSISTANT_AUDIO, HistoryItem, Part, part_of, words
from .lint import Finding, Findings, lint

if TYPE_CHECKING:
    from ..clip import Clip

__all__ = ["Finding", "Findings", "History", "HistoryItem", "Part"]

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
