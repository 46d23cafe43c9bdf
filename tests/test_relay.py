"""The relay between a client and a server, over real sockets: frames untouched and in order, endings alike, no secret kept."""

import asyncio
import json

import pytest
from openai import AsyncOpenAI, NotFoundError
from websockets.asyncio.client import connect as ws_connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kit import Case, History, connect, read_log
from kit.endpoint import endpoint
from kit.errors import HistoryError, InputError
from kit.relay import Relay
from kit.replay import Replay
from kit.standin import StandIn

KEY = "sk-proj-THEKEYTHATISNEVERKEPT0123456789"


class Echo:
    """A server that answers each frame with what it was told to, and remembers what came."""

    def __init__(self, handler=None):
        self.came, self.headers, self.paths = [], [], []
        self._handler = handler

    async def _handle(self, socket):
        self.paths.append(socket.request.path)
        self.headers.append(dict(socket.request.headers.raw_items()))
        if self._handler:
            await self._handler(socket)
            return
        async for frame in socket:
            self.came.append(frame)
            await socket.send(frame)

    async def __aenter__(self):
        self._server = await serve(self._handle, "127.0.0.1", 0, compression=None, max_size=None)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/realtime"
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        await self._server.wait_closed()


async def test_the_kits_own_client_holds_a_session_through_it(tmp_path):
    told = []
    async with (
        StandIn(drift="always") as stand_in,
        Relay(stand_in.url, log=tmp_path, on_reply=told.append) as relay,
        connect(relay.url, quiet=True) as session,
    ):
        await session.seed(History().user("Hi.").assistant("Hello!").user("A joke, please."))
        response = await session.respond()
        assert session.simulated and response.modality == "text"
    (line,) = told
    assert (line.session, line.asked, line.arrived, line.words) == (1, "audio", "text", response.words)
    assert "asked audio → text" in str(line)
    (log,) = [read_log(path) for path in tmp_path.iterdir()]
    assert [r.modality for r in log.responses] == ["text"] and log.sessions[0].simulated


async def ask_as_the_official_client_does(url):
    """A seeded history and a question by the `openai` package; the reply's part."""
    client = AsyncOpenAI(api_key=KEY, base_url=url.replace("ws://", "http://").removesuffix("/realtime"))
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        for role, kind, text in (("user", "input_text", "Hi."), ("assistant", "output_text", "Hello!")):
            item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
            await connection.conversation.item.create(item=item)
        await connection.response.create()
        async for event in connection:
            if event.type == "response.done":
                return event.response.output[0].content[0]
    return None


async def test_what_a_public_client_said_through_it_becomes_a_case_and_is_played_again(tmp_path):
    async with StandIn(drift="documented") as stand_in, Relay(stand_in.url, log=tmp_path) as relay:
        part = await ask_as_the_official_client_does(relay.url)
    (path,) = tmp_path.iterdir()

    case = Case.from_log(path)
    assert [item.text for item in case.history.items] == ["Hi.", "Hello!"] and not case.history.lint()
    assert (case.reported, part.type) == ("text", "output_text")
    with pytest.raises(HistoryError, match="1 replies, not 2"):
        Case.from_log(path, reply=2)
    async with Replay(path) as replay:
        assert (await ask_as_the_official_client_does(replay.url)).text == part.text


async def test_frames_pass_untouched_and_in_order_whatever_they_hold():
    odd = ['{"type": "x",  "a":1 }', "not json", "é\u2028", b"\x00\xff", "", "y" * 3_000_000]
    async with Echo() as server, Relay(server.url) as relay, ws_connect(relay.url, max_size=None) as client:
        for frame in odd:
            await client.send(frame)
        assert [await client.recv() for _ in odd] == odd and server.came == odd
        for n in range(500):
            await client.send(str(n))
        assert [await client.recv() for _ in range(500)] == [str(n) for n in range(500)]


@pytest.mark.parametrize(("code", "reason"), [(4001, "because"), (1000, ""), (3000, "invalid_request_error")])
async def test_a_server_that_closes_closes_the_client_with_its_code(code, reason):
    async def closes(socket):
        await socket.close(code, reason)

    async with Echo(closes) as server, Relay(server.url) as relay, ws_connect(relay.url) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (code, reason)


async def test_a_client_that_vanishes_ends_the_server_without_a_close_frame():
    ended = asyncio.get_running_loop().create_future()

    async def waits(socket):
        await socket.wait_closed()
        ended.set_result(socket.close_code)

    async with Echo(waits) as server, Relay(server.url) as relay:
        client = await ws_connect(relay.url)
        client.transport.abort()
        assert await asyncio.wait_for(ended, 5) == 1006


async def test_a_server_that_vanishes_ends_the_client_without_a_close_frame():
    async def cut(socket):
        socket.transport.abort()

    async with Echo(cut) as server, Relay(server.url) as relay, ws_connect(relay.url) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1006


async def test_what_the_service_refuses_at_the_door_is_refused_in_its_words():
    async with StandIn(faults=["http-error=429"]) as stand_in, Relay(stand_in.url) as relay:
        with pytest.raises(InvalidStatus) as refused:
            await ws_connect(f"{relay.url}?model=gpt-realtime")
        assert refused.value.response.status_code == 429
    with pytest.raises(InvalidStatus) as unreachable:
        async with Relay(stand_in.url if stand_in.listening else "ws://127.0.0.1:9/v1/realtime") as relay:
            await ws_connect(relay.url)
    assert unreachable.value.response.status_code == 502


async def test_the_clients_key_goes_through_and_is_kept_nowhere(tmp_path):
    async with Echo() as server, Relay(server.url, log=tmp_path) as relay:
        headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Organization": "org-secret-0123456789", "X-App": "x"}
        agent = "a-client/1.0 (of some length)"
        async with ws_connect(f"{relay.url}?model=m", additional_headers=headers, user_agent_header=agent) as client:
            await client.send(json.dumps({"type": "error", "error": {"message": f"wrong key {KEY}"}}))
            assert KEY in await client.recv()  # untouched on the wire
            await client.send('{"type":"note","client":"a-client/1.0 (of some length)"}')
            await client.recv()
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}" and "model=m" in server.paths[0]
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    assert text.count("a-client/1.0 (of some length)") == 2  # what a client calls itself is no secret
    assert KEY not in text and "org-secret" not in text and text.count("wrong key") == 2
    assert KEY not in repr(relay) and KEY not in repr(vars(relay))


async def test_a_relay_that_holds_the_key_sends_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_KEY", KEY)
    async with Echo() as server, Relay(server.url, key_env="RELAY_KEY", log=tmp_path) as relay:
        async with ws_connect(relay.url, additional_headers={"Authorization": "Bearer anything"}) as client:
            await client.send(f"my key is {KEY}")
            await client.recv()
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in next(tmp_path.iterdir()).read_text()


async def test_a_relay_that_holds_the_key_sends_it_as_the_endpoint_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_KEY", KEY)
    async with Echo() as server:
        where = endpoint(server.url, key_env="RELAY_KEY", auth="xi-api-key", headers={"X-Team": "secret-team"})
        async with Relay(where, key_env="RELAY_KEY", log=tmp_path) as relay, ws_connect(relay.url) as client:
            await client.send(f"my key is {KEY} of secret-team")
            await client.recv()
        assert server.headers[0]["xi-api-key"] == KEY and server.headers[0]["X-Team"] == "secret-team"
    text = next(tmp_path.iterdir()).read_text()
    assert KEY not in text and "secret-team" not in text


@pytest.mark.parametrize("holds_key", [False, True])
async def test_an_ephemeral_key_is_made_and_used_through_it_and_kept_nowhere(holds_key, monkeypatch, tmp_path):
    monkeypatch.setenv("RELAY_KEY", KEY)
    async with (
        StandIn(require_key=KEY) as stand_in,
        Relay(stand_in.url, key_env="RELAY_KEY" if holds_key else None, log=tmp_path) as relay,
    ):
        base_url = relay.url.replace("ws://", "http://").removesuffix("/realtime")
        async with AsyncOpenAI(api_key="none" if holds_key else KEY, base_url=base_url) as server:
            session = {"type": "realtime", "instructions": "Be brief."}
            secret = await server.realtime.client_secrets.create(session=session)
            with pytest.raises(NotFoundError, match="passes on websockets"):
                await server.realtime.calls.create(sdp="v=0")
        protocols = ["realtime", f"openai-insecure-api-key.{secret.value}"]
        async with ws_connect(f"{relay.url}?model=gpt-realtime", subprotocols=protocols) as page:
            assert json.loads(await page.recv())["session"]["instructions"] == "Be brief."
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "Be brief." in text and secret.value not in text and KEY not in text


async def test_a_slow_reader_slows_the_sender():
    sent = 0

    async def floods(socket):
        nonlocal sent
        for _ in range(400):
            await socket.send("z" * 1_000_000)
            sent += 1

    async with (
        Echo(floods) as server,
        Relay(server.url) as relay,
        ws_connect(relay.url, max_size=None, max_queue=1) as client,
    ):
        await client.recv()
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 200
        client.transport.abort()


async def test_gpt_live_passes_as_realtime_does(tmp_path):
    async with StandIn(pace=20) as stand_in, Relay(stand_in.url, log=tmp_path) as relay:
        client = await ws_connect(relay.url.replace("/realtime", "/live/sessions"))
        await client.send('{"type":"session.start","session":{"model":"gpt-live-1"}}')
        assert json.loads(await client.recv())["type"] == "session.started"
        await client.send('{"type":"session.close"}')
        assert json.loads(await client.recv())["type"] == "session.closed"
        await client.wait_closed()
        assert client.close_code == 1000
    assert "session.closed" in next(tmp_path.iterdir()).read_text()


async def test_foreign_pages_and_open_addresses_are_refused():
    async with Echo() as server:
        async with Relay(server.url) as relay:
            with pytest.raises(InvalidStatus):
                await ws_connect(relay.url, additional_headers={"Origin": "https://evil.example"})
        with pytest.raises(InputError, match="can be reached by others"):
            Relay(server.url, host="0.0.0.0")
    with pytest.raises(InputError, match="kit serve"):
        Relay("standin")
