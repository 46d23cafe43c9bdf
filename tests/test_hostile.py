"""What a server, a proxy, a cancel or a lost answer can do to a session: nothing leaks, nothing hangs, nothing is sent twice."""

import asyncio
import contextlib
import errno
import gc
import json
import os
import resource
import sys
import time
import weakref
from http import HTTPStatus

import pytest
from hostile import CREATED, Lossy, cancelled_at_each_step, nothing_left_behind, send, serving
from test_hardening import CANARY, caught, told

from kit import History, connect, read_log
from kit.connecting import in_thread
from kit.endpoint import endpoint
from kit.errors import (
    EndpointError,
    HandshakeRefused,
    HistoryError,
    KitError,
    LocalProtocolError,
    MissingExtra,
    RemoteProtocolError,
    ResponseTimeout,
    ServerError,
    SessionClosed,
)
from kit.standin import StandIn
from kit.trials.attempt import machine_trouble

HISTORY = History().user("One.").assistant("Two.").user("Three.")
TEXTS = ["One.", "Two.", "Three."]


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("KEY", CANARY)
    return "KEY"


# ---------------------------------------------------------------------------------------------- where the kit may connect


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_to_another_origin_is_followed(status, key):
    requests = []

    async def elsewhere(ws):
        requests.append(dict(ws.request.headers))
        await send(ws, **CREATED)
        await ws.wait_closed()

    def redirect(url):
        def answer(connection, request):
            response = connection.respond(HTTPStatus(status), "over there\n")
            response.headers["Location"] = url
            return response

        return answer

    async with serving(elsewhere) as other, serving(elsewhere, process_request=redirect(other)) as url:
        exc = await caught(connect(url, key_env=key, auth="api-key", headers={"X-Team": CANARY}, quiet=True))

    assert isinstance(exc, HandshakeRefused) and exc.close_code == status and "does not follow" in str(exc)
    assert requests == []


async def test_a_redirect_within_the_origin_is_followed():
    async def talk(ws):
        await send(ws, **CREATED)
        await ws.wait_closed()

    def answer(connection, request):
        if request.path.startswith("/v1/realtime/"):
            return None
        response = connection.respond(HTTPStatus.PERMANENT_REDIRECT, "")
        response.headers["Location"] = "/v1/realtime/"
        return response

    async with serving(talk, process_request=answer) as url, connect(url, quiet=True) as session:
        assert session.id == "sess_1"


@pytest.mark.parametrize(
    ("spec", "options", "environ"),
    [
        ("openai", {}, {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": "http://api.openai.com/v1"}),
        (
            "azure",
            {"model": "m"},
            {"AZURE_OPENAI_API_KEY": CANARY, "AZURE_OPENAI_ENDPOINT": "http://r.openai.azure.com"},
        ),
        ("ws://host.example", {"key_env": "KEY"}, {"KEY": CANARY}),
        ("ws://127.evil.example", {"key_env": "KEY"}, {"KEY": CANARY}),
        (f"ws://me:{CANARY}@host.example", {}, {}),
        (f"ws://host.example?api-key={CANARY}", {}, {}),
        ("ws://host.example", {"headers": {"X-Key": CANARY}}, {}),
    ],
)
@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:1"])
async def test_a_key_goes_nowhere_in_the_clear(spec, options, environ, proxy, monkeypatch):
    for name, value in (environ | ({"HTTP_PROXY": proxy, "ALL_PROXY": proxy} if proxy else {})).items():
        monkeypatch.setenv(name, value)

    exc = await caught(connect(spec, **options, quiet=True))

    assert isinstance(exc, EndpointError) and "unencrypted" in str(exc)
    assert CANARY not in str(exc) + repr(exc)


def test_a_key_in_a_url_is_a_key():
    assert "you pay: the key in the URL" in endpoint(f"wss://h/v1/realtime?api-key={CANARY}").who_pays
    assert endpoint(f"wss://me:{CANARY}@h").sends_key and not endpoint("wss://h?tier=2").sends_key


@pytest.mark.parametrize(
    ("variable", "value", "kind"),
    [
        ("HTTPS_PROXY", f"garbage:{CANARY}@x", EndpointError),
        ("HTTPS_PROXY", f"http://u:{CANARY}@h:99999", EndpointError),
        ("SOCKS_PROXY", f"socks5://u:{CANARY}@127.0.0.1:1", MissingExtra),
    ],
)
async def test_a_proxy_that_is_none_is_named_and_its_password_is_not(variable, value, kind, monkeypatch):
    for name in ("HTTPS_PROXY", "SOCKS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setitem(sys.modules, "python_socks", None)  # not installed
    monkeypatch.setenv(variable, value)

    exc = await caught(connect("wss://service.invalid/v1/realtime", timeout_s=3, quiet=True))

    assert isinstance(exc, kind) and isinstance(exc, KitError)
    monkeypatch.delenv(variable)  # the environment itself is a variable of IPython's frames
    assert CANARY not in told(exc)


# ------------------------------------------------------------------------------------------------------ the key is nowhere


def u_escaped(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


SPELLINGS = {
    "plain": lambda key: json.dumps(key)[1:-1],
    "first letter escaped": lambda key: u_escaped(key[0]) + key[1:],
    "all escaped": u_escaped,
    "capitals": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "as PHP writes it": lambda key: key.replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps(json.dumps({"k": key}))[1:-1],
}
PLACES = {
    "error": '{"type":"error","error":{"type":"x","code":"%s","message":"no: %s"}}',
    "session": '{"type":"session.updated","session":{"id":"%s","model":"%s","voice":"%s","simulated":{"drift":"%s"}}}',
    "response": '{"type":"response.done","response":{"id":"%s","status":"failed","status_details":{"reason":"%s","error":{"message":"%s"}}}}',
    "item": '{"type":"conversation.item.added","item":{"id":"%s","type":"message","role":"user","content":[{"type":"input_text","text":"%s"}]}}',
    "field name": '{"type":"x.y","%s":1}',
    "type": '{"type":"%s"}',
    "malformed": '{"type":"x","%s',
}


@pytest.mark.parametrize("secret", [CANARY, "c4n4ry/with/slashes/0123456789"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_whatever_a_server_repeats_of_the_key_is_kept_nowhere(secret, place, spelling, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", secret)
    frame = PLACES[place].replace("%s", SPELLINGS[spelling](secret))

    async def parrot(ws):
        await send(ws, **CREATED)
        await ws.recv()
        await ws.send(frame)
        await send(ws, "input_audio_buffer.cleared")
        await ws.wait_closed()

    log = tmp_path / "x.jsonl"
    async with serving(parrot) as url, connect(url, key_env="KEY", log=log, quiet=True) as session:
        try:
            await session.clear_audio(timeout_s=5)
            shown = ""
        except KitError as exc:  # of all frames but this one, which knows what is sent
            shown = told(exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next))
        shown += repr([event.data for event in session.events]) + repr(session.events) + session._repr_html_()
        shown += repr([session.settings, session.errors, session.responses, session.items, session.unknown])
        shown += "".join(map(told, session._link.malformed))
    assert secret not in shown + log.read_text() and "c4n4ry" not in json.dumps(
        json.loads(log.read_text().splitlines()[3])
    )


async def test_a_key_that_a_refusal_would_cut_in_two_is_not_shown(key):
    def refuse(connection, request):
        return connection.respond(401, "x" * 1_990 + request.headers["Authorization"].split()[1])

    async with serving(None, process_request=refuse) as url:
        exc = await caught(connect(url, key_env=key, quiet=True), HandshakeRefused)

    assert CANARY[:8] not in told(exc)


@pytest.mark.parametrize("value", [f"{CANARY}\nX-Evil: 1", f'"{CANARY}"', f"{CANARY} x", f"{CANARY}é"])
async def test_a_key_that_is_none_is_in_no_traceback(value, monkeypatch):
    monkeypatch.setenv("KEY", value)

    exc = await caught(connect("wss://h.invalid/v1/realtime", key_env="KEY", quiet=True), EndpointError)

    monkeypatch.delenv("KEY")
    del value
    assert "holds characters that no key has" in str(exc) and CANARY not in told(exc)


async def test_no_object_holds_the_key_but_the_redactor(key, monkeypatch):
    async with StandIn() as server:
        url = f"{server.url}?model=gpt-realtime"
        session = await connect(url, key_env=key, headers={"X-Team": CANARY[::-1]}, quiet=True)
        monkeypatch.delenv(key)
        gc.collect()
        client = [
            session,
            session._link,
            session._link.socket,
            session._link.socket.protocol,
            session._link.socket.request,
        ]
        holders = [holder for root in client for holder in holders_of(root, (CANARY, CANARY[::-1]))]
        await session.close()

    assert holders == []


def holders_of(root, secrets, depth=6):
    """Where below an object a secret stands, redactors and endpoints (whose own headers are the user's to give) apart."""
    seen, found, level = set(), [], [root]
    for _ in range(depth):
        level = [child for holder in level for child in children(holder) if id(child) not in seen]
        seen.update(map(id, level))
        found += [text for text in level if isinstance(text, str | bytes) and any(s in str(text) for s in secrets)]
    return found


def children(holder):
    if type(holder).__name__ in ("Redactor", "Endpoint", "module", "function", "type", "frame", "_Environ"):
        return []
    if isinstance(holder, dict):
        return [*holder.keys(), *holder.values()]
    if isinstance(holder, list | tuple | set):
        return list(holder)
    names = [name for kind in type(holder).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    slots = [getattr(holder, name, None) for name in names]
    return [*getattr(holder, "__dict__", {}).values(), *slots]


# ------------------------------------------------------------------------------------------------- what is not a session


@pytest.mark.parametrize(
    ("frames", "headers", "kind"),
    [
        ([{"type": "session.created", "session": {"id": 7, "model": [], "simulated": 5}}], {}, None),
        ([CREATED], {"X-Stand-In": ["a", "b"]}, None),
        ([[1]], {}, RemoteProtocolError),
        (["{"], {}, RemoteProtocolError),
        ([], {"Location": ["ws://[::1"]}, HandshakeRefused),
    ],
)
async def test_a_strange_first_word_is_a_session_or_one_of_the_kits_errors(frames, headers, kind):
    async def talk(ws):
        for frame in frames:
            await ws.send(frame if isinstance(frame, str) else json.dumps(frame))
        await ws.wait_closed()

    def strange(connection, request, response):
        for name, values in headers.items():
            for value in values:
                response.headers[name] = value
        if "Location" in headers:
            response.status_code = 307

    async with serving(talk, process_response=strange) as url:
        try:
            async with connect(url) as session:
                assert kind is None and repr(session) and session._repr_html_()
        except KitError as exc:
            assert isinstance(exc, kind)


async def test_a_machine_without_descriptors_is_told_from_a_service_that_is_away():
    with os.fdopen(os.dup(0), "rb") as free:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno(), most[1]))
        try:
            exc = await caught(connect("ws://127.0.0.1:9/", quiet=True), OSError)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)

    assert exc.errno == errno.EMFILE and machine_trouble(exc)


async def test_a_message_beyond_64_mib_ends_the_session_before_it_is_kept():
    async def talk(ws):
        await send(ws, **CREATED)
        await ws.recv()
        ws.transport.write(b"\x81\x7f" + (2**40).to_bytes(8, "big") + bytes(1_000_000))
        await ws.wait_closed()

    async with serving(talk) as url, connect(url, quiet=True) as session:
        with pytest.raises(SessionClosed) as closed:
            await session.clear_audio(timeout_s=5)

    assert closed.value.code == 1009


async def test_control_characters_of_a_server_reach_no_terminal():
    async def talk(ws):
        await send(ws, **CREATED)
        event = json.loads(await ws.recv())
        error = {"code": "x", "message": "\x1b]0;title\x07\x1b[2J\u202e", "event_id": event["event_id"]}
        await send(ws, "error", error=error)
        await ws.close(4001, "\x1b[2J")

    async with serving(None, process_request=lambda ws, request: ws.respond(401, "\x1b[2J\u202e")) as url:
        turned_away = await caught(connect(url, quiet=True), HandshakeRefused)
    async with serving(talk) as url, connect(url, quiet=True) as session:
        refused = await caught(session.clear_audio(timeout_s=5), ServerError)
        closed = await caught(session.wait_for("x", timeout_s=5), SessionClosed)

    assert refused.message.startswith("\x1b")  # the fact stays as it came
    assert not any(c in str(refused) + str(closed) + str(turned_away) for c in "\x1b\x07\u202e")


# ------------------------------------------------------------------------------------------- a seed can always be mended


@pytest.mark.parametrize("options", [{}, {"checks_ids": False}, {"renames": True}], ids=str)
async def test_after_a_cancelled_seed_the_same_call_goes_on_and_nothing_is_there_twice(options):
    async with Lossy(**options) as server:
        sessions = []

        async def seed():
            sessions.append(await connect(server.url, quiet=True))
            server.items.clear()
            begun.set()
            await sessions[-1].seed(HISTORY, timeout_s=5)

        for k in range(30):
            begun = asyncio.Event()
            task = asyncio.ensure_future(seed())
            await begun.wait()
            for _ in range(k):
                await asyncio.sleep(0)
            over = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            session = sessions.pop()

            items = await session.seed(HISTORY, timeout_s=5) if not over else session.items

            assert [item.text for item in items] == TEXTS and server.texts == TEXTS, k
            await session.respond(timeout_s=5)
            await session.close()
            if over:
                break


@pytest.mark.parametrize("options", [{}, {"checks_ids": False}], ids=str)
async def test_a_seed_that_is_cancelled_while_it_is_written_goes_on(options):
    history = History.from_chat([{"role": "user", "content": f"{n}{'x' * 900_000}"} for n in range(8)])
    async with Lossy(**options) as server, connect(server.url, quiet=True) as session:
        async for _ in cancelled_at_each_step(lambda: session.seed(history), [5]):  # the socket is full
            assert server.n_creates == 0
        await session.seed(history, timeout_s=10)

        assert [text[0] for text in server.texts] == list("01234567")


async def test_an_ask_after_a_cancelled_one_is_answered():
    async with connect("standin", quiet=True) as session:
        async for _ in cancelled_at_each_step(lambda: session.ask("One."), range(8)):
            assert (await session.ask("Two.", timeout_s=20)).status == "completed"


@pytest.mark.parametrize("options", [{}, {"retrieves": False}, {"checks_ids": False}], ids=str)
async def test_an_item_whose_answer_was_lost_is_not_sent_twice(options):
    async with Lossy(loses={1}, **options) as server, connect(server.url, quiet=True) as session:
        with pytest.raises(ResponseTimeout, match="confirmation of item 1"):
            await session.seed(HISTORY, timeout_s=0.2)
        with pytest.raises(LocalProtocolError, match=r"are items \[0, 2\] of 3"):
            await session.respond()

        await session.seed(HISTORY, timeout_s=5)

        assert server.texts == TEXTS
        assert (await session.respond(timeout_s=5)).status == "completed"


async def test_an_item_that_was_lost_is_sent_again_to_its_place():
    async with Lossy(drops={1}) as server, connect(server.url, quiet=True) as session:
        await caught(session.seed(HISTORY, timeout_s=0.2), ResponseTimeout)

        await session.seed(HISTORY, timeout_s=5)

        assert server.texts == TEXTS and server.n_creates == 4


async def test_a_server_that_names_items_itself_confirms_each_of_them_once():
    async with Lossy(renames=True, drops={1, 3}) as server, connect(server.url, quiet=True) as session:
        history = History().user("One.").user("Two.").user("Three.").user("Four.")
        with pytest.raises(ResponseTimeout, match="confirmation of item 1"):
            await session.seed(history, timeout_s=0.2)
        with pytest.raises(LocalProtocolError, match=r"ids of its own and did not confirm items \[1, 3\]"):
            await session.seed(history, timeout_s=0.2)

        assert server.texts == ["One.", "Three."] and server.n_creates == 4


async def test_a_seed_that_was_mended_keeps_its_place_behind_what_was_there():
    async with Lossy() as server, connect(server.url, quiet=True) as session:
        await session.seed(History().user("Zero."))
        server.drops.add(1)
        await caught(session.seed(HISTORY, timeout_s=0.2), ResponseTimeout)
        await session.seed(HISTORY, timeout_s=5)

    assert server.texts == ["Zero.", *TEXTS]


async def test_a_coroutine_that_was_never_awaited_is_named_at_the_next_call():
    async with connect("standin", quiet=True) as session:
        forgotten = session.seed(HISTORY)  # a notebook keeps what a cell shows
        with pytest.raises(
            LocalProtocolError, match=r"seed\(\) was called before without await, .* await session.seed\("
        ):
            await session.respond()
        await session.seed(HISTORY)
        assert len(session.items) == 3
    del forgotten


@pytest.mark.parametrize("verb, argument", [("ask", "Hi."), ("send", {"type": "response.create"})])
async def test_whatever_was_not_awaited_is_named(verb, argument):
    async with connect("standin", quiet=True) as session:
        forgotten = getattr(session, verb)(argument)
        with pytest.raises(LocalProtocolError, match=rf"{verb}\(\) was called before without await"):
            await session.respond()
    del forgotten


async def test_a_coroutine_that_a_task_is_about_to_begin_is_not_forgotten():
    async with connect("standin", quiet=True) as session:
        waiting = asyncio.ensure_future(asyncio.wait_for(session.wait_for("session.updated"), 5))
        await session.update(instructions="Be brief.")
        assert (await waiting).type == "session.updated"


# -------------------------------------------------------------------------------------------------- nothing is left behind


@pytest.mark.parametrize("how", ["error", "malformed", "closed"])
async def test_a_session_that_nobody_holds_is_collected_whatever_was_raised(how):
    gone = asyncio.Event()

    async def talk(ws):
        await send(ws, **CREATED)
        event = json.loads(await ws.recv())
        error = {"code": "x", "message": "no", "event_id": event["event_id"]}
        if how == "closed":
            return
        await (ws.send("{") if how == "malformed" else send(ws, "error", error=error))
        await ws.wait_closed()
        gone.set()

    async with serving(talk) as url:

        async def use():
            session = await connect(url, quiet=True)
            with contextlib.suppress(KitError):
                await session.clear_audio(timeout_s=5)
            return weakref.ref(session)

        reference = await use()
        await asyncio.sleep(0)  # this turn of the loop still holds what woke it
        gc.collect()
        assert reference() is None
        if how != "closed":
            async with asyncio.timeout(5):
                await gone.wait()


@pytest.fixture
def servers(monkeypatch):
    """Every stand-in and replay that is started."""
    started, start = [], StandIn.start

    async def noted(self):
        started.append(self)
        return await start(self)

    monkeypatch.setattr(StandIn, "start", noted)
    return started


async def test_a_connect_that_is_cancelled_at_any_step_leaves_nothing_behind(servers):
    sessions = []

    async def use():
        sessions.append(await connect("standin", quiet=True))

    async for _ in cancelled_at_each_step(use, range(120)):
        for session in sessions:
            await session.close()
        sessions.clear()
        await asyncio.sleep(0)
        assert [server for server in servers if server._server is not None] == []
        servers.clear()
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


async def test_a_connect_that_is_cancelled_before_the_first_word_closes_its_socket():
    came, gone = asyncio.Event(), asyncio.Event()

    async def talk(ws):
        came.set()
        await ws.wait_closed()
        gone.set()

    async def use():
        await connect(url, quiet=True)

    async with asyncio.timeout(5), nothing_left_behind(), serving(talk) as url:
        task = asyncio.ensure_future(use())
        await came.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        exc = await caught(task, asyncio.CancelledError)  # held, and with it whatever its frames held
        await gone.wait()
        assert told(exc)


VERBS = {
    "update": lambda session: session.update(instructions="Be brief."),
    "respond": lambda session: session.respond(timeout_s=20),
    "append and commit": lambda session: append_and_commit(session),
    "clear": lambda session: session.clear_audio(),
    "delete": lambda session: session.delete_item(session.items[0]),
    "retrieve": lambda session: session.retrieve_item(session.items[0]),
    "wait": lambda session: session.wait_for("session.updated", timeout_s=20),
}


async def append_and_commit(session):
    await session.append_audio(bytes(9_600))
    await session.commit_audio()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_that_is_cancelled_at_any_step_leaves_a_session_that_goes_on(verb):
    async with connect("standin", quiet=True) as session:
        for _ in range(20):
            await session.seed(History().user("Hello."))
        async for _ in cancelled_at_each_step(lambda: VERBS[verb](session), range(12)):
            if session._conversation.active is not None:
                await caught_or_done(session.cancel_response(timeout_s=5))
            await session.update(instructions="Be very brief.", timeout_s=5)
            assert session._link._pending == []
        response = await session.ask("One more, please.", timeout_s=20)

    assert response.status == "completed"


async def caught_or_done(awaitable):
    with contextlib.suppress(ServerError):  # the response had ended
        await awaitable


async def test_a_replay_that_is_cancelled_while_it_connects_leaves_nothing_behind(tmp_path):
    async with connect("standin", quiet=True, log=tmp_path / "x.jsonl") as session:
        await session.ask("Hello.")
    sessions = []

    async def use():
        sessions.append(await connect(replay=tmp_path / "x.jsonl", quiet=True))

    async for _ in cancelled_at_each_step(use, range(30)):
        while sessions:
            await sessions.pop().close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


async def test_3_sessions_of_each_kind_of_end_leave_no_descriptor_and_no_task(tmp_path):
    async def use(fault):
        with contextlib.suppress(KitError):
            async with connect("standin", quiet=True, faults=[fault], timeout_s=5) as session:
                await session.ask("Hello.", timeout_s=2)

    for fault in ("error-event@every", "malformed@every", "drop@every", "http-error@every"):
        await use(fault)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for fault in ("error-event@every", "malformed@every", "drop@every", "http-error@every") * 3:
        await use(fault)
    await asyncio.sleep(0)
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) <= before
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


async def test_a_close_that_is_cancelled_at_any_step_ends_all_the_same(servers):
    for k in range(12):
        session = await connect("standin", quiet=True)
        task = asyncio.ensure_future(session.close())
        for _ in range(k):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if k == 0:  # cancelled before it began: it closes nothing
            await session.close()
        async with asyncio.timeout(5):
            while servers[-1]._server is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert session.closed is not None


async def test_a_session_in_a_thread_can_be_closed_twice_and_used_no_more():
    session = await in_thread(connect("standin", quiet=True))
    await session.seed(HISTORY)
    assert len(session.items) == 3
    await session.close()
    await session.close()
    await caught(session.respond(), KitError)


async def test_a_gpt_live_session_in_a_thread_goes_on_while_this_loop_is_blocked():
    session = await in_thread(connect(protocol="live", quiet=True, pace=6, live={"silence": "never"}))
    await session.start()
    fed = session.feeder.n_frames
    time.sleep(0.3)  # noqa: ASYNC251  a cell that computes
    assert session.feeder.n_frames - fed >= 12  # of 18
    assert (await session.ask("Tell me another joke.")).outcome == "spoken"
    await session.close()
    await session.close()
    assert session.conversation.seconds_confirmed
    await caught(session.respond(), KitError)


# ------------------------------------------------------------------------------------------------------- every endpoint


@pytest.mark.parametrize(
    ("auth", "value", "header"),
    [
        ("bearer", "the-key", ("Authorization", "Bearer the-key")),
        ("api-key", "the-key", ("api-key", "the-key")),
        ("xi-api-key", "the-key", ("xi-api-key", "the-key")),
        ("basic", "the-key==", ("Authorization", "Basic the-key==")),
        ("basic", "me:secret", ("Authorization", "Basic bWU6c2VjcmV0")),
        ("none", "the-key", ("Authorization", None)),
    ],
)
async def test_a_key_is_sent_the_way_that_was_asked_for(auth, value, header, monkeypatch):
    requests = []

    async def talk(ws):
        requests.append(ws.request.headers)
        await send(ws, **CREATED)
        await ws.wait_closed()

    monkeypatch.setenv("KEY", value)
    headers = {"X-Team": "blue"}
    async with serving(talk) as url, connect(url, key_env="KEY", auth=auth, headers=headers, quiet=True) as session:
        assert value not in repr(session.endpoint) and "blue" not in repr(session.endpoint)

    assert requests[0].get(header[0]) == header[1] and requests[0]["X-Team"] == "blue"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"auth": "digest"}, "auth is one of bearer"),
        ({"auth": "basic"}, "key_env="),
        ({"headers": {"X Team": "x"}}, "no header can be called 'X Team'"),
        ({"headers": {"X-Team": f"{CANARY}\nX: 1"}}, "the header X-Team must be text in one line"),
        ({"call_id": ""}, "call_id"),
    ],
)
def test_a_bad_way_in_is_refused_and_its_value_not_shown(options, sentence):
    with pytest.raises(EndpointError, match=sentence) as refused:
        endpoint("wss://h", **options)

    assert CANARY not in str(refused.value)


async def test_a_sideband_joins_a_call_that_says_nothing_by_itself():
    async def sideband(ws):
        assert ws.request.path.endswith("?call_id=rtc_1")
        event = json.loads(await ws.recv())
        await send(ws, "output_audio_buffer.started", response_id="resp_0")
        await send(ws, "session.updated", session={"id": "sess_1", "model": "gpt-realtime", "voice": event["type"]})
        await ws.wait_closed()

    async with serving(sideband) as url, connect(url, call_id="rtc_1", quiet=True, timeout_s=5) as session:
        assert (session.id, session.model) == ("sess_1", "gpt-realtime")
        assert session.settings["voice"] == "session.update"


async def test_a_sideband_of_the_stand_in_seeds_a_call_and_sees_what_it_answers_in():
    async with StandIn() as server, connect(server.url, call_id="rtc_1", quiet=True, timeout_s=5) as session:
        await session.seed(HISTORY, timeout_s=5)
        response = await session.respond(timeout_s=20)

    assert len(session.items) >= 3 and response.modality in ("audio", "text") and response.simulated


async def test_a_service_that_takes_no_assistant_items_is_sent_none(monkeypatch):
    async with Lossy() as server, connect(server.url, quiet=True) as session:
        object.__setattr__(session.endpoint, "name", "glm")
        with pytest.raises(HistoryError, match="item 1: glm takes no assistant messages"):
            await session.seed(HISTORY)
        await session.seed(HISTORY, check=False, timeout_s=5)

    assert server.texts == TEXTS


@pytest.mark.parametrize(
    "deep", ["[" * 50_000 + "]" * 50_000, "{a: " * 50_000 + "}" * 50_000, "\n    " + "- " * 50_000]
)
def test_a_document_that_would_overflow_the_stack_of_a_library_in_c_is_not_read(deep, tmp_path):
    (tmp_path / "x.yaml").write_text(f"- type: session.created\n  session: {deep}\n")

    assert read_log(tmp_path / "x.yaml").report.n_events == 0


@pytest.mark.parametrize("protocol", ["realtime", "live"])
async def test_a_model_whose_name_moves_the_cursor_is_printed_without(protocol):
    session_object = {"id": "s", "model": "\x1b]0;title\x07\x1b[2J\u202e"}

    async def talk(ws):
        if protocol == "realtime":
            await send(ws, "session.created", session=session_object)
        async for frame in ws:
            if json.loads(frame)["type"] == "session.start":
                await send(ws, "session.started", session=session_object)
            elif protocol == "live" and json.loads(frame)["type"] == "session.close":
                await ws.close()

    async with (
        serving(talk) as url,
        connect(url.replace("realtime", "live/sessions") if protocol == "live" else url, quiet=True) as session,
    ):
        if protocol == "live":
            await session.seed(HISTORY)
        shown = repr(session)
    assert not any(c in shown for c in "\x1b\x07\u202e")
