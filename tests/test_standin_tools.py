"""Tools on the stand-in: when it calls, with what, in which order it says so, and what comes after (wire/README.md, Event orders)."""

import json

import pytest
from talk import speech_of, talk

from kit.errors import InputError
from kit.standin import Call, Reasoned, StandIn
from kit.standin.replies import _arguments

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather for a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["celsius", "kelvin"]},
        },
        "required": ["city", "days", "unit"],
    },
}
CLOCK = {"type": "function", "name": "tell_time", "parameters": {"type": "object", "properties": {}}}

GA_CALL = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
BETA_CALL = [
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.function_call_arguments.delta",
    "rate_limits.updated",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.done",
]


@pytest.mark.parametrize(("dialect", "order"), [("ga", GA_CALL), ("beta", BETA_CALL)])
async def test_a_call_streams_its_arguments_and_then_a_spoken_answer_follows(dialect, order):
    async with StandIn(drift="never") as server, talk(server, dialect) as t:
        await t.update(tools=[WEATHER, CLOCK])
        await t.say("user", "What is the weather in London?")
        t.events.clear()
        call = (await t.respond())["output"][0]
        types = list(dict.fromkeys(t.types))
        written = "".join(e["delta"] for e in t.events if e["type"].endswith("arguments.delta"))
        await t.add({"type": "function_call_output", "call_id": call["call_id"], "output": "Foggy."})
        answer = (await t.respond())["output"][0]["content"][0]

    assert types == order
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_weather", "completed")
    assert call["arguments"] == written
    assert json.loads(written) == {"city": "London", "days": 1, "unit": "celsius"}
    assert answer["transcript"] == "The tool has answered, and here is what it said."
    assert speech_of(t.events)


@pytest.mark.parametrize(
    ("choice", "ask", "called"),
    [
        ("auto", "What is the weather in London?", "get_weather"),
        ("auto", "What time is it?", "tell_time"),
        ("auto", "Tell me a joke.", None),
        ("none", "What is the weather in London?", None),
        ("required", "Tell me a joke.", "get_weather"),
        ("required", "What time is it?", "tell_time"),
        ({"type": "function", "name": "tell_time"}, "Tell me a joke.", "tell_time"),
    ],
)
async def test_tool_choice_and_the_words_decide(choice, ask, called):
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.update(tools=[WEATHER, CLOCK], tool_choice=choice)
        await t.say("user", ask)
        item = (await t.respond())["output"][0]

    assert item.get("name") == called


async def test_tools_can_be_given_to_one_response():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        response = await t.respond(tools=[WEATHER], tool_choice="required")

    assert response["output"][0]["name"] == "get_weather"


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_words_and_a_call_in_one_response(dialect):
    script = [Call("get_weather", {"city": "Paris"}, say="One moment, I am asking the tool.")]
    async with StandIn(drift="never", replies=script) as server, talk(server, dialect) as t:
        await t.say("user", "What is the weather?")
        response = await t.respond()

    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    assert response["output"][0]["content"][0]["transcript"] == "One moment, I am asking the tool."
    assert json.loads(response["output"][1]["arguments"]) == {"city": "Paris"}
    done = [event for event in t.events if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in done] == [0, 1]


async def test_a_reasoning_model_s_reply_is_two_messages_with_their_phase():
    script = [Reasoned("All right, I will do that.", "Yes, I am listening.")]
    async with StandIn(drift="never", replies=script) as server, talk(server, model="gpt-realtime-2") as t:
        await t.say("user", "Hello.")
        response = await t.respond()

    assert [item["phase"] for item in response["output"]] == ["commentary", "final_answer"]
    assert [item["content"][0]["transcript"] for item in response["output"]] == [script[0].commentary, script[0].answer]


async def test_a_script_can_be_json():
    script = [
        {"call": "f", "arguments": {"a": 1}},
        {"commentary": "Yes, I am listening.", "answer": "You are very welcome."},
    ]
    async with StandIn(drift="always", replies=script) as server, talk(server) as t:
        await t.say("user", "Hello.")
        first, second = await t.respond(), await t.respond()

    assert first["output"][0]["arguments"] == '{"a": 1}'
    assert [item["content"][0]["text"] for item in second["output"]] == [
        "Yes, I am listening.",
        "You are very welcome.",
    ]


@pytest.mark.parametrize("reply", [7, {"call": 1}, {"say": "Hello."}, {"commentary": "x"}, None])
def test_a_reply_that_is_none_is_refused_at_once(reply):
    with pytest.raises(InputError, match="a reply is a text"):
        StandIn(replies=[reply])


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {}),
        ({"type": "object", "properties": {}}, {}),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": "Paris"}),
        ({"properties": {"a": {"type": "number", "minimum": 3}}, "required": ["a"]}, {"a": 3}),
        ({"properties": {"a": {"type": "number"}}, "required": ["a"]}, {"a": 1}),
        ({"required": ["a"]}, {"a": "Paris"}),
        ("nonsense", {}),
    ],
)
def test_arguments_fit_their_schema(schema, expected):
    assert _arguments(schema, "What about Paris?") == expected
