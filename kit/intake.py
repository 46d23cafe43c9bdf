"""Whole text messages, cut out of the byte stream where it arrives.

websockets parses each frame through generators and puts it into a queue, from which a task takes it: together more than
everything that the kit does with a message of usual size. A `Tapped` connection hands a message over as soon as its bytes
are there. The library still makes the handshake, answers pings, closes, and reads every frame that is in the least unusual.

What is cut out, and why that is safe. RFC 6455, 5.2: a frame is two bytes, a length in 0, 2 or 8 more, and that many bytes
of payload; a server's are not masked. Only a frame whose first byte is ``0x81`` (a whole text message, no extension) is taken,
and only while no fragmented message is open and no message waits in the library's queue, so the order stays. Every other
frame goes to the library byte for byte, whole frames at a time; after a close frame, or anything that breaks the protocol,
everything does. Should a later version no longer call `data_received`, messages come by `recv` as they always did.
tests/test_intake.py holds both ways to the same messages; benchmarks/trial.py measures what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

_WHOLE_TEXT = 0x81
_FIN, _OPCODE = 0x80, 0x0F
_CONTINUATION, _TEXT, _BINARY, _PING, _PONG = 0x0, 0x1, 0x2, 0x9, 0xA
_ORDINARY = frozenset((_CONTINUATION, _TEXT, _BINARY, *(_FIN | code for code in range(3)), _FIN | _PING, _FIN | _PONG))
_END_OF_HANDSHAKE = b"\r\n\r\n"


class Tapped(ClientConnection):
    """A connection that hands whole text messages to `taken`, if that is set, and gives all others by `receive`."""

    taken: Callable[[list[bytes]], None] | None = None
    """Gets what arrived together, one or more messages, in order."""
    _handshake: bytes | None = b""
    """The response to the handshake as far as it is here; ``None`` once it is over."""
    _hands_off = False
    """Something unusual came: from here on the library reads alone."""
    _in_fragments = False
    _rest: bytes = b""
    """The beginning of a frame whose end has not come."""
    _n_missing = 0
    """Bytes until `_rest` is a whole frame; 0: its header is not whole either."""
    _pieces: list[bytes] | None = None
    """What came of a long frame since `_rest`."""
    _n_queued = 0
    _n_received = 0

    async def receive(self) -> bytes:
        """The next message that was not handed over."""
        message = await self.recv(decode=False)
        self._n_received += 1
        return message

    async def send_all(self, messages: Sequence[bytes]) -> None:
        """Send text messages: all but the last in one write, for a system call each would cost more than the rest of it.

        Raises:
            ConnectionClosed: If the connection is.
        """
        if len(messages) > 1 and self.protocol.state is State.OPEN:
            for message in messages[:-1]:
                self.protocol.send_text(message)
            self.transport.write(b"".join(self.protocol.data_to_send()))
        await self.send(messages[-1], text=True)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with whatever has arrived."""
        if self._handshake is not None:
            data = self._after_handshake(data)
        if self._hands_off:
            super().data_received(data)
        elif self._rest:
            self._go_on(data)
        else:
            self._cut(data)

    def _after_handshake(self, data: bytes) -> bytes:
        """Give the library its response; gives back what came after it."""
        assert self._handshake is not None
        seen = self._handshake + data
        end = seen.find(_END_OF_HANDSHAKE)
        if end < 0:
            self._handshake = seen
            super().data_received(data)
            return b""
        self._handshake = None
        at = len(data) - (len(seen) - end - len(_END_OF_HANDSHAKE))
        super().data_received(data[:at])
        self._hands_off = self.protocol.state is not State.OPEN  # refused: what follows is the body of the answer
        return data[at:]

    def _go_on(self, data: bytes) -> None:
        """More bytes of a frame that has begun."""
        if not self._n_missing:
            begun, self._rest = self._rest, b""
            self._cut(begun + data)
        elif len(data) < self._n_missing:
            if self._pieces is None:
                self._pieces = []
            self._pieces.append(data)
            self._n_missing -= len(data)
        else:
            at, self._n_missing = self._n_missing, 0
            frame = b"".join((self._rest, *(self._pieces or ()), data[:at]))
            self._rest, self._pieces = b"", None
            self._cut(frame)
            if self._hands_off:
                super().data_received(data[at:])
            else:
                self._cut(data, at)

    def _cut(self, data: bytes, at: int = 0) -> None:
        """Take `data` apart from `at` on; what is left of it is kept for the bytes to come."""
        end = len(data)
        messages: list[bytes] = []
        may_take = self._may_take()
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length > 127:  # masked, which a server's frames are not
                self._hands_off = True
                break
            if length >= 126:
                start += 2 if length == 126 else 8
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            stop = start + length
            if stop > end:
                self._n_missing = stop - end
                break
            if may_take and data[at] == _WHOLE_TEXT:
                messages.append(data[start:stop])
            else:
                self._hand_over(messages)
                messages = []
                self._pass_on(data[at:stop])
                may_take = self._may_take()
            at = stop
            if self._hands_off:
                break
        self._hand_over(messages)
        if self._hands_off:
            super().data_received(data[at:])
        else:
            self._rest = data[at:]

    def _may_take(self) -> bool:
        """Whether a whole text message may be handed over past the library."""
        return self.taken is not None and not self._in_fragments and self._n_queued == self._n_received

    def _hand_over(self, messages: list[bytes]) -> None:
        if messages and self.taken:
            self.taken(messages)

    def _pass_on(self, frame: bytes) -> None:
        """Give the library a frame that it should read."""
        first = frame[0]
        opcode = first & _OPCODE
        if first not in _ORDINARY or (opcode in (_TEXT, _BINARY) and self._in_fragments):
            self._hands_off = True
        elif opcode <= _BINARY:
            self._in_fragments = not first & _FIN
            self._n_queued += bool(first & _FIN)
        super().data_received(frame)
