"""Event logs of GPT-Live sessions, written by the kit at its stand-in, and as others shorten and drop things."""

import asyncio
import base64
import json
from collections import namedtuple

import pytest

from kit import History, connect, read_log
from kit.cli import main
from kit.eventlog.live import LIVE_COLUMNS, live_sessions, outcomes

HISTORY = History().user("Tell me a joke.").assistant("Why don't skeletons fight each other? They don't have the guts!")
ASK = "Tell me another joke."
Record = namedtuple("Record", "kind data at key")
At = namedtuple("At", "ms clock")


def records_of(path):
    """The records of a log of the kit's, as the parser tells them."""
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        at = At(fields["at_ms"], "atms") if "at_ms" in fields else None
        kind = "header" if "opened_at" in fields else next(k for k in ("event", "end") if k in fields)
        yield Record(kind, fields if kind == "header" else fields[kind], at, fields["log"])


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
    assert 0 < spoken["first_word_ms"] < spoken["first_voice_ms"] < spoken["last_voice_ms"] and spoken["words"]
    assert (spoken["n_seeded"], spoken["seconds_confirmed"], spoken["close_reason"]) == (2, True, "close_requested")
    assert session.simulated and session.usd == 0 and session.appends[0].acked_at_ms and tuple(spoken) == LIVE_COLUMNS
    assert "1 silent, 1 spoken" in next(outcomes(session.rows)) and "acknowledged after" in session.facts()[1]
    assert any(reply.sound for reply in session.replies) == (audio == "keep")


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
    assert "of 2 asks 1 silent, 1 spoken" in shown.out and "1 GPT-Live session, 2 rows" in shown.err
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
