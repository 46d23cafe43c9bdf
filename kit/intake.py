"""Text messages cut out of the byte stream as it arrives, past the library's queue.

websockets parses each frame through generators and puts it into a queue, from which a task takes it: together more than
everything that the kit does with a message of usual size. A `FastConnection` hands a message over as soon as its bytes
are there. The library still makes the handshake, answers pings, closes, and reads every frame that is in the least unusual.

RFC 6455, 5.2: a frame is two bytes, a length in 0, 2 or 8 more, and that many bytes of payload; a server's are not masked.
Only a frame whose first byte is ``0x81`` (a whole text message without extension) is taken, and only while no fragmented
message is open and no message waits in the library's queue, so the order stays. Every other frame goes to the library byte
for byte, a whole frame at a time. After a close frame, or anything that breaks the protocol or the limit, everything does.

=====================  ================================================================================================
state                  bytes that arrive
=====================  ================================================================================================
handshake              go to the library up to the end of the response's head
between frames         are cut into frames
in a frame             complete it (`_frame_start`, `_pieces`, `_n_missing`)
hands off              go to the library; no way back
=====================  ================================================================================================

Should a later version of the library no longer call `data_received`, messages come by `recv` as in any other program.
tests/test_intake.py holds both ways to the same messages; benchmarks/trial.py measures what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

_WHOLE_TEXT = 0x81
_FIN, _OPCODE = 0x80, 0x0F
_CONTINUATION, _TEXT, _BINARY, _PING, _PONG = 0x0, 0x1, 0x2, 0x9, 0xA
_ORDINARY = frozenset((_CONTINUATION, _TEXT, _BINARY, *(_FIN | code for code in range(3)), _FIN | _PING, _FIN | _PONG))
_END_OF_HEAD = b"\r\n\r\n"

MAX_MESSAGE_BYTES = 64 * 2**20
"""What a server may send as one message. Items that carry audio come in frames of several MB; what is longer closes the
session with 1009, before its bytes are kept."""


class FastConnection(ClientConnection):
    """A connection that hands whole text messages to `on_messages`, if that is set, and returns all others by `receive`."""

    # Called with messages that arrived together, in order.
    on_messages: Callable[[list[bytes]], None] | None = None
    _head: bytes | None = b""  # the response to the handshake so far; None once its head is complete
    _hands_off = False  # something unusual came: from here on the library reads alone
    _in_fragments = False  # a fragmented message has begun and not ended
    # The beginning of a frame that is not complete, and the bytes that it still lacks; 0: its length is not known yet.
    _frame_start: bytes = b""
    _n_missing = 0
    # What came of a long frame since `_frame_start`: joined once, when it is complete.
    _pieces: list[bytes] | None = None
    # Messages that went to the library's queue, and those that were taken from it.
    _n_queued = 0
    _n_received = 0

    async def receive(self, *, decode: bool | None = False) -> Any:
        """Return the next message that was not handed over, as bytes; with ``decode=None`` as it was sent: text as ``str``."""
        message = await self.recv(decode=decode)
        self._n_received += 1
        return message

    async def send_all(self, messages: Sequence[bytes]) -> None:
        """Send text messages in one write: a system call each would cost more than the rest of it."""
        async with self.send_context():
            for message in messages:
                self.protocol.send_text(message)
            self.transport.write(b"".join(self.protocol.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with whatever has arrived."""
        if self._head is not None:
            data = self._read_head(data)
        if not data:
            return  # to the library, no bytes would mean the end of the stream (over TLS: a fatal error, printed)
        if self._hands_off:
            super().data_received(data)
        elif self._frame_start:
            self._complete(data)
        else:
            self._cut(data)

    def _read_head(self, data: bytes) -> bytes:
        """Pass the head of the handshake's response to the library; return what came after it."""
        assert self._head is not None
        head = self._head + data
        end = head.find(_END_OF_HEAD)
        if end < 0:
            self._head = head
            super().data_received(data)
            return b""
        self._head = None
        at = len(data) - (len(head) - end - len(_END_OF_HEAD))
        super().data_received(data[:at])
        self._hands_off = self.protocol.state is not State.OPEN  # refused: what follows is the body of the answer
        return data[at:]

    def _complete(self, data: bytes) -> None:
        """Add bytes to a frame that has begun."""
        if not self._n_missing:
            start, self._frame_start = self._frame_start, b""
            self._cut(start + data)
        elif len(data) < self._n_missing:
            if self._pieces is None:
                self._pieces = []
            self._pieces.append(data)
            self._n_missing -= len(data)
        else:
            at, self._n_missing = self._n_missing, 0
            frame = b"".join((self._frame_start, *(self._pieces or ()), data[:at]))
            self._frame_start, self._pieces = b"", None
            self._cut(frame)
            if not self._hands_off:
                self._cut(data, at)
            elif at < len(data):
                super().data_received(data[at:])

    def _cut(self, data: bytes, at: int = 0) -> None:
        """Cut `data` into frames, from `at` on. An incomplete one is kept until its end comes."""
        end = len(data)
        messages: list[bytes] = []
        may_take = self._may_take()
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length > 125:  # then the length is in the next two bytes (126), or in the next eight (127)
                if length > 127:  # masked, which a server's frames are not
                    self._hands_off = True
                    break
                start += 2 if length == 126 else 8
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
                if length > MAX_MESSAGE_BYTES:  # the library closes the connection, and the payload is not kept
                    self._hands_off = True
                    break
            stop = start + length
            if stop > end:
                self._n_missing = stop - end
                break
            if may_take and data[at] == _WHOLE_TEXT:
                messages.append(data[start:stop])
            else:
                self._hand_over(messages)
                messages = []
                # It may open a fragmented message, or fill the library's queue: then what follows goes there as well.
                self._pass_on(data[at:stop])
                may_take = self._may_take()
                if self._hands_off:
                    at = stop
                    break
            at = stop
        self._hand_over(messages)
        if not self._hands_off:
            self._frame_start = data[at:]
        elif at < end:
            super().data_received(data[at:])

    def _may_take(self) -> bool:
        """Whether a text message may be handed over past the library."""
        return self.on_messages is not None and not self._in_fragments and self._n_queued == self._n_received

    def _hand_over(self, messages: list[bytes]) -> None:
        if messages and self.on_messages:
            self.on_messages(messages)

    def _pass_on(self, frame: bytes) -> None:
        """Pass the library a frame that it should read."""
        first = frame[0]
        opcode = first & _OPCODE
        # A close, reserved bits or opcodes, a message within another: for the library to judge.
        if first not in _ORDINARY or (opcode in (_TEXT, _BINARY) and self._in_fragments):
            self._hands_off = True
        elif opcode <= _BINARY:
            self._in_fragments = not first & _FIN
            self._n_queued += bool(first & _FIN)
        super().data_received(frame)
