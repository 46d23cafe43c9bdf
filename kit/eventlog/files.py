"""Files to lines: opened with care, read a line at a time, refused with a sentence when they hold more than any log does."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .. import show
from ..errors import InputError

MAX_LINE_BYTES = 32 * 1024 * 1024  # an append of 15 MiB is 20 MB of base64; nothing the API takes is longer
MAX_WHOLE_BYTES = 64 * 1024 * 1024  # of a file that is one JSON value, and must be read whole
MAX_PARTS, MAX_WHOLE_PARTS = 1_000_000, 8_000_000  # of a value: three bytes of JSON can take a hundred in memory
MAX_BARREN_LINES, MAX_BARREN_BYTES = 2_000_000, 2 << 30  # without one event among them
_SAMPLES = 5


@dataclass(slots=True)
class Reading:
    """How far a file was understood.

    Attributes:
        n_events: Events found.
        n_lines: Lines read.
        n_other: Lines and objects that are not about events: other things that a program logs.
        n_not_understood: Lines that mention an event that could not be read; the first few are in `samples`.
        torn: The last line breaks off.
    """

    n_events: int = 0
    n_lines: int = 0
    n_other: int = 0
    n_not_understood: int = 0
    torn: bool = False
    samples: list[tuple[int, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def lost(self, n_line: int, text: str) -> None:
        """A line that mentions an event and could not be read."""
        self.n_not_understood += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append((n_line, show.one_line(text, 100)))

    def __str__(self) -> str:
        told = [f"{self.n_events:,} events in {self.n_lines:,} lines"]
        if self.n_not_understood:
            where = ", ".join(f"line {n}: {text}" for n, text in self.samples[:1])
            told.append(f"{self.n_not_understood:,} not understood ({where})")
        if self.n_other:
            told.append(f"{self.n_other:,} other lines")
        if self.torn:
            told.append("the last line breaks off and was passed over")
        told += [f"{note}{f' ({n:,} times)' if n > 1 else ''}" for note, n in self.notes.items()]
        return "; ".join(told)


def open_log(path: Path) -> Any:
    """The file, unpacked, with ``peek`` and ``readline``."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path} is no file; a log is a file, and read_logs() takes a folder of them")
        file: Any = open(path, "rb")  # noqa: SIM115  the caller closes it
    except OSError as exc:
        raise InputError(f"cannot read the log {path}: {exc.strerror or exc}") from None
    head = file.read(64)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        file.close()
        file = gzip.GzipFile(path, "rb")
        try:
            head = file.peek(64)[:64]
        except (OSError, EOFError, zlib.error):
            head = b""
    for begins, what in _NOT_LOGS:
        if head.startswith(begins):
            file.close()
            raise InputError(f"{path.name} is {what}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return io.BufferedReader(_AsUtf8(file))
    if b"\0" in head:
        file.close()
        raise InputError(f"{path.name} is not text; a log is JSON lines or text")
    return file


_NOT_LOGS = (
    (b"SQLite format 3\0", "a SQLite file; a ledger opens with Ledger(path), not as a log"),
    (b"PK\x03\x04", "a zip file; unpack it and read what is in it"),
    (b"RIFF", "a sound file; Clip.load() opens it"),
    (b"\x1f\x8b", "packed twice; unpack it once"),
)


class _AsUtf8(io.RawIOBase):
    """A UTF-16 file (as some shells write it) as UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, "utf-16", errors="replace", newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = self._text.read(8192).encode("utf-8", "replace")
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n

    def close(self) -> None:
        self._text.close()
        super().close()


def n_parts_of(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def lines(file: IO[bytes], path: Path, reading: Reading) -> Iterator[bytes]:
    n_bytes = 0
    while True:
        try:
            line = file.readline(MAX_LINE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as exc:
            reading.torn = True
            reading.notes[f"the packed file breaks off ({exc})"[:120]] += 1
            return
        if not line:
            return
        if len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"line {reading.n_lines + 1} of {path.name} is longer than {MAX_LINE_BYTES // 2**20} MiB: no event is; "
                "if it holds many, split it: jq -c '.[]'"
            )
        reading.n_lines += 1
        n_bytes += len(line)
        if not reading.n_events and (reading.n_lines > MAX_BARREN_LINES or n_bytes > MAX_BARREN_BYTES):
            raise InputError(f"{path.name} has no Realtime event in its first {reading.n_lines:,} lines")
        if len(line) > MAX_PARTS and n_parts_of(line) > MAX_PARTS:
            raise InputError(
                f"line {reading.n_lines} of {path.name} is JSON of more than {MAX_PARTS:,} parts: no event is; "
                "if it holds many, split it: jq -c '.[]'"
            )
        yield line
