"""What a client sent, held against what was sent when it was recorded: where they differ, and which ids stand for which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import clipped
from ..eventlog.redact import MARK
from ..eventlog.writing import without_audio

_TAG = "kit_request"  # the key in `metadata` by which the kit knows its responses; another client has none


class Ids:
    """The client's own ids, as recorded and as they are now."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def learn(self, recorded: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
        """Take note of the ids that a client chose in an event."""
        pairs = [(recorded.get("event_id"), sent.get("event_id")), (_tag(recorded), _tag(sent))]
        then, now = recorded.get("item"), sent.get("item")
        if isinstance(then, dict) and isinstance(now, dict):
            pairs.append((then.get("id"), now.get("id")))
        self._now |= {a: b for a, b in pairs if isinstance(a, str) and isinstance(b, str) and a != b}

    def now(self, value: Any) -> Any:
        """A recorded value with today's ids."""
        if isinstance(value, str):
            return self._now.get(value, value) if len(value) <= 512 else value
        if isinstance(value, dict):
            return {key: self.now(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.now(each) for each in value]
        return value


def difference(recorded: Mapping[str, Any], sent: Mapping[str, Any], ids: Ids) -> str | None:
    """Where a client's event departs from the recorded one, in words; ``None`` if it does not.

    Ids that the client chooses may be others; sound must be the same, but for what is appended to the input buffer as it is
    heard; what was redacted may be anything.
    """
    if recorded.get("type") != sent.get("type"):
        return f"recorded was {_said(recorded)}, now came {_said(sent)}"
    return _differ(_plain(ids.now(dict(recorded))), _plain(dict(sent)), str(recorded.get("type")))


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what may be different: ids of its own, the kit's tag, sound by its hash."""
    event = {key: value for key, value in event.items() if key != "event_id" and value is not None}
    if event.get("type") == "input_audio_buffer.append":
        event.pop("audio", None)
    item = event.get("item")
    if isinstance(item, dict):
        event["item"] = {key: value for key, value in item.items() if key not in ("id", "object")}
    response = event.get("response")
    if isinstance(response, dict):
        metadata = response.get("metadata")
        if isinstance(metadata, dict):
            metadata = {key: value for key, value in metadata.items() if key != _TAG}
            response = {key: value for key, value in response.items() if key != "metadata"}
            event["response"] = response | ({"metadata": metadata} if metadata else {})
        if not event["response"]:
            del event["response"]
    plain: dict[str, Any] = without_audio(event)
    return plain


def _differ(then: Any, now: Any, where: str) -> str | None:
    if isinstance(then, str) and MARK in then:
        return None
    if isinstance(then, dict) and isinstance(now, dict):
        for key in (*then, *(key for key in now if key not in then)):
            if key not in then:
                return f"{where}.{key} was not sent then; now it is {clipped(now[key])}"
            if key not in now:
                return f"{where}.{key} is missing; then it was {clipped(then[key])}"
            found = _differ(then[key], now[key], f"{where}.{key}")
            if found:
                return found
        return None
    if isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            return f"{where} had {len(then)} parts, now it has {len(now)}"
        for n, (a, b) in enumerate(zip(then, now, strict=True)):
            found = _differ(a, b, f"{where}[{n}]")
            if found:
                return found
        return None
    return None if then == now else f"{where} was {clipped(then)}, now it is {clipped(now)}"


def _said(event: Mapping[str, Any]) -> str:
    item = event.get("item")
    words = ""
    if isinstance(item, dict) and isinstance(item.get("content"), list):
        words = " ".join(str(part.get("text", "")) for part in item["content"] if isinstance(part, dict)).strip()
    return f"{event.get('type')}{f' ({clipped(words, 60)})' if words else ''}"


def _tag(event: Mapping[str, Any]) -> Any:
    response = event.get("response")
    metadata = response.get("metadata") if isinstance(response, dict) else None
    return metadata.get(_TAG) if isinstance(metadata, dict) else None
