"""Anyone's log, in the shapes that logs come in."""

import base64
import copy
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tracemalloc

import pytest

from kit.cli import main
from kit.errors import InputError
from kit.eventlog import COLUMNS, Log, log_files, read_log, read_logs

PCM = bytes(range(240)) * 4


def talk(session="sess_A", response="resp_A", beta=False, text=False, audio=True, done=True):
    """The events of one short reply, as a server sends them."""
    item, kind = f"item_{response}", "text" if text else "audio"
    place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    name = {"text": "text" if beta else "output_text", "audio": "audio" if beta else "output_audio"}
    asked = {"modalities": ["audio", "text"]} if beta else {"output_modalities": ["audio"]}
    part = {"type": "text", "text": "Hello."} if text else {"type": "audio", "transcript": "Hello."}
    whole = {"id": item, "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    said = "text" if text else "audio_transcript" if beta else "output_audio_transcript"
    said = name["text"] if text else said
    usage = {"input_tokens": 9, "output_tokens": 4, "output_token_details": {"text_tokens": 1, "audio_tokens": 3}}
    events = [
        {"type": "session.created", "session": {"id": session, "model": "m", **asked}},
        {"type": "response.created", "response": {"id": response, "status": "in_progress", **asked}},
        {
            "type": "response.output_item.added",
            "response_id": response,
            "output_index": 0,
            "item": whole | {"content": []},
        },
        {"type": "response.content_part.added", **place, "part": {"type": kind}},
        {"type": f"response.{said}.delta", **place, "delta": "Hello."},
    ]
    if audio and not text:
        delta = base64.b64encode(PCM).decode()
        events.append({"type": f"response.{name['audio']}.delta", **place, "delta": delta})
    if done:
        events.append({"type": f"response.{said}.done", **place, "text" if text else "transcript": "Hello."})
        ended = {"id": response, "status": "completed", "output": [whole], "usage": usage, **asked}
        events.append({"type": "response.done", "response": ended})
    return [{"type": e["type"], "event_id": f"event_{n}", **e} for n, e in enumerate(events)]


def asking(events):
    """The same with what the client sent, and when: ms since the beginning, the request 1 000 ms after it."""
    request = {"type": "response.create", "event_id": "event_ours"}
    return [(0, events[0]), (1_000, request), *((1_100 + 50 * n, event) for n, event in enumerate(events[1:]))]


def write(path, *lines):
    path.write_text("".join(line if line.endswith("\n") else line + "\n" for line in lines))
    return path


def read(tmp_path, *lines, name="a.log"):
    return read_log(write(tmp_path / name, *lines))


def only(log):
    [response] = log.responses
    return response


both = pytest.mark.parametrize("beta", [False, True])


# -------------------------------------------------------------------------------------------------------- JSON of events


@both
@pytest.mark.parametrize("text, modality", [(False, "audio"), (True, "text")])
def test_bare_lines_of_either_dialect(tmp_path, beta, text, modality):
    response = only(read(tmp_path, *map(json.dumps, talk(beta=beta, text=text))))

    assert (response.modality, response.status, response.words) == (modality, "completed", "Hello.")
    assert response.sound == (b"" if text else PCM)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"events": e}, lambda e: {"log": {"entries": [{"ws": e}]}}])
def test_one_array_or_object_in_the_whole_file(tmp_path, indent, wrap):
    log = read(tmp_path, json.dumps(wrap(talk()), indent=indent))

    assert only(log).words == "Hello." and log.report.n_not_understood == 0


WRAPPERS = {
    "ours before": lambda at, e: {"at_ms": at, "dir": "x", "event": e},
    "iso": lambda at, e: {"timestamp": f"2026-05-01T12:00:{at / 1000:09.6f}Z", "payload": e},
    "epoch s": lambda at, e: {"ts": 1_777_636_800 + at / 1000, "event": e},
    "epoch ms": lambda at, e: {"time": 1_777_636_800_000 + at, "source": "x", "event": e},
    "epoch ns": lambda at, e: {"time": (1_777_636_800_000 + at) * 1_000_000, "data": e},
    "seconds named": lambda at, e: {"elapsed_s": at / 1000, "message": e},
    "nested": lambda at, e: {"time": f"2026-05-01 12:00:{at / 1000:06.3f}", "record": {"extra": {"event": e}}},
    "json in json": lambda at, e: {"receivedAt": 1_777_636_800_000 + at, "data": json.dumps(e)},
    "container": lambda at, e: {
        "log": json.dumps(e) + "\n",
        "stream": "stdout",
        "time": f"2026-05-01T12:00:{at / 1000:012.9f}Z",
    },
    "line in json": lambda at, e: {"level": "debug", "time": 1_777_636_800_000 + at, "message": f"<<< {e!r}"},
    "in the event": lambda at, e: e | {"timestamp": 1_777_636_800_000 + at},
    "type repeated": lambda at, e: {"type": e["type"], "ts_ms": at, "event": e},
}


@both
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_with_times_of_many_shapes(tmp_path, wrapper, beta):
    lines = [json.dumps(WRAPPERS[wrapper](at, event)) for at, event in asking(talk(beta=beta))]

    log = read(tmp_path, *lines)

    response = only(log)
    assert response.words == "Hello." and response.started_by == "create"
    assert response.first_audio_ms == pytest.approx(300, abs=0.01)
    assert response.done_ms == pytest.approx(400, abs=0.01)
    assert log.report.n_events == 9 and log.report.n_not_understood == 0


def test_what_a_browser_saves_of_its_network(tmp_path):
    messages = [
        {
            "type": "send" if e["type"] == "response.create" else "receive",
            "time": 1_777_636_800 + at / 1000,
            "opcode": 1,
            "data": json.dumps(e),
        }
        for at, e in asking(talk())
    ]
    har = {"log": {"version": "1.2", "entries": [{"request": {"url": "wss://…"}, "_webSocketMessages": messages}]}}

    log = read(tmp_path, json.dumps(har, indent=2), name="a.har")

    assert only(log).words == "Hello." and only(log).first_audio_ms == pytest.approx(300, abs=0.01)


def test_a_time_whose_unit_nobody_says_is_no_time(tmp_path):
    lines = [json.dumps({"t": at / 1000, "event": event}) for at, event in asking(talk())]

    response = only(read(tmp_path, *lines))

    assert response.started_by == "create" and response.first_audio_ms is None and response.done_ms is None


# ---------------------------------------------------------------------------------------------------------- lines of text

STAMP = "2026-05-01 12:00:{:06.3f}"
LINES = {
    "python dict": lambda at, e: f"{STAMP.format(at / 1000).replace('.', ',')} DEBUG realtime <<< {e!r}",
    "json": lambda at, e: f"[{STAMP.format(at / 1000)}] event: {json.dumps(e)} (end)",
    "time of day": lambda at, e: (
        f"23:59:{59 + at / 1000:06.3f} got {e!r}" if at < 1000 else f"00:00:{at / 1000 - 1:06.3f} got {e!r}"
    ),
    "quoted json": lambda at, e: f"{STAMP.format(at / 1000)}Z < TEXT {json.dumps(e)!r} [{len(json.dumps(e))} bytes]",
    "bytes": lambda at, e: f"{STAMP.format(at / 1000)} recv {json.dumps(e).encode()!r}",
    "pydantic": lambda at, e: f"{STAMP.format(at / 1000)} INFO {printed(e)}",
    "console": lambda at, e: f"{STAMP.format(at / 1000)} {console(e)}",
    "epoch": lambda at, e: f"{1_777_636_800 + at / 1000:.3f} {json.dumps(e)}",
    "over lines": lambda at, e: f"{STAMP.format(at / 1000)} event {json.dumps(e, indent=2)}",
    "braces before": lambda at, e: f"{STAMP.format(at / 1000)} conn{{7}} state={{idle recv {e!r}",
}


def printed(value, name="Event"):
    if isinstance(value, dict):
        return f"{name}({', '.join(f'{k}={printed(v, k.title())}' for k, v in value.items())})"
    return f"[{', '.join(printed(v, 'Item') for v in value)}]" if isinstance(value, list) else repr(value)


def console(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k}: {console(v)}" for k, v in value.items()) + " }"
    return f"[ {', '.join(map(console, value))} ]" if isinstance(value, list) else repr(value)


@both
@pytest.mark.parametrize("shape", LINES)
def test_events_printed_in_lines_of_text(tmp_path, shape, beta):
    lines = [LINES[shape](at, event) for at, event in asking(talk(beta=beta))]
    if shape != "time of day":
        lines.insert(3, "2026-05-01 12:00:01.900 INFO something else { that never ends")
    lines.insert(5, "plain words")

    log = read(tmp_path, *lines)

    response = only(log)
    assert (response.modality, response.words, response.sound) == ("audio", "Hello.", PCM)
    assert response.first_audio_ms == pytest.approx(300, abs=0.01)
    assert log.report.n_not_understood == 0 and log.report.n_other >= 1


def test_words_keep_their_quotes_and_lines(tmp_path):
    said = "It's \"so\" fine:\n\ttab, back\\slash, caf\u00e9 \U0001f600 {'type': 'response.done'}"
    events = copy.deepcopy(talk(text=True))
    events[-1]["response"]["output"][0]["content"][0]["text"] = said

    for shape in ("python dict", "quoted json", "bytes", "pydantic", "console"):
        lines = [LINES[shape](at, event) for at, event in asking([e for e in events if "text" not in e["type"]])]
        assert only(read(tmp_path, *lines)).text == said, shape


def test_a_line_about_an_event_that_cannot_be_read_is_counted_and_shown(tmp_path):
    lines = [repr(event) for event in talk()]
    lines.insert(4, "DEBUG <<< {'type': 'response.content_part.added', 'part': <Part object at 0x7f>}")
    lines.insert(5, '< TEXT \'{"type":"response.output_audio.delta","delta":"AAAA...\' [13000 bytes]')

    log = read(tmp_path, *lines)

    assert only(log).words == "Hello."
    assert log.report.n_not_understood == 2
    assert log.report.samples[0][0] == 5 and "response.content_part.added" in log.report.samples[0][1]
    assert "2 lines about events not understood" in repr(log)


# ------------------------------------------------------------------------------------------------- what logs do to events


def test_base64_that_was_cut_short_still_is_audio(tmp_path):
    events = talk()
    events[5]["delta"] = events[5]["delta"][:33] + "...[truncated]"

    response = only(read(tmp_path, *map(json.dumps, events)))

    assert response.modality == "audio" and response.n_bad_audio == 1


@both
def test_over_webrtc_no_audio_delta_is_there_and_it_is_audio_all_the_same(tmp_path, beta):
    response = only(read(tmp_path, *map(json.dumps, talk(beta=beta, audio=False))))

    assert response.modality == "audio" and response.n_audio_bytes == 0


def test_a_log_that_ends_in_mid_response_has_no_status(tmp_path):
    response = only(read(tmp_path, *map(json.dumps, talk(done=False))))

    assert (response.status, response.modality, response.transcript) == (None, "audio", "Hello.")


@pytest.mark.parametrize("deltas", [True, False])
def test_the_whole_audio_in_a_done_event_counts_once(tmp_path, deltas):
    events = talk(audio=deltas)
    place = {k: v for k, v in events[4].items() if k not in ("type", "delta")}
    whole = base64.b64encode(PCM).decode()
    events.insert(-1, {**place, "type": "response.output_audio.done", "audio": whole})
    events.insert(-1, {**place, "type": "response.content_part.done", "part": {"type": "audio", "audio": whole}})

    assert only(read(tmp_path, *map(json.dumps, events))).sound == PCM
    assert read_log(tmp_path / "a.log", audio=False).responses[0].n_audio_bytes == len(PCM)


def test_ids_that_are_null(tmp_path):
    text = "\n".join(map(json.dumps, talk())).replace('"resp_A"', "null").replace('"item_resp_A"', "null")

    response = only(read(tmp_path, text.replace('"sess_A"', "null")))

    assert (response.id, response.modality, response.words) == (None, "audio", "Hello.")


def test_gzip_and_utf_16_and_a_byte_order_mark(tmp_path):
    text = "\n".join(map(json.dumps, talk())) + "\n"
    for name, data in {
        "a.jsonl.gz": gzip.compress(text.encode()),
        "b.log": text.encode("utf-16"),
        "c.jsonl": b"\xef\xbb\xbf" + text.encode(),
        "d.jsonl": text.replace("\n", "\r\n").encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert only(read_log(tmp_path / name)).words == "Hello.", name


def test_a_packed_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    events = [json.dumps(event) for event in talk() for _ in range(1)]
    noise = [json.dumps({"noise": base64.b64encode(os.urandom(300)).decode()}) for _ in range(200)]
    data = gzip.compress("\n".join([*events, *noise]).encode())
    (tmp_path / "a.gz").write_bytes(data[: len(data) // 2])

    log = read_log(tmp_path / "a.gz")

    assert only(log).words == "Hello." and log.report.torn


# --------------------------------------------------------------------------------------------------------------- sessions


def test_sessions_are_told_apart_by_session_created(tmp_path):
    log = read(tmp_path, *map(json.dumps, talk("sess_A", "resp_A") + talk("sess_B", "resp_B")))

    assert [(s.id, [r.id for r in s.responses]) for s in log.sessions] == [
        ("sess_A", ["resp_A"]),
        ("sess_B", ["resp_B"]),
    ]


def test_sessions_that_overlap_are_told_apart_by_the_ids_in_their_events(tmp_path):
    one, two = talk("sess_A", "resp_A"), talk("sess_B", "resp_B", text=True)
    later = [event for pair in zip(one[2:], [*two, {"type": "rate_limits.updated"}], strict=False) for event in pair]

    log = read(tmp_path, *map(json.dumps, one[:2] + later + two[len(one) - 2 :]))

    assert [(s.id, [(r.id, r.words) for r in s.responses]) for s in log.sessions] == [
        ("sess_A", [("resp_A", "Hello.")]),
        ("sess_B", [("resp_B", "Hello.")]),
    ]
    assert "sessions overlap" in repr(log)


def test_a_session_id_beside_the_event_wins(tmp_path):
    def called(call, event):
        return json.dumps({"call_id": call, "event": event})

    pairs = zip(talk("sess_A", None), talk("sess_B", None, text=True), strict=False)
    log = read(tmp_path, *[line for a, b in pairs for line in (called("one", a), called("two", b))])

    assert [(s.id, [r.modality for r in s.responses]) for s in log.sessions] == [
        ("sess_A", ["audio"]),
        ("sess_B", ["text"]),
    ]


def test_nothing_says_who_answered_so_the_origin_is_unknown(tmp_path):
    log = read(tmp_path, *map(json.dumps, talk()))

    assert log.simulated is None and "origin unknown" in repr(log) and "origin unknown" in log._repr_html_()


def test_an_unknown_event_is_kept_and_counted(tmp_path):
    log = read(tmp_path, *map(json.dumps, [*talk(), {"type": "response.gesture.delta", "response_id": "resp_A"}]))

    assert (
        log.session().unknown == {"response.gesture.delta": 1}
        and log.session().events[-1].type == "response.gesture.delta"
    )


# ----------------------------------------------------------------------------------------------------------- many of them


def test_a_folder_is_searched_and_its_links_are_not_followed(tmp_path):
    (tmp_path / "logs/deep").mkdir(parents=True)
    write(tmp_path / "logs/deep/b.jsonl", *map(json.dumps, talk()))
    write(tmp_path / "logs/a.log", "no event here")
    write(tmp_path / "logs/c.md", "not a log")
    write(tmp_path / "secret.jsonl", *map(json.dumps, talk()))
    (tmp_path / "logs/link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    os.mkfifo(tmp_path / "logs/pipe.log")

    assert [path.name for path in log_files(tmp_path / "logs")] == ["a.log", "b.jsonl"]


def test_a_thousand_logs_take_the_memory_of_one(tmp_path):
    for n in range(1_000):
        write(tmp_path / f"{n:04}.jsonl", *map(json.dumps, talk(f"sess_{n}", f"resp_{n}")))
    seen = []

    def peak(paths):
        tracemalloc.start()
        n = sum(len(log.responses) for log in read_logs(*paths, progress=lambda *told: seen.append(told[:2])))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return n, top

    files = log_files(tmp_path)
    peak(files[:20])
    few, top_of_few = peak(files[:20])
    many, top_of_many = peak(files)

    assert (few, many) == (20, 1_000) and seen[-1] == (1_000, 1_000)
    assert top_of_many < top_of_few + 1_000 * 1_000  # a path for each


def test_a_file_of_a_folder_that_is_no_log_is_an_error_among_the_logs(tmp_path):
    write(tmp_path / "a.jsonl", *map(json.dumps, talk()))
    (tmp_path / "b.log").write_bytes(b"SQLite format 3\0")

    read = list(read_logs(tmp_path))

    assert isinstance(read[0], Log) and isinstance(read[1], InputError)


# --------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "head, why",
    [
        (b"SQLite format 3\0", "a ledger opens with"),
        (b"PK\x03\x04rest", "unpack it"),
        (b"RIFF....WAVE", "a sound file"),
        (b"ab\0\1\2", "is not text"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "packed twice"),
    ],
)
def test_what_is_no_text_log_is_refused(tmp_path, head, why):
    (tmp_path / "x.log").write_bytes(head)

    with pytest.raises(InputError, match=why):
        read_log(tmp_path / "x.log")


def test_a_folder_or_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        read_log(tmp_path)
    with pytest.raises(InputError, match="cannot read"):
        read_log(tmp_path / "none")


# ------------------------------------------------------------------------------------------------------------- kit log


def run(*argv):
    out = subprocess.run([sys.executable, "-m", "kit", "log", *map(str, argv)], capture_output=True, text=True)
    return out.returncode, out.stdout, out.stderr


def test_kit_log_prints_a_row_per_response_as_json_and_csv(tmp_path):
    path = write(tmp_path / "a.jsonl", *(json.dumps({"ts_ms": at, "e": e}) for at, e in asking(talk())))

    code, told, tally = run(path, "--json")
    [row] = json.loads(told)
    [flat] = csv.DictReader(io.StringIO(run(path, "--csv")[1]))

    assert code == 0 and tuple(row) == tuple(flat) == COLUMNS
    assert COLUMNS[:9] == (
        "session_id", "response_id", "asked", "modality", "status", "reason", "transcript", "text", "function_calls",
    )  # fmt: skip
    assert (row["session_id"], row["response_id"], row["asked"], row["modality"]) == (
        "sess_A",
        "resp_A",
        ["audio"],
        "audio",
    )
    assert (row["first_audio_ms"], row["done_ms"], row["output_audio_tokens"]) == (300.0, 400.0, 3)
    assert (flat["asked"], flat["reason"], flat["text"], flat["first_audio_ms"], flat["simulated"]) == (
        "audio", "", "", "300.0", "unknown",
    )  # fmt: skip
    assert "1 session, 1 response; 1 audio; origin unknown" in tally


def test_kit_log_prints_no_formula_and_no_control_character_as_csv(tmp_path, capsys):
    lines = map(json.dumps, talk(text=True))
    write(tmp_path / "a.jsonl", *(line.replace("Hello.", "=1+1\\u001b[2J\\rx") for line in lines))

    assert main(["log", str(tmp_path), "--csv"]) == 0
    [flat] = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert flat["text"] == "'=1+1[2J x"


def test_kit_log_prints_a_table_and_says_what_it_could_not_read(tmp_path, capsys):
    write(tmp_path / "a.jsonl", *map(json.dumps, talk(text=True)))
    (tmp_path / "b.jsonl").write_bytes(b"SQLite format 3\0")

    code = main(["log", str(tmp_path)])

    out, err = capsys.readouterr()
    assert code == 1 and "¶ text" in out and "Hello." in out
    assert "b.jsonl is a SQLite file" in err and "1 file not read" in err


def test_kit_log_of_nothing_says_so(tmp_path, capsys):
    assert main(["log", str(tmp_path)]) == 2
    assert "no log file in" in capsys.readouterr().err
