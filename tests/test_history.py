"""A history is a value that is spelled per dialect, imported, checked before it is sent, and saved."""

import base64
import json
import operator
import os
from html.parser import HTMLParser

import pytest
from building import b64, clip, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import cases
from kit.clip import Clip
from kit.errors import HistoryError, InputError
from kit.history import History, HistoryItem, HistoryPart

JOKE = "Why don't skeletons fight each other?"


def message(role, *parts, **more):
    return {"type": "message", "role": role, "content": list(parts)} | more


def text(words, kind="input_text"):
    return {"type": kind, "text": words}


def create(item, **more):
    return {"type": "conversation.item.create", "item": item} | more


# Building


def test_a_history_is_spelled_for_each_dialect():
    history = History().system("Be brief.").user("Tell me a joke.").assistant(JOKE)

    assert history.serialize("ga") == [
        message("system", text("Be brief.")),
        message("user", text("Tell me a joke.")),
        message("assistant", text(JOKE, "output_text")),
    ]
    assert history.serialize("beta")[2] == message("assistant", text(JOKE, "text"))
    assert history.serialize("beta")[:2] == history.serialize("ga")[:2]


def test_a_clip_goes_as_base64_of_its_samples():
    sound = clip()

    [item] = History().user(sound, "What did I say?").serialize()

    assert item["content"] == [{"type": "input_audio", "audio": b64(sound.to_bytes())}, text("What did I say?")]


def test_a_call_and_its_output_are_items():
    history = History().function_call("weather", {"city": "Łódź"}, "call_1").function_output("rain", "call_1")

    call, output = history.serialize()
    assert call | {"arguments": json.loads(call["arguments"])} == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": {"city": "Łódź"},
    }
    assert output == {"type": "function_call_output", "call_id": "call_1", "output": "rain"}


def test_arguments_that_are_text_go_as_they_are():
    assert History().function_call("f", '{ "a" : 1}', "c").serialize()[0]["arguments"] == '{ "a" : 1}'


# A value


def test_a_builder_leaves_the_history_it_was_called_on():
    short = History().user("hi")

    long = short.assistant("hello")

    assert (len(short), len(long)) == (1, 2)
    assert long[:1] == short


def test_equal_histories_are_equal_and_hash_alike():
    one, other = (History().user("hi", clip()).assistant("ho") for _ in range(2))

    assert one == other
    assert hash(one) == hash(other)
    assert one != other.user("more")


def test_histories_can_be_joined_cut_and_walked():
    a, b = History().user("a"), History().assistant("b")

    assert [item.text for item in a + b] == ["a", "b"]
    assert (a + b)[1].role == "assistant"
    assert (a + b)[1:] == b


def test_a_history_is_joined_to_nothing_else():
    with pytest.raises(TypeError):
        operator.add(History(), [message("user")])


def test_a_history_cannot_be_changed():
    with pytest.raises(AttributeError):
        History().items = ()


# Importing


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize("wrap", [create, lambda item: item])
def test_what_is_spelled_comes_back(dialect, wrap):
    history = (
        History().system("s").user("u", clip()).assistant("a").function_call("f", {}, "c").function_output("o", "c")
    )

    again = History.from_events(wrap(item) for item in history.serialize(dialect))

    assert again == history


def test_the_events_of_the_docs_are_taken():
    [item] = History.from_events(
        [
            {
                "event_id": "event_345",
                "type": "conversation.item.create",
                "previous_item_id": None,
                "item": {
                    "id": "msg_001",
                    "object": "realtime.item",
                    **message("user", text("hi")),
                    "status": "completed",
                },
            }
        ]
    )

    assert (item.role, item.text, item.get("id")) == ("user", "hi", "msg_001")
    assert not History((item,)).lint("ga")


@pytest.mark.parametrize(("previous", "order"), [(None, "abx"), ("root", "xab"), ("a", "axb"), ("b", "abx")])
def test_previous_item_id_is_followed(previous, order):
    events = [create(message("user", text(word), id=word)) for word in "ab"]

    history = History.from_events([*events, create(message("user", text("x")), previous_item_id=previous)])

    assert "".join(item.text for item in history) == order


def test_content_that_is_a_plain_string_is_text():
    history = History.from_events([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}])

    assert history == History().user("hi").assistant("ho")


@pytest.mark.parametrize(
    ("role", "kind", "in_ga", "in_beta"),
    [
        ("assistant", "text", "output_text", "text"),
        ("assistant", "output_text", "output_text", "text"),
        ("assistant", "input_text", "input_text", "input_text"),
        ("user", "input_text", "input_text", "input_text"),
        ("user", "text", "text", "text"),
        ("system", "output_text", "output_text", "output_text"),
    ],
)
def test_a_type_that_is_right_in_one_dialect_is_respelled_and_a_wrong_one_is_kept(role, kind, in_ga, in_beta):
    history = History.from_events([message(role, text("x", kind))])

    assert history.serialize("ga")[0]["content"][0]["type"] == in_ga
    assert history.serialize("beta")[0]["content"][0]["type"] == in_beta


def test_parts_that_the_kit_does_not_build_are_passed_on():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}

    history = History.from_events([message("user", image)])

    assert history.serialize("ga")[0]["content"] == [image]
    assert not history.lint("ga")
    assert history.lint("beta")[0].code == "invalid_value"


def test_a_chat_becomes_a_history():
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}

    history = History.from_chat(
        [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "u1"}, {"type": "text", "text": "u2"}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "assistant", "content": None, "tool_calls": [call | {"id": "call_2"}, call | {"id": "call_3"}]},
            {"role": "assistant", "content": "Rain."},
        ]
    )

    assert history == (
        History()
        .system("s")
        .system("d")
        .user("u1\nu2")
        .assistant("Let me look.")
        .function_call("weather", "{}", "call_1")
        .function_output("rain", "call_1")
        .function_call("weather", "{}", "call_2")
        .function_call("weather", "{}", "call_3")
        .assistant("Rain.")
    )


def test_what_an_assistant_refused_to_do_or_said_aloud_is_what_it_said():
    history = History.from_chat(
        [
            {"role": "user", "content": "Open the vault."},
            {"role": "assistant", "content": None, "refusal": "I can't do that."},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Which tram?"},
            {"role": "assistant", "content": None, "refusal": None, "audio": {"id": "a", "transcript": "Number six."}},
        ]
    )

    assert [item.text for item in history] == [
        "Open the vault.",
        "I can't do that.",
        "No.",
        "Which tram?",
        "Number six.",
    ]
    assert not history.lint("ga") + history.lint("beta")


def test_functions_of_2023_get_ids_that_tie_the_output_to_the_call():
    history = History.from_chat(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "rain"},
        ]
    )

    assert [item.get("call_id") for item in history] == [None, "call_1", "call_1"]
    assert not history.lint("ga")


def test_pictures_are_left_out_with_a_note():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    history = History.from_chat(
        [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
            {"role": "user", "content": [picture]},
        ]
    )

    assert [item.text for item in history] == ["What is it?", "[not text]"]
    assert history.notes == ("message 0: an image_url was left out", "message 1: an image_url was left out")
    assert "image_url was left out" in repr(history) and "image_url was left out" in history._repr_html_()
    assert history.assistant("A cat.").notes == history.notes


def test_sound_in_a_chat_becomes_a_clip(tmp_path):
    data = base64.b64encode(clip().save(tmp_path / "a.wav").read_bytes()).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}

    history = History.from_chat([{"role": "user", "content": [part, {"type": "text", "text": "What did I say?"}]}])

    assert history == History().user(clip(), "What did I say?")


def test_message_objects_of_an_sdk_are_read_like_their_json():
    class Message:
        def model_dump(self):
            return {"role": "assistant", "content": "Hello.", "tool_calls": None}

    assert History.from_chat([{"role": "user", "content": "Hi."}, Message()]) == History().user("Hi.").assistant(
        "Hello."
    )


def test_a_chat_may_stand_in_an_object_or_a_file(tmp_path):
    messages = [{"role": "user", "content": "Hi."}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n" + json.dumps(messages * 2) + "\n")

    assert History.from_chat({"messages": messages}) == History().user("Hi.")
    assert History.from_chat(tmp_path / "a.jsonl") == History().user("Hi.")
    assert History.from_chat(tmp_path / "a.jsonl", line=1) == History().user("Hi.").user("Hi.")


@pytest.mark.parametrize(("item_id", "previous"), [("itemId", "previousItemId"), ("item_id", "previous_item_id")])
def test_the_history_of_an_agents_session_is_seedable(item_id, previous):
    heard = {"type": "input_audio", "transcript": "A table for two?", "audio": None}
    spoken = {"type": "output_audio", "transcript": "At eight.", "audio": None}
    call = {"type": "function_call", "name": "book", "arguments": "{}", "output": "booked", "status": "completed"}
    dump = [
        message("user", heard, status="completed") | {item_id: "item_1", previous: "gone"},
        call | {item_id: "item_2", previous: "item_1"},
        message("assistant", spoken, status="completed") | {item_id: "item_3", previous: "item_2"},
    ]

    history = History.from_events(dump)
    assert [finding.index for finding in history.lint()] == [0, 3]
    assert all("with_transcripts" in finding.advice for finding in history.lint())

    history = history.with_transcripts()
    assert [item.get("id") for item in history] == ["item_1", "item_2", None, "item_3"]
    assert [item.text for item in history] == ["A table for two?", "book({})", "booked", "At eight."]
    assert not history.lint("ga") + history.lint("beta")


def test_a_dump_of_a_spoken_conversation_is_seedable_and_keeps_the_sound_that_is_there():
    sound = {"type": "input_audio", "transcript": "And on Sundays?", "audio": b64(clip().to_bytes())}
    history = History.from_events(
        [message("user", {"type": "input_audio", "transcript": "When?"}), message("user", sound)]
    )

    history = history.with_transcripts()

    assert history[0] == History().user("When?")[0]
    assert history[1].parts[0].clip is not None
    assert not history.lint("ga") + history.lint("beta")


def test_livekits_context_is_read():
    context = {
        "items": [
            {"id": "i1", "type": "message", "role": "system", "content": ["Be brief."], "interrupted": False},
            {
                "id": "i2",
                "type": "message",
                "role": "user",
                "content": ["Hi.", {"type": "image_content", "image": "x"}],
            },
            {"id": "i3", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"id": "i4", "type": "function_call_output", "call_id": "c", "name": "f", "output": "o", "is_error": False},
            {"id": "i5", "type": "agent_handoff", "new_agent_id": "b"},
            {
                "id": "i6",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "audio_content", "transcript": "Hello."}],
            },
        ]
    }

    history = History.from_livekit(context)

    assert history == History().system("Be brief.").user("Hi.").function_call("f", "{}", "c").function_output(
        "o", "c"
    ).assistant("Hello.")
    assert history.notes == ("item 1: an image_content was left out", "item 4: 'agent_handoff' was left out")


def test_sharegpts_form_is_read():
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]

    assert History.from_sharegpt({"conversations": turns}) == History().system("s").user("u").assistant("a")
    with pytest.raises(HistoryError, match="turn 0 is from 'observation'"):
        History.from_sharegpt([{"from": "observation", "value": "x"}])


def test_chatgpts_export_is_read_along_the_branch_that_was_shown_last():
    def node(role, parent, *parts, kind="text"):
        content = {"content_type": kind, "parts": list(parts)}
        return {"parent": parent, "message": {"author": {"role": role}, "content": content}}

    mapping = {
        "root": {"parent": None, "message": None},
        "s": node("system", "root", ""),
        "u": node("user", "s", "Hi.", {"content_type": "image_asset_pointer", "asset_pointer": "x"}),
        "old": node("assistant", "u", "Go away."),
        "think": node("assistant", "u", kind="thoughts"),
        "a": node("assistant", "think", "Hello."),
    }
    export = [{"title": "x", "mapping": {}}, {"title": "t", "mapping": mapping, "current_node": "a"}]

    history = History.from_chatgpt(export, index=1)

    assert history == History().user("Hi.").assistant("Hello.")
    assert len(history.notes) == 2
    assert History.from_chatgpt({"mapping": {"a": {"parent": "a"}}, "current_node": "a"}) == History()


def test_a_long_chat_and_any_order_are_read_in_linear_time():
    def chat(n):
        return lambda: History.from_chat([{"role": "user", "content": "x"}] * n)

    def first(n):
        item = message("user", text("x"))
        return lambda: History.from_events([create(item | {"id": str(i)}, previous_item_id="root") for i in range(n)])

    for work in (chat, first):
        short, long = min(seconds(work(2_000)) for _ in range(3)), seconds(work(16_000))
        assert long < 30 * short + 0.2  # a loop over what came before makes it 64 times


# Files


def test_a_saved_history_comes_back(tmp_path):
    history = (
        History().user(clip(), "żółw 🐢").assistant("a").function_call("f", {"x": 1}, "c").function_output("o", "c")
    )

    path = history.save(tmp_path / "h.json")

    assert path.is_absolute()
    assert History.load(path) == history
    assert "żółw" in path.read_text(encoding="utf-8")


def test_what_was_wrong_is_still_wrong_after_saving(tmp_path):
    history = History.from_events([message("user", text("x", "text")), message("assistant", text("x", "input_text"))])

    again = History.load(history.save(tmp_path / "h.json"))

    assert again.lint("ga") == history.lint("ga")
    assert len(again.lint("beta")) == 2


# What the service would refuse: wire/README.md, Content types by role and Errors

MUST = "Invalid value: '{}'. Value must be '{}'."
LISTED = "Invalid value: '{}'. Supported values are: 'input_text' and 'input_audio'."
TYPE = "item.content[0].type"
LONG = "x" * 39
TOO_LONG = "Invalid 'item.id': string too long. Expected a string with maximum length 32, but got a string with length 39 instead."
REFUSED = [
    # item, dialects, code, message, param
    (message("system", text("x", "text")), "ga beta", "invalid_value", MUST.format("text", "input_text"), TYPE),
    (
        message("system", text("x", "output_text")),
        "ga beta",
        "invalid_value",
        MUST.format("output_text", "input_text"),
        TYPE,
    ),
    (message("user", text("x", "text")), "ga beta", "invalid_value", LISTED.format("text"), TYPE),
    (message("user", text("x", "output_text")), "ga beta", "invalid_value", LISTED.format("output_text"), TYPE),
    (message("user", {"type": "image_url"}), "beta", "invalid_value", LISTED.format("image_url"), TYPE),
    (
        message("assistant", text("x", "input_text")),
        "ga",
        "invalid_value",
        MUST.format("input_text", "output_text"),
        TYPE,
    ),
    (message("assistant", text("x", "input_text")), "beta", "invalid_value", MUST.format("input_text", "text"), TYPE),
    (
        message("assistant", {"type": "output_audio", "transcript": "x"}),
        "ga",
        "missing_required_parameter",
        "Missing required parameter: 'item.content[0].text'.",
        "item.content[0].text",
    ),
    (
        message("assistant", {"type": "audio", "transcript": "x"}),
        "ga",
        "invalid_value",
        MUST.format("audio", "output_text"),
        TYPE,
    ),
    (
        message("assistant", {"type": "audio", "transcript": "x"}),
        "beta",
        "invalid_value",
        MUST.format("audio", "text"),
        TYPE,
    ),
    (
        message("user", {"type": "input_audio", "transcript": "x"}),
        "ga beta",
        "missing_required_parameter",
        "Missing required parameter: 'item.content[0].audio'.",
        "item.content[0].audio",
    ),
    (
        message("user", {"type": "input_text"}),
        "ga beta",
        "missing_required_parameter",
        "Missing required parameter: 'item.content[0].text'.",
        "item.content[0].text",
    ),
    (
        message("user", {"type": "input_text", "text": 5}),
        "ga beta",
        "invalid_type",
        "Invalid type for 'item.content[0].text': expected a string, but got an integer instead.",
        "item.content[0].text",
    ),
    (
        message("user", text("ok"), text("x", "text")),
        "ga beta",
        "invalid_value",
        LISTED.format("text"),
        "item.content[1].type",
    ),
    (message("user", text("x"), id=LONG), "ga beta", "string_above_max_length", TOO_LONG, "item.id"),
    (
        {"type": "function_call", "call_id": LONG, "name": "f", "arguments": "{}"},
        "ga beta",
        "string_above_max_length",
        TOO_LONG.replace("item.id", "item.call_id"),
        "item.call_id",
    ),
    (
        message("user", text("x"), modalities=["audio"]),
        "ga beta",
        "unknown_parameter",
        "Unknown parameter: 'item.modalities'.",
        "item.modalities",
    ),
    (
        {"type": "function_call", "call_id": "c", "arguments": "{}"},
        "ga beta",
        "missing_required_parameter",
        "Missing required parameter: 'item.name'.",
        "item.name",
    ),
    (
        {"type": "function_call_output", "call_id": "c"},
        "ga beta",
        "missing_required_parameter",
        "Missing required parameter: 'item.output'.",
        "item.output",
    ),
    (
        {"type": "function_call_output", "call_id": "c", "output": {"a": 1}},
        "ga beta",
        "invalid_type",
        "Invalid type for 'item.output': expected a string, but got an object instead.",
        "item.output",
    ),
]
ROWS = [(item, d, *rest) for item, dialects, *rest in REFUSED for d in dialects.split()]


@pytest.mark.parametrize(("item", "dialect", "code", "sentence", "param"), ROWS)
def test_lint_gives_the_error_that_the_service_would_give(item, dialect, code, sentence, param):
    history = History().user("first") + History.from_events([item])

    [found] = history.lint(dialect)

    assert (found.index, found.code, found.message, found.param) == (1, code, sentence, param)


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_lint_finds_nothing_in_what_the_builders_made(dialect):
    history = (
        History()
        .system("s")
        .user("u", clip())
        .assistant("a")
        .function_call("f", {}, "c")
        .function_output("o", "c")
        .user("x")
    )

    findings = history.lint(dialect)

    assert not findings
    assert repr(findings) == f"<lint ({dialect}): the service should take every item>"


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_lint_finds_an_id_that_is_there_twice(dialect):
    history = History.from_events([message("user", text(word), id="item_1") for word in "ab"])

    [found] = history.lint(dialect)

    assert (found.index, found.message) == (1, "Error adding item: the item with id 'item_1' already exists.")


def test_an_id_that_was_refused_the_first_time_is_free():
    wrong, right = message("user", text("a", "text"), id="item_1"), message("user", text("a"), id="item_1")

    assert [found.index for found in History.from_events([wrong, right]).lint()] == [0]


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    "history",
    [
        History().function_output("o", "call_1"),
        History().function_output("o", "call_1").function_call("f", {}, "call_1"),
        History().function_call("f", {}, "other").function_output("o", "call_1"),
    ],
)
def test_lint_finds_an_output_whose_call_does_not_come_before_it(history, dialect):
    [found] = history.lint(dialect)

    assert "call_1" in found.message
    assert "function_call()" in found.advice


def test_lint_finds_a_clip_that_is_too_long_for_one_event():
    history = History().user(Clip.silence(330_000))

    assert "15728640" in history.lint()[0].message


def test_lint_names_every_fault_in_order():
    history = History.from_events(
        [message("user", text("x", "text")), message("user", text("ok")), message("assistant", text("x", "oops"))]
    )

    findings = history.lint()

    assert [found.index for found in findings] == [0, 2]
    assert "2 would be refused" in repr(findings)
    assert "<table" in findings._repr_html_()


def test_lint_takes_no_other_dialect():
    with pytest.raises(InputError, match="no dialect is called 'gamma'"):
        History().lint("gamma")


def test_a_servers_own_dump_is_seedable_with_transcripts():
    dump = [
        message("assistant", {"type": "output_audio", "transcript": "Hi."}),
        message("assistant", {"type": "audio", "transcript": "Ho.", "audio": b64(b"1234"), "format": "pcm16"}),
        message("assistant", text("Hm.", "output_text")),
    ]
    history = History.from_events(dump)
    assert all("with_transcripts" in found.advice for found in history.lint("ga"))

    mended = history.with_transcripts()

    assert mended == History().assistant("Hi.").assistant("Ho.").assistant("Hm.")
    assert not mended.lint("ga") + mended.lint("beta")
    assert len(history.lint("ga")) == 2


# Showing itself


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)


def test_the_table_shows_foreign_words_and_does_nothing_they_say():
    bad = "<img src=x onerror=alert(1)>\u202egnp"
    history = History.from_events(
        [
            message("user", text(bad, bad), id=bad),
            {"type": bad},
            message("assistant", {"type": "audio", "transcript": bad}),
        ]
    ).function_call(bad, bad, "c")

    page = history._repr_html_() + history.lint()._repr_html_()

    assert "img" not in Tags(page).tags
    assert "&lt;img src=x" in page
    assert "\u202e" not in page


def test_the_table_says_what_each_dialect_will_send_and_what_is_refused():
    page = History().user(clip(text="hello")).assistant("a")._repr_html_()

    assert page.count("<audio") == 1
    assert "hello" in page
    assert "<code>output_text</code>" in page
    assert "<code>text</code>" in page
    assert "refused" not in page
    assert "refused" in History.from_events([message("user", text("x", "text"))])._repr_html_()


def test_one_line_says_who_speaks():
    assert repr(History()) == "<History, empty>"
    assert repr(History().user("a").function_call("f", {}, "c")) == "<History of 2: user, function_call>"


# Bad input

CALL = {"id": "c", "function": {"name": "f", "arguments": "{}"}}


def chat(**message):
    return lambda: History.from_chat([message])


def events(*entries):
    return lambda: History.from_events(entries)


@pytest.mark.parametrize(
    ("attempt", "value", "way_out"),
    [
        (lambda: History([message("user")]), "message", "from_events"),
        (lambda: History("hi"), "'hi'", ".user()"),
        (lambda: History().user(), "user", "text or a Clip"),
        (lambda: History().user(5), "5", "Clip.load()"),
        (lambda: History().user(b"RIFF"), "RIFF", "Clip.load()"),
        (lambda: History().user("ok", None), "None", "text or a Clip"),
        (lambda: History().user("a\ud800"), "\\ud800", "UTF-8"),
        (lambda: History().assistant(clip()), "assistant audio", "transcript"),
        (lambda: History().system(clip()), "system audio", "transcript"),
        (lambda: History().assistant(None), "None", "is text"),
        (lambda: History().function_call("f", 5, "c"), "5", "JSON text or a mapping"),
        (lambda: History().function_call("f", None, "c"), "None", "JSON text or a mapping"),
        (lambda: History().function_call("f", {"a": {1}}, "c"), "{1}", "use text"),
        (lambda: History().function_call("f", {"a": float("nan")}, "c"), "nan", "use text"),
        (lambda: History().function_call(None, "{}", "c"), "None", "name must be text"),
        (lambda: History().function_call("f", "{}", 7), "7", "call_id must be text"),
        (lambda: History().function_output({"a": 1}, "c"), "{'a': 1}", "output must be text"),
        (lambda: History.from_events("hi"), "'hi'", "list"),
        (lambda: History.from_events(message("user")), "message", "put the item in a list"),
        (lambda: History.from_events(5), "5", "list"),
        (events("hi"), "entry 0", "JSON object"),
        (events(message("user", text("a")), 5), "entry 1", "JSON object"),
        (events({"type": "session.update", "session": {}}), "'session.update'", "conversation.item.create"),
        (
            events({"type": "conversation.item.added", "item": message("user")}),
            "item.added",
            "conversation.item.create",
        ),
        (events(create("hi")), "entry 0", "conversation.item.create"),
        (events({}), "entry 0", "message"),
        (events({"type": 5}), "entry 0", "message"),
        (events({"role": "robot", "content": []}), "'robot'", "'assistant'"),
        (events({"type": "message", "content": []}), "None", "'assistant'"),
        (events({"role": "user", "content": 5}), "5", "list of content parts"),
        (events({"role": "user", "content": ["hi"]}), "hi", "list of content parts"),
        (events(message("user", {"text": "hi"})), "{'text': 'hi'}", "input_text"),
        (events(message("user", text("a\ud800"))), "\\ud800", "UTF-8"),
        (events(message("user", {"type": "input_audio", "audio": "!!"})), "entry 0", "base64"),
        (events(message("user", {"type": "input_audio", "audio": "AAAA"})), "3 bytes", "24 kHz PCM"),
        (events(message("user", {"type": "input_audio", "audio": ""})), "entry 0", "24 kHz PCM"),
        (events(create(message("user"), previous_item_id="item_9")), "'item_9'", "leave previous_item_id out"),
        (lambda: History.from_chat("hi"), "hi", "check the path"),
        (lambda: History.from_chat({"role": "user", "content": "hi"}), "role", "put the message in a list"),
        (lambda: History.from_chat(["hi"]), "message 0", "JSON object"),
        (chat(role="robot", content="x"), "'robot'", "developer"),
        (chat(role="user"), "None", "message 0's content must be text"),
        (chat(role="user", content=5), "5", "must be text"),
        (chat(role="user", content=[{"type": "hologram"}]), "hologram", "leave it out"),
        (chat(role="tool", content="x"), "None", "tool_call_id must be text"),
        (chat(role="assistant", content=None), "message 0", "leave it out"),
        (chat(role="assistant", content=None, audio={"id": "audio_1"}), "audio_1", "content"),
        (chat(role="assistant", tool_calls=5), "5", "list"),
        (chat(role="assistant", tool_calls=[{"id": "c", "type": "custom"}]), "custom", "function"),
        (
            chat(role="assistant", tool_calls=[CALL | {"function": {"name": "f", "arguments": None}}]),
            "None",
            "JSON text",
        ),
        (chat(role="assistant", tool_calls=[CALL | {"id": None}]), "None", "call_id must be text"),
        (lambda: History.load(5), "5", "path"),
        (lambda: History.load(""), "''", "path"),
        (lambda: History.load("/nowhere/h.json"), "/nowhere/h.json", "check the path"),
        (lambda: History().save("/nowhere/h.json"), "/nowhere/h.json", "check the path"),
    ],
)
def test_bad_input_gets_one_sentence_that_names_the_value_and_the_way_out(attempt, value, way_out):
    with pytest.raises(HistoryError) as caught:
        attempt()

    sentence = str(caught.value)
    assert value in sentence
    assert way_out in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize("body", ["", "{", '{"items": []}', '"hi"', "5", "[[[[", "[" * 100_000])
def test_a_file_that_is_no_list_of_items_is_refused(tmp_path, body):
    path = tmp_path / "h.json"
    path.write_text(body, encoding="utf-8")

    with pytest.raises(HistoryError, match="a history file is a JSON list of items"):
        History.load(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"\xff"), "not UTF-8"),
        (lambda path: os.mkfifo(path), "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to(path), "check the path"),
    ],
)
@pytest.mark.parametrize("read", [History.load, History.from_chat, cases.Case.from_chat])
def test_what_is_no_file_of_text_is_refused_at_once(tmp_path, make, words, read):
    make(path := tmp_path / "h.json")

    with pytest.raises(HistoryError, match=words):
        read(path)


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(HistoryError, match="check the path"):
        History.load(name)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "h.json").write_text("\ufeff[]", encoding="utf-8")

    assert History.load(tmp_path / "h.json") == History()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "message",
        "function_call",
        "function_call_output",
        "text",
        "input_text",
        "input_audio",
        "audio",
        "image_url",
        "refusal",
    ]
)
FIELDS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "audio",
        "transcript",
        "refusal",
        "input_audio",
        "data",
        "tool_calls",
        "function",
        "function_call",
        "name",
        "arguments",
        "id",
        "call_id",
        "output",
        "itemId",
        "item_id",
        "item",
        "from",
        "value",
        "items",
        "conversations",
        "mapping",
        "current_node",
        "parent",
        "message",
        "author",
        "parts",
        "content_type",
        "messages",
        "previous_item_id",
    ]
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "function", "human", "gpt"])
ENTRIES = st.recursive(
    KINDS | ROLES | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "read", [History.from_events, History.from_chat, History.from_livekit, History.from_sharegpt, History.from_chatgpt]
)
@settings(max_examples=150, deadline=None)
@given(entries=st.lists(st.dictionaries(FIELDS, KINDS | ROLES | ENTRIES, max_size=6), max_size=3) | ENTRIES)
def test_whatever_the_json_it_is_read_or_refused_in_a_sentence(read, entries):
    try:
        history = read(entries)
    except HistoryError as exc:
        assert len(str(exc)) < 500
        return
    history.lint("ga"), history.with_transcripts().lint("beta"), repr(history), history._repr_html_()
    assert all(isinstance(item.text, str) for item in history)


def test_a_megabyte_in_the_wrong_place_does_not_end_up_in_the_message():
    with pytest.raises(HistoryError) as caught:
        History.from_events([{"role": "user", "content": {"audio": "A" * 1_000_000}}])

    assert len(str(caught.value)) < 400


def test_an_item_can_be_made_by_hand():
    history = History((HistoryItem("message", "user", (HistoryPart("hi"),)),))

    assert history == History().user("hi")
