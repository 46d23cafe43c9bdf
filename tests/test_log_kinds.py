"""Logs of every kind, whole, cut and shortened: no reply is invented, what is given is right, and what is lost is told."""

import base64
import csv
import io
import json
import random
import sys
import time

import damage
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_read_log import asking, talk, write

from kit.cli import main
from kit.eventlog import log_files, read_log, read_logs, sessions
from kit.wire.records import tokens


@pytest.mark.parametrize("round_", damage.ROUND)
@pytest.mark.parametrize("print_", damage.PRINTS)
def test_a_log_of_every_kind_is_read_whole(tmp_path, print_, round_):
    lines, *truth = damage.log(random.Random(0), print_, "", round_, "none")

    assert list(damage.faults(write(tmp_path / "x.log", *lines), lines, *truth)) == []


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.tuples(*map(st.sampled_from, map(list, (damage.PRINTS, damage.BEFORE, damage.ROUND, ["cut", "elided"])))),
    seed=st.integers(0, 10**6),
)
def test_no_reply_is_invented_and_what_is_lost_is_told(tmp_path, kind, seed):
    """Of any log, however its events were printed, and whichever lines were cut or shortened."""
    lines, *truth = damage.log(random.Random(seed), *kind)

    assert list(damage.faults(write(tmp_path / "x.log", *lines), lines, *truth)) == []


@pytest.mark.parametrize(
    "seed",
    [
        300057,
        309071,
        500707,
        701474,
        702431,
        703979,
        704310,
        302570,
        306935,
        10005103,
        40004132,
        40005335,
        40006290,
        70001161,
        70001911,
        100009595,  # what was left of a line ended the YAML document
        100005302,  # a terminal broke lines of logfmt
    ],
)
def test_a_log_that_was_misread_once(tmp_path, seed):
    _, (lines, *truth) = damage.of_seed(seed)

    assert list(damage.faults(write(tmp_path / "x.log", *lines), lines, *truth)) == []


def test_of_a_cut_line_the_type_and_the_ids_count_and_the_row_is_partial(tmp_path):
    lines = [json.dumps(event)[:130] for event in talk(text=True)]

    [response] = read_log(write(tmp_path / "x.log", *lines)).responses

    assert (response.id, response.modality, response.partial) == ("resp_A", "text", True)


def test_a_line_that_was_cut_after_an_equals_sign_is_told(tmp_path):
    log = read_log(write(tmp_path / "x.log", "type='response.done' response="))

    assert log.report.n_not_understood == 1


def test_a_field_that_was_cut_down_to_its_indent_is_told(tmp_path):
    lines = ("DEBUG recv " + json.dumps(talk()[-1], indent=12)).splitlines()
    lines[2] = lines[2][:12]

    log = read_log(write(tmp_path / "x.log", *lines))

    assert log.report.n_events == 0 and log.report.n_not_understood >= 1


def test_a_reply_is_in_one_session_where_cut_lines_lost_what_tells_sessions_apart(tmp_path):
    """The key stands at the end of each line, where a cut takes it."""
    lines = [
        json.dumps({"event": event, "call_sid": f"CA{n}"})
        for pair in zip(talk("sess_0", "resp_A"), talk("sess_1", "resp_B"), strict=True)
        for n, event in enumerate(pair)
    ]
    lines = [line[:150] if n % 4 > 1 else line for n, line in enumerate(lines)]

    responses = read_log(write(tmp_path / "x.log", *lines)).responses

    assert sorted(response.id for response in responses) == ["resp_A", "resp_B"]


def test_types_alone_tell_what_a_reply_came_as(tmp_path):
    lines = [f"received {event['type']}" for event in talk(text=True) + talk()[1:]]

    log = read_log(write(tmp_path / "x.log", *lines))

    assert [(r.modality, r.partial) for r in log.responses] == [("text", True), ("audio", True)]
    assert log.report.reasons["that only name an event"] == len(lines)


def test_what_node_hides_is_unknown_not_empty(tmp_path):
    line = "{ type: 'response.done', response: { id: 'resp_A', status: 'completed', output: [ [Object] ] } }"

    [response] = read_log(write(tmp_path / "x.log", line)).responses

    assert (response.status, response.modality, response.partial) == ("completed", None, True)


def test_the_same_reply_in_two_files_and_in_parts_of_a_rotated_one_counts_once(run, tmp_path):
    lines = [json.dumps(event) for event in talk()]
    write(tmp_path / "agent.log.1", *lines[:4])
    write(tmp_path / "agent.log", *lines[4:])
    write(tmp_path / "console.out", *lines)

    assert [path.name for path in log_files(tmp_path)] == ["agent.log.1", "agent.log", "console.out"]
    assert [len(log.responses) for log in read_logs(tmp_path)] == [1, 1]
    code, out, err = run(tmp_path, "--json")
    assert code == 0 and len(json.loads(out)) == 1 and "1 response found twice" in err


def test_what_a_client_sends_before_the_first_word_of_a_session_is_of_that_session(tmp_path):
    lines = []
    for n in "AB":
        item = {"id": f"item_{n}", "type": "message", "role": "assistant"}
        asks = {"type": "conversation.item.create", "item": item}
        [created, *others] = talk(f"sess_{n}", f"resp_{n}")
        lines += [asks, created, {"type": "conversation.item.added", "item": item}, *others]

    log = read_log(write(tmp_path / "x.log", *map(json.dumps, lines)))

    assert [(s.id, s.n_seeded, s.n_responses) for s in log.sessions] == [("sess_A", 1, 1), ("sess_B", 1, 1)]


def test_an_export_of_cloudwatch_insights_has_its_times(tmp_path):
    named = [
        [
            {"field": "@timestamp", "value": f"2025-11-26 20:46:4{n}.123"},
            {"field": "@message", "value": json.dumps(event)},
        ]
        for n, event in enumerate(talk())
    ]

    [row] = read_log(write(tmp_path / "x.json", json.dumps({"results": named[::-1]}, indent=4))).rows

    assert (row["modality"], row["status"], row["at"]) == ("audio", "completed", "2025-11-26T20:46:41.123")


def test_an_export_of_kibana_has_its_times(tmp_path):
    rows = [(f"Nov 26, 2025 @ 20:46:4{n}.123", json.dumps(event)) for n, event in enumerate(talk())]
    cells = io.StringIO(newline="")
    csv.writer(cells).writerows([("@timestamp", "message"), *rows[::-1]])

    [row] = read_log(write(tmp_path / "x.csv", cells.getvalue())).rows

    assert (row["modality"], row["status"], row["at"]) == ("audio", "completed", "2025-11-26T20:46:41.123")


def test_what_pydantic_complains_of_is_no_loss(tmp_path):
    complaint = (
        "pydantic_core._pydantic_core.ValidationError: 118 validation errors for union[ConversationCreatedEvent]",
        "ConversationCreatedEvent.conversation",
        "  Field required [type=missing, input_value={'type': 'session.created...': 'never', 'seed': 0}}}, input_type=dict]",
        "ConversationCreatedEvent.type",
        "  Input should be 'conversation.created' [type=literal_error, input_value='session.created', input_type=str]",
    )

    log = read_log(write(tmp_path / "x.log", *map(json.dumps, talk()), *complaint))

    assert log.report.n_not_understood == 0 and len(log.responses) == 1 and log.report.notes.total() == 2


@pytest.mark.parametrize("line", [
    "type='response.text.delta' event_id='event_A' respon... 812 more characters",
    "type='response.text.delta' event_id='event_A' delta= (truncated)",
    "type='response.text.delta' event_id='event_A",
    "type='conversation.item.added' event_[...]xt='Tell me a joke.')])",
    "type='session.created' event_id='event_A' session=Sessi",
])  # fmt: skip
def test_a_print_without_brackets_that_lost_a_field_is_told(tmp_path, line):
    log = read_log(write(tmp_path / "x.log", line))

    assert log.report.n_events == 0 and log.report.n_not_understood == 1


@pytest.fixture
def run(capsys, monkeypatch):
    def log(*argv, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(["log", *map(str, argv)])
        return code, *capsys.readouterr()

    return log


def test_the_terminal_begins_with_the_answer_and_fits_80_columns(run, tmp_path):
    for n in range(4):
        write(tmp_path / f"{n}.jsonl", *map(json.dumps, talk(f"sess_{n}", f"resp_{n}", text=n == 0)))

    code, out, _err = run(tmp_path, "--by", "model")

    assert code == 0 and out.startswith("Asked for audio, came as text: 1 of 4 (25 %")
    assert "in 1 of 4 sessions" in out.splitlines()[0] and "By model:" in out


def test_standard_input_is_read(run, tmp_path):
    code, out, _ = run("-", stdin="\n".join(map(json.dumps, talk())))

    assert code == 0 and "0 of 1" in out


def test_lines_that_were_lost_are_said_with_the_rate_and_how_to_log_better(run, tmp_path):
    lines = [f"< TEXT {json.dumps(event)!r} [{len(json.dumps(event))} bytes]" for event in talk()]
    lines[2] = lines[2][:60] + "..." + lines[2][-30:]

    code, out, err = run(write(tmp_path / "x.log", *lines))

    assert code == 0 and "1 line about events not understood" in out
    assert "WEBSOCKETS_MAX_LOG_SIZE" in err


def test_a_file_in_which_nothing_is_understood_is_no_success(run, tmp_path):
    code, _, err = run(write(tmp_path / "x.log", "received text-only response from realtime API"))

    assert code == 1 and "no event was understood" in err and "LK_OPENAI_DEBUG=1" in err


def test_a_reply_whose_content_was_not_printed_is_not_counted_and_that_is_said(run, tmp_path):
    line = "{ type: 'response.done', response: { id: 'resp_A', status: 'completed', output: [ [Object] ] } }"

    code, out, err = run(write(tmp_path / "x.log", line, *map(json.dumps, talk(response="resp_B"))))

    assert code == 0 and out.startswith("Asked for audio, came as text: 0 of 1")
    assert "Not counted, what they came as is not in the log: 1 reply." in out and "console.log(JSON.stringify" in err


def test_where_a_framework_saw_more_texts_than_the_log_shows_there_is_no_rate(run, tmp_path):
    warning = "WARNING Text response received from OpenAI Realtime API in audio modality."

    _, out, _ = run(write(tmp_path / "x.log", warning, *map(json.dumps, talk())))

    assert out.startswith("Came as text: at least 1 reply of 1, as the framework itself says")


def test_a_whole_log_gets_no_recipe_though_livekit_warns_in_it(run, tmp_path):
    warning = json.dumps({"message": "Text response received from OpenAI Realtime API in audio modality."})

    _, _, err = run(write(tmp_path / "x.log", warning, *map(json.dumps, talk(text=True))))

    assert "LiveKit itself says that a reply came as text: once" in err and "how to log" not in err


def test_a_gpt_live_session_is_called_one(run, tmp_path):
    _, out, err = run(write(tmp_path / "x.log", json.dumps({"type": "session.started", "session": {"id": "live_1"}})))

    assert "GPT-Live" in out + err


def test_a_cell_that_a_spreadsheet_would_run_is_text(run, tmp_path):
    events = talk(text=True)
    events[4]["delta"] = events[-2]["text"] = events[-1]["response"]["output"][0]["content"][0]["text"] = (
        "=1+1\rx\x1b[2J"
    )

    out = run(write(tmp_path / "x.log", *map(json.dumps, events)), "--csv")[1]

    assert "'=1+1 x[2J" in out and "\x1b" not in out


def test_an_export_that_is_newest_first_is_put_in_order(tmp_path):
    lines = [
        json.dumps({"time": f"2026-05-01T12:00:{at / 1000:06.3f}Z", "event": event})
        for at, event in reversed(asking(talk()))
    ]

    [response] = read_log(write(tmp_path / "x.log", *lines)).responses

    assert (response.status, response.done_ms) == ("completed", pytest.approx(400, abs=1))


def test_a_number_that_no_clock_shows_is_no_time(tmp_path):
    lines = [f'{{"at_ms":1{"0" * 400},"event":{json.dumps(event)}}}' for event in talk()]

    [response] = read_log(write(tmp_path / "x.log", *lines)).responses

    assert response.words == "Hello." and response.sound == base64.b64decode(talk()[5]["delta"])


@pytest.mark.parametrize("text", [True, False])
def test_the_oldest_replies_of_a_long_session_are_packed_and_their_rows_stay(tmp_path, monkeypatch, text):
    monkeypatch.setattr(sessions, "_MAX_WHOLE", 3)
    events = talk(text=text)
    lines = [
        json.dumps(e).replace("resp_A", f"resp_{n}").replace("item_A", f"item_{n}")
        for n in range(9)
        for e in events[1:]
    ]
    path = write(tmp_path / "x.log", json.dumps(events[0]), *lines)

    [short], [long] = (read_log(path, audio=audio).sessions for audio in (False, True))

    assert len(short._conversation.responses) < 6 and len(short.items) < 6
    assert short.n_responses == 9
    assert read_log(path, audio=False).rows == read_log(path).rows
    assert [r.usage and tokens(r.usage) for r in short.responses] == [
        r.usage and tokens(r.usage) for r in long.responses
    ]


def test_documents_of_yaml_are_read_whole_and_blank_lines_in_words_are_no_damage(tmp_path):
    events = talk()
    events[-1]["response"]["output"][0]["content"][0]["transcript"] = "Hello.\n\nHello again."
    text = yaml.safe_dump_all([{"time": "2026-05-01T12:00:00Z", "content": event} for event in events], sort_keys=False)

    log = read_log(write(tmp_path / "x.yaml", text))

    assert log.report.n_events == len(events) and not log.report.n_not_understood
    assert not log.responses[0].partial


def test_events_of_another_api_are_left_out_and_not_lost(tmp_path):
    line = '{"type":"response.created","sequence_number":0,"response":{"id":"resp_x","object":"response"}}'

    report = read_log(write(tmp_path / "x.log", *map(json.dumps, talk()), line)).report

    assert report.n_foreign == 1 and not report.n_not_understood


def test_a_line_that_lost_its_bracket_makes_no_reply_of_what_stands_in_it(tmp_path):
    lines = json.dumps(talk()[-1], indent=2).splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip() == "},")
    lines[at] = ""

    log = read_log(write(tmp_path / "x.log", *lines))

    assert log.report.n_not_understood >= 1 and not log.report.n_events


def test_replies_that_never_end_take_time_in_proportion_to_their_number(tmp_path):
    line = json.dumps({"type": "response.created", "response": {"id": None, "conversation_id": None}})

    def seconds(n):
        path, begun_s = write(tmp_path / "x.log", *[line] * n), time.process_time()
        assert read_log(path, audio=False).report.n_events == n
        return time.process_time() - begun_s

    assert seconds(20_000) < 30 * seconds(2_000)  # 10 times; where every reply was looked through, 77
