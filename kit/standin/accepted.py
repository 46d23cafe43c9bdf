"""What a client may ask a session and a response to be: one table per dialect, and what the service says to anything else."""

from __future__ import annotations

from ..wire.dialect import Refusal, missing
from .schema import (
    Check,
    anything,
    array,
    by_type,
    decimal,
    either,
    fields,
    flag,
    integer,
    metadata,
    modalities,
    nullable,
    one_of,
    text,
)

BETA_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse")
GA_VOICES = (*BETA_VOICES, "marin", "cedar")
MAX_OUTPUT_TOKENS = 4096


def _voice(value: object, path: str) -> Refusal | None:
    if isinstance(value, dict):  # a custom voice
        return fields(["id"], id=text)(value, path)
    return one_of(*GA_VOICES)(value, path)


def _tools(mcp: bool) -> Check:
    function = fields(["name"], type=text, name=text, description=nullable(text), parameters=anything)

    def tool(value: object, path: str) -> Refusal | None:
        if isinstance(value, dict) and value.get("type") == "mcp" and mcp:
            return missing(f"{path}.server_label") if value.get("server_label") is None else None
        return function(value, path)

    return array(tool)


def _tool_choice(value: object, path: str) -> Refusal | None:
    if isinstance(value, dict):
        return by_type(
            function=fields(["name"], type=text, name=text),
            mcp=fields(["server_label"], type=text, server_label=text, name=text),
        )(value, path)
    return one_of("none", "auto", "required")(value, path)


_SERVER_VAD: dict[str, Check] = {
    "type": text,
    "threshold": decimal(0, 1),
    "prefix_padding_ms": integer(0),
    "silence_duration_ms": integer(0),
    "create_response": flag,
    "interrupt_response": flag,
}
_SEMANTIC_VAD = fields(
    type=text, eagerness=one_of("low", "medium", "high", "auto"), create_response=flag, interrupt_response=flag
)
_GA_VAD = nullable(
    by_type(
        server_vad=fields((), **_SERVER_VAD, idle_timeout_ms=nullable(integer(5000, 30000))), semantic_vad=_SEMANTIC_VAD
    )
)
_BETA_VAD = nullable(by_type(server_vad=fields((), **_SERVER_VAD), semantic_vad=_SEMANTIC_VAD))

_GA_FORMAT = by_type(
    **{
        # any other rate than 24 000 is refused: "Expected a value >= 24000" (2026-09)
        "audio/pcm": fields(type=text, rate=integer(24_000, 24_000)),
        "audio/pcmu": fields(type=text),
        "audio/pcma": fields(type=text),
    }
)
_TRANSCRIPTION = nullable(
    fields(
        model=nullable(text),
        language=nullable(text),
        prompt=nullable(text),
        languages=nullable(array(text)),
        keywords=nullable(array(text)),
        delay=nullable(one_of("minimal", "low", "medium", "high", "xhigh")),
    )
)
_NOISE = nullable(fields(type=one_of("near_field", "far_field"), strength=nullable(decimal(0, 1))))
_MAX_TOKENS = either("inf", integer(1, MAX_OUTPUT_TOKENS))
_TRACING = nullable(either("auto", fields(workflow_name=text, group_id=text, metadata=anything)))
_INCLUDE = nullable(array(one_of("item.input_audio_transcription.logprobs")))
_PROMPT = nullable(fields(["id"], id=text, version=nullable(text), variables=anything))
_REASONING = nullable(fields(effort=one_of("minimal", "low", "medium", "high", "xhigh")))
_GA_MODALITIES = modalities(frozenset(("text",)), frozenset(("audio",)))
_BETA_MODALITIES = modalities(frozenset(("text",)), frozenset(("text", "audio")))


def _truncation(value: object, path: str) -> Refusal | None:
    if isinstance(value, dict):
        return by_type(
            retention_ratio=fields(
                ["retention_ratio"],
                type=text,
                retention_ratio=decimal(0, 1),
                token_limits=nullable(fields(post_instructions=nullable(integer(0)))),
            )
        )(value, path)
    return one_of("auto", "disabled")(value, path)


_INPUT = fields(
    format=nullable(_GA_FORMAT), transcription=_TRANSCRIPTION, noise_reduction=_NOISE, turn_detection=_GA_VAD
)

# null means "leave it" wherever it does not mean "off": clients send whole objects with nulls for what they did not set
GA_SESSION = fields(
    ["type"],
    type=one_of("realtime", "transcription"),
    model=nullable(text),
    output_modalities=nullable(_GA_MODALITIES),
    instructions=nullable(text),
    tools=nullable(_tools(mcp=True)),
    tool_choice=nullable(_tool_choice),
    max_output_tokens=nullable(_MAX_TOKENS),
    tracing=_TRACING,
    truncation=nullable(_truncation),
    prompt=_PROMPT,
    include=_INCLUDE,
    reasoning=_REASONING,
    parallel_tool_calls=nullable(flag),
    audio=nullable(
        fields(
            input=nullable(_INPUT),
            output=nullable(
                fields(format=nullable(_GA_FORMAT), voice=nullable(_voice), speed=nullable(decimal(0.25, 1.5)))
            ),
        )
    ),
)
GA_TRANSCRIPTION_SESSION = fields(
    ["type"],
    type=one_of("realtime", "transcription"),
    include=_INCLUDE,
    audio=nullable(fields(input=nullable(_INPUT))),
)

_BETA_FORMAT = one_of("pcm16", "g711_ulaw", "g711_alaw")
BETA_SESSION = fields(
    model=nullable(text),
    modalities=nullable(_BETA_MODALITIES),
    instructions=nullable(text),
    voice=nullable(one_of(*BETA_VOICES)),
    turn_detection=_BETA_VAD,
    input_audio_format=nullable(_BETA_FORMAT),
    output_audio_format=nullable(_BETA_FORMAT),
    input_audio_transcription=_TRANSCRIPTION,
    input_audio_noise_reduction=_NOISE,
    tool_choice=nullable(_tool_choice),
    temperature=nullable(decimal(0.6, 1.2)),
    max_response_output_tokens=nullable(_MAX_TOKENS),
    tools=nullable(_tools(mcp=False)),
    client_secret=anything,
    include=_INCLUDE,
    speed=nullable(decimal(0.25, 1.5)),
    tracing=_TRACING,
)

GA_RESPONSE = fields(
    output_modalities=nullable(_GA_MODALITIES),
    instructions=nullable(text),
    audio=nullable(fields(output=nullable(fields(format=nullable(_GA_FORMAT), voice=nullable(_voice))))),
    tools=nullable(_tools(mcp=True)),
    tool_choice=nullable(_tool_choice),
    max_output_tokens=nullable(_MAX_TOKENS),
    conversation=nullable(one_of("auto", "none")),
    metadata=nullable(metadata),
    input=nullable(array(anything)),
    prompt=_PROMPT,
    reasoning=_REASONING,
    parallel_tool_calls=nullable(flag),
)
BETA_RESPONSE = fields(
    modalities=nullable(_BETA_MODALITIES),
    instructions=nullable(text),
    voice=nullable(one_of(*BETA_VOICES)),
    output_audio_format=nullable(_BETA_FORMAT),
    tools=nullable(_tools(mcp=False)),
    tool_choice=nullable(_tool_choice),
    temperature=nullable(decimal(0.6, 1.2)),
    max_response_output_tokens=nullable(_MAX_TOKENS),
    max_output_tokens=nullable(_MAX_TOKENS),
    conversation=nullable(one_of("auto", "none")),
    metadata=nullable(metadata),
    input=nullable(array(anything)),
)
