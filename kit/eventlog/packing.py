"""Responses that are over as a few bytes each, so that a session of a million fits into memory."""

from __future__ import annotations

from typing import Any

import msgspec

from ..wire.records import TOKENS, ContentPart, FunctionCall, Response, tokens

_PLAIN = (
    "id", "status", "reason", "error", "asked", "started_by", "started_at_ms", "created_at_ms", "first_audio_at_ms",
    "first_text_at_ms", "first_transcript_at_ms", "done_at_ms", "item_ids", "conversation_id", "metadata", "voice", "event_id",
    "output_format", "simulated", "n_surplus", "n_bad_audio", "partial",
)  # fmt: skip
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def packed(response: Response) -> bytes:
    """A response without its sound; of its usage the counts that rows have."""
    data = _encode(
        (
            [getattr(response, name) for name in _PLAIN],
            [*tokens(response.usage).values()] if response.usage else None,
            [(*key, part.text, part.n_bytes) for key, part in response.parts.items()],
            [(n, c.name, c.call_id, c.status, c.item_id, c.arguments) for n, c in response.calls_by_index.items()],
        )
    )
    return bytes(memoryview(data))  # a copy, which is exact: the encoder's own may have room at its end


def unpacked(data: bytes) -> Response:
    """The response that was `packed`."""
    plain, counts, parts, calls = _decode(data)
    response = Response(None)
    for name, value in zip(_PLAIN, plain, strict=True):
        setattr(response, name, tuple(value) if name == "asked" and value is not None else value)
    if counts is not None:
        response.usage = _usage(counts)
    for output, content, kind, text, n_bytes in parts:
        response.parts[output, content, kind] = ContentPart(kind, words=text, n_not_kept=n_bytes)
    for index, name, call_id, status, item_id, arguments in calls:
        response.calls_by_index[index] = FunctionCall(name, call_id, status, item_id, [arguments])
    return response


def _usage(counts: list[int | None]) -> dict[str, Any]:
    usage: dict[str, Any] = {}
    for path, count in zip(TOKENS.values(), counts, strict=True):
        place = usage
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = count
    return usage
