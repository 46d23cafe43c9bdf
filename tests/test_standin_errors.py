"""What the stand-in refuses, in the service's words: one row per line of wire/README.md, Conversation items and Errors."""

import base64
import json

import pytest
import websockets
from talk import talk

from kit.standin import StandIn

pytestmark = pytest.mark.refusal

GA_EVENTS = (
    "'session.update', 'session.close', 'input_audio_buffer.append', 'session.input_audio_buffer.append', "
    "'input_audio_buffer.commit', 'input_audio_buffer.clear', 'conversation.item.create', 'conversation.item.truncate', "
    "'conversation.item.delete', 'conversation.item.retrieve', 'response.create', and 'response.cancel'"
)
ONLY_USER = "Supported values are: 'input_text' and 'input_audio'."


def message(role, kind, **part):
    payload = {"audio": base64.b64encode(bytes(4800)).decode()} if kind == "input_audio" else {"text": "Hello."}
    return {"type": "message", "role": role, "content": [{"type": kind, **payload, **part}]}


def item(role, kind, said, *, dialect="ga"):
    event = {"type": "conversation.item.create", "item": message(role, kind)}
    return pytest.param(
        dialect,
        event,
        "invalid_value",
        f"Invalid value: '{kind}'. {said}",
        "item.content[0].type",
        id=f"{dialect} {role} {kind}",
    )


def session(code, said, param, dialect="ga", *, typed=True, **fields):
    kind = {"type": "realtime"} if dialect == "ga" and typed else {}
    return pytest.param(
        dialect,
        {"type": "session.update", "session": kind | fields},
        code,
        said,
        param,
        id=f"{dialect} {param} {said[:24]}",
    )


def row(dialect, event, code, said, param, id=None):
    return pytest.param(dialect, event, code, said, param, id=f"{dialect} {id or event['type']}")


def audio(**fields):
    return {"audio": {"input": fields}}


ROWS = [
    row("ga", {"type": "nope"}, "invalid_value", f"Invalid value: 'nope'. Supported values are: {GA_EVENTS}.", "type"),
    row(
        "beta",
        {"type": "nope"},
        "invalid_value",
        f"Invalid value: 'nope'. Supported values are: {GA_EVENTS.replace('and ', '')}, and 'transcription_session.update'.",
        "type",
    ),
    row("ga", {"event_id": "e1"}, "invalid_event", "The 'type' field is missing.", None, id="no type"),
    row(
        "ga",
        {"type": "input_audio_buffer.clear", "bogus": 1},
        "unknown_parameter",
        "Unknown parameter: 'bogus'.",
        "bogus",
    ),
    row(
        "ga",
        {"type": "session.update"},
        "missing_required_parameter",
        "Missing required parameter: 'session'.",
        "session",
    ),
    # the session
    session("unknown_parameter", "Unknown parameter: 'session.bogus_field'.", "session.bogus_field", bogus_field=1),
    session("unknown_parameter", "Unknown parameter: 'session.modalities'.", "session.modalities", modalities=["text"]),
    session("unknown_parameter", "Unknown parameter: 'session.voice'.", "session.voice", voice="ash"),
    session(
        "unknown_parameter",
        "Unknown parameter: 'session.turn_detection'.",
        "session.turn_detection",
        turn_detection=None,
    ),
    session(
        "unknown_parameter",
        "Unknown parameter: 'session.input_audio_format'.",
        "session.input_audio_format",
        input_audio_format="pcm16",
    ),
    session("unknown_parameter", "Unknown parameter: 'session.temperature'.", "session.temperature", temperature=0.8),
    session("missing_required_parameter", "Missing required parameter: 'session.type'.", "session.type", typed=False),
    session(
        "missing_required_parameter",
        "Missing required parameter: 'session.tools[0].name'.",
        "session.tools[0].name",
        tools=[{"type": "function", "function": {"name": "f"}}],
    ),
    session(
        "invalid_value",
        "Invalid modalities: ['audio', 'text']. Supported combinations are: ['text'] and ['audio'].",
        "session.output_modalities",
        output_modalities=["audio", "text"],
    ),
    session(
        "invalid_value",
        "Invalid modalities: ['audio']. Supported combinations are: ['text'] and ['audio', 'text'].",
        "session.modalities",
        "beta",
        modalities=["audio"],
    ),
    session(
        "decimal_below_min_value",
        "Invalid 'session.temperature': decimal below minimum value. Expected a value >= 0.6, but got 0.3 instead.",
        "session.temperature",
        "beta",
        temperature=0.3,
    ),
    session(
        "integer_below_min_value",
        "Invalid 'session.audio.input.format.rate': integer below minimum value. Expected a value >= 24000, but got 16000 instead.",
        "session.audio.input.format.rate",
        **audio(format={"type": "audio/pcm", "rate": 16_000}),
    ),
    session(
        "invalid_value",
        "Invalid value: 'pcm16'. Supported values are: 'audio/pcm', 'audio/pcmu', and 'audio/pcma'.",
        "session.audio.input.format.type",
        **audio(format={"type": "pcm16"}),
    ),
    session(
        "invalid_value",
        "Invalid value: 'opus'. Supported values are: 'pcm16', 'g711_ulaw', and 'g711_alaw'.",
        "session.input_audio_format",
        "beta",
        input_audio_format="opus",
    ),
    session(
        "invalid_value",
        "Invalid value: 'bogus'. Supported values are: 'minimal', 'low', 'medium', 'high', and 'xhigh'.",
        "session.reasoning.effort",
        reasoning={"effort": "bogus"},
    ),
    session(
        "invalid_parameter",
        "Passing a transcription session update event to a realtime session is not allowed.",
        "session.type",
        type="transcription",
    ),
    # items
    item("system", "text", "Value must be 'input_text'."),
    item("system", "output_text", "Value must be 'input_text'."),
    item("user", "text", ONLY_USER),
    item("user", "output_text", ONLY_USER),
    item("assistant", "text", "Value must be 'output_text'."),
    item("assistant", "input_text", "Value must be 'output_text'."),
    item("user", "text", ONLY_USER, dialect="beta"),
    item("user", "image_url", ONLY_USER, dialect="beta"),
    item("assistant", "input_text", "Value must be 'text'.", dialect="beta"),
    item("assistant", "output_text", "Value must be 'text'.", dialect="beta"),
    row(
        "ga",
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "transcript": "Hi."}],
            },
        },
        "missing_required_parameter",
        "Missing required parameter: 'item.content[0].text'.",
        "item.content[0].text",
        id="assistant output_audio",
    ),
    row(
        "ga",
        {"type": "conversation.item.create", "item": {"role": "user", "content": []}},
        "missing_required_parameter",
        "Missing required parameter: 'item.type'.",
        "item.type",
        id="item without type",
    ),
    row(
        "ga",
        {"type": "conversation.item.create", "item": message("user", "input_text") | {"id": "x" * 39}},
        "string_above_max_length",
        "Invalid 'item.id': string too long. Expected a string with maximum length 32, but got a string with length 39 instead.",
        "item.id",
        id="long item id",
    ),
    row(
        "ga",
        {"type": "conversation.item.create", "item": message("user", "input_text"), "previous_item_id": "X"},
        "item_create_invalid_previous_item_id",
        "Error adding item: the previous item with id 'X' does not exist.",
        None,
        id="unknown previous_item_id",
    ),
    row(
        "ga",
        {"type": "conversation.item.create", "item": message("user", "input_audio", audio="!!")},
        "invalid_value",
        "Invalid 'item.content[0].audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an invalid value.",
        "item.content[0].audio",
        id="audio that is not base64",
    ),
    row(
        "ga",
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "call_9", "output": ""},
        },
        "invalid_tool_call_id",
        "Tool call ID 'call_9' not found in conversation.",
        None,
        id="output without a call",
    ),
    *(
        row(
            dialect,
            {"type": f"conversation.item.{verb}", "item_id": "X", **more},
            f"item_{verb}_invalid_item_id",
            f"Error {ing} item: the item with id 'X' does not exist.",
            None,
        )
        for dialect in ("ga", "beta")
        for verb, ing, more in [
            ("delete", "deleting", {}),
            ("retrieve", "retrieving", {}),
            ("truncate", "truncating", {"content_index": 0, "audio_end_ms": 0}),
        ]
    ),
    # input audio
    *(
        row(
            dialect,
            {"type": "input_audio_buffer.commit"},
            "input_audio_buffer_commit_empty",
            "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
            "but buffer only has 0.00ms of audio.",
            None,
        )
        for dialect in ("ga", "beta")
    ),
    row(
        "ga",
        {"type": "input_audio_buffer.append", "audio": "a"},
        "invalid_value",
        "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an invalid value.",
        "audio",
    ),
    # responses
    row(
        "ga",
        {"type": "response.create", "response": {"modalities": ["text"]}},
        "unknown_parameter",
        "Unknown parameter: 'response.modalities'.",
        "response.modalities",
    ),
    row(
        "ga",
        {"type": "response.create", "response": {"input": [message("assistant", "input_text")]}},
        "invalid_value",
        "Invalid value: 'input_text'. Value must be 'output_text'.",
        "response.input[0].content[0].type",
        id="item in response.input",
    ),
    row(
        "ga",
        {"type": "response.cancel"},
        "response_cancel_not_active",
        "Cancellation failed: no active response found",
        None,
    ),
    row(
        "beta",
        {"type": "response.cancel"},
        "response_cancel_not_active",
        "Cancellation failed: no active response found",
        None,
    ),
    *(
        row(
            "ga",
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcm"}}}},
            },
            "missing_required_parameter",
            "Missing required parameter: 'session.audio.output.format.rate'.",
            "session.audio.output.format.rate",
        ),
        row(
            "ga",
            {"type": "response.create", "response": {"audio": {"output": {"format": {"type": "audio/pcm"}}}}},
            "missing_required_parameter",
            "Missing required parameter: 'response.audio.output.format.rate'.",
            "response.audio.output.format.rate",
        ),
        row(
            "ga",
            {"type": "session.close"},
            "invalid_value",
            "'session.close' is an event of translation sessions only.",
            "type",
        ),
        row(
            "beta",
            {"type": "session.input_audio_buffer.append", "audio": "AAAA"},
            "invalid_value",
            "'session.input_audio_buffer.append' is an event of translation sessions only.",
            "type",
        ),
    ),
]


@pytest.mark.parametrize(("dialect", "event", "code", "said", "param"), ROWS)
async def test_it_is_refused_as_the_service_does(dialect, event, code, said, param):
    async with StandIn() as server, talk(server, dialect) as t:
        await t.raw(json.dumps(event | {"event_id": "mine"}))

        answer = await t.next()

        assert answer["type"] == "error"
        assert answer["error"] == {
            "type": "invalid_request_error",
            "code": code,
            "message": said,
            "param": param,
            "event_id": "mine",
        }
        assert await t.rest() == []  # and nothing else happened; the socket stays open


async def test_an_error_without_a_client_s_event_id_says_null():
    async with StandIn() as server, talk(server) as t:
        await t.send("response.cancel")

        assert (await t.until("error"))["error"]["event_id"] is None


async def test_text_that_is_not_json_is_refused():
    async with StandIn() as server, talk(server) as t:
        await t.raw("{nope")

        error = (await t.until("error"))["error"]
        assert (error["code"], error["param"]) == ("invalid_json", None)
        assert error["message"].startswith("Invalid event: failed to parse JSON value.")


async def test_a_binary_frame_is_refused_and_the_session_goes_on():
    async with StandIn() as server, talk(server) as t:
        await t.raw(b"{}")

        error = (await t.until("error"))["error"]
        assert error["code"] == "invalid_event"
        assert error["message"] == "Expected a text WebSocket message; binary frames are not supported."
        assert await t.rest() == []


async def test_json_nested_without_end_is_refused():
    async with StandIn() as server, talk(server) as t:
        await t.raw("[" * 100_000)

        assert (await t.until("error"))["error"]["code"] == "invalid_json"


async def test_a_taken_id_is_refused():
    async with StandIn() as server, talk(server) as t:
        await t.add(t.text("user", "Hello.") | {"id": "a"})
        await t.send("conversation.item.create", item=t.text("user", "Again.") | {"id": "a"})

        assert (await t.until("error"))["error"]["message"] == "Error adding item: the item with id 'a' already exists."


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_only_the_model_s_speech_can_be_truncated(dialect):
    async with StandIn(drift="always") as server, talk(server, dialect) as t:
        await t.add(t.text("assistant", "Hello.") | {"id": "seeded"})
        await t.send("conversation.item.truncate", item_id="seeded", content_index=0, audio_end_ms=10)

        error = (await t.until("error"))["error"]
        assert (error["code"], error["message"]) == (None, "Only model output audio messages can be truncated")


async def test_speech_cannot_be_truncated_beyond_its_end():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        id = (await t.respond())["output"][0]["id"]
        await t.send("conversation.item.truncate", item_id=id, content_index=0, audio_end_ms=57_340)

        message = (await t.until("error"))["error"]["message"]
        assert message.startswith("Audio content of ")
        assert message.endswith("ms is already shorter than 57340ms")


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_one_response_at_a_time_writes_to_the_conversation(dialect):
    # In real time: a faster reply could be over, on a busy machine, before the second request comes.
    async with StandIn(drift="never", pace=1) as server, talk(server, dialect) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        id = (await t.until("response.created"))["response"]["id"]
        await t.send("response.create", event_id="second")
        error = (await t.until("error"))["error"]
        await t.send("response.cancel")
        await t.until("response.done")

    assert error == {
        "type": "invalid_request_error",
        "code": "conversation_already_has_active_response",
        "message": f"Conversation already has an active response in progress: {id}. "
        "Wait until the response is finished before creating a new one.",
        "param": None,
        "event_id": "second",
    }


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_the_voice_is_fixed_once_the_assistant_has_spoken(dialect):
    def voice(name):
        return {"voice": name} if dialect == "beta" else {"audio": {"output": {"voice": name}}}

    async with StandIn(drift="never") as server, talk(server, dialect) as t:
        await t.update(**voice("ash"))
        await t.say("user", "Tell me a joke.")
        await t.respond()

        same = await t.update(**voice("ash"))
        other = await t.update(**voice("coral"), instructions="Be brief.")
        after = await t.update()

    assert same["type"] == "session.updated"
    assert (other["error"]["code"], other["error"]["param"]) == ("cannot_update_voice", None)
    assert other["error"]["message"] == "Cannot update a conversation's voice if assistant audio is present."
    assert after["session"]["instructions"] != "Be brief."


# The door (wire/README.md, Handshake failures): 101, one error, and the close in the same breath

DOOR = [
    pytest.param(
        {"model": None},
        {},
        "missing_model",
        "You must provide a model parameter, for example wss://api.openai.com/v1/realtime?model=gpt-realtime-1.5",
        4000,
        "invalid_request_error.missing_model",
        id="no model",
    ),
    pytest.param(
        {"model": "gpt-nope"},
        {},
        "invalid_model",
        'Model "gpt-nope" is not supported in realtime mode.',
        4000,
        "invalid_request_error.invalid_model",
        id="unknown model",
    ),
    pytest.param(
        {"headers": {"Authorization": "Bearer sk-wrong-0123456789abcdAAAA"}},
        {},
        "invalid_api_key",
        "Incorrect API key provided: sk-wrong********AAAA. "
        "You can find your API key at https://platform.openai.com/account/api-keys.",
        3000,
        "invalid_request_error.invalid_api_key",
        id="wrong key",
    ),
    pytest.param(
        {},
        {"require_key": "sk-right"},
        None,
        "Missing bearer or basic authentication in header",
        3000,
        "invalid_request_error",
        id="no key",
    ),
    pytest.param(
        {"dialect": "beta"},
        {"beta_disabled": True},
        "beta_api_shape_disabled",
        "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
        4000,
        "invalid_request_error.beta_api_shape_disabled",
        id="beta header",
    ),
]


@pytest.mark.parametrize(("asked", "made", "code", "said", "close", "reason"), DOOR)
async def test_the_door_is_shut_as_the_service_shuts_it(asked, made, code, said, close, reason):
    async with StandIn(**made) as server, talk(server, greet=False, **asked) as t:
        first = await t.next()
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await t.next()

    assert first["error"] == {
        "type": "invalid_request_error",
        "code": code,
        "message": said,
        "param": None,
        "event_id": None,
    }
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (close, reason)


async def test_the_right_key_opens_the_door():
    async with StandIn(require_key="sk-right") as server:
        for headers in ({"Authorization": "Bearer sk-right"}, {"api-key": "sk-right"}):
            async with talk(server, headers=headers) as t:
                assert t.types == ["session.created"]


async def test_another_path_is_not_found():
    async with StandIn() as server:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(server.url.replace("/v1/realtime", "/v2/nothing"), proxy=None)

    assert refused.value.response.status_code == 404
