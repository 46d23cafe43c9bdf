"""Logs of every kind, whole, cut and shortened: no reply is invented, what is given is right, and what is lost is told."""

import base64
import json
import pprint
import random
import subprocess
import sys

import pytest
from test_read_log import asking, console, printed, talk, write

from kit.eventlog import log_files, read_log, read_logs

WRAPPINGS = {
    "json": json.dumps,
    "after a time": lambda e: f"2026-05-01T12:00:00.000Z recv {json.dumps(e)}",
    "python": lambda e: f"DEBUG <<< {e!r}",
    "node": console,
    "pydantic": lambda e: f"INFO {printed(e)}",
    "in quotes": lambda e: f"2026 < TEXT {json.dumps(e)!r} [{len(json.dumps(e))} bytes]",
    "logfmt": lambda e: f"ts=2026-05-01T12:00:00Z msg={json.dumps('recv ' + json.dumps(e))} call=17",
    "message": lambda e: json.dumps({"level": "debug", "message": json.dumps(e)}),
    "indented": lambda e: json.dumps(e, indent=2),
    "csv": lambda e: 'x,"' + json.dumps(e).replace('"', '""') + '"',
    "docker": lambda e: json.dumps({"log": json.dumps(e) + "\n", "stream": "stdout", "time": "2026-05-01T12:00:00Z"}),
    "pprint": lambda e: pprint.pformat(e, width=70),
    "compose": lambda e: "\n".join(f"agent-1  | {line}" for line in json.dumps(e, indent=1).splitlines()),
    "colours": lambda e: f"\x1b[32m{json.dumps(e)}\x1b[39m",
}


def sessions(random_, n):
    """Events of some sessions, and what each reply came as."""
    events, truth = [], {}
    for s in range(n):
        for k in range(random_.randint(1, 3)):
            name, is_text = f"resp_{s}{k}AbCdEfGh", random_.random() < 0.4
            reply = talk(f"sess_{s}abcdef", name, text=is_text)
            events += reply if k == 0 else reply[1:]
            truth[name] = "text" if is_text else "audio"
    return events, truth


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("damage", ["none", "some cut", "all cut", "some shortened", "all shortened"])
def test_no_reply_is_invented_and_what_is_lost_is_told(tmp_path, wrapping, damage):
    for seed in range(12):
        rng = random.Random(f"{wrapping} {damage} {seed}")
        events, truth = sessions(rng, rng.randint(1, 2))
        length, lines, n_damaged = rng.choice([60, 80, 100, 150, 200]), [], 0
        for line in map(WRAPPINGS[wrapping], events):
            kept = line
            if damage != "none" and len(line) > length and "\n" not in line and ("all" in damage or rng.random() < 0.3):
                kept = line[:length] if "cut" in damage else f"{line[: length // 2]}...{line[-(length // 2) :]}"
                n_damaged += kept != line and ("type" in kept)
            lines.append(kept)

        log = read_log(write(tmp_path / "x.log", *lines))

        named = [response for response in log.responses if response.id is not None]
        assert {response.id for response in named} <= truth.keys()
        assert len(log.responses) <= len(truth)
        for response in named:
            assert response.modality == truth[response.id] or (response.partial and response.modality is None)
        if n_damaged == 0 and damage == "none":
            assert len(named) == len(truth) and not log.report.n_not_understood
            assert not any(response.partial for response in named)


def test_of_a_cut_line_the_type_and_the_ids_count_and_the_row_is_partial(tmp_path):
    lines = [json.dumps(event)[:130] for event in talk(text=True)]

    [response] = read_log(write(tmp_path / "x.log", *lines)).responses

    assert (response.id, response.modality, response.partial) == ("resp_A", "text", True)


def test_types_alone_tell_what_a_reply_came_as(tmp_path):
    lines = [f"received {event['type']}" for event in talk(text=True) + talk()[1:]]

    log = read_log(write(tmp_path / "x.log", *lines))

    assert [(r.modality, r.partial) for r in log.responses] == [("text", True), ("audio", True)]
    assert log.report.reasons["that only name an event"] == len(lines)


def test_what_node_hides_is_unknown_not_empty(tmp_path):
    line = "{ type: 'response.done', response: { id: 'resp_A', status: 'completed', output: [ [Object] ] } }"

    [response] = read_log(write(tmp_path / "x.log", line)).responses

    assert (response.status, response.modality, response.partial) == ("completed", None, True)


def test_the_same_reply_in_two_files_and_in_parts_of_a_rotated_one_counts_once(tmp_path):
    lines = [json.dumps(event) for event in talk()]
    write(tmp_path / "agent.log.1", *lines[:4])
    write(tmp_path / "agent.log", *lines[4:])
    write(tmp_path / "console.out", *lines)

    assert [path.name for path in log_files(tmp_path)] == ["agent.log.1", "agent.log", "console.out"]
    assert [len(log.responses) for log in read_logs(tmp_path)] == [1, 1]
    code, out, err = run(tmp_path, "--json")
    assert code == 0 and len(json.loads(out)) == 1 and "1 response found twice" in err


def run(*argv, stdin=None):
    done = subprocess.run(
        [sys.executable, "-m", "kit", "log", *map(str, argv)], capture_output=True, text=True, input=stdin
    )
    return done.returncode, done.stdout, done.stderr


def test_the_terminal_begins_with_the_answer_and_fits_80_columns(tmp_path):
    for n in range(4):
        write(tmp_path / f"{n}.jsonl", *map(json.dumps, talk(f"sess_{n}", f"resp_{n}", text=n == 0)))

    code, out, _err = run(tmp_path, "--by", "model")

    assert code == 0 and out.startswith("Asked for audio, came as text: 1 of 4 (25 %")
    assert "in 1 of 4 sessions" in out.splitlines()[0] and "By model:" in out


def test_standard_input_is_read(tmp_path):
    code, out, _ = run("-", stdin="\n".join(map(json.dumps, talk())))

    assert code == 0 and "0 of 1" in out


def test_lines_that_were_lost_are_said_with_the_rate_and_how_to_log_better(tmp_path):
    lines = [f"< TEXT {json.dumps(event)!r} [{len(json.dumps(event))} bytes]" for event in talk()]
    lines[2] = lines[2][:60] + "..." + lines[2][-30:]

    code, out, err = run(write(tmp_path / "x.log", *lines))

    assert code == 0 and "1 line about events not understood" in out
    assert "WEBSOCKETS_MAX_LOG_SIZE" in err


def test_a_file_in_which_nothing_is_understood_is_no_success(tmp_path):
    code, _, err = run(write(tmp_path / "x.log", "received text-only response from realtime API"))

    assert code == 1 and "no event was understood" in err and "LK_OPENAI_DEBUG=1" in err


def test_a_gpt_live_session_is_called_one(tmp_path):
    _, out, err = run(write(tmp_path / "x.log", json.dumps({"type": "session.started", "session": {"id": "live_1"}})))

    assert "GPT-Live" in out + err


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path):
    events = talk(text=True)
    events[4]["delta"] = events[-2]["text"] = events[-1]["response"]["output"][0]["content"][0]["text"] = (
        "=1+1\rx\x1b[2J"
    )

    out = run(write(tmp_path / "x.log", *map(json.dumps, events)), "--csv")[1]

    assert "'=1+1\nx[2J" in out and "\x1b" not in out


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


def test_a_million_replies_that_never_end_take_seconds(tmp_path):
    line = json.dumps({"type": "response.created", "response": {"id": None, "conversation_id": None}})

    log = read_log(write(tmp_path / "x.log", *[line] * 20_000), audio=False)

    assert log.report.n_events == 20_000
