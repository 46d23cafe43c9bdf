"""Event logs of GPT-Live sessions, written by the kit at its stand-in, and as others shorten and drop things."""

import asyncio
import base64
import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import namedtuple

import pytest

from kit import Case, History, Plan, Settings, StandIn, cases, connect, read_log, run
from kit.cli import main
from kit.eventlog.live import LIVE_COLUMNS, LiveSorter, outcomes
from kit.eventlog.times import Instant
from kit.plots.timeline import pair, timeline
from kit.reporting import bundle

HISTORY = History().user("Tell me a joke.").assistant("Why don't skeletons fight each other? They don't have the guts!")
ASK = "Tell me another joke."
Record = namedtuple("Record", "kind data at key")


def records_of(path):
    """The records of a log of the kit's, as the parser tells them."""
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        at = Instant(fields["at_ms"], "atms") if "at_ms" in fields else None
        kind = "header" if "opened_at" in fields else next(k for k in ("event", "end") if k in fields)
        yield Record(kind, fields if kind == "header" else fields[kind], at, fields["log"])


def live_sessions(records, file=""):
    sorter = LiveSorter(file)
    for record in records:
        sorter.take(record)
    return sorter.finish()


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Sessions seeded with two messages, asked and nudged, with their sound and with its digests."""
    folder = tmp_path_factory.mktemp("live-logs")

    async def talk(audio):
        options = {"log": folder / audio, "audio": audio, "live": {"silence": "p=1@2"}}
        async with connect(protocol="live", quiet=True, pace=6, **options) as session:
            await session.seed(HISTORY)
            await session.ask(ASK)
            await session.respond()

    for audio in ("keep", "digest"):
        asyncio.run(talk(audio))
    return folder


@pytest.mark.parametrize("audio", ["keep", "digest"])
def test_a_log_reads_as_the_session_was(logs, audio):
    (session,) = live_sessions(records_of(logs / audio), "x.jsonl")
    silent, spoken = session.rows
    assert (silent["outcome"], silent["asked_by"], silent["caller"], silent["words"]) == ("silent", "clip", ASK, "")
    assert (spoken["outcome"], spoken["asked_by"], spoken["by_words"]) == ("spoken", "commentary", False)
    assert 0 < spoken["first_word_ms"] <= spoken["first_voice_ms"] < spoken["last_voice_ms"] and spoken["words"]
    assert (spoken["n_seeded"], spoken["seconds_confirmed"], spoken["close_reason"]) == (2, True, "close_requested")
    assert session.simulated and session.usd == 0 and session.appends[0].acked_at_ms and tuple(spoken) == LIVE_COLUMNS
    assert "1 silent, 1 spoken" in next(outcomes(session.rows)) and "acknowledged after" in session.facts()[1]
    assert any(reply.sound for reply in session.replies) == (audio == "keep")


def test_a_recorded_session_is_a_case(logs):
    case = Case.from_log(logs / "digest", reply=2)
    said = [(item.role, item.text) for item in case.history]
    assert said == [*((item.role, item.text) for item in HISTORY), ("user", ASK)] and case.reported == "audio"
    assert Case.from_log(logs / "digest", reply=1).reported == "unknown"  # it was silent


def changed(records, change):
    for record in records:
        data = change(record.data) if record.kind == "event" else record.data
        if data is not None:
            yield record._replace(data=data)


def _cut(data):
    name = {"session.output_audio.delta": "delta", "session.input_audio.append": "audio"}.get(data.get("type"))
    return data | {name: base64.b64encode(bytes(33)).decode()} if name else data


def test_where_sound_is_shortened_the_words_decide(logs):
    (session,) = live_sessions(changed(records_of(logs / "keep"), _cut))
    assert [(row["outcome"], row["by_words"], row["first_voice_ms"]) for row in session.rows][-1] == (
        "spoken",
        True,
        None,
    )


def test_where_the_callers_sound_is_missing_its_words_are_the_ask(logs):
    kept = changed(records_of(logs / "keep"), lambda d: None if d["type"] == "session.input_audio.append" else d)
    (session,) = live_sessions(kept)
    assert [(row["asked_by"], row["outcome"]) for row in session.rows] == [
        ("words", "silent"),
        ("commentary", "spoken"),
    ]


def test_a_log_without_times_decides_nothing(logs):
    (session,) = live_sessions(record._replace(at=None) for record in records_of(logs / "digest"))
    assert not session.has_times and {row["outcome"] for row in session.rows} == {"censored"}
    assert all(row[name] is None for row in session.rows for name in ("first_word_ms", "first_voice_ms"))
    assert session.rows[-1]["words"] and "every outcome is censored" in session.facts()[0]


def test_a_log_that_breaks_off_has_unconfirmed_seconds_and_a_censored_ask(logs):
    records = list(records_of(logs / "keep"))
    last = next(n for n, r in enumerate(records) if r.data.get("type") == "session.input_transcript.delta")
    (session,) = live_sessions(records[: last + 1])
    assert [row["outcome"] for row in session.rows] == ["censored"]
    assert not session.seconds_confirmed and session.conversation.close_reason is None
    assert "close not seen" in session.facts()[0]


def test_sessions_in_one_log_are_told_apart_without_a_key(logs):
    records = [*records_of(logs / "keep"), *records_of(logs / "digest")]
    sessions = live_sessions(record._replace(key=None) for record in records if record.kind == "event")
    assert len({session.id for session in sessions}) == 2 == len(sessions)


def test_read_log_and_the_terminal_tell_them_beside_realtime(logs, tmp_path, capsys):
    mixed = tmp_path / "mixed.jsonl"
    realtime = [
        {"type": "session.created", "session": {"id": "sess_1"}},
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
        {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "output": []}},
    ]
    lines = "".join(json.dumps({"log": "other", "at_ms": n, "event": event}) + "\n" for n, event in enumerate(realtime))
    mixed.write_text((logs / "digest").read_text() + lines)

    log = read_log(mixed)

    assert [session.id for session in log.sessions] == ["sess_1"] and len(log.responses) == 1
    assert [row["outcome"] for row in log.live_rows] == ["silent", "spoken"] and "1 of GPT-Live with 2 replies" in repr(
        log
    )
    assert main(["log", str(mixed)]) == 0
    shown = capsys.readouterr()
    assert "of 2 asks 1 silent, 1 spoken" in shown.out and "1 GPT-Live session, 2 replies" in shown.err
    assert main(["log", "--csv", str(logs / "digest")]) == 0
    assert capsys.readouterr().out.startswith(",".join(LIVE_COLUMNS))
    assert main(["log", "--json", str(mixed)]) == 0
    assert [row.get("protocol") for row in json.loads(capsys.readouterr().out)] == [None, "live", "live"]


def test_what_both_protocols_have_belongs_to_what_the_log_spoke_of_last():
    def server(kind, **fields):
        return Record("event", {"type": kind} | fields, None, None)

    (session,) = live_sessions(
        [
            server("session.created", session={"id": "sess_1"}),
            server("session.updated", session={"id": "sess_1"}),
            server("session.started", session={"id": "live_u0_1"}),
            server("error", error={"type": "invalid_request_error", "code": None, "message": "no"}),
            server("session.brand_new"),
            server("response.done", response={"id": "resp_1"}),
            server("error", error={"type": "x", "code": None, "message": "Realtime's"}),
        ]
    )
    assert (
        session.n_events == 3
        and session.unknown == {"session.brand_new": 1}
        and [error.message for error in session.errors] == ["no"]
    )


# ------------------------------------------------------------------------------------------------------------- evidence


def unpacked(path):
    with zipfile.ZipFile(path) as file:
        return {name.partition("/")[2]: file.read(name).decode() for name in file.namelist()}


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_bundle_of_both_protocols_has_a_table_a_log_and_a_picture_of_each(logs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary0123456789")
    mixed = tmp_path / "mixed.jsonl"
    async with connect("standin", quiet=True, log=mixed) as session:
        await session.seed(cases.one_b.history)
        await session.respond()
    mixed.write_text(mixed.read_text() + (logs / "digest").read_text().replace("Tell me a joke", "canary0123456789"))

    made = bundle(mixed, tmp_path / "e.zip")

    files = unpacked(made.path)
    assert (made.n_with, made.n_without, made.reproduces, made.simulated) == (2, 0, True, True)
    assert [row["modality"] for row in table(files["responses.csv"])] == ["text"]
    assert [row["outcome"] for row in table(files["replies.csv"])] == ["silent", "spoken"]
    shown = {row["response_id"][:5]: (row["shows_effect"], row["outcome"]) for row in table(files["ids.csv"])}
    assert shown == {"reply": ("False", "spoken"), "resp_": ("True", "text")}
    assert [row["lost_voice"] for row in table(files["tables/modality.csv"])] == ["", "1"]
    assert {"plots/modality.svg", "plots/lost-voice.svg"} <= files.keys() and "canary" not in "".join(files.values())
    (name,) = (name for name in files if name.startswith("logs/with") and "live_" in name)
    (tmp_path / "again.jsonl").write_text(files[name])
    one, two = read_log(mixed).live[0], read_log(tmp_path / "again.jsonl").live[0]
    assert facts(two) == facts(one)
    assert "silent" in files[name.replace("logs/", "plots/").replace("jsonl", "svg")]
    pair(two, one, response=0)  # both protocols' sessions can be drawn beside each other


async def test_a_bundle_of_a_ledger_says_what_the_ledger_says_and_its_script_meets_the_silence_again(tmp_path):
    settings = Settings(protocol="live", stand_in={"pace": 6, "live": {"silence": "p=1@2"}})
    plan = Plan(["1a", "1b"], repeats=1, settings=settings, timeout_s=20, deadline_s=8)
    ledger = await run(plan, tmp_path / "live.sqlite", keep_events=True, progress=None)

    made = bundle(ledger, tmp_path / "e.zip")

    files = unpacked(made.path)
    assert (made.n_with, made.n_without, made.reproduces) == (1, 1, True)
    kept = ledger.rows("SELECT u.outcome, u.heard_ms FROM turns u JOIN trials t USING (trial_id) ORDER BY t.case_name")
    told = sorted(table(files["replies.csv"]), key=lambda row: row["outcome"], reverse=True)
    assert [(row["outcome"], row["policy"]) for row in told] == [(row["outcome"], made_by(ledger)) for row in kept]
    assert float(told[0]["first_voice_ms"]) == pytest.approx(
        kept[0]["heard_ms"], abs=10
    )  # to the frame, and not to the words
    script = tmp_path / "reproduce.py"
    script.write_text(files["reproduce.py"].replace("10000.0 / 1000", "0.5"))  # a shorter window, for this test
    async with StandIn(live={"silence": "p=1@2"}) as server:
        url = server.url.replace("realtime", "live/sessions")
        command = [sys.executable, "-I", str(script), url]
        out = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0 and "1 of 1 last replies were silent" in out.stdout, out.stdout + out.stderr


def facts(session):
    return [(reply.outcome, reply.words, round(reply.started_at_ms), reply.ended) for reply in session.replies]


def made_by(ledger):
    return ledger.rows("SELECT policy FROM attempts LIMIT 1")[0]["policy"]


async def test_the_picture_of_a_session_is_that_of_its_log(tmp_path):
    options = {"log": tmp_path / "x.jsonl", "audio": "keep", "live": {"silence": "never"}}
    async with connect(protocol="live", quiet=True, pace=6, **options) as session:
        await session.seed(HISTORY)
        await session.ask(ASK)

    drawn, logged = timeline(session), timeline(read_log(tmp_path / "x.jsonl").live[0])

    assert (
        drawn.lanes
        == logged.lanes
        == ["user speaks", "we send", "response", "transcript", "audio arrives", "audio lasts"]
    )
    ends = [
        [round(mark.end_ms) for mark in picture.marks if mark.lane in ("response", "audio arrives")]
        for picture in (drawn, logged)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=150)
