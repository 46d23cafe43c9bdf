"""Which keys each server frame has, in which order: wire/README.md (Server events, Sessions, Response object), written out by hand per dialect.

``x?`` is a key that may be left out. A dotted table says what is inside.
"""

from typing import Any

_PLACE = "response_id item_id output_index content_index"
_BOTH = {
    "error": "error",
    "session.created": "session",
    "session.updated": "session",
    "conversation.item.retrieved": "item",
    "conversation.item.truncated": "item_id content_index audio_end_ms",
    "conversation.item.deleted": "item_id",
    "conversation.item.input_audio_transcription.failed": "item_id content_index error",
    "input_audio_buffer.committed": "previous_item_id item_id",
    "input_audio_buffer.cleared": "",
    "input_audio_buffer.speech_started": "audio_start_ms item_id",
    "input_audio_buffer.speech_stopped": "audio_end_ms item_id",
    "response.created": "response",
    "response.done": "response",
    "response.output_item.added": "response_id output_index item",
    "response.output_item.done": "response_id output_index item",
    "response.content_part.added": f"{_PLACE} part",
    "response.content_part.done": f"{_PLACE} part",
    "rate_limits.updated": "rate_limits",
}
FRAMES = {
    "ga": _BOTH
    | {
        "conversation.item.added": "previous_item_id item",
        "conversation.item.done": "previous_item_id item",
        "conversation.item.input_audio_transcription.delta": "item_id content_index delta obfuscation?",
        "conversation.item.input_audio_transcription.completed": "item_id content_index transcript usage",
        "input_audio_buffer.timeout_triggered": "audio_start_ms audio_end_ms item_id",
        # a sideband's
        "output_audio_buffer.started": "response_id",
        "output_audio_buffer.stopped": "response_id",
        "output_audio_buffer.cleared": "response_id",
        "response.output_text.delta": f"{_PLACE} delta obfuscation?",
        "response.output_text.done": f"{_PLACE} text",
        "response.output_audio_transcript.delta": f"{_PLACE} delta obfuscation?",
        "response.output_audio_transcript.done": f"{_PLACE} transcript",
        "response.output_audio.delta": f"{_PLACE} delta",
        "response.output_audio.done": _PLACE,
        "response.function_call_arguments.delta": "response_id item_id output_index call_id delta obfuscation?",
        "response.function_call_arguments.done": "response_id item_id output_index call_id name arguments",
    },
    "beta": _BOTH
    | {
        "conversation.item.created": "previous_item_id item",
        "conversation.item.input_audio_transcription.delta": "item_id content_index delta",
        "conversation.item.input_audio_transcription.completed": "item_id content_index transcript usage?",
        "response.text.delta": f"{_PLACE} delta",
        "response.text.done": f"{_PLACE} text",
        "response.audio_transcript.delta": f"{_PLACE} delta",
        "response.audio_transcript.done": f"{_PLACE} transcript",
        "response.audio.delta": f"{_PLACE} delta",
        "response.audio.done": _PLACE,
        "response.function_call_arguments.delta": "response_id item_id output_index call_id delta",
        "response.function_call_arguments.done": "response_id item_id output_index call_id arguments",
    },
}

_ERROR = "type code message param event_id"
_VAD = "type threshold prefix_padding_ms silence_duration_ms idle_timeout_ms? create_response interrupt_response"
_TRANSCRIPTION_VAD = "type threshold prefix_padding_ms silence_duration_ms"
_SEMANTIC = "type eagerness create_response interrupt_response"
SESSION = {
    "ga": "type object id model output_modalities instructions tools tool_choice max_output_tokens tracing truncation prompt "
    "expires_at audio include reasoning? parallel_tool_calls? simulated",
    "transcription": "type object id expires_at audio include simulated",
    "beta": "id object model expires_at modalities instructions voice turn_detection input_audio_format output_audio_format "
    "input_audio_transcription input_audio_noise_reduction tool_choice temperature max_response_output_tokens tools "
    "client_secret include speed tracing simulated",
}
AUDIO_INPUT = "format transcription noise_reduction turn_detection"
AUDIO_OUTPUT = "format voice speed"
RESPONSE = {
    "ga": "object id status status_details output conversation_id output_modalities max_output_tokens audio usage metadata",
    "beta": "object id status status_details output conversation_id modalities voice output_audio_format temperature "
    "max_output_tokens usage metadata",
}
_USAGE = "total_tokens input_tokens output_tokens input_token_details output_token_details"
_TOKENS = {"ga": "text_tokens audio_tokens image_tokens", "beta": "text_tokens audio_tokens"}
ITEM = {
    "message": "status role content phase?",
    "function_call": "status name call_id arguments",
    "function_call_output": "call_id output",
}


def _keys(value: dict[str, Any], wanted: str, where: str) -> list[str]:
    have, found, at = list(value), [], 0
    for name in wanted.split():
        optional = name.endswith("?")
        if at < len(have) and have[at] == name.rstrip("?"):
            at += 1
        elif not optional:
            return [f"{where}: keys are {have}, the service's {wanted.split()}"]
    if at < len(have):
        found.append(f"{where}: {have[at:]} beyond the service's {wanted.split()}")
    return found


def _item(item: dict[str, Any], dialect: str, where: str) -> list[str]:
    beta = "object " if dialect == "beta" else ""
    kind = item.get("type")
    if kind not in ITEM:
        return [f"{where}: item type {kind!r}"]
    found = _keys(item, f"id {beta}type {ITEM[kind]}", where)
    for part in item.get("content", ()):
        payload = "image_url detail?" if part["type"] == "input_image" else "text"
        found += _keys(part, f"type {'transcript audio?' if 'audio' in part['type'] else payload}", f"{where}.content")
    return found


def _usage(usage: dict[str, Any], dialect: str, where: str) -> list[str]:
    inner = usage["input_token_details"]
    return (
        _keys(usage, _USAGE, where)
        + _keys(inner, f"{_TOKENS[dialect]} cached_tokens cached_tokens_details cache_write_tokens?", f"{where}.input")
        + _keys(inner["cached_tokens_details"], _TOKENS[dialect], f"{where}.cached")
        + _keys(usage["output_token_details"], "text_tokens audio_tokens reasoning_tokens?", f"{where}.output")
    )


def _session(session: dict[str, Any], dialect: str, where: str) -> list[str]:
    kind = "transcription" if session.get("type") == "transcription" else dialect
    found = _keys(session, SESSION[kind], where)
    audio = session.get("audio", {})
    vad = session.get("turn_detection") if dialect == "beta" else audio["input"]["turn_detection"]
    if dialect == "ga":
        found += _keys(audio, "input" if kind == "transcription" else "input output", f"{where}.audio")
        found += _keys(audio["input"], AUDIO_INPUT, f"{where}.audio.input")
        if kind != "transcription":
            found += _keys(audio["output"], AUDIO_OUTPUT, f"{where}.audio.output")
    if kind == "transcription" and vad is not None:
        found += _keys(vad, _TRANSCRIPTION_VAD, f"{where}.turn_detection")
    elif vad is not None:
        found += _keys(vad, _SEMANTIC if vad["type"] == "semantic_vad" else _VAD, f"{where}.turn_detection")
        if ("idle_timeout_ms" in vad) != (dialect == "ga" and vad["type"] == "server_vad"):
            found.append(f"{where}.turn_detection: idle_timeout_ms is GA's, of server_vad")
    return found


def problems(event: dict[str, Any], dialect: str) -> list[str]:
    """Where a server frame's keys are not the service's, or not in its order."""
    kind = event["type"]
    if kind not in FRAMES[dialect]:
        return [f"{dialect} has no server event {kind}"]
    where = f"{dialect} {kind}"
    found = _keys(event, f"type event_id {FRAMES[dialect][kind]}", where)
    if found:
        return found
    if "session" in event:
        found += _session(event["session"], dialect, f"{where} session")
    if "item" in event:
        found += _item(event["item"], dialect, f"{where} item")
    if "response" in event:
        response = event["response"]
        found += _keys(response, RESPONSE[dialect], f"{where} response")
        if response.get("usage"):
            found += _usage(response["usage"], dialect, f"{where} usage")
        for item in response.get("output", ()):
            found += _item(item, dialect, f"{where} output")
    if kind == "error":
        found += _keys(event["error"], _ERROR, f"{where} error")
    if "part" in event:
        part = event["part"]
        found += _keys(part, "type transcript" if part["type"] == "audio" else "type text", f"{where} part")
    if kind == "rate_limits.updated":
        for limit in event["rate_limits"]:
            found += _keys(limit, "name limit remaining reset_seconds", f"{where} limit")
    return found
