"""The service round the sessions: ephemeral keys, browsers, expiry, pings, limits, who may come in."""

import asyncio
import json
import urllib.request

import pytest
import websockets
from talk import BETA_HEADER, talk

from kit.errors import InputError
from kit.standin import Limits, StandIn
from kit.standin import server as server_module


async def post(server, path, body, key="sk-any"):
    """(status, JSON) of a POST, by the standard library."""

    def send():
        url = server.url.replace("ws://", "http://").removesuffix("/realtime") + path
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.loads(exc.read())

    return await asyncio.to_thread(send)


# Ephemeral keys


async def test_a_client_secret_opens_a_session_that_is_set_up_already():
    async with StandIn(require_key="sk-right") as server:
        session = {
            "type": "realtime",
            "model": "gpt-realtime",
            "instructions": "Be brief.",
            "audio": {"output": {"voice": "cedar"}},
        }
        status, made = await post(server, "/realtime/client_secrets", {"session": session}, "sk-right")
        async with talk(server, model=None, headers={"Authorization": f"Bearer {made['value']}"}) as t:
            opened = t.events[0]["session"]

    assert status == 200
    assert made["value"].startswith("ek_")
    assert len(made["value"]) == 35
    assert made["session"]["expires_at"] == 0
    assert (opened["instructions"], opened["audio"]["output"]["voice"]) == ("Be brief.", "cedar")


async def test_the_official_client_mints_one():
    from openai import AsyncOpenAI

    async with StandIn() as server:
        url = server.url.replace("ws://", "http://").removesuffix("/realtime")
        async with AsyncOpenAI(api_key="sk-any", base_url=url) as client:
            made = await client.realtime.client_secrets.create(
                session={"type": "realtime", "model": "gpt-realtime"},
                expires_after={"anchor": "created_at", "seconds": 60},
            )
            beta = await client.beta.realtime.sessions.create(model="gpt-4o-realtime-preview", voice="ash")

    assert made.session.type == "realtime"
    assert beta.client_secret.value.startswith("ek_")
    assert beta.voice == "ash"


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("/realtime/client_secrets", {"expires_after": {"anchor": "created_at", "seconds": 5}}, "sk-right", 400),
        ("/realtime/client_secrets", {"session": {"type": "realtime", "bogus": 1}}, "sk-right", 400),
        ("/realtime/client_secrets", b"{nope", "sk-right", 400),
        ("/realtime/client_secrets", b"[" * 100_000, "sk-right", 400),
        ("/realtime/client_secrets", [], "sk-right", 400),
        ("/realtime/client_secrets", {}, "sk-other", 401),
        ("/nothing", {}, "sk-right", 404),
    ],
)
async def test_a_bad_request_for_one_is_refused(path, body, key, status):
    async with StandIn(require_key="sk-right") as server:
        got, answer = await post(server, path, body, key)

    assert got == status
    assert answer["error"]["message"]


async def test_an_unknown_ephemeral_key_is_no_key():
    async with StandIn() as server, talk(server, headers={"Authorization": "Bearer ek_0123"}, greet=False) as t:
        assert (await t.next())["error"]["code"] == "invalid_api_key"


# Browsers


async def test_a_browser_brings_its_key_as_a_subprotocol():
    offered = ["realtime", "openai-insecure-api-key.sk-right"]
    async with StandIn(require_key="sk-right") as server, talk(server, subprotocols=offered) as t:
        assert t.socket.subprotocol == "realtime"
        assert t.types == ["session.created"]


async def test_a_browser_asks_for_beta_with_a_subprotocol():
    async with StandIn() as server, talk(server, subprotocols=["realtime", "openai-beta.realtime-v1"]) as t:
        assert "modalities" in t.events[0]["session"]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://localhost:8888", True),
        ("http://127.0.0.1:8888", True),
        ("https://app.example", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
    ],
)
async def test_other_machines_pages_are_refused(origin, welcome):
    async with StandIn(origins=["https://app.example"]) as server:
        connect = websockets.connect(
            f"{server.url}?model=gpt-realtime", additional_headers={"Origin": origin}, proxy=None
        )
        if welcome:
            async with connect as socket:
                assert "session.created" in await socket.recv()
        else:
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await connect


def test_an_address_that_others_reach_needs_a_key():
    with pytest.raises(InputError, match="require_key"):
        StandIn(host="0.0.0.0")
    StandIn(host="0.0.0.0", require_key="sk-right")


# Time


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_session_ends_when_its_time_is_up(dialect):
    async with StandIn(session_s=0.05) as server, talk(server, dialect) as t:
        error = (await t.until("error"))["error"]
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await t.next()

    assert (error["code"], error["event_id"]) == ("session_expired", None)
    assert error["message"] == "Your session hit the maximum duration of 0.05 seconds."
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, error["message"])


async def test_expiry_is_sixty_minutes_unless_told_otherwise():
    import time

    async with StandIn() as server, talk(server) as t:
        assert t.events[0]["session"]["expires_at"] - time.time() == pytest.approx(3600, abs=5)


async def test_it_pings_as_the_service_does_and_forgives_silence(monkeypatch):
    monkeypatch.setattr(server_module, "PING_S", 0.02)
    pinged = asyncio.Event()

    class Deaf(websockets.ClientConnection):
        """Sees pings, and never answers one."""

        def data_received(self, data):
            if b"\x89\x04" in data:  # a ping with four bytes
                if pinged.is_set():
                    again.set()
                pinged.set()
            else:
                super().data_received(data)

    again = asyncio.Event()
    async with StandIn() as server:
        url = f"{server.url}?model=gpt-realtime"
        async with websockets.connect(
            url, create_connection=Deaf, ping_interval=None, close_timeout=0.1, proxy=None
        ) as socket:
            assert "session.created" in await socket.recv()
            await again.wait()
            assert server.n_sessions == 1


# Limits


async def test_one_session_too_many_is_turned_away():
    async with StandIn(limits=Limits(sessions=2)) as server:
        async with talk(server), talk(server):
            assert server.n_sessions == 2
            with pytest.raises(websockets.InvalidStatus, match="503"):
                async with talk(server):
                    pass
        async with talk(server) as t:
            assert t.types == ["session.created"]


async def test_a_frame_too_long_closes_its_own_socket_only():
    async with StandIn(limits=Limits(frame_bytes=10_000)) as server, talk(server) as other:
        async with talk(server) as t:
            await t.raw("x" * 10_001)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await t.next()
        assert (await other.say("user", "Hello."))["type"] != "error"

    assert closed.value.rcvd.code == 1009


async def test_a_client_that_does_not_read_is_not_listened_to_either():
    from kit.standin.server import BACKLOG_FRAMES

    async with StandIn() as server:
        url = f"{server.url}?model=gpt-realtime"
        async with websockets.connect(url, max_queue=1, ping_interval=None, close_timeout=0.1, proxy=None) as socket:
            frame = json.dumps(
                {"type": "session.update", "session": {"type": "realtime", "instructions": "x" * 50_000}}
            )
            sent = 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    while True:
                        await socket.send(frame)
                        sent += 1
            driver = next(iter(server._drivers))
            backlog = driver.session.backlog
            socket.transport.abort()

    assert backlog <= BACKLOG_FRAMES + 1
    assert sent < 3_000  # then neither side could take any more


async def test_a_hasty_client_is_read_no_faster_than_the_limit():
    import time

    async with StandIn(limits=Limits(messages_per_s=1_000)) as server, talk(server) as t:
        began = time.monotonic()
        for _ in range(512):
            await t.send("input_audio_buffer.clear")
        await t.rest()

    assert time.monotonic() - began >= 0.25


async def test_the_service_s_old_and_new_path_lead_in():
    async with StandIn() as server:
        base = server.url.removesuffix("/v1/realtime")
        for path, word in [
            ("/v1/realtime?model=gpt-realtime", "output_modalities"),
            ("/openai/v1/realtime?model=gpt-realtime", "output_modalities"),
            ("/openai/realtime?api-version=2024-10-01-preview&deployment=gpt-4o-realtime-preview", "modalities"),
        ]:
            async with websockets.connect(base + path, proxy=None) as socket:
                assert word in json.loads(await socket.recv())["session"]


async def test_both_dialects_are_served_on_one_port_at_once():
    async with StandIn() as server, talk(server) as ga, talk(server, headers=BETA_HEADER) as beta:
        assert (ga.events[0]["session"]["object"], beta.events[0]["session"]["object"]) == ("realtime.session",) * 2
        assert "type" in ga.events[0]["session"]
        assert "type" not in beta.events[0]["session"]
