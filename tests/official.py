"""The official `openai` package as an oracle: is a frame what its event types say, and nothing more?

A frame is validated by pydantic in strict mode, and no object in it may hold a key that its type lacks, but for those named
in `BEYOND`: things that real sessions send and the package's types leave out, each with where it was seen, and the
stand-in's own mark.
"""

import functools
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import openai.types.beta.realtime as beta_types
import openai.types.live as live_types
import openai.types.realtime as ga_types
import shapes
from openai.types.beta.realtime.session import Session as BetaSession
from pydantic import BaseModel, TypeAdapter, ValidationError

# (dialect or *, event type or *, path) -> why it may be there
BEYOND = {
    ("*", "session.created", "session.simulated"): "the stand-in's mark",
    ("*", "session.updated", "session.simulated"): "the stand-in's mark",
    ("ga", "*", "obfuscation"): "on every text delta of the recordings of 2026-07",
    ("ga", "session.created", "session.id"): "in every GA recording; the type is the create request's",
    ("ga", "session.created", "session.object"): "the same",
    ("ga", "session.created", "session.expires_at"): "the same",
    ("ga", "session.updated", "session.id"): "the same",
    ("ga", "session.updated", "session.object"): "the same",
    ("ga", "session.updated", "session.expires_at"): "the same",
    ("beta", "session.created", "session.object"): "in every beta log; the type lacks it",
    ("beta", "session.created", "session.expires_at"): "the same",
    ("beta", "session.created", "session.client_secret"): "the same (2025-05)",
    ("beta", "session.created", "session.include"): "the same (2025-05)",
    ("beta", "session.updated", "session.object"): "in every beta log; the type lacks it",
    ("beta", "session.updated", "session.expires_at"): "the same",
    ("beta", "session.updated", "session.client_secret"): "the same (2025-05)",
    ("beta", "session.updated", "session.include"): "the same (2025-05)",
    ("beta", "response.done", "response.usage.input_token_details.cached_tokens_details"): "beta log of 2025-05",
    # gpt-realtime-2.x counts them (2026-09); the package's types are older
    ("ga", "response.done", "response.usage.input_token_details.cache_write_tokens"): "gpt-realtime-2.1",
    ("ga", "response.done", "response.usage.output_token_details.reasoning_tokens"): "gpt-realtime-2.1",
    ("live", "*", "session.simulated"): "the stand-in's mark",
    # reasoning models mark their messages (wire/README.md, Item fields); the package's item types lack the field
    ("*", "*", "item.phase"): "gpt-realtime-2",
    ("*", "*", "response.output[].phase"): "gpt-realtime-2",
}


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    members = typing.get_args(typing.get_args(union)[0])
    return {typing.get_args(m.model_fields["type"].annotation)[0]: m for m in members}


TYPES = {
    ("ga", "server"): _by_type(ga_types.RealtimeServerEvent),
    ("ga", "client"): _by_type(ga_types.RealtimeClientEvent),
    ("beta", "server"): _by_type(beta_types.RealtimeServerEvent),
    ("beta", "client"): _by_type(beta_types.RealtimeClientEvent),
    ("live", "server"): _by_type(live_types.ServerEvent),
    ("live", "client"): _by_type(live_types.ClientEvent),
}
BETA_MODELS = typing.get_args(typing.get_args(BetaSession.model_fields["model"].annotation)[0])


@functools.cache
def _adapter(model: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def problems(event: dict[str, Any], *, dialect: str, direction: str) -> list[str]:
    """What the official types hold against a frame; nothing, if it is one of theirs."""
    kind = event.get("type")
    model = TYPES[dialect, direction].get(kind) if isinstance(kind, str) else None
    if (dialect, kind) == ("live", "session.start") and "model" not in event.get("session", {}):
        model = live_types.ForkSessionStartEvent
    if model is None:
        return [f"{dialect} {direction} event {kind!r} is not in the reference"]
    try:
        parsed = _adapter(model).validate_python(_known_gaps(event, dialect), strict=True)
    except ValidationError as exc:
        return [f"{dialect} {kind} {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()]
    return [
        f"{dialect} {kind} {path}: no such key" for path in _extras(parsed, "") if not _allowed(dialect, kind, path)
    ]


def _known_gaps(event: dict[str, Any], dialect: str) -> dict[str, Any]:
    """Values that the service takes or sends and the types cannot express."""
    if dialect == "live":
        return _live_gaps(event)
    session = event.get("session")
    if dialect == "beta" and isinstance(session, dict) and session.get("model") not in (*BETA_MODELS, None):
        # a list of names that ends in 2025; GA's type takes any string
        event = event | {"session": session | {"model": BETA_MODELS[0]}}
    response = event.get("response")
    if dialect == "ga" and isinstance(response, dict) and response.get("input"):
        # documented, and missing in the type (openai/openai-openapi #514)
        kept = [item for item in response["input"] if item.get("type") != "item_reference"]
        event = event | {"response": response | {"input": kept}}
    return event


def _live_gaps(event: dict[str, Any]) -> dict[str, Any]:
    if event.get("type") == "response.event":
        # A Responses event whose snapshots are cut, as the service cuts them (output [], instructions null): judged by its frame.
        cut = {"type": "response.output_text.delta", "item_id": "msg_x", "output_index": 0, "content_index": 0}
        return event | {"event": cut | {"delta": "", "logprobs": [], "sequence_number": 0}}
    error = event.get("error")
    if isinstance(error, dict) and error.get("code") is None:
        return event | {"error": error | {"code": "null"}}  # the service sends null, and the package's type refuses it
    return event


def _extras(value: Any, path: str) -> Iterator[str]:
    """Paths of keys that the types do not have."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or ():
            yield f"{path}.{name}".lstrip(".")
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from _extras(one, f"{path}[]")


def _allowed(dialect: str, kind: str, path: str) -> bool:
    return any((d, k, path) in BEYOND for d in (dialect, "*") for k in (kind, "*"))


# ------------------------------------------------------------------------------------- every frame of the suite, as it passes

# Not ours, by name.
OUT_OF_SCOPE = {
    # WebRTC and SIP
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "output_audio_buffer.cleared",
    "output_audio_buffer.clear",
    "input_audio_buffer.dtmf_event_received",
    # documented, never sent by OpenAI
    "conversation.created",
    # the diarizing transcriber's
    "conversation.item.input_audio_transcription.segment",
    # a session of another kind
    "transcription_session.update",
    "transcription_session.updated",
}
OUT_OF_SCOPE_GA = {"conversation.item.created"}
# GPT-Live: WebRTC and SIP, what the decisions API decides, and what a websocket's session never says
OUT_OF_SCOPE_LIVE = ("decision.event", "transport.", "session.paused", "session.resumed", "info")
MCP = ("mcp_list_tools.", "response.mcp_call")


_STRINGS = re.compile(r'(?<=[:\[,])"(?:[^"\\]|\\.)*"')
_FREE = re.compile(
    r'\.delta"|"input_audio_buffer\.append"|"session\.input_audio\.append"'
)  # whose strings are all free but the type


class Record:
    """What passed through the stand-ins of the suite: which types, and what was wrong."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str, str]] = set()
        self.wrong: dict[str, str] = {}
        self._alike: set[tuple[str, ...]] = set()

    def take(self, text: str, *, dialect: str, direction: str, test: str, exempt: bool) -> None:
        """Judge one frame. Deltas that differ in their free strings only are judged once."""
        head = text[:200]
        if head.startswith('{"type"') and _FREE.search(head):
            alike = (dialect, direction, head.partition('",')[0], _STRINGS.sub('""', text))
            if alike in self._alike:
                return
            self._alike.add(alike)
        if exempt:
            return
        event = json.loads(text)
        kind = str(event.get("type"))
        self.seen.add((dialect, direction, kind))
        found = problems(event, dialect=dialect, direction=direction)
        if direction == "server" and dialect != "live":
            found += shapes.problems(event, dialect)
        for problem in found:
            self.wrong.setdefault(problem, f"{test}: {text[:300]}")

    def left_out(self) -> set[tuple[str, str, str]]:
        """The official types, as (dialect, direction, type), of which no frame passed."""
        expected = {
            (dialect, direction, kind)
            for (dialect, direction), kinds in TYPES.items()
            for kind in kinds
            if kind not in OUT_OF_SCOPE and not kind.startswith(MCP)
            if not (dialect == "ga" and kind in OUT_OF_SCOPE_GA)
            if not (dialect == "live" and kind.startswith(OUT_OF_SCOPE_LIVE))
        }
        return expected - self.seen
