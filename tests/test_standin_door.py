"""The door that the stand-in and the replay share: who is let in, what strangers learn, what is kept for them, how it closes."""

import asyncio
import base64
import json
import time

import pytest
import websockets
from talk import talk

from kit import connect
from kit.errors import InputError
from kit.replay import Replay
from kit.standin import Limits, StandIn
from kit.standin import handshake as handshake_module

SECRET = "The door code is 4711."
FOREIGN = ["null", "file://", "https://evil.example", "http://localhost.evil.example", "http://["]


@pytest.fixture
async def log(tmp_path):
    """Two sessions, the second of which begins otherwise."""
    path = tmp_path / "x.jsonl"
    for words in (SECRET, "Be brief."):
        async with connect("standin", quiet=True, log=path) as session:
            await session.update(instructions=words)
            await session.ask("Tell me a joke.")
    return path


async def refused(url, status, **headers):
    connecting = websockets.connect(url, additional_headers=headers, proxy=None)
    with pytest.raises(websockets.InvalidStatus, match=str(status)):
        async with connecting:
            pass


async def raw(server, request):
    """The bytes that a server answers to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.decode()


def post(body=b"{}", length=None, path="/v1/realtime/client_secrets", **headers):
    lines = {"Host": "localhost", "Content-Length": len(body) if length is None else length} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


# Who is let in


@pytest.mark.parametrize("origin", FOREIGN)
async def test_no_foreign_page_gets_into_a_replay_or_shifts_whose_turn_it_is(log, origin):
    async with Replay(log) as server:
        await refused(server.url, 403, Origin=origin)
        async with websockets.connect(server.url, proxy=None) as socket:
            assert "session.created" in await socket.recv()
            assert "session=0" in socket.response.headers["X-Replay"]


@pytest.mark.parametrize("kind", ["stand-in", "replay"])
async def test_a_name_that_was_made_to_point_here_is_refused(kind, log):
    server = StandIn() if kind == "stand-in" else Replay(log)
    async with server:
        request = (
            "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: rebound.example:80\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await raw(server, request.encode())

    assert answer.startswith("HTTP/1.1 403") and "rebound.example" in answer


async def test_a_replay_off_loopback_needs_a_key_and_asks_for_it(log):
    with pytest.raises(InputError, match="require_key"):
        Replay(log, host="0.0.0.0")
    async with Replay(log, require_key="sk-right") as server:
        await refused(server.url, 401)
        await refused(server.url, 401, Authorization="Bearer sk-wrong")
        async with websockets.connect(
            server.url, additional_headers={"Authorization": "Bearer sk-right"}, proxy=None
        ) as socket:
            assert "session.created" in await socket.recv()


@pytest.mark.parametrize("key", ["", "   ", "\t"])
def test_a_key_of_blanks_is_no_key(key, log):
    for make in (StandIn, lambda **options: Replay(log, **options)):
        with pytest.raises(InputError, match="blank"):
            make(require_key=key)


def test_the_terminal_takes_no_key_of_blanks(monkeypatch, capsys):
    from kit.cli import main

    monkeypatch.setenv("BLANKS", "  ")
    assert main(["serve", "--port", "0", "--key-env", "BLANKS"]) == 2
    assert "blank" in capsys.readouterr().err


@pytest.mark.parametrize(
    "headers",
    [
        "Authorization: Basic \xff",
        "Authorization: Bearer a\r\nAuthorization: Bearer b",
        "Origin: http://[",
        "api-key: a\r\napi-key: b",
    ],
)
async def test_odd_headers_are_answered_and_not_a_fault_of_the_server(headers):
    async with StandIn() as server:
        request = (
            f"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: localhost\r\n{headers}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request.encode("latin-1"))
        status = (await reader.readline()).decode()
        writer.close()

    assert status.split()[1] in ("101", "403")


# What strangers learn


async def first_error(server, event):
    async with websockets.connect(server.url, proxy=None) as socket:
        await socket.recv()
        await socket.send(json.dumps(event))
        return json.loads(await socket.recv())["error"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.update", "session": {"type": "realtime", "instructions": "Sing."}},
        {"type": "session.update", "session": {"type": "realtime"}},
        {"type": "response.create"},
        {"type": "conversation.item.create", "item": {"content": []}},
    ],
)
async def test_a_client_that_departs_learns_nothing_of_what_was_recorded(log, event):
    departures = []
    async with Replay(log, on_departed=departures.append) as server:
        error = await first_error(server, event)

    assert error["code"] == "replay_departed"
    assert "4711" not in json.dumps(error) and log.name not in json.dumps(error)
    assert len(departures) == 1 and ("4711" in departures[0]) is (event["type"] == "session.update")


async def test_whoever_has_the_key_is_told_what_was_recorded(log):
    async with Replay(log, require_key="sk-right") as server:
        key = {"Authorization": "Bearer sk-right"}
        async with websockets.connect(server.url, additional_headers=key, proxy=None) as socket:
            await socket.recv()
            await socket.send('{"type":"session.update","session":{"type":"realtime","instructions":"Sing."}}')
            assert SECRET in await socket.recv()


# Ephemeral keys


@pytest.mark.parametrize("origin", FOREIGN)
async def test_no_foreign_page_makes_ephemeral_keys(origin):
    async with StandIn() as server:
        assert (await raw(server, post(Origin=origin))).startswith("HTTP/1.1 403")
        assert (await raw(server, post(Origin="http://localhost:3000"))).startswith("HTTP/1.1 200")


@pytest.mark.parametrize(("limit", "value"), [("MAX_SECRETS", 3), ("MAX_SECRETS_BYTES", 150)])
async def test_ephemeral_keys_are_capped(monkeypatch, limit, value):
    monkeypatch.setattr(handshake_module, limit, value)
    body = json.dumps({"session": {"type": "realtime", "instructions": "x"}}).encode()
    async with StandIn() as server:
        codes = [(await raw(server, post(body))).split()[1] for _ in range(5)]

    assert codes[0] == "200" and codes[-1] == "429"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(length="9" * 5_000), 413),
        (post(length="1" * 12), 413),
        (post(length="\xb2"), 400),
        (post(length="-1"), 400),
        (post(b'{"session": "\xff"}'), 400),
        (post(b'{"session": "x"}'), 400),
        (post(b'{"session": [1]}'), 400),
        (post(b'{"session": {"type": {}}}'), 400),
        (post(b'{"model": 1}', path="/v1/realtime/sessions"), 400),
        (b"POST  HTTP/1.1\r\n\r\n", 404),
    ],
)
async def test_every_bad_post_is_answered(request_bytes, status):
    async with StandIn() as server:
        assert (await raw(server, request_bytes)).startswith(f"HTTP/1.1 {status} ")


# Bounds


@pytest.mark.refusal
async def test_what_a_client_puts_into_one_conversation_is_bounded_and_deleting_makes_room():
    async with StandIn(limits=Limits(item_bytes=100_000)) as server, talk(server) as t:
        text = t.text("user", "x" * 40_000)
        ids = [(await t.add(text))["item"]["id"] for _ in range(2)]
        assert (await t.add(text))["error"]["code"] == "conversation_full"
        assert (await t.add(t.user_audio(bytes(40_000))))["error"]["code"] == "conversation_full"
        await t.send("conversation.item.delete", item_id=ids[0])
        await t.until("conversation.item.deleted")
        assert (await t.add(t.user_audio(bytes(40_000))))["type"] == "conversation.item.done"
        await t.send("input_audio_buffer.append", audio=base64.b64encode(bytes(40_000)).decode())
        await t.send("input_audio_buffer.commit")
        assert (await t.until("error"))["error"]["code"] == "conversation_full"
        assert (await t.respond())["status"] == "completed"


# The end


async def test_it_stops_within_a_second_whatever_clients_do():
    server = await StandIn().start()
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    handshake = (
        b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for _, writer in silent[:2]:
        writer.write(handshake)
    await silent[0][0].readuntil(b"session.created")  # in a session, and it will never answer a close
    began = time.monotonic()
    await server.stop()

    assert time.monotonic() - began < 1
    for _, writer in silent:
        writer.close()
