"""GPT-Live and the relay, put through what sessions are put through: hostile ends, cancels at every step, nobody who holds them."""

import asyncio
import gc
import json
import time
import weakref

import numpy as np
import pybase64
import pytest
from hostile import QUIET, cancelled_at_each_step, nothing_left_behind, send, serving
from test_hardening import CANARY, caught
from test_hostile import HISTORY, SPELLINGS, TEXTS
from websockets.asyncio.client import connect as ws_connect

from kit import Clip, Endpoint, History, Plan, Settings, connect, run
from kit.endpoint import endpoint
from kit.errors import InputError, KitError, LocalProtocolError
from kit.relay import Relay
from kit.standin import StandIn
from kit.standin.drift import Draws
from kit.standin.live import LiveServerSession
from kit.standin.live_settings import LiveOptions
from kit.trials.limits import check_budget
from kit.trials.plan import worst_usd
from kit.wire.live import USD_PER_SECOND
from kit.wire.live_conversation import LiveConversation

TONE = Clip.from_pcm((np.sin(np.arange(2_400) / 5) * 8_000).astype(np.int16).tobytes())


@pytest.fixture
async def live_server():
    async with StandIn(pace=60, live={"silence": "never"}) as server:
        yield server


async def test_a_live_session_that_nobody_holds_ends_instead_of_being_paid_by_the_second(live_server):
    async with nothing_left_behind():
        session = await connect(live_server, protocol="live", quiet=True)
        await session.seed(HISTORY)
        assert live_server.n_sessions == 1
        reference = weakref.ref(session)
        del session
        async with asyncio.timeout(5):
            while reference() is not None or live_server.n_sessions:
                gc.collect()
                await asyncio.sleep(0.005)


async def test_after_a_cancelled_seed_of_gpt_live_the_same_call_goes_on(live_server):
    for k in range(0, 24, 3):
        session = await connect(live_server, protocol="live", quiet=True)
        async for _ in cancelled_at_each_step(lambda live=session: live.seed(HISTORY), [k]):
            pass
        past = await session.seed(HISTORY, timeout_s=20)
        assert [message["content"][0]["text"] for message in past] == TEXTS
        with pytest.raises(LocalProtocolError, match="takes a history once"):
            await session.seed(HISTORY)
        await session.close()


async def test_another_history_than_the_one_on_its_way_is_refused(live_server):
    async with connect(live_server, protocol="live", quiet=True) as session:
        async for _ in cancelled_at_each_step(lambda: session.seed(HISTORY), [6]):
            pass
        with pytest.raises(LocalProtocolError, match="takes a history once"):
            await session.seed(History().user("Another one."))
        assert (await session.ask(TONE)).modality == "audio"  # goes on with the history that was sent


LIVE_VERBS = {
    "append": lambda session: session.append("thinking", "x", timeout_s=20),
    "mute": lambda session: session.mute(timeout_s=20),
    "update": lambda session: session.update(triggers=None, timeout_s=20),
    "ask": lambda session: session.ask(TONE),
    "wait": lambda session: session.wait_for("session.usage.updated"),
}


@pytest.mark.parametrize("verb", LIVE_VERBS)
async def test_a_live_verb_that_is_cancelled_at_any_step_leaves_a_session_that_goes_on(verb, live_server):
    async with connect(live_server, protocol="live", quiet=True) as session:
        await session.seed(HISTORY)
        async for _ in cancelled_at_each_step(lambda: LIVE_VERBS[verb](session), range(8)):
            assert session._link._pending == []
        await session.mute(False, timeout_s=20)
        assert (await session.ask(TONE)).outcome in ("spoken", "late", "censored")  # late: on a busy machine


async def test_a_live_connect_or_close_that_is_cancelled_at_any_step_leaves_nothing_behind(live_server):
    async with nothing_left_behind():
        sessions = []

        async def use():
            sessions.append(await connect(live_server, protocol="live", quiet=True))
            await sessions[-1].seed(HISTORY)

        async for _ in cancelled_at_each_step(use, range(0, 60, 4)):
            while sessions:
                session = sessions.pop()
                async for _ in cancelled_at_each_step(session.close, [len(sessions) + 1]):
                    pass
    assert live_server.n_sessions == 0


async def test_an_attach_that_is_cancelled_at_any_step_leaves_nothing_behind_and_the_call_goes_on(live_server):
    async with connect(live_server, protocol="live", quiet=True) as session:
        await session.seed(HISTORY)
        async with nothing_left_behind():
            listening = []

            async def listen():
                listening.append(await connect(live_server, attach=session.id, quiet=True))

            async for _ in cancelled_at_each_step(listen, range(0, 60, 3)):
                while listening:
                    await listening.pop().close()
        await session.mute(False, timeout_s=20)
        assert session.closed is None and live_server.n_sessions == 1


@pytest.mark.parametrize("frame", ["{", '{"type":"session.usage.updated","usage":{"seconds":-1e999}}', None])
async def test_a_live_server_that_ends_badly_is_an_error_of_the_kits_and_leaves_nothing(frame):
    async def talk(ws):
        async for sent in ws:
            if json.loads(sent)["type"] == "session.start":
                await send(ws, "session.started", session={"id": "live_1", "model": "gpt-live-1"})
                if frame is None:
                    ws.transport.abort()
                else:
                    await ws.send(frame)

    async with nothing_left_behind(), serving(talk) as url:
        session = await connect(live_url(url), protocol="live", quiet=True)
        session._pace = 50.0
        with pytest.raises(KitError):
            await session.seed(HISTORY)
            await session.ask(TONE, timeout_s=1)
        session._link.socket.transport.abort()  # it would not answer `session.close`
        await session.close()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("session.start", {"session": {"model": "gpt-live-1", "audio": {"format": {"type": [], "rate": {}}}}}),
        ("session.start", {"session": {"model": "gpt-live-1", "delegation": "client"}}),
        ("session.start", {"session": {"model": "gpt-live-1", "audio": {"output": 5}}}),
        ("session.update", {"session": {"delegation": {"responses": 5}}}),
        ("session.thinking.append", {"content": "x", "delegation_id": [1]}),
    ],
)
def test_a_live_event_of_the_wrong_shape_is_refused_and_ends_nothing_else(kind, fields):
    server = live_core()
    if kind != "session.start":
        assert server.receive(json.dumps({"type": "session.start", "session": {"model": "gpt-live-1"}}))

    assert server.receive(json.dumps({"type": kind} | fields)) is False
    assert b'"code":"invalid_' in server.take()[-1]


def live_url(url):
    return url.partition("?")[0].replace("realtime", "live/sessions")


def live_core():
    return LiveServerSession(LiveOptions(), Draws(0, "t"), {}, now=time.monotonic, unix=time.time, simulated={})


def test_a_live_session_of_the_stand_in_keeps_no_more_than_16_mib():
    server = live_core()
    server.receive(json.dumps({"type": "session.start", "session": {"model": "gpt-live-1"}}))
    item = json.dumps({"type": "session.thinking.append", "delegation_id": None, "content": "x" * 3_900})

    accepted = [server.receive(item) for _ in range(5_000)]
    loud = pybase64.b64encode(b"\xff\x3f" * 2_400_000).decode()  # 100 s
    for _ in range(3):
        server.receive(json.dumps({"type": "session.input_audio.append", "audio": loud}))

    assert 3_900 < sum(accepted) < 4_300 and accepted[-1] is False
    assert sum(map(len, server._turn)) <= 100 * 48_000 and server.receive('{"type":"session.close"}')


# ---------------------------------------------------------------------------------------------- the relay, likewise


async def one_request(relay, *lines):
    """What the relay answers to an HTTP request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write("\r\n".join([*lines, f"Host: 127.0.0.1:{relay.port}", "", ""]).encode())
    answer = await reader.read(12)
    writer.close()
    return answer


async def test_no_picture_in_a_web_page_makes_the_relay_open_a_session_with_its_key(monkeypatch):
    monkeypatch.setenv("KEY", CANARY)
    came = []

    async with serving(came.append) as url, Relay(url, key_env="KEY") as relay:
        upgrade = ("Upgrade: websocket", "Connection: Upgrade")
        assert await one_request(relay, "GET /v1/realtime HTTP/1.1") == b"HTTP/1.1 426"
        assert await one_request(relay, "GET /v1/realtime HTTP/1.1", *upgrade) == b"HTTP/1.1 400"
        assert relay.n_connections == 0
    assert came == []


async def test_a_client_that_leaves_while_the_relay_dials_leaves_nothing_behind():
    async def talk(ws):
        await ws.wait_closed()

    async with nothing_left_behind(), serving(talk) as url, Relay(url) as relay:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            words = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
            key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            head = f"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n{words}\r\n{key}\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()
            writer.transport.abort()
        async with nothing_left_behind():
            pass


async def test_a_relay_stops_within_a_second_while_it_dials_a_service_that_says_nothing():
    came = asyncio.Event()

    async def silent(reader, writer):
        came.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        relay = await Relay(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime").start()
        client = asyncio.ensure_future(caught(ws_connect(relay.url, logger=QUIET)))
        await came.wait()
        async with asyncio.timeout(3):  # it would wait for its own 15 s, or the library's 10
            await relay.stop()
        await client


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_what_is_told_of_a_relayed_reply_does_not_hold_the_key_that_the_server_repeats(spelling, tmp_path):
    secret, told_replies = "c4n4ry/with/slashes/0123456789", []
    spelled = SPELLINGS[spelling](secret)
    part = f'{{"type":"output_text","text":"say {spelled}"}}'
    item = f'{{"id":"i","type":"message","role":"assistant","content":[{part}]}}'

    async def parrot(ws):
        await ws.send('{"type":"response.created","response":{"id":"r","status":"in_progress"}}')
        await ws.send(f'{{"type":"response.output_item.done","response_id":"r","output_index":0,"item":{item}}}')
        await ws.send(f'{{"type":"response.done","response":{{"id":"r","status":"completed","output":[{item}]}}}}')

    async with (
        serving(parrot) as url,
        Relay(url, log=tmp_path, on_reply=told_replies.append) as relay,
        ws_connect(relay.url, additional_headers={"Authorization": f"Bearer {secret}"}, logger=QUIET) as client,
    ):
        frames = [frame async for frame in client]

    (reply,) = told_replies
    assert "say" in reply.words and secret not in reply.words + "".join(path.read_text() for path in tmp_path.iterdir())
    assert spelled in frames[-1]  # the client gets what was sent


# -------------------------------------------------------------------------------------------------------- GPT-Live's money


async def test_seconds_that_make_no_sense_cost_the_reservation_and_the_cap_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", CANARY)
    closes = [{"seconds": 1}, {"seconds": -1}, {"seconds": 7_200}, {"seconds": "1"}, None]
    came = []

    async def talk(ws):
        came.append(ws)
        usage = closes[(len(came) - 1) % len(closes)]
        async for frame in ws:
            kind = json.loads(frame)["type"]
            if kind == "session.start":
                await send(ws, "session.started", session={"id": "live_1", "model": "gpt-live-1.1"})
                await send(ws, "session.usage.updated", usage={"seconds": 1})
            if kind == "session.close":
                await send(ws, "session.closed", reason="close_requested", **({"usage": usage} if usage else {}))
                await ws.close()

    async with serving(talk) as url:
        where = Endpoint("openai", live_url(url), model="gpt-live-1.1", key_env="KEY", protocol="live")
        plan = Plan("1b", repeats=20, controls=0, timeout_s=1, deadline_s=0.2, settings=Settings(where))
        cap_usd = 5.5 * worst_usd(plan.trials[0])
        ledger = await run(plan, tmp_path / "l.sqlite", budget_usd=cap_usd, progress=None, at_once=5)

    rows = ledger.rows("SELECT cost_usd = reserved_usd AS all_of_it, cost_estimated FROM attempts ORDER BY attempt_id")
    assert ledger.last_run["ended"] == "budget" and ledger.spent()["usd"] <= cap_usd
    assert sorted(map(tuple, rows[:5])) == [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]


async def test_a_fork_costs_the_seconds_of_what_it_was_made_of_too(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", CANARY)

    async def talk(ws):
        async for frame in ws:
            kind = json.loads(frame)["type"]
            if kind == "session.start":
                await send(ws, "session.started", session={"id": "live_1", "model": "gpt-live-1.1"})
            if kind == "session.close":
                await send(ws, "session.closed", reason="close_requested", usage={"seconds": 3})
                await ws.close()

    async with serving(talk) as url:
        where = Endpoint("openai", live_url(url), model="gpt-live-1.1", key_env="KEY", protocol="live")
        plan = Plan(
            "1b", ["as_is", "forked"], repeats=1, controls=0, timeout_s=1, deadline_s=0.2, settings=Settings(where)
        )
        ledger = await run(plan, tmp_path / "l.sqlite", budget_usd=5, progress=None)

    rows = ledger.rows(
        "SELECT arm, seconds, cost_usd / ? AS paid_s FROM attempts JOIN trials USING (trial_id)", (USD_PER_SECOND,)
    )
    assert {row["arm"]: (row["seconds"], round(row["paid_s"], 6)) for row in rows} == {
        "as_is": (3, 3),
        "forked": (6, 6),
    }
    most = {trial.arm.name: worst_usd(trial) for trial in plan.trials}
    assert most["forked"] > most["as_is"]


def test_a_budget_of_gpt_live_is_taken_where_the_price_is_known_and_only_there(monkeypatch):
    def budget(model, **more):
        where = endpoint("openai", model=model, protocol="live", environ={})
        return check_budget(2.5, [Settings(where, more=more)])

    assert budget("gpt-live-1.1") == 2.5
    for model, more in (("gpt-live-9", {}), ("gpt-live-1.1", {"delegation": {"type": "responses"}})):
        with pytest.raises(InputError, match="could not be kept"):
            budget(model, **more)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.delegation.created", "delegation": {"id": "d%d", "target": "client"}},
        {"type": "response.event", "delegation_id": "d%d", "event": {"type": "response.created"}},
        {"type": "session.thinking.append", "event_id": "e%d", "content": "x"},
    ],
    ids=lambda event: event["type"],
)
def test_a_session_of_gpt_live_with_many_of_everything_takes_linear_time(event):
    texts, fold = json.dumps(event), LiveConversation()
    began_s = time.process_time()
    for n in range(25_000):
        fold.feed(json.loads(texts.replace("%d", str(n))), float(n), "server")
        fold.feed({"type": "session.thinking.appended", "client_event_id": "another's"}, float(n), "server")

    assert time.process_time() - began_s < 3  # each looked through all the others: 8 s and more


def test_of_a_million_errors_of_gpt_live_the_last_are_kept():
    fold = LiveConversation()
    for n in range(30_000):
        fold.feed({"type": "error", "error": {"message": str(n)}}, 0.0, "server")

    assert fold.errors[-1].message == "29999" and 10_000 <= len(fold.errors) < 20_000


def test_the_words_of_a_caller_who_never_ends_are_put_together_in_linear_time():
    fold = LiveConversation()
    fold.feed({"type": "session.output_transcript.delta", "delta": "Hi.", "start_ms": 0, "end_ms": 200}, 0.0, "server")
    for n in range(20_000):
        fold.feed({"type": "session.input_transcript.delta", "delta": "so on " * 20}, float(n), "server")
    began_s = time.process_time()

    assert len(fold.replies) == 1 and len(fold.caller_of_each()[0]) == 2_399_999
    assert time.process_time() - began_s < 1  # a string that grows by each word: 4 s and more
