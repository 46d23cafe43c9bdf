"""The conversation as the server keeps it: items in order, what a client may do to them, and what they cost to read.

An item is kept with its sound; on the wire sound is only ever shown by `conversation.item.retrieved`.

Audio tokens are the service's: one per 100 ms of the user's speech, one per 50 ms of the assistant's (244 tokens for 12.304 s, 16
for 1.63 s: wire logs of 2025-06 and 2026-09). Text tokens are an **approximation**: the service counts with its tokenizer, this
counts words, numbers and signs. On the recordings of 2026-07 it comes within a few tokens.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pybase64

from ..wire.dialect import Dialect
from ..wire.refusals import missing, refuse_item, wrong_type
from .settings import Refused, refuse
from .sound import AudioFormat, decoded, duration_ms

USER_MS_PER_TOKEN = 100
ASSISTANT_MS_PER_TOKEN = 50
# `cached_tokens` comes in multiples of it.
CACHE_BLOCK = 64

_PIECE = re.compile(r"[^\W\d_]{1,9}|\d{1,3}|[^\w\s]|_")
# Role and separators; "Your name is Alice, and …" is 12 pieces and 14 tokens.
_PER_MESSAGE = 3

# Of tokens: the figure of the 2026-09 captures.
LIMIT_PER_MINUTE = 40_000
# Beta told requests as well (log of 2025-06).
REQUESTS_PER_MINUTE = 20_000


def text_tokens(text: str) -> int:
    """Count the tokens of a text, about."""
    return len(_PIECE.findall(text))


def audio_tokens(ms: float, ms_per_token: int) -> int:
    """Count the tokens of a piece of audio: one per started period."""
    return -int(-ms // ms_per_token)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens of one piece of context."""

    # Which piece it is, so that a cached beginning can be recognised.
    key: str
    text: int = 0
    audio: int = 0


def usage(
    context: Sequence[TokenCount], before: Sequence[TokenCount], text_out: int, audio_out: int, d: Dialect, is_2x: bool
) -> dict[str, Any]:
    """Return the `usage` of a response that read `context`, after one that read `before`, and wrote so many tokens.

    The common beginning of the two, in whole blocks of 64 tokens, is cached. The gpt-realtime-2 family (`is_2x`) counts two kinds of
    tokens more: their names were seen (2026-09); where they stand, and that the written ones are those read and not cached, is unverified.
    """
    text, audio = sum(count.text for count in context), sum(count.audio for count in context)
    same_text = same_audio = 0
    for piece, earlier in zip(context, before, strict=False):
        if piece != earlier:
            break
        same_text, same_audio = same_text + piece.text, same_audio + piece.audio
    cached = (same_text + same_audio) // CACHE_BLOCK * CACHE_BLOCK
    cached_text = min(same_text, cached)
    image = {"image_tokens": 0} if d.name == "ga" else {}
    read: dict[str, Any] = {"text_tokens": text, "audio_tokens": audio, **image, "cached_tokens": cached}
    read["cached_tokens_details"] = {"text_tokens": cached_text, "audio_tokens": cached - cached_text, **image}
    output = {"text_tokens": text_out, "audio_tokens": audio_out}
    if is_2x:
        read["cache_write_tokens"] = text + audio - cached
        output["reasoning_tokens"] = 0
    return {
        "total_tokens": text + audio + text_out + audio_out,
        "input_tokens": text + audio,
        "output_tokens": text_out + audio_out,
        "input_token_details": read,
        "output_token_details": output,
    }


def transcription_usage(model: str, ms: float, transcript: str) -> dict[str, Any]:
    """Return the `usage` of a transcription of so much sound."""
    if "whisper" in model:  # 2.8 s came as 3 (recording of 2026-07)
        return {"type": "duration", "seconds": math.ceil(ms / 1000)}
    audio, text = audio_tokens(ms, USER_MS_PER_TOKEN), text_tokens(transcript)
    return {
        "type": "tokens",
        "total_tokens": audio + text,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": text,
    }


def rate_limits(total_tokens: int, d: Dialect) -> list[dict[str, Any]]:
    """Return what is left of the minute after a response: 1,510 tokens of 40,000 take 2.265 s to return, as in the captures."""
    tokens = ("tokens", LIMIT_PER_MINUTE, min(total_tokens, LIMIT_PER_MINUTE))
    limits = [tokens] if d.name == "ga" else [("requests", REQUESTS_PER_MINUTE, 1), tokens]
    return [
        {"name": name, "limit": limit, "remaining": limit - used, "reset_seconds": round(used * 60 / limit, 3)}
        for name, limit, used in limits
    ]


@dataclass(slots=True)
class Part:
    """One content part. `kind` is neutral: ``text``, ``audio`` or ``image``."""

    kind: str
    # The words: of a text, or the transcript of a sound (``None`` where there is none).
    text: str | None = None
    # int16 mono at 24 kHz.
    pcm: bytes | memoryview = b""
    # Fields that the client sent and is shown again: an image and its detail.
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def audio_ms(self) -> float:
        return duration_ms(self.pcm)


@dataclass(slots=True)
class Item:
    """One item of a conversation."""

    id: str
    type: str
    role: str | None = None
    status: str = "completed"
    parts: list[Part] = field(default_factory=list)
    # The fields of a call, of its output, and of anything else that is not a message.
    fields: dict[str, Any] = field(default_factory=dict)
    # The words that the recogniser made of its sound, if it could. Not the transcript that clients see.
    recognised: str | None = None
    recognition: Literal["none", "running", "done"] = "none"

    def show(self, d: Dialect, *, with_audio: bool = False) -> dict[str, Any]:
        """Return the item as it looks in an event, its keys in wire order."""
        fields: dict[str, Any] = {"id": self.id}
        if d.name == "beta":
            fields["object"] = "realtime.item"
        fields["type"] = self.type
        if self.type in ("message", "function_call"):  # a function_call_output carries no status (recording of 2026-07)
            fields["status"] = self.status
        if self.type == "message":
            content: list[dict[str, Any]] = []
            for part in self.parts:
                if part.kind == "image":
                    content.append({"type": "input_image", **part.extra})
                elif part.kind == "text":
                    kind = d.assistant_text if self.role == "assistant" else "input_text"
                    content.append({"type": kind, "text": part.text})
                else:
                    kind = d.assistant_audio if self.role == "assistant" else "input_audio"
                    sound = {"audio": pybase64.b64encode(part.pcm).decode()} if with_audio else {}
                    content.append({"type": kind, "transcript": part.text} | sound)
            fields |= {"role": self.role, "content": content}
        return fields | self.fields

    def has(self, role: str, kind: str) -> bool:
        """Whether it is a message of that role with a part of that kind."""
        return self.type == "message" and self.role == role and any(part.kind == kind for part in self.parts)

    @property
    def words(self) -> str:
        """All of its text and transcripts."""
        return " ".join(part.text for part in self.parts if part.text)

    @property
    def n_bytes(self) -> int:
        """How much memory it takes, about. Speech of the assistant's is not counted: all sessions share it."""
        extras = [*self.fields.values(), *(value for part in self.parts for value in part.extra.values())]
        sizes = [len(value) if isinstance(value, str) else len(str(value)) for value in extras]
        sizes += [len(part.text or "") + (len(part.pcm) if isinstance(part.pcm, bytes) else 0) for part in self.parts]
        return 1_000 + sum(sizes)

    def tokens(self) -> TokenCount:
        """Count the tokens that reading it takes."""
        if self.type != "message":
            return TokenCount(self.id, text_tokens(" ".join(v for v in self.fields.values() if isinstance(v, str))))
        ms = sum(part.audio_ms for part in self.parts)
        if self.role == "assistant":
            key, words, ms_per_token = f"{self.id} {self.status}", self.words, ASSISTANT_MS_PER_TOKEN
        else:
            # the transcript of the user's sound is not shown to the model (unverified), so it costs nothing
            words = " ".join(part.text for part in self.parts if part.kind == "text" and part.text)
            key, ms_per_token = self.id, USER_MS_PER_TOKEN
        return TokenCount(key, text_tokens(words) + _PER_MESSAGE, audio_tokens(ms, ms_per_token))


def base64_from_client(data: object, format: AudioFormat, path: str) -> bytes:
    """Decode the base64 that a client sent as audio."""
    if not isinstance(data, str):
        raise Refused(wrong_type(path, "a string", data))
    try:
        return pybase64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        # from memory of the service's sentence; unverified
        expected = f"base64-encoded audio bytes ({'mono PCM16 at 24kHz' if format == 'pcm16' else format})"
        message = f"Invalid '{path}'. Expected {expected} but got an invalid value."
        raise refuse("invalid_value", message, path) from None


def item_from_client(raw: object, d: Dialect, format: AudioFormat, new_id: str, path: str = "item") -> Item:
    """Make the item that a client describes; raises what the service would refuse it by."""
    if refusal := refuse_item(raw, d, path):
        raise Refused(refusal)
    assert isinstance(raw, dict)
    item = Item(id=raw.get("id") or new_id, type=raw["type"])
    if item.type == "message":
        item.role = raw["role"]
        for n, part in enumerate(raw["content"]):
            if part["type"] == "input_audio":
                # a transcript that comes along is not echoed: the item comes back with null (wire/README.md, Item fields)
                data = base64_from_client(part["audio"], format, f"{path}.content[{n}].audio")
                item.parts.append(Part("audio", None, decoded(data, format)))
            elif part["type"] == "input_image":
                extra = {name: value for name, value in part.items() if name != "type"}
                item.parts.append(Part("image", extra=extra))
            else:
                item.parts.append(Part("text", part["text"]))
        if raw.get("phase") is not None:
            item.fields["phase"] = raw["phase"]
    else:
        order = {"function_call": ("name", "call_id", "arguments"), "function_call_output": ("call_id", "output")}
        names = order.get(item.type) or tuple(k for k in raw if k not in ("id", "object", "type", "status"))
        item.fields = {name: raw.get(name) for name in names}
    return item


class Conversation:
    """Items in order, and the rules for changing them (wire/README.md, Positions; Retrieve, delete, truncate)."""

    def __init__(self, id: str, max_bytes: int) -> None:
        self.id = id
        # For what clients put in; the assistant's speech is shared by all sessions.
        self._bytes_left = max_bytes
        # What the last response read: the beginning that the next one shares with it is cached.
        self.last_read: Sequence[TokenCount] = ()
        self._items: dict[str, Item] = {}
        # Their ids, in the order of the conversation.
        self._order: list[str] = []
        # Bytes by id, as they were counted when the item came.
        self._sizes: dict[str, int] = {}

    def __iter__(self) -> Iterator[Item]:
        return (self._items[id] for id in self._order)

    def __contains__(self, id: object) -> bool:
        return id in self._items

    def before(self, id: str) -> str | None:
        """Return the id of the item before this one; ``None`` for the first."""
        place = self._order.index(id)
        return self._order[place - 1] if place else None

    def add(self, item: Item, previous_item_id: object = None) -> str | None:
        """Put an item in its place and return the id of the item before it; raises what the service would refuse it by."""
        if previous_item_id is not None and not isinstance(previous_item_id, str):
            raise Refused(wrong_type("previous_item_id", "a string", previous_item_id))
        if item.id in self._items:
            # the sentence is speaches'; the code is unverified
            message = f"Error adding item: the item with id '{item.id}' already exists."
            raise refuse("item_create_duplicate_item_id", message)
        if previous_item_id is not None and previous_item_id != "root" and previous_item_id not in self._items:
            message = f"Error adding item: the previous item with id '{previous_item_id}' does not exist."
            raise refuse("item_create_invalid_previous_item_id", message)
        if item.type == "function_call_output" and not any(
            call.type == "function_call" and call.fields["call_id"] == item.fields["call_id"] for call in self
        ):
            # seen in livekit/agents #3344 (2025-09)
            call_id = item.fields["call_id"]
            raise refuse("invalid_tool_call_id", f"Tool call ID '{call_id}' not found in conversation.")
        n_bytes = item.n_bytes
        if n_bytes > self._bytes_left and item.role != "assistant":
            # the refusal is the stand-in's: a service refuses by tokens, long before
            raise refuse("conversation_full", "This stand-in keeps no more items in this conversation: delete some.")
        self._sizes[item.id] = n_bytes
        self._bytes_left -= n_bytes
        if previous_item_id is None:
            place = len(self._order)
        else:
            place = 0 if previous_item_id == "root" else self._order.index(previous_item_id) + 1
        self._order.insert(place, item.id)
        self._items[item.id] = item
        return self._order[place - 1] if place else None

    def get(self, id: object, verb: str) -> Item:
        """Return the item of that id; `verb` (``retrieve``, ``delete``, ``truncate``) is in the refusal's words."""
        if not isinstance(id, str):
            raise Refused(missing("item_id"))
        if id not in self._items:
            ing = {"retrieve": "retrieving", "delete": "deleting", "truncate": "truncating"}[verb]
            raise refuse(f"item_{verb}_invalid_item_id", f"Error {ing} item: the item with id '{id}' does not exist.")
        return self._items[id]

    def delete(self, id: object) -> Item:
        """Remove an item and return it."""
        item = self.get(id, "delete")
        self._order.remove(item.id)
        self._bytes_left += self._sizes.pop(item.id)
        del self._items[item.id]
        return item

    def truncate(self, id: object, content_index: int, audio_end_ms: int) -> Item:
        """Cut a spoken part at the point where the user stopped listening; its transcript is emptied, as the service does."""
        item = self.get(id, "truncate")
        part = item.parts[content_index] if 0 <= content_index < len(item.parts) else None
        if item.role != "assistant" or part is None or part.kind != "audio" or not part.pcm:
            raise refuse(None, "Only model output audio messages can be truncated")
        if audio_end_ms > part.audio_ms:
            message = f"Audio content of {part.audio_ms:.0f}ms is already shorter than {audio_end_ms}ms"
            raise refuse("invalid_value", message)
        part.pcm = part.pcm[: audio_end_ms * 48]  # 24 samples of two bytes each millisecond
        part.text = ""
        return item
