"""Messages cut out of the byte stream are the ones that websockets would have given, in the same order."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from kit.intake import FastConnection

URI = parse_uri("ws://127.0.0.1/v1/realtime")


class Pipe(asyncio.Transport):
    """A transport that keeps what is written; the test says what arrives."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self._closing = False

    def write(self, data):
        self.writes.append(bytes(data))

    def is_closing(self):
        return self._closing

    def close(self):
        self._closing = True

    abort = close

    def write_eof(self):
        pass

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def can_write_eof(self):
        return True


async def begin(kind, *, refuse=False):
    """A connection that has sent its request, its pipe, its handshake, and the answer that the server has for it."""
    connection, pipe = kind(ClientProtocol(URI, max_size=None)), Pipe()
    connection.connection_made(pipe)
    handshake = asyncio.ensure_future(connection.handshake())
    await asyncio.sleep(0)
    server = ServerProtocol()
    server.receive_data(b"".join(pipe.writes))
    (request,) = server.events_received()
    answer = server.reject(403, "no") if refuse else server.accept(request)
    return connection, pipe, handshake, answer.serialize()


async def everything(kind, stream, cuts, *, refuse=False):
    """What a connection of that kind makes of a handshake and `stream`, arriving in pieces: messages, and how it ended."""
    connection, _, handshake, answer = await begin(kind, refuse=refuse)
    got = []
    if kind is FastConnection:
        connection.on_messages = got.extend

    async def read():
        while True:
            got.append(await (connection.receive() if kind is FastConnection else connection.recv(decode=False)))

    reading = None
    for piece in pieces(answer + stream, cuts):
        connection.data_received(piece)
        await asyncio.sleep(0)
        if reading is None and handshake.done() and not handshake.exception():
            reading = asyncio.ensure_future(read())
    connection.eof_received()
    connection.connection_lost(None)
    try:
        await handshake
        await (reading or read())
    except ConnectionClosed as exc:
        return got, exc.rcvd and exc.rcvd.code, exc.sent and exc.sent.code
    except InvalidStatus as exc:
        return got, exc.response.status_code, exc.response.body


def pieces(data, cuts):
    edges = sorted({0, len(data), *(at % (len(data) + 1) for at in cuts)})
    return [data[start:stop] for start, stop in pairwise(edges)]


def wire(opcode, payload, *, fin=True):
    return Frame(opcode, payload, fin).serialize(mask=False)


PAYLOADS = st.one_of(
    st.binary(max_size=8), st.sampled_from([b"x" * n for n in (125, 126, 127, 65_535, 65_536, 70_000)])
)
FRAMES = st.one_of(
    st.builds(lambda p: wire(Opcode.TEXT, p), PAYLOADS),
    st.builds(lambda p: wire(Opcode.TEXT, p), PAYLOADS),
    st.builds(lambda p: wire(Opcode.BINARY, p), PAYLOADS),
    st.builds(lambda p: wire(Opcode.PING, p[:125]), PAYLOADS),
    st.builds(
        lambda a, ping, b: wire(Opcode.TEXT, a, fin=False) + wire(Opcode.PING, ping[:125]) + wire(Opcode.CONT, b),
        PAYLOADS,
        PAYLOADS,
        PAYLOADS,
    ),
)
UNUSUAL = st.sampled_from(
    [
        b"",
        wire(Opcode.CLOSE, b"\x03\xe8"),
        b"\xc1\x02no",  # an extension that was not agreed on
        wire(Opcode.TEXT, b"half", fin=False) + wire(Opcode.TEXT, b"a text inside a text"),
        wire(Opcode.CONT, b"of nothing"),
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
        b"\x83\x00",  # no such kind of frame
        b"\x81\x7e\x00",  # and then no more
    ]
)


@settings(deadline=None)
@given(
    frames=st.lists(FRAMES, max_size=6),
    odd=UNUSUAL,
    after=st.lists(FRAMES, max_size=2),
    cuts=st.lists(st.integers(0, 500_000)),
)
def test_both_ways_give_the_same_messages_and_the_same_end(frames, odd, after, cuts):
    stream = b"".join((*frames, odd, *after))

    ours, theirs = (asyncio.run(everything(kind, stream, cuts)) for kind in (FastConnection, ClientConnection))

    assert ours == theirs


@pytest.mark.parametrize("cuts", [[], range(400)])
async def test_a_refusal_and_its_body_are_left_to_the_library(cuts):
    ours, theirs = [await everything(kind, b"", cuts, refuse=True) for kind in (FastConnection, ClientConnection)]

    assert ours == theirs and ours[1] == 403


@pytest.mark.parametrize("body", [b"", b"no"])
async def test_the_library_is_never_fed_no_bytes_which_over_tls_would_be_an_error(body, monkeypatch):
    fed = []
    monkeypatch.setattr(ClientConnection, "data_received", lambda _, data: fed.append(data))
    connection, _, handshake, _ = await begin(FastConnection)

    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(body)
    for piece in (head[:20], head[20:] + body):
        connection.data_received(piece)
    handshake.cancel()

    assert b"".join(fed) == head + body and b"" not in fed


async def test_what_arrives_together_is_handed_over_together():
    connection, _, handshake, answer = await begin(FastConnection)
    together = []
    connection.on_messages = together.append
    last = wire(Opcode.TEXT, b"three")

    connection.data_received(answer + wire(Opcode.TEXT, b"one") + wire(Opcode.TEXT, b"two") + last[:3])
    connection.data_received(last[3:])
    await handshake

    assert together == [[b"one", b"two"], [b"three"]]


async def test_several_messages_are_sent_in_one_write_and_arrive_in_order():
    connection, pipe, handshake, answer = await begin(FastConnection)
    connection.data_received(answer)
    await handshake
    before = len(pipe.writes)
    server = ServerProtocol(state=State.OPEN)

    await connection.send_all([b"one", b"two", b"three", b"four"])
    server.receive_data(b"".join(pipe.writes[before:]))

    assert [frame.data for frame in server.events_received()] == [b"one", b"two", b"three", b"four"]
    assert len(pipe.writes) == before + 1
