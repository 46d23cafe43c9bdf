"""Nothing leaks, nothing runs, nothing hangs: a canary for a key, hostile files, and fuzz."""

import asyncio
import gzip
import io
import json
import logging
import os
import sqlite3
import struct
import subprocess
import sys
import traceback
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import serve

from kit import Clip, Plan, Settings, arms, cases, connect, run
from kit.errors import ConnectError, HandshakeRefused, InputError, KitError, RemoteProtocolError
from kit.eventlog import Redactor, read_log
from kit.eventlog.values import values_in
from kit.reporting import bundle, report
from kit.standin import StandIn
from kit.trials.ledger import Ledger
from kit.wire.conversation import Conversation
from kit.wire.events import decode, event_of

QUIET = logging.Logger("the test's own servers", logging.CRITICAL + 1)
CANARY = "c4n4ryC4N4RYc4n4ryC4N4RY0123456789"


# ---------------------------------------------------------------------------------------------------------- the canary


@pytest.fixture
def key(monkeypatch):
    """A key that must be found nowhere."""
    monkeypatch.setenv("KEY", CANARY)
    return "KEY"


@pytest.fixture
def heard():
    """All that any logger says, at DEBUG."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    root.setLevel(before)


def told(exc):
    """An exception as the most talkative of tracebacks print it: with the values of all variables."""
    from IPython.core.ultratb import VerboseTB
    from rich.console import Console
    from rich.traceback import Traceback

    plain = "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
    out = io.StringIO()
    rich = Traceback.from_exception(type(exc), exc, exc.__traceback__, show_locals=True, locals_max_string=None)
    Console(file=out, width=400).print(rich)
    ipython = VerboseTB(theme_name="nocolor").text(type(exc), exc, exc.__traceback__)
    return plain + out.getvalue() + ipython + repr(exc) + str(exc) + repr(vars(exc))


async def caught(awaitable, kind=Exception):
    try:
        await awaitable
    except kind as exc:
        return exc
    raise AssertionError("nothing was raised")


async def refuse(url_of, **options):
    """A server that refuses: at once with an HTTP status, or with an error and a close; either repeats what it was sent."""

    def by_status(connection, request):
        return connection.respond(
            401, json.dumps({"error": {"message": f"no: {request.headers.get('Authorization')} {request.path}"}})
        )

    async def by_error(ws):
        said = f"no: {ws.request.headers.get('Authorization')} {ws.request.path}"
        await ws.send(
            json.dumps(
                {
                    "type": "error",
                    "error": {"type": "invalid_request_error", "code": "invalid_api_key", "message": said},
                }
            )
        )
        await ws.close(3000, "invalid_request_error.invalid_api_key")

    for how in ({"process_request": by_status}, {}):
        async with serve(by_error, "127.0.0.1", 0, logger=QUIET, **how) as server:
            yield url_of(server.sockets[0].getsockname()[1])


URLS = {
    "header": lambda port: f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime",
    "query": lambda port: f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime&api-key={CANARY}",
    "user": lambda port: f"ws://me:{CANARY}@127.0.0.1:{port}/v1/realtime?model=gpt-realtime",
}


@pytest.mark.parametrize("where", URLS)
async def test_a_refused_handshake_tells_no_traceback_the_key(key, where, heard, tmp_path):
    log = tmp_path / "x.jsonl"
    async for url in refuse(URLS[where]):
        exc = await caught(
            connect(url, key_env=key if where == "header" else None, log=log, quiet=True), HandshakeRefused
        )

        assert exc.code in (None, "invalid_api_key") and CANARY not in told(exc)
    assert CANARY not in log.read_text() and CANARY not in heard.getvalue()


async def test_a_handshake_that_is_broken_off_tells_no_traceback_the_key(key):
    reached, writers = asyncio.Event(), []

    async def never(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writers.append(writer)
        reached.set()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as server:
        url = URLS["header"](server.sockets[0].getsockname()[1])

        async def opening():
            await connect(url, key_env=key, quiet=True)

        task = asyncio.create_task(opening())
        await reached.wait()
        task.cancel()
        exc = await caught(task, asyncio.CancelledError)
        late = await caught(connect(url, key_env=key, timeout_s=0.1, quiet=True), ConnectError)
        for writer in writers:
            writer.close()
            await writer.wait_closed()

    assert CANARY not in told(exc) + told(late)


@pytest.mark.parametrize("where", URLS)
async def test_a_session_tells_nobody_the_key(key, where, heard, tmp_path):
    async with StandIn() as server:
        url = URLS[where](server.port)
        session = await connect(url, key_env=key if where == "header" else None, log=tmp_path / "x.jsonl", quiet=True)
        response = await session.ask("Tell me a joke.")
        shown = [
            repr(x) + getattr(x, "_repr_html_", lambda: "")()
            for x in (session, session.endpoint, response, session.events, session.items)
        ]
        await session.close()
        exc = await caught(session.ask("More."), KitError)

    everything = "".join(shown) + told(exc) + heard.getvalue() + (tmp_path / "x.jsonl").read_text()
    assert CANARY not in everything


async def test_what_a_server_repeats_of_the_key_is_not_written_down(key, tmp_path):
    async def parrot(ws):
        said = ws.request.headers["Authorization"]
        await ws.send(
            json.dumps(
                {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime", "instructions": said}}
            )
        )
        await ws.send(json.dumps({"type": "error", "error": {"type": "x", "message": said}}))
        await ws.send("not json " + said)
        await ws.wait_closed()

    log = tmp_path / "x.jsonl"
    async with serve(parrot, "127.0.0.1", 0, logger=QUIET) as server:
        session = await connect(URLS["header"](server.sockets[0].getsockname()[1]), key_env=key, log=log, quiet=True)
        await caught(session.wait_for("response.done"), RemoteProtocolError)
        await session.close()

    assert CANARY not in log.read_text() and len(read_log(log).session().events) == 2


def repeats(where):
    """A server that repeats the key as it ends: where it closes at once, where it closes later, in the upgrade's own headers."""

    async def closes(ws):
        if where == "later":
            await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
            await ws.recv()
        await ws.close(4001, f"no: {ws.request.headers['Authorization']}")

    def spoils(connection, request, response):
        if where == "upgrade":
            del response.headers["Upgrade"]
            response.headers["Upgrade"] = request.headers["Authorization"]

    return serve(closes, "127.0.0.1", 0, process_response=spoils, logger=QUIET)


@pytest.mark.parametrize("where", ["at once", "later", "upgrade"])
async def test_what_a_server_repeats_of_the_key_as_it_ends_is_in_no_error(key, where):
    async with repeats(where) as server:

        async def asking():
            async with connect(URLS["header"](server.sockets[0].getsockname()[1]), key_env=key, quiet=True) as session:
                await session.ask("Tell me a joke.")

        exc = await caught(asking(), KitError)

    assert CANARY not in told(exc)


@pytest.mark.parametrize(
    "answer",
    [
        '{"type":"error","error":{"type":"x","code":"c","message":"no: %s"}}',
        '{"type":"response.done","response":{"id":"r","status":"failed","status_details":{"error":{"message":"no: %s"}}}}',
        '{"type":"error","error":"no: %s',
    ],
)
async def test_a_refusal_that_repeats_the_key_is_shown_without_it(key, answer):
    async def parrot(ws):
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        await ws.recv()
        await ws.send(answer % ws.request.headers["Authorization"])

    async with serve(parrot, "127.0.0.1", 0, logger=QUIET) as server:
        async with connect(URLS["header"](server.sockets[0].getsockname()[1]), key_env=key, quiet=True) as session:
            exc = await caught(session.ask("Tell me a joke."), KitError)
        shown = [event.data for event in session.events], session.errors, session.responses, told(exc)

    assert "redacted" in repr(shown) and CANARY not in repr(shown)


@pytest.mark.parametrize("how", ["error", "failed", "malformed", "close"])
@pytest.mark.parametrize("then", ["deleted", "changed"])
async def test_a_key_that_leaves_the_environment_after_connecting_is_still_known(key, then, how, tmp_path, monkeypatch):
    async def parrot(ws):
        said = f"no: {ws.request.headers['Authorization'].removeprefix('Bearer ')}"
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        await ws.recv()
        if how == "close":
            await ws.close(4001, said)
        elif how == "error":
            await ws.send(json.dumps({"type": "error", "error": {"type": "x", "message": said}}))
        elif how == "malformed":
            await ws.send("{" + said)
        failed = {"id": "r", "status": "failed", "status_details": {"error": {"message": said}}}
        await ws.send(json.dumps({"type": "response.done", "response": failed}))

    log = tmp_path / "x.jsonl"
    async with serve(parrot, "127.0.0.1", 0, logger=QUIET) as server:
        async with connect(
            URLS["header"](server.sockets[0].getsockname()[1]), key_env=key, log=log, quiet=True
        ) as session:
            monkeypatch.delenv(key) if then == "deleted" else monkeypatch.setenv(key, "another-key")
            try:
                done = asyncio.ensure_future(session.wait_for("response.done", timeout_s=5))
                await session.send({"type": "response.create"})
                shown = repr(await done)
            except KitError as exc:
                shown = told(exc)
        shown += repr([[event.data for event in session.events], session.errors, session.responses, session.closed])

    assert "redacted" in shown and CANARY not in shown + log.read_text()


@pytest.mark.parametrize("how", ["error", "failed", "close"])
async def test_what_a_server_repeats_of_the_key_is_in_no_ledger(key, how, tmp_path):
    async def parrot(ws):
        said = f"no: {ws.request.headers['Authorization']}"
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        async for frame in ws:
            event = json.loads(frame)
            if event["type"] == "session.update":
                await ws.send(json.dumps({"type": "session.updated", "session": event["session"]}))
            elif event["type"] == "conversation.item.create":
                await ws.send(json.dumps({"type": "conversation.item.added", "item": event["item"]}))
            elif how == "close":
                await ws.close(4001, said)
            elif how == "error":
                error = {"type": "x", "message": said, "event_id": event["event_id"]}
                await ws.send(json.dumps({"type": "error", "error": error}))
            else:
                told = {"id": "resp_1", "status": "failed", "metadata": event["response"]["metadata"]}
                told["status_details"] = {"type": "failed", "error": {"type": "x", "message": said}}
                await ws.send(json.dumps({"type": "response.created", "response": told | {"status": "in_progress"}}))
                await ws.send(json.dumps({"type": "response.done", "response": told}))

    path = tmp_path / "runs.sqlite"
    async with serve(parrot, "127.0.0.1", 0, logger=QUIET) as server:
        where = Settings(URLS["header"](server.sockets[0].getsockname()[1]), key_env=key)
        plan = Plan(cases=[cases.one_a], arms=[arms.as_is], settings=[where], repeats=1, max_attempts=1, controls=0)
        await run(plan, path, budget_usd=float("inf"))

    assert b"no: [redacted]" in path.read_bytes() and CANARY.encode() not in path.read_bytes()


async def test_ledger_report_and_bundle_hold_no_key(monkeypatch, heard, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    async with StandIn() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("ws://", "http://").removesuffix("/realtime"))
        plan = Plan(cases=[cases.one_a, cases.one_b], arms=[arms.as_is], settings=plan_settings(), repeats=2, seed=1)
        ledger = await run(plan, tmp_path / "runs.sqlite", keep_events=True, budget_usd=float("inf"))
    report(ledger, tmp_path / "report")
    made = bundle(ledger, tmp_path / "e.zip")

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".zip")
    with zipfile.ZipFile(made.path) as file:
        written += b"".join(file.read(name) for name in file.namelist())
    assert CANARY.encode() not in written and len(written) > 10_000
    assert CANARY not in heard.getvalue() + repr(plan) + repr(ledger)


def plan_settings():
    return [Settings(endpoint="openai", model="gpt-realtime")]


def test_an_executed_notebook_holds_no_key(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [
        f"import os; os.environ['KEY'] = 'c4n4ry' + '{CANARY[6:]}'",
        "import logging; logging.basicConfig(level='DEBUG')\n%xmode Verbose",
        "from kit import connect, StandIn\nserver = await StandIn(require_key='another').start()",
        "session = await connect(server.url + '?model=gpt-realtime', key_env='KEY', log='x.jsonl')",
        "free = await StandIn().start()\nsession = await connect(free.url + '?model=gpt-realtime', key_env='KEY', log='x.jsonl')\nawait session.ask('Hello')",
        "session",
        "session.events",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])

    nbclient.NotebookClient(
        notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    outputs = json.dumps([cell.outputs for cell in notebook.cells])
    assert "HandshakeRefused" in outputs and "simulated" in outputs
    assert CANARY not in outputs + (tmp_path / "x.jsonl").read_text()


# ----------------------------------------------------------------------------------------------------- hostile words

HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>\"' onmouseover=window.pwned=1 \u202egnp "
    + "x" * 1_000_000
)


@pytest.mark.browser
async def test_a_report_shows_hostile_words_as_text_in_chromium(tmp_path):
    browser = pytest.importorskip("browser", reason="playwright is not installed")
    if browser.CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    plan = Plan(cases=[cases.one_b], arms=[arms.as_is], repeats=3, seed=1)
    await run(plan, tmp_path / "runs.sqlite", keep_events=True)
    with sqlite3.connect(tmp_path / "runs.sqlite") as db:
        for table, columns in {
            "responses": ["transcript", "text", "error", "error_code", "reason", "response_id"],
            "attempts": ["error", "error_code", "error_type", "session_id", "model", "voice", "drift_rule", "kind"],
        }.items():
            for column in columns:
                db.execute(f"UPDATE {table} SET {column} = ?", (HOSTILE,))
        db.execute("UPDATE attempts SET status = 'failed' WHERE attempt_id = 1")
    db.close()
    made = report(Ledger(tmp_path / "runs.sqlite"), tmp_path / "report")

    def opened():
        with browser.chromium() as page:
            page.goto(made.path.as_uri())
            return page.evaluate("() => [window.pwned, document.body.innerText]"), page.problems

    (pwned, text), problems = await asyncio.to_thread(opened)

    assert pwned is None and problems == []
    assert "<script>window.pwned=1</script>" in text and "\u202e" not in text


# ----------------------------------------------------------------------------------------------------- hostile files


def test_a_line_of_200_mb_is_refused_with_a_sentence(tmp_path):
    with open(tmp_path / "x.jsonl", "wb") as file:
        file.write(b'{"type":"response.output_text.delta","delta":"')
        for _ in range(200):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')

    with pytest.raises(InputError, match="line 1 of x.jsonl is longer than 32 MiB: no event is"):
        read_log(tmp_path / "x.jsonl")


NOISE = [
    b"[" * 200_000,
    b"{" * 200_000,
    b'{"a":' * 100_000,
    b"{'a':" * 100_000,
    b"A(" * 100_000,
    b"({[" * 100_000 + b"]})" * 100_000,
    b"x{\n" * 50_000,
    b'{"type": "response.done", \n' * 20_000,
    b"'" * 200_000,
    b"{'" + b"\\" * 200_000,
    b"{" + b"1" * 200_000,
    b"{'type': 'response.done', 'x': " + b"9" * 100_000 + b"}",
    b"A" * 500_000 + b"(",
    b"<" * 100_000,
    b"{'type': 'response.done', 'x': {" * 5_000,
    b"12:00:00 " * 100_000,
]


def test_nesting_and_noise_cost_neither_time_nor_stack(tmp_path):
    for n, text in enumerate(NOISE):
        (tmp_path / f"{n:02}.log").write_bytes(text)
    code = f"from kit.eventlog import read_logs; print([log.report.n_events for log in read_logs({str(tmp_path)!r})])"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert json.loads(out.stdout) == [0] * len(NOISE), out.stderr[-500:]


def test_a_json_bomb_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"type":"session.created","session":[' + b"[]," * 2_000_000 + b"[]]}\n")

    with pytest.raises(InputError, match="is JSON of more than 1,000,000 parts"):
        read_log(tmp_path / "x.jsonl")


def test_a_packed_bomb_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_000_000).replace(b"\0", b" "), 1))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\n" * 3_000_000, 9))

    with pytest.raises(InputError, match="longer than 32 MiB"):
        read_log(tmp_path / "a.gz")
    with pytest.raises(InputError, match="no Realtime event in its first 2,000,001 lines"):
        read_log(tmp_path / "b.gz")


@pytest.mark.parametrize(
    "data", [b"", b"SQLite format 3\0" + bytes(84), b"not a database at all", b"SQLite format 3\0garbage" * 100]
)
def test_a_ledger_that_is_none_is_refused_with_a_sentence(tmp_path, data):
    (tmp_path / "x.sqlite").write_bytes(data)

    with pytest.raises(KitError):
        Ledger(tmp_path / "x.sqlite").counts()


def wav(n_bytes, rate=24_000, channels=1):
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        n_bytes + 36,
        b"WAVE",
        b"fmt ",
        16,
        1,
        channels,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        n_bytes,
    )


@pytest.mark.parametrize(
    "data",
    [
        wav(0xFFFFFF00),
        wav(2**30) + bytes(100),
        wav(0),
        wav(100, rate=0) + bytes(100),
        wav(100, channels=0) + bytes(100),
        b"RIFF",
    ],
)
def test_a_sound_file_that_lies_about_itself_is_refused_with_a_sentence(tmp_path, data):
    (tmp_path / "x.wav").write_bytes(data)

    with pytest.raises(KitError) as refused:
        Clip.load(tmp_path / "x.wav")

    assert "x.wav" in str(refused.value) or str(refused.value)


# --------------------------------------------------------------------------------------------------------------- fuzz

# KIT_FUZZ=5000 for a longer look
few = settings(
    max_examples=int(os.environ.get("KIT_FUZZ", 100)),
    deadline=2_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TYPES = st.sampled_from(
    ["session.created", "session.updated", "conversation.item.added", "conversation.item.created", "conversation.item.done",
     "conversation.item.deleted", "conversation.item.truncated", "response.created", "response.done", "response.output_item.added",
     "response.output_item.done", "response.content_part.added", "response.content_part.done", "response.output_text.delta",
     "response.output_audio.delta", "response.output_audio_transcript.delta", "response.output_audio.done", "error", "response.create",
     "response.function_call_arguments.delta", "response.function_call_arguments.done", "rate_limits.updated", "conversation.item.create",
     "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "session.update", "response.audio.delta"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["type", "event_id", "session", "item", "response", "id", "response_id", "item_id", "previous_item_id", "output_index", "content_index",
     "delta", "part", "output", "content", "error", "status", "status_details", "usage", "metadata", "audio", "text", "transcript", "voice",
     "output_modalities", "modalities", "name", "arguments", "call_id", "audio_end_ms", "reason", "format", "log", "dir", "event", "at_ms",
     "timestamp", "simulated", "conversation_id", "rate_limits", "end", "raw", "withheld", "opened_at", "n_audio_bytes", "kit_request"]
)  # fmt: skip
IDS = st.sampled_from(["a", "b", "", None])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | IDS
    | TYPES
    | st.just("audio")
    | st.just("AAAA")
)
values = st.recursive(
    leaves,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), v, max_size=5),
    max_leaves=15,
)
events = st.builds(lambda kind, rest: {**rest, "type": kind}, TYPES, st.dictionaries(NAMES, values, max_size=7))


@few
@given(st.binary(max_size=400) | st.builds(lambda v: json.dumps(v).encode(), values | events))
def test_whatever_comes_decodes_or_is_refused(frame):
    try:
        event = decode(frame, 1.0)
    except RemoteProtocolError:
        return
    assert isinstance(event.type, str) and repr(event)


@few
@given(st.lists(events, max_size=25))
def test_the_fold_takes_whatever_comes(sent):
    conversation = Conversation()
    for n, data in enumerate(sent):
        if data["type"] in ("response.create", "conversation.item.create", "session.update"):
            conversation.sent(data, n)
        else:
            conversation.receive(event_of(data, n))
    for response in conversation.responses:
        assert repr(response) and isinstance(response.words, str)
        assert response.modality in (None, "audio", "text", "mixed", "function", "empty")


@few
@given(
    data=st.lists(
        st.binary(max_size=120)
        | st.builds(lambda v: json.dumps(v).encode(), events | values)
        | st.builds(lambda v: f"12:00:01 <<< {v!r}".encode(), events),
        max_size=15,
    )
)
def test_the_log_reader_takes_whatever_is_in_a_file(tmp_path, data):
    (tmp_path / "x.log").write_bytes(b"\n".join(data))
    try:
        log = read_log(tmp_path / "x.log")
    except InputError:
        return
    assert repr(log) and log._repr_html_() and log.rows is not None
    assert all(response.status != "in_progress" for response in log.responses)


@few
@given(st.text(max_size=200) | st.text("{}[]()<>'\"\\:,=AbT1 .-", max_size=200))
def test_the_parser_of_printed_objects_ends_in_a_value_or_a_refusal(text):
    found, begun = values_in(text)

    assert all(0 <= value.start < value.end <= len(text) for value in found)
    assert begun is None or 0 <= begun < len(text)


@few
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=30),
        lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4),
        max_leaves=12,
    )
)
def test_what_python_prints_is_read_as_it_was(value):
    text = repr({"value": value})

    [found], begun = values_in(text)
    assert (found.data, found.end, begun) == ({"value": value}, len(text), None)


@few
@given(st.binary(max_size=300), st.booleans())
def test_the_sound_reader_takes_whatever_is_in_a_file(tmp_path, data, headed):
    (tmp_path / "x.wav").write_bytes((wav(len(data)) if headed else b"") + data)
    try:
        clip = Clip.load(tmp_path / "x.wav")
    except KitError:
        return
    assert clip.n_samples <= len(data)


@pytest.mark.parametrize(
    ("frame", "kept"),
    [
        (b'{"n":91234567,"said":"so 123456 it is"}', b'{"n":"[redacted]","said":"so [redacted] it is"}'),
        (b'{"n":1}\n{"n":[-1.123456e5,2]}', b'{"n":1}\n{"n":["[redacted]",2]}'),
        (b"no JSON: 91234567", b"no JSON: 9[redacted]7"),
    ],
)
def test_a_secret_of_digits_leaves_json_behind(frame, kept):
    assert Redactor(["123456"])(frame) == kept


@few
@given(values, st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), min_size=6))
def test_a_known_secret_never_survives_in_any_json(value, secret):
    frame = json.dumps(
        {"type": "x", "value": value, "said": f"so {secret} it is", "deep": json.dumps({"k": [secret]})}
    ).encode()

    kept = json.loads(Redactor([secret])(frame))

    assert secret not in kept["said"] or secret in "so [redacted] it is"
    assert kept["deep"].startswith('{"k": ["') and secret not in json.loads(kept["deep"])["k"]
