"""Items out of other people's JSON: the API's events and items, and Chat Completions messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pybase64

from ..errors import HistoryError, clipped
from ..wire.dialect import BETA, GA
from .items import HistoryItem, Part, whole, words

if TYPE_CHECKING:
    from . import History

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
        from ..clip import Clip

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
