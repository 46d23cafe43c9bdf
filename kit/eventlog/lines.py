"""From files to lines of text: which files, packed how, in which encoding; lines without colours and prefixes, split ones whole.

What is refused is refused with a sentence; what is passed over in a folder is named (`log_files`).
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .. import show
from ..errors import InputError
from ..files import named_path, regular_file

MAX_LINE_BYTES = 32 * 1024 * 1024  # an append of 15 MiB is 20 MB of base64; nothing the API takes is longer
MAX_PARTS = 1_000_000  # of a line of JSON: three bytes of it can take a hundred in memory
MAX_BARREN_LINES, MAX_BARREN_BYTES = 2_000_000, 2 << 30  # without one event among them
HEAD_BYTES = 65_536  # looked at to tell what a file is
_SAMPLES = 5

PathLike = str | os.PathLike[str]


@dataclass(slots=True)
class ParseReport:
    """How far a log was understood.

    Attributes:
        n_events: Events read.
        n_lines: Lines read.
        n_other: Lines and objects that are not about events: other things that a program logs.
        reasons: Why lines that hold an API event's name were not understood, with how many; the first few are in `samples`.
        n_partial: Of those, how many told at least an event's type.
        torn: Files whose last line breaks off.
        notes: What else there is to say, with how often.
        sightings: What a framework itself says of replies that came as text, with how often.
        frameworks: Names in `advice.RECIPES`: what the log looks like it was printed by.
        n_foreign: Events of other APIs with the same names (OpenAI's Responses API).
        n_live: Events that only GPT-Live sessions have.
    """

    n_events: int = 0
    n_lines: int = 0
    n_other: int = 0
    # "cut off", "shortened in the middle", "in a notation that is not read", "that only name an event"
    reasons: Counter[str] = field(default_factory=Counter)
    n_partial: int = 0
    torn: int = 0
    samples: list[tuple[int, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    sightings: Counter[str] = field(default_factory=Counter)
    frameworks: set[str] = field(default_factory=set)
    n_foreign: int = 0
    n_live: int = 0

    @property
    def n_not_understood(self) -> int:
        """Lines that hold an API event's name and could not be read as an event."""
        return self.reasons.total()

    def lose(self, reason: str, n_line: int, text: str) -> None:
        """Count a line that was not understood, and keep a sample of it that shows the trouble: its beginning and its end."""
        self.reasons[reason] += 1
        if len(self.samples) < _SAMPLES:
            line = show.one_line(text, 10_000)
            self.samples.append((n_line, line if len(line) <= 100 else f"{line[:62]} […] {line[-30:]}"))

    def add(self, report: ParseReport) -> None:
        """Count another report in, but for its samples."""
        for name in ("n_events", "n_lines", "n_other", "n_partial", "n_foreign", "n_live", "torn"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.reasons += report.reasons
        self.notes += report.notes
        self.sightings += report.sightings
        self.frameworks |= report.frameworks

    def facts(self) -> list[str]:
        """What else was read than whole events, in phrases."""
        why = ", ".join(f"{n:,} {reason}" for reason, n in self.reasons.most_common())
        counts = (
            (self.n_not_understood, "line", f" about events not understood ({why})"),
            (self.torn, "file", " whose last line breaks off"),
            (self.n_foreign, "event", " of another API (Responses) left out"),
            (self.n_other, "other line", ""),
        )
        return [f"{show.counted(n, word)}{about}" for n, word, about in counts if n]

    def remarks(self) -> list[str]:
        return [f"{note} ({n:,} times)" if n > 1 else note for note, n in self.notes.items()]

    def __str__(self) -> str:
        live = [f"{show.counted(self.n_live, 'event')} of GPT-Live sessions"] if self.n_live else []
        sample = [f"line {n}: {text}" for n, text in self.samples[:1] if self.reasons]
        facts = [f"{self.n_events:,} events in {self.n_lines:,} lines", *self.facts(), *sample, *live]
        facts += [f"{text}: {n:,}" for text, n in self.sightings.items()] + self.remarks()
        return "; ".join(facts)


# ------------------------------------------------------------------------------------------------------------------- files

_LOG_NAMES = re.compile(
    r"\.(?:jsonl|ndjson|json|log|logs|txt|text|har|csv|tsv|yaml|yml|ipynb|out|err|stdout|stderr|trace)\b|^(?:nohup|stdout|stderr)\b"
    r"|(?:^|[._-])log(?:$|[._-])",
    re.IGNORECASE,
)
_PACKED = re.compile(r"\.(?:gz|bz2|xz|lzma|zip)$", re.IGNORECASE)
_ROTATION = re.compile(
    r"(?:[.-](?P<n>\d{1,4})|[._-](?P<date>\d{4}-?\d\d-?\d\d(?:[T_.-]?\d\d(?:[-_:.]?\d\d)*)?)|(?P<old>\.old|\.prev|~))+(?=\.|$)",
    re.IGNORECASE,
)
STDIN = "-"


def log_files(*paths: PathLike, passed_over: list[Path] | None = None) -> list[Path]:
    """The log files among files and folders, in order, the parts of a rotated log one after the other, the oldest first.

    Folders are searched to the bottom; links in them are not followed.

    Args:
        passed_over: Takes the files of folders that do not look like logs.

    Raises:
        InputError: For a path that does not exist.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        path = path if str(path) == STDIN else named_path(path)
        try:
            is_folder = path.is_dir()
            exists = is_folder or str(path) == STDIN or path.exists()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a name that is too long
            exists = False
        if not exists:
            raise InputError(f"there is no {show.one_line(str(path), 200)}")
        if not is_folder:
            files.append(path)
            continue
        for folder, folders, names in os.walk(path, followlinks=False):
            folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__", "node_modules"))
            chosen: dict[bool, list[Path]] = {True: [], False: []}
            for member in (Path(folder, name) for name in sorted(names)):
                if os.path.isfile(member) and not os.path.islink(member):  # False where the system refuses
                    chosen[_is_log(member)].append(member)
            files += sorted(chosen[True], key=_rotation_order)
            if passed_over is not None:
                passed_over += chosen[False]
    return files


def family(path: Path) -> str:
    """What the parts of a rotated log have in common: ``agent.log.1`` and ``agent.log.2025-11-24.gz`` are of ``agent.log``."""
    return str(path.with_name(_ROTATION.sub("", _PACKED.sub("", path.name))))


def _rotation_order(path: Path) -> tuple[str, int, str, float]:
    """Oldest first: dates in their order, then numbers counting down, then the file that is being written."""
    match = _ROTATION.search(_PACKED.sub("", path.name))
    if match is None:
        return family(path), 2, "", 0.0
    if match["date"]:
        return family(path), 0, match["date"], -float(match["n"] or 0)
    return family(path), 1, "", -float(match["n"] or 0)


def _is_log(path: Path) -> bool:
    """Whether a file of a folder is taken for a log: by its name, or where that says nothing by what it begins with."""
    name = _PACKED.sub("", path.name)
    if _LOG_NAMES.search(name) or (name != path.name and "." not in name):
        return True
    if "." in name.strip(".") or path.name.startswith("."):
        return False
    try:
        with regular_file(path) as file:
            return b'"type"' in file.read(HEAD_BYTES)
    except InputError:
        return False


Stream = tuple[str, bytes, Callable[[int], bytes]]
"""A file or a member of a zip, unpacked and in UTF-8: its name in sentences, what it begins with (at most `HEAD_BYTES`), and what reads
the next line, at most so many bytes of it."""


def open_log(path: Path) -> Iterator[Stream]:
    """The streams in a file: one, or one for each member of a zip.

    Raises:
        InputError: If the file cannot be read or is no text.
    """
    if str(path) == STDIN:
        source: Any = sys.stdin.buffer
        yield _stream(getattr(source, "raw", source), "standard input", path)
        return
    if path.is_dir():
        raise InputError(f"{path} is no file; a log is a file, and read_logs() takes a folder of them")
    with regular_file(path) as file:
        if file.read(4) == b"PK\x03\x04":
            yield from _zip_members(file, path)
            return
    with regular_file(path) as file:
        yield _stream(getattr(file, "raw", file), path.name, path)


_MAGIC: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
_NOT_LOGS = (
    (b"SQLite format 3\0", "a SQLite file; a ledger opens with Ledger(path), not as a log"),
    (b"PK\x03\x04", "a zip file in a packed file; unpack it and read what is in it"),
    (b"RIFF", "a sound file; Clip.load() opens it"),
    (b"\x1f\x8b", "packed twice; unpack it once"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd, which this Python cannot read; unpack it: zstd -d"),
    (b"%PDF", "a PDF"),
)
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def _zip_members(file: IO[bytes], path: Path) -> Iterator[Stream]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as exc:
        raise InputError(f"{path.name} is a zip file that cannot be read ({exc}); unpack it") from None
    with archive:
        for member in sorted(archive.infolist(), key=lambda info: _rotation_order(Path(info.filename))):
            if member.is_dir() or member.flag_bits & 1:  # encrypted
                continue
            with archive.open(member) as raw:
                try:
                    yield _stream(raw, f"{path.name}/{member.filename}", Path(member.filename))
                except InputError:  # a member that is no text is passed over
                    continue


def _stream(raw: Any, name: str, path: Path) -> Stream:
    """Unpack a file and see in which encoding it is.

    Raises:
        InputError: If it is no text.
    """
    stream: Any = io.BufferedReader(raw, HEAD_BYTES)  # a large buffer, so that peek sees what the file is
    head = stream.peek(64)[:64]
    for magic, unpack in _MAGIC:
        if head.startswith(magic):
            # Without a buffer of its own, which would lose the end of a file that breaks off.
            stream = unpack(stream, mode="rb")
            break
    try:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    except _BROKEN:
        head = b""
    for magic, kind in _NOT_LOGS:
        if head.startswith(magic):
            raise InputError(f"{show.one_line(path.name, 100)} is {kind}")
    if (encoding := _utf_16(head)) is not None:
        text = io.TextIOWrapper(stream, encoding, errors="replace", newline="\n")
        head = head.decode(encoding, "replace").encode()[:HEAD_BYTES]
        return name, head, lambda limit: text.readline(limit).encode("utf-8", "replace")
    if b"\0" in head[:4_096]:
        raise InputError(f"{show.one_line(path.name, 100)} is not text; a log is JSON lines or text")
    return name, head, stream.readline


def _utf_16(head: bytes) -> str | None:
    """Which UTF-16 a file is in, as some shells write it; also without a byte order mark."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    sample = head[:200]
    if len(sample) >= 20:
        if sample[1::2].count(0) > 0.8 * len(sample[1::2]):
            return "utf-16-le"
        if sample[::2].count(0) > 0.8 * len(sample[::2]):
            return "utf-16-be"
    return None


# ------------------------------------------------------------------------------------------------------------------- lines


def n_parts_of(text: bytes) -> int:
    """About how many values a text of JSON has."""
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def lines(name: str, readline: Callable[[int], bytes], report: ParseReport) -> Iterator[bytes]:
    """The lines of a stream, each with its line end.

    Raises:
        InputError: For a line that no log has, or a file that is none.
    """
    n_bytes = 0
    while True:
        try:
            line = readline(MAX_LINE_BYTES + 1)
        except _BROKEN as exc:
            report.torn += 1
            report.notes[f"the packed file breaks off ({exc})"[:120]] += 1
            return
        if not line:
            return
        report.n_lines += 1
        n_bytes += len(line)
        is_barren = not (report.n_events or report.reasons or report.n_live)
        if is_barren and (report.n_lines > MAX_BARREN_LINES or n_bytes > MAX_BARREN_BYTES):
            raise InputError(f"{name} has no Realtime event in its first {report.n_lines:,} lines")
        excess = f"is longer than {MAX_LINE_BYTES // 2**20} MiB" if len(line) > MAX_LINE_BYTES else ""
        if len(line) > MAX_PARTS and n_parts_of(line) > MAX_PARTS:
            excess = excess or f"is JSON of more than {MAX_PARTS:,} parts"
        if excess:
            raise InputError(f"line {report.n_lines} of {name} {excess}: no event is; split it: jq -c '.[]'")
        yield line


_COLOURS = re.compile(
    r"(?:\x1b|\^\[|#033|\\u001b|\\x1b|\\033)\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-B0-2]"
)
_HAS_COLOUR = re.compile(r"\x1b|\^\[\[|#033\[|\\u001b\[|\\x1b\[|\\033\[")


def without_colours(text: str) -> str:
    """Text without the codes that colour it in a terminal, also where a logger wrote them as escapes."""
    return _COLOURS.sub("", text) if _HAS_COLOUR.search(text) else text


# What stands before every line that a program printed, also before each of an object over several lines. Name → sample.
_PREFIXES: tuple[tuple[str, str], ...] = (
    (r"[\w.-]+ +\| ?", "agent-1  | {                                      docker compose, overmind"),
    (r"\d+\|[\w .-]{1,40}?\| ?", "0|agent  | {                                    pm2"),
    (r"\[pod/[^\]]{1,200}\] ", "[pod/agent-7d9f/main] {                         kubectl logs --prefix"),
    (r"<\d{1,3}>1 \S+ \S+ \S+ \S+ \S+ (?:-|\[[^\]]*\]) ?", "<14>1 2025-11-26T20:46:40Z host agent 7 - - {  syslog, RFC 5424"),
    (r"(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ [^\s:]{1,80}: ?", "Nov 26 20:46:40 host agent[7]: {   journald, syslog"),
    (r"\d{4}-\d\d-\d\dT\S{8,30} (?:stdout|stderr) [FP] ?", "2025-11-26T20:46:40.1Z stdout F {      CRI"),
    (r"\d{4}-\d\d-\d\dT\S{8,30} \w+\[[\w.-]+\]: ?", "2025-11-26T20:46:40+00:00 app[web.1]: {     Heroku"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,20}(?: [+-]\d{4})? ", "2025-11-26T20:46:40.1Z {           Azure log stream, CI"),
    (r"(?:[VDIWEF]/)?[\w.]+\s*\(\s*\d+\): ?", "I/flutter ( 4711): {                          logcat"),
    (r"flutter: ", "flutter: {"),
    (r"(?:[│┃║┆┊╎▏] ?)+", "│   │   'type': 'x'                              rich's guides"),
)  # fmt: skip
_PREFIX = [re.compile(pattern) for pattern, _ in _PREFIXES]


def split_prefix(line: str) -> tuple[str, int]:
    """Which prefixes stand before a line, and where the line itself begins."""
    kinds, at = "", 0
    for _ in range(3):
        for n, prefix in enumerate(_PREFIX):
            if (match := prefix.match(line, at)) and match.end() > at:
                kinds, at = f"{kinds}{n} ", match.end()
                break
        else:
            break
    return kinds, at


_CRI = re.compile(r"(\d{4}-\d\d-\d\dT\S{8,30} )(stdout|stderr) ([FP])(?: |$)")


class SplitLines:
    """Put together the lines that a container runtime cut in pieces: Docker's end with the last one's line break, CRI tags them P … F."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[str]] = {}  # by stream

    def add(self, stream: str, piece: str, *, is_last: bool) -> str | None:
        """The line, whole; ``None`` while pieces of it are to come."""
        pieces = self.pieces.setdefault(stream, [])
        pieces.append(piece)
        if not is_last and sum(map(len, pieces)) < MAX_LINE_BYTES:
            return None
        return "".join(self.pieces.pop(stream))

    def join(self, line: str) -> str | None:
        """The same of a line that may be one of CRI's."""
        if (match := _CRI.match(line)) is None:
            return line
        piece = line[match.end() :] if match[2] in self.pieces else f"{match[1]}{match[2]} F {line[match.end() :]}"
        return self.add(match[2], piece, is_last=match[3] == "F")

    def unended(self) -> list[str]:
        """Lines whose end never came."""
        pieces, self.pieces = self.pieces, {}
        return ["".join(line) for line in pieces.values()]
