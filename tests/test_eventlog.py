"""What a session's event log holds, and what it never does."""

import base64
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from kit import Clip, cases, connect
from kit.errors import HandshakeRefused, InputError, RemoteProtocolError
from kit.eventlog import LogWriter, Redactor, read_log
from kit.standin import StandIn
from kit.wire.events import decode, digest

both = pytest.mark.parametrize("dialect", ["ga", "beta"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "session.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def story(response):
    """All of a response that a log can tell."""
    r = response
    calls = [(c.name, c.arguments, c.call_id, c.status) for c in r.calls]
    facts = (r.id, r.status, r.reason, r.asked, r.modality, r.transcript, r.text, r.n_audio_bytes, r.usage, calls)
    return (*facts, r.started_by, r.item_ids, r.simulated, r.voice)


def times(response):
    return [response.started_at_ms, response.first_audio_at_ms, response.first_text_at_ms, response.done_at_ms]


# --------------------------------------------------------------------------------------------------- what is written


@both
@pytest.mark.parametrize("audio", ["keep", "digest"])
async def test_a_log_reads_as_the_session_was(path, dialect, audio):
    async with connect(log=path, audio=audio, dialect=dialect, quiet=True) as session:
        await session.seed(cases.two_b.history)
        await session.respond()
        await session.ask("Tell me a joke.")

    read = read_log(path).session()

    assert [story(r) for r in read.responses] == [story(r) for r in session.responses]
    for logged, live in zip(read.responses, session.responses, strict=True):
        assert times(logged) == pytest.approx(times(live), abs=0.001)
    assert read.events.types == session.events.types
    assert [(i.id, i.role, i.text) for i in read.items] == [(i.id, i.role, i.text) for i in session.items]
    assert read.simulated is True and read.id == session.id


async def test_the_first_line_says_what_it_is_and_the_last_how_it_ended(path):
    async with connect(log=path, quiet=True) as session:
        await session.ask("Tell me a joke.")

    first, *frames, last = lines(path)

    assert first["endpoint"] == "standin" and first["dialect"] == "ga" and first["simulated"] is True
    assert {"kit", "format", "opened_at", "model", "audio"} <= first.keys()
    assert last["end"]["code"] == 1000
    assert [frame["n"] for frame in frames] == list(range(1, len(frames) + 1))
    assert all(frame["at_ms"] >= 0 and frame["unix"] > 1.7e9 for frame in frames)
    assert {frame["dir"] for frame in frames} == {"client", "server"}
    assert frames[0]["event"]["type"] == "session.created"


async def test_audio_kept_is_the_audio_that_came(path):
    async with connect(log=path, audio="keep", drift="never", quiet=True) as session:
        response = await session.ask("Tell me a joke.")

    assert read_log(path).responses[0].sound == response.sound


async def test_a_digest_says_the_hash_and_length_of_each_piece_both_ways(path):
    clip = Clip.named("tell-me-a-joke")

    async with connect(log=path, drift="never", settings={"turn_detection": None}, quiet=True) as session:
        await session.append_audio(clip)
        await session.clear_audio()
        await session.ask(clip)

    pcm = clip.to_bytes()
    expected = f"sha256:{hashlib.sha256(pcm).hexdigest()}:{len(pcm)}"
    events = [line["event"] for line in lines(path) if "event" in line]
    assert next(e for e in events if e["type"] == "input_audio_buffer.append")["audio"] == expected
    assert next(e for e in events if e["type"] == "conversation.item.create")["item"]["content"][0]["audio"] == expected
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    assert sum(int(delta.rpartition(":")[2]) for delta in deltas) == session.responses[0].n_audio_bytes
    assert base64.b64encode(pcm).decode()[:100] not in path.read_text()


async def test_a_second_session_is_appended_and_told_apart(path):
    for words in ("one", "two"):
        async with connect(log=path, quiet=True) as session:
            await session.ask(words)

    log = read_log(path)

    assert [len(s.responses) for s in log.sessions] == [1, 1]
    assert log.sessions[0].id != log.sessions[1].id == session.id


async def test_two_sessions_at_once_in_one_file_are_told_apart(path):
    async with connect(log=path, quiet=True) as one, connect(log=path, quiet=True) as two:
        first = await one.ask("one")
        second = await two.ask("two")
        third = await one.ask("three")

    read = read_log(path).sessions

    assert [[r.id for r in s.responses] for s in read] == [[first.id, third.id], [second.id]]


@pytest.mark.refusal
async def test_a_refused_handshake_is_in_the_log(path, monkeypatch):
    monkeypatch.setenv("KEY", "sk-wrong-canary-0123456789")
    async with StandIn() as server:
        with pytest.raises(HandshakeRefused):
            await connect(server.url, model="m", key_env="KEY", log=path, quiet=True)

    log = read_log(path).session()

    assert log.errors[0].code == "invalid_api_key"
    assert log.end["code"] == 3000
    assert "canary" not in path.read_text()


async def test_an_address_where_nobody_answers_leaves_a_line_that_says_so(path):
    with pytest.raises(Exception, match="cannot reach"):
        await connect("ws://127.0.0.1:9/v1/realtime?model=m", log=path, quiet=True)

    assert "cannot reach" in lines(path)[-1]["end"]["problem"]


# ------------------------------------------------------------------------------------------------------- as it happens


def test_a_killed_process_loses_at_most_the_line_it_was_writing(path):
    script = f"""
import asyncio
from kit import connect
async def main():
    session = await connect(log={str(path)!r}, quiet=True)
    await session.ask("Tell me a joke.")
    print(session.responses[0].id, len(session.events), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        response_id, n_events = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)

    read = read_log(path).session()

    assert read.responses[0].id == response_id and read.responses[0].status == "completed"
    assert len(read.events) == int(n_events) and read.end is None


async def test_a_torn_last_line_is_read_past_with_a_note(path):
    async with connect(log=path, quiet=True) as session:
        await session.ask("Tell me a joke.")
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-2]) + whole[-2][:40])

    log = read_log(path)

    assert log.responses[0].id == session.responses[0].id
    assert log.report.torn and "breaks off" in repr(log)


async def test_a_log_goes_on_after_a_torn_line(path):
    path.write_text('{"log":"abc","n":7,"at_ms":3')

    async with connect(log=path, quiet=True) as session:
        await session.ask("Tell me a joke.")

    assert read_log(path).responses[0].id == session.responses[0].id


async def test_a_full_disk_ends_the_log_not_the_session(path, monkeypatch):
    async with connect(log=path, quiet=True) as session:
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.warns(RuntimeWarning, match=r"ends after .* frames: No space left"):
            response = await session.ask("Tell me a joke.")

    assert response.status == "completed"


# ---------------------------------------------------------------------------------------------------- where it is kept


async def test_only_the_owner_may_read_it(path):
    async with connect(log=path, quiet=True):
        pass

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_is_not_written_through_a_link(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere.jsonl")

    with pytest.raises(InputError, match="it is a link"):
        LogWriter(path)

    assert not (tmp_path / "elsewhere.jsonl").exists()


@pytest.mark.parametrize(
    "name, why", [("x.jsonl.gz", "cannot be packed"), ("", "Is a directory"), ("pipe", "no ordinary file")]
)
def test_a_path_that_cannot_be_a_log_is_refused_before_anything_is_connected(tmp_path, name, why):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InputError, match=why):
        LogWriter(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------- secrets

KEY = "canary0123456789abcdef"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "x", "text": "my key is sk-proj-abcDEF123456"},
        {"type": "session.created", "session": {"client_secret": {"value": "ek_abc123def456", "expires_at": 1}}},
        {"type": "session.created", "session": {"client_secret": "c4n4ry-abc123def456"}},
        {"type": "x", "tools": [{"type": "mcp", "authorization": "c4n4ry-abc", "headers": {"X-Any": "c4n4ry-abc"}}]},
        {
            "type": "x",
            "arguments": json.dumps({"api_key": "c4n4ry-abc", "note": json.dumps({"password": "c4n4ry-abc"})}),
        },
        {"type": "x", "text": "Authorization: Bearer c4n4ryabcdef.x-y"},
        {"type": "x", "text": "GET wss://user:c4n4ry@host/v1/realtime?model=m&api-key=c4n4ry&x=1"},
        {"type": "error", "error": {"message": "Rate limit in organization org-c4n4ryAbc123XyZ on tokens"}},
        {"type": "x", "headers": {"Cookie": "c4n4ry=1", "Set-Cookie": "__cf_bm=c4n4ry; path=/"}},
        {"type": "x", "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjNG40cnkifQ.c4n4ryc4n4ry"},
        {"type": "x", "text": f"it was {KEY}, was it not"},
    ],
)
def test_a_secret_is_taken_out_of_a_frame_and_the_frame_stays_json(event):
    redact = Redactor([KEY])

    kept = redact(json.dumps(event).encode())

    told = json.loads(kept)
    assert told["type"] == event["type"] and b"[redacted]" in kept
    for secret in (b"sk-proj", b"ek_abc", b"c4n4ry", b"org-", KEY.encode(), b"eyJ"):
        assert secret not in kept


def test_a_secret_written_with_escapes_is_taken_out_too():
    frame = rb'{"type":"x","text":"\u0073k-abcdef123456 and \u0042earer abcdefgh"}'

    assert json.loads(Redactor()(frame))["text"] == "[redacted] and [redacted]"


@pytest.mark.parametrize(
    "words",
    [
        "a risk-free task-list",
        "the secret of comedy: timing",
        "keys and tokens: 12",
        "12 tokens left, key of C",
        "me@home",
    ],
)
def test_ordinary_words_are_left_alone(words):
    frame = json.dumps({"type": "response.output_text.delta", "delta": words, "usage": {"input_tokens": 12}}).encode()

    assert Redactor()(frame) == frame


async def test_your_own_hook_decides_what_is_kept_of_an_event(path):
    def hook(event):
        if event["type"] == "rate_limits.updated":
            return None
        if event["type"] == "conversation.item.create":
            event["item"]["content"] = []
        return event

    async with connect(log=path, redact=hook, quiet=True) as session:
        await session.ask("my name is Canary")

    frames = lines(path)
    assert any(frame.get("withheld") == "by the redact hook" for frame in frames)
    assert (
        next(f["event"] for f in frames if f.get("event", {}).get("type") == "conversation.item.create")["item"][
            "content"
        ]
        == []
    )
    assert read_log(path).session().n_withheld == 1
    assert session.items[0].text == "my name is Canary"


async def test_a_hook_that_raises_keeps_the_frame_out_and_the_session_going(path):
    def hook(event):
        raise KeyError("item")

    async with connect(log=path, redact=hook, quiet=True) as session:
        response = await session.ask("my name is Canary")

    assert response.status == "completed"
    assert "Canary" not in path.read_text() and "raised KeyError" in path.read_text()


SOUND = base64.b64encode(bytes(range(99))).decode()
HEAD = '{"type":"response.output_audio.delta","event_id":"e"'


@pytest.mark.parametrize(
    "frame",
    [
        f'{HEAD},"delta":"{SOUND}"}}',
        f'{HEAD}, "delta": "{SOUND}"}}',
        f'{HEAD},"delta":"{SOUND}","x":"y"}}',
        f'{HEAD},"delta":"{SOUND}","delta":"AAAA"}}',
        f'{HEAD},"x":{{"delta":"AAAA"}},"delta":"{SOUND}"}}',
        f'{HEAD},"x":"\\"delta\\":\\"","delta":"{SOUND}"}}',
        f'{HEAD},\n"delta":"{SOUND}"}}',
        f'{{"delta":"{SOUND}","type":"response.output_audio.delta"}}',
    ],
)
def test_of_an_audio_delta_everything_is_kept_but_its_audio(path, frame):
    writer = LogWriter(path)
    event = decode(frame.encode(), 1.0)
    writer.server([frame.encode()], [event], 1.0)
    writer.close()

    (line,) = lines(path)

    fields = json.loads(frame)
    assert line["event"] == fields | {"delta": digest(base64.b64decode(fields["delta"]))}
    assert SOUND not in path.read_text()


async def test_a_frame_that_is_no_event_is_kept_as_it_came(path):
    writer = LogWriter(path)
    writer.begin(endpoint="url", url="", model=None, dialect="ga", simulated=None)
    writer.server([b'{"oops": sk-abcdef123456\n'], [RemoteProtocolError("not JSON", "")], 1.0)
    writer.end(code=1000)

    log = read_log(path)

    assert lines(path)[1]["raw"] == '{"oops": [redacted]\n'
    assert log.session().n_malformed == 1
