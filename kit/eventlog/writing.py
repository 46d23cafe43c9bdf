"""One session's frames on disk, as they come and go.

A log is a text file with one JSON object per line. The first line of a session says what it is::

    {"log":"k3f9a1","kit":"0.1.0","format":1,"endpoint":"openai","url":"wss://…","model":"…","dialect":"ga","simulated":false,
     "audio":"digest","opened_at":"2026-11-22T11:20:23.120Z"}

and each further line is one frame, its secrets taken out::

    {"log":"k3f9a1","n":4,"at_ms":812.114,"unix":1795346423.932,"dir":"server","event":{…}}

``at_ms`` is the session's monotonic clock (milliseconds since it was opened), ``unix`` the wall clock; a frame that is not a JSON
object has ``raw`` instead of ``event``. The last line says how it ended. A file may hold several sessions: a second one is appended.

Each line is handed to the operating system at once, whole, before the frame is folded or sent; frames that arrived together go in one
write. So the log is never behind what the program has seen or sent, and a process that dies breaks off at most the lines that it
was just writing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import stat
import time
import warnings
from binascii import hexlify
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import InputError, clipped
from ..version import __version__
from ..wire.events import Event
from .redact import Hook, Redactor

Audio = Literal["keep", "digest"]
FORMAT = 1
DIGEST = re.compile(r"sha256:([0-9a-f]{64}):(\d{1,12})\Z")
"""What stands for audio that was not kept: its SHA-256 and its length in bytes. No base64 looks like this."""

_Pieces = tuple[bytes, ...]
"""What stands in a line after ``dir``, in one or more pieces: key, colon, value."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def digest(pcm: bytes) -> str:
    """What stands for these bytes of audio in a log that does not keep them."""
    return _digest(pcm).decode()


def _digest(pcm: bytes) -> bytes:
    return b"".join((b"sha256:", hexlify(hashlib.sha256(pcm).digest()), b":", str(len(pcm)).encode()))


class LogWriter:
    """Writes one session to a file.

    Args:
        path: The file; a second session is appended to it. Made readable by its owner only.
        audio: ``"digest"`` keeps the SHA-256 and length of each piece of audio, ``"keep"`` the audio itself.
        redact: Your own hook: takes an event, gives the one to keep, or ``None``.

    Attributes:
        path: Absolute.
        n_frames: How many are written.
        problem: Why it stopped writing (a full disk), else ``None``.

    Raises:
        InputError: For a path that cannot be written to: before anything is connected or paid for.
    """

    def __init__(self, path: str | os.PathLike[str], *, audio: Audio = "digest", redact: Hook | None = None) -> None:
        if audio not in ("keep", "digest"):
            raise InputError(f"audio must be 'keep' or 'digest', not {clipped(audio)}")
        self.path = Path(path).expanduser().absolute()
        self.audio: Audio = audio
        self.redactor = Redactor(hook=redact)
        self.n_frames = 0
        self.problem: str | None = None
        self._id = secrets.token_hex(4)
        self._before = b'{"log":"%b","n":' % self._id.encode()
        self._delta_fields: tuple[str, ...] = ()  # of the last delta: the next one has the same
        self._file: int | None = _open(self.path)

    def __repr__(self) -> str:
        state = "open" if self._file is not None else f"stopped: {self.problem}" if self.problem else "closed"
        return f"<LogWriter {self.path}, {self.n_frames} frames, audio {self.audio}, {state}>"

    # --------------------------------------------------------------------------------------------------------- writing

    def begin(self, *, endpoint: str, url: str, model: str | None, dialect: str, simulated: bool | None) -> None:
        """The first line."""
        head = {
            "log": self._id,
            "kit": __version__,
            "format": FORMAT,
            "endpoint": endpoint,
            "url": url,
            "model": model,
            "dialect": dialect,
            "simulated": simulated,
            "audio": self.audio,
            "opened_at": _iso(time.time()),
        }
        self._write(self.redactor(_encode(head)) + b"\n")

    def server(self, frames: Sequence[bytes], events: Sequence[Event | Exception], at_ms: float) -> None:
        """Frames that came together, in one write. Call it before the fold takes the audio out of the events.

        Args:
            events: What each decoded to, or why it is no event.
        """
        self._lines("server", at_ms, [self._told(frame, event) for frame, event in zip(frames, events, strict=True)])

    def client(self, frames: Sequence[bytes], at_ms: float) -> None:
        """Frames that go together, as they go, in one write."""
        self._lines("client", at_ms, [self._event(frame) for frame in frames])

    def end(self, *, code: int | None = None, reason: str = "", problem: str = "", at_ms: float | None = None) -> None:
        """The last line, and the end of the file."""
        if self._file is None:
            return
        told = {"code": code, "reason": reason} | ({"problem": problem} if problem else {})
        clock = {} if at_ms is None else {"at_ms": round(at_ms, 3)}
        self._write(
            self.redactor(_encode({"log": self._id, **clock, "unix": round(time.time(), 3), "end": told})) + b"\n"
        )
        self.close()

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    # ------------------------------------------------------------------------------------------------------------ lines

    def _told(self, frame: bytes, event: Event | Exception) -> _Pieces:
        """What the line of a server's frame says."""
        if isinstance(event, Exception):
            return b'"raw":', _encode(self.redactor(frame).decode("utf-8", "replace"))
        pieces: _Pieces = (frame,)
        has_sound = bool(event.pcm)
        if has_sound and self.audio == "digest":
            pieces, has_sound = _digested_delta(frame, event), False
        beginning = pieces[0]  # of an audio delta all but its digest, in which nothing can be
        if (
            self.redactor.hook is None
            and self._is_plain_delta(event.data, beginning)
            and not self.redactor.knows(beginning)
        ):
            return b'"event":', *pieces
        return self._event(b"".join(pieces), has_sound=has_sound)

    def _is_plain_delta(self, data: dict[str, Any], frame: bytes) -> bool:
        """Whether a frame is a word or two and ids, in one line: most frames of a reply are, and no secret has room in one.

        It spares them the redactor, which would cost more than everything else that is done with them.
        """
        delta = data.get("delta")
        if type(delta) is not str or len(delta) >= 12 or len(frame) >= 500:
            return False
        fields = tuple(data)
        if fields != self._delta_fields:
            if not _DELTA_FIELDS.issuperset(fields):
                return False
            self._delta_fields = fields
        odd = _HYPHEN in frame or _BACKSLASH in frame or _NEWLINE in frame or _RETURN in frame
        return not odd and frame.find(b"k_") < 0

    def _event(self, frame: bytes, *, has_sound: bool = False) -> _Pieces:
        if self.redactor.hook is not None:
            kept = self._hooked(frame)
            if isinstance(kept, str):
                return b'"withheld":', _encode(kept)
            frame = kept
        if self.audio == "digest" and frame.find(b'"audio"') >= 0 and _HAS_AUDIO.search(frame):
            frame = _without_audio(frame)
        cut = frame.find(b'"delta"') if has_sound else 0
        if cut > 0 and frame.count(b'"', cut) == 4:
            # Nothing follows the delta, and base64 has none of the characters that secrets are known by.
            return b'"event":', _one_line(self.redactor(frame[:cut])), _one_line(frame[cut:])
        return b'"event":', _one_line(self.redactor(frame))

    def _hooked(self, frame: bytes) -> bytes | str:
        """What the user's hook leaves of a frame, or why nothing of it is kept."""
        assert self.redactor.hook is not None
        try:
            event = _decode(frame)
            kept = self.redactor.hook(event)
            return "by the redact hook" if kept is None else _encode(dict(kept))
        except Exception as exc:  # whatever a hook of the user's raises: the frame is not written as it is
            return f"the redact hook raised {type(exc).__name__}"

    def _lines(self, direction: str, at_ms: float, told: Sequence[_Pieces]) -> None:
        # What the lines of one write share is put into words once, and all is joined once: formatting each would cost most of it.
        after = b',"at_ms":%.3f,"unix":%.3f,"dir":"%b",' % (at_ms, time.time(), direction.encode())
        pieces: list[bytes] = []
        for n, what in enumerate(told, self.n_frames + 1):
            pieces += (self._before, str(n).encode(), after, *what, b"}\n")
        if self._write(b"".join(pieces)):
            self.n_frames += len(told)

    def _write(self, lines: bytes) -> bool:
        """Hand lines to the operating system; gives whether it took them."""
        if self._file is None:
            return False
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as exc:
            self.problem = exc.strerror or type(exc).__name__
            self.close()
            warnings.warn(
                f"the event log {self.path} ends after {self.n_frames} frames: {self.problem}; the session goes on",
                RuntimeWarning,
                stacklevel=2,
            )
        return self._file is not None


def _open(path: Path) -> int:
    if path.suffix == ".gz":
        raise InputError(
            f"{path.name}: a log is written as it happens and cannot be packed; name it .jsonl, gzip it later"
        )
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: a link that somebody left in a shared folder must not decide where the words of a call go.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # each where there is such a thing
            flags |= getattr(os, name, 0)
        file = os.open(path, flags, 0o600)
    except OSError as exc:
        why = "it is a link; name the file itself" if path.is_symlink() else exc.strerror or type(exc).__name__
        raise InputError(f"cannot write the event log {path}: {why}") from None
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        raise InputError(f"cannot write the event log {path}: it is no ordinary file")
    if found.st_size:
        os.lseek(file, -1, os.SEEK_END)
        if os.read(file, 1) != b"\n":
            os.write(file, b"\n")  # somebody's torn last line: ours begins on a line of its own
    return file


_HAS_AUDIO = re.compile(rb'"audio"\s*:\s*"')  # a field of that name that holds text, not the name of a modality
_DELTA_KEY = b'"delta":"'


def _digested_delta(frame: bytes, event: Event) -> _Pieces:
    """An audio delta's frame with the digest in the place of its base64: what is before it, the digest, what is after."""
    assert event.pcm is not None
    # Where the base64 begins, if that is all there is to the end of the frame.
    start = len(frame) - 2 - (len(event.pcm) + 2) // 3 * 4
    if frame.endswith(b'"}') and frame.endswith(_DELTA_KEY, 0, start):
        return frame[:start], _digest(event.pcm), b'"}'
    return (_encode(event.data | {"delta": digest(event.pcm)}),)


# Of a delta whose words are as short as most: nothing else is in it, and no secret has room in one.
_DELTA_FIELDS = frozenset(
    {"type", "event_id", "response_id", "item_id", "output_index", "content_index", "call_id", "delta", "obfuscation"}
)


# Looked for as numbers: for bytes in bytes, CPython first makes and throws away an exception, which costs five times as much.
_HYPHEN, _BACKSLASH, _NEWLINE, _RETURN = b"-\\\n\r"


def _one_line(frame: bytes) -> bytes:
    # Line breaks can only stand between the tokens of valid JSON: inside a string they are escaped.
    return frame.replace(b"\n", b" ").replace(b"\r", b" ") if _NEWLINE in frame or _RETURN in frame else frame


def _without_audio(frame: bytes) -> bytes:
    """The frame with every piece of base64 audio in it replaced by its digest."""
    try:
        return _encode(without_audio(_decode(frame)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return frame


def without_audio(value: Any) -> Any:
    """The same data with a digest in the place of every field ``audio`` that holds base64."""
    if isinstance(value, Mapping):
        return {k: _digested(v) if k == "audio" and isinstance(v, str) else without_audio(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_audio(each) for each in value]
    return value


def _digested(audio: str) -> str:
    if not audio or DIGEST.match(audio):
        return audio
    try:
        return digest(base64.b64decode(audio, validate=True))
    except ValueError:
        return digest(audio.encode("utf-8", "surrogatepass"))


def _iso(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
