"""Conversations that other programs saved, as items of the Realtime API. `History.from_chat` and its siblings use it.

Each reader takes decoded JSON (or the objects of an SDK) and returns bare items, spelled for GA, with a note for everything
that was left out. What it does not know it refuses: a conversation that lost a turn silently would be measured as another one.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import HistoryError, InputError, clipped
from .files import read_text

Items = tuple[list[dict[str, Any]], list[str]]  # bare items, and what was left out

MAX_FILE_BYTES = 256 * 1024 * 1024
ROLES = ("system", "user", "assistant")
# A part of text, as Chat Completions and the Responses and Realtime APIs call it.
_TEXTS = ("text", "input_text", "output_text")
# Left out, with a note.
_PICTURES = (
    "image", "image_url", "input_image", "image_content", "image_asset_pointer", "file", "input_file", "video_url",
)  # fmt: skip


def text_value(value: object, name: str) -> str:
    """Check that a value is text that can be sent.

    JSON's escapes can say half of a surrogate pair, and UTF-8 cannot.
    """
    if not isinstance(value, str):
        raise HistoryError(f"{name} must be text, not {clipped(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as exc:
        problem = f"half of a character (a lone surrogate) at position {exc.start}: {clipped(value)}"
        raise HistoryError(f"{name} holds {problem}; read it as UTF-8, or take that character out") from exc
    return value


def objects(entries: object, noun: str, thing: str = "") -> Iterator[Mapping[str, Any]]:
    """Go through a list of JSON objects, or of an SDK's objects that can be dumped to them (pydantic's `model_dump`).

    Raises:
        HistoryError: For anything that is no list, and at the first entry that is no object. `noun` is what an entry is called,
            `thing` what somebody may have given in the place of a list.
    """
    if isinstance(entries, str | bytes | Mapping) or not isinstance(entries, Iterable):
        raise HistoryError(f"a history is a list, not {clipped(entries)}; put the {thing or noun} in a list")
    for n, entry in enumerate(entries):
        if not isinstance(entry, Mapping) and callable(dump := getattr(entry, "model_dump", None)):
            entry = dump()
        if not isinstance(entry, Mapping):
            raise HistoryError(f"{noun} {n} must be a JSON object, not {clipped(entry)}")
        yield entry


def _message(role: str, text: str) -> dict[str, Any]:
    part = {"type": "output_text" if role == "assistant" else "input_text", "text": text}
    return {"type": "message", "role": role, "content": [part]}


def _output(call_id: object, output: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


# ------------------------------------------------------------------------------------------------------- Chat Completions
def of_chat(messages: object) -> Items:
    """Read Chat Completions messages, with tool calls, legacy function calls, refusals and spoken replies."""
    if isinstance(messages, Mapping) and "messages" in messages:
        messages = messages["messages"]
    items: list[dict[str, Any]] = []
    notes: list[str] = []
    legacy_ids: dict[str, str] = {}  # the API of 2023 has no call ids: an output answers the last call of its name
    for n, message in enumerate(objects(messages, "message")):
        where, role = f"message {n}", message.get("role")
        if role not in ("system", "developer", "user", "assistant", "tool", "function"):
            raise HistoryError(
                f"{where} has role {clipped(role)}; it is system, developer, user, assistant, tool, function"
            )
        parts = _parts(message.get("content"), role, where, notes)
        texts = [part["text"] for part in parts or () if "text" in part]
        content = None if parts is None else "\n".join(texts)
        if role in ("tool", "function"):
            call_id = message.get("tool_call_id") if role == "tool" else legacy_ids.get(str(message.get("name")))
            items.append(
                _output(text_value(call_id, f"{where}'s tool_call_id"), text_value(content, f"{where}'s content"))
            )
        elif role == "user" and parts and len(texts) < len(parts):  # with sound
            items.append({"type": "message", "role": "user", "content": parts})
        elif role != "assistant":
            # Newer models call a system message a developer's.
            items.append(_message("user" if role == "user" else "system", text_value(content, f"{where}'s content")))
        else:
            items += _assistant(message, texts, n, legacy_ids)
    return items, notes


def _parts(content: object, role: object, where: str, notes: list[str]) -> list[dict[str, Any]] | None:
    """The text and sound of a message's content; ``None`` where it has no content."""
    if content is None:
        return None
    if not isinstance(content, list):
        return [{"type": "input_text", "text": text_value(content, f"{where}'s content")}]
    parts: list[dict[str, Any]] = []
    pictures = 0
    for part in content:
        fields = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = fields.get("type", fields.get("content_type")) if isinstance(fields, Mapping) else None
        # A spoken reply's part has a transcript, a refusal's a field of its own.
        names = ("text", "transcript", "refusal") if kind else ()
        texts = [fields[name] for name in names if isinstance(fields.get(name), str)]
        # A user's only: no other role's sound can be seeded (wire/README.md, Content types by role).
        sound = fields.get("input_audio") if kind == "input_audio" and role == "user" else None
        if isinstance(sound, Mapping) and (audio := _pcm(sound.get("data"))):
            parts.append({"type": "input_audio", "audio": audio})
        elif texts or kind in _TEXTS:
            parts.append({"type": "input_text", "text": text_value(texts[0] if texts else None, f"a part of {where}")})
        elif kind in _PICTURES or kind in ("input_audio", "audio", "audio_content"):
            pictures += 1
            notes.append(f"{where}: {'an' if str(kind)[0] in 'aeiou' else 'a'} {kind} was left out")
        else:
            raise HistoryError(f"{where} has a part that is not text: {clipped(part)}; leave it out or use a Clip")
    if pictures and not parts:  # the turn is counted as one, whatever it showed
        parts.append({"type": "input_text", "text": "[not text]"})
    return parts


def _pcm(data: object) -> str | None:
    """A sound file in base64 as base64 of the API's PCM; ``None`` if it cannot be read."""
    from .clip import Clip  # with numpy, which a conversation of text has no use for

    try:
        clip = Clip.load(io.BytesIO(base64.b64decode(data if isinstance(data, str) else "", validate=True)))
    except (ValueError, InputError):  # it is left out, and a note says so
        return None
    return base64.b64encode(clip.to_bytes()).decode()


def _assistant(
    message: Mapping[str, Any], texts: list[str], n: int, legacy_ids: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """What an assistant's message says and calls: its text, or its refusal, or the words of its spoken reply."""
    where, audio = f"message {n}", message.get("audio")
    # A refusal and a spoken reply have no content.
    if not any(texts):
        transcript = audio.get("transcript") if isinstance(audio, Mapping) else None
        texts = [text for text in (message.get("refusal"), transcript) if isinstance(text, str) and text] or texts
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list | tuple):
        raise HistoryError(f"{where} has tool_calls {clipped(calls)}; they come as a list")
    if isinstance(legacy := message.get("function_call"), Mapping):
        legacy_ids[str(legacy.get("name"))] = f"call_{n}"
        calls = [*calls, {"id": f"call_{n}", "function": legacy}]
    if not texts and not calls:
        raise HistoryError(f"{where} has no content and no tool_calls; leave it out: {clipped(dict(message))}")
    # A message with nothing but calls makes no item of its own.
    if any(texts) or not calls:
        yield _message("assistant", text_value("\n".join(texts), f"{where}'s content"))
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise HistoryError(f"{where} has a tool call without a function: {clipped(call)}")
        arguments = function.get("arguments", "")
        if not isinstance(arguments, str):
            raise HistoryError(f"{where} has a tool call whose arguments are not JSON text: {clipped(arguments)}")
        yield {
            "type": "function_call",
            "call_id": text_value(call.get("id"), f"{where}'s call_id"),
            "name": text_value(function.get("name"), f"{where}'s function name"),
            "arguments": arguments,
        }


def read_chat(path: str | Path, line: int = 0) -> list[Mapping[str, Any]]:
    """Read the messages of a chat file.

    Args:
        path: JSON, a list of messages or an object with ``messages``; or JSON Lines, with one of these or one message per line.
        line: Which conversation of a JSON Lines file, from 0.
    """
    text = read_text(path, MAX_FILE_BYTES, error=HistoryError)
    documents: list[Any]
    try:
        documents = [json.loads(text)]  # as a whole first: one document may have line breaks anywhere
    except (ValueError, RecursionError):
        try:
            documents = [json.loads(row) for row in text.splitlines() if row.strip()]
        except (ValueError, RecursionError) as exc:
            raise HistoryError(f"{path} is not JSON ({exc}); it is a list of chat messages, or one per line") from exc
    if documents and all(isinstance(d, Mapping) and "role" in d and "messages" not in d for d in documents):
        documents = [documents]  # a message per line is one conversation
    if line >= len(documents):
        n = f"{len(documents)} conversation{'' if len(documents) == 1 else 's'}"
        raise HistoryError(f"{path} has {n}; there is no line={line}")
    document = documents[line]
    messages = document.get("messages") if isinstance(document, Mapping) else document
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise HistoryError(f'{path} holds {clipped(document, 40)}, not chat messages: [{{"role": …, "content": …}}, …]')
    return messages


# --------------------------------------------------------------------------------------- other programs' own conversations


def of_agents(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rename what the Agents SDKs call otherwise in `session.history` (JS: ``itemId``; Python: ``item_id``).

    Their list is in the order of the conversation, so that ``previousItemId`` adds nothing. A tool call has its output in it.
    Items that are the API's own pass through as they are.
    """
    for item in items:
        if "itemId" not in item and not ("item_id" in item and item.get("type") in ("message", "function_call")):
            yield item
            continue
        own = ("itemId", "item_id", "previousItemId", "previous_item_id", "output")
        fields = {name: value for name, value in item.items() if name not in own and value is not None}
        item_id = item.get("itemId", item.get("item_id"))
        if fields.get("type") != "function_call":
            yield {"id": item_id} | fields
            continue
        call = {name: fields[name] for name in ("type", "name", "arguments", "call_id") if name in fields}
        # Where it has no call id, the item's serves: its output below names the same.
        yield {"id": item_id, "call_id": item_id} | call
        if isinstance(output := item.get("output"), str):
            yield _output(call.get("call_id", item_id), output)


def of_livekit(context: object) -> Items:
    """Read LiveKit's `ChatContext.to_dict()`: ``{"items": [{"type": "message", "role": …, "content": ["…"]}, …]}``."""
    entries = context.get("items") if isinstance(context, Mapping) else context
    items: list[dict[str, Any]] = []
    notes: list[str] = []
    for n, entry in enumerate(objects(entries, "item")):
        kind = entry.get("type", "message")
        if kind == "message":
            message_items, message_notes = of_chat([{"role": entry.get("role"), "content": entry.get("content")}])
            items += message_items
            # `of_chat` saw one message, and counted from 0.
            notes += [note.replace("message 0", f"item {n}") for note in message_notes]
        elif kind in ("function_call", "function_call_output"):
            fields = ("type", "call_id", *(("name", "arguments") if kind == "function_call" else ("output",)))
            items.append({name: entry[name] for name in fields if name in entry})
        else:
            notes.append(f"item {n}: {clipped(kind)} was left out")
    return items, notes


def of_sharegpt(conversation: object) -> Items:
    """Read ShareGPT's form: ``{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}``."""
    roles = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
    turns = conversation.get("conversations") if isinstance(conversation, Mapping) else conversation
    messages = []
    for n, turn in enumerate(objects(turns, "turn")):
        role = roles.get(str(turn.get("from")))
        if role is None:
            raise HistoryError(f"turn {n} is from {clipped(turn.get('from'))}; there are {', '.join(roles)}")
        messages.append({"role": role, "content": turn.get("value")})
    return of_chat(messages)


def of_chatgpt(export: object, index: int = 0) -> Items:
    """Read a conversation of ChatGPT's data export (``conversations.json``), along the branch that was shown last."""
    conversations = [export] if isinstance(export, Mapping) else list(objects(export, "conversation"))
    if not 0 <= index < len(conversations):
        raise HistoryError(f"there are {len(conversations)} conversations; there is no index={index}")
    mapping, node_id = conversations[index].get("mapping"), conversations[index].get("current_node")
    if not isinstance(mapping, Mapping):
        raise HistoryError(f"conversation {index} has no mapping of messages; conversations.json of the export has")
    # From the last message to the root; in a damaged file there may be a circle, hence no more steps than nodes.
    branch: list[Mapping[str, Any]] = []
    while isinstance(node_id, str) and isinstance(node := mapping.get(node_id), Mapping) and len(branch) < len(mapping):
        branch.append(node)
        node_id = node.get("parent")
    messages, notes = [], []
    for node in reversed(branch):
        message = node.get("message")
        fields: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
        author, content = fields.get("author"), fields.get("content")
        role = author.get("role") if isinstance(author, Mapping) else None
        kind = content.get("content_type") if isinstance(content, Mapping) else None
        parts = content.get("parts") if isinstance(content, Mapping) else None
        if role in ROLES and kind in ("text", "multimodal_text") and isinstance(parts, list):
            if any(parts):  # it begins with a system message that is empty
                messages.append({"role": role, "content": parts})
        elif fields:
            notes.append(f"{clipped(kind)} of {clipped(role)} was left out")
    items, message_notes = of_chat(messages)
    return items, notes + message_notes
