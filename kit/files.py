"""Files that somebody named: read and written are regular ones only, and read no longer ones than their reader can hold."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from . import show
from .errors import InputError, clipped

# Without this, opening a pipe that has no writer waits for ever; on Windows there is no such flag.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def named_path(path: str | os.PathLike[str], *, error: type[InputError] = InputError) -> Path:
    """Return the path that somebody named; ``~`` stands for the home folder. There need be nothing yet."""
    try:
        file = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.stat(file)  # finds names that are too long, and links in a circle
    except OSError as exc:
        raise error(f"{_path_text(path)} cannot be a file: {exc.strerror or exc}; check the path") from exc
    except (TypeError, ValueError, RuntimeError) as exc:  # no path, a zero byte in it, a ~user who does not exist
        raise error(f"{clipped(path)} cannot be a file: {exc}; check the path") from exc
    return file


def writable_path(path: str | os.PathLike[str], *, error: type[InputError] = InputError) -> Path:
    """Return the absolute path of a file that is to be made or replaced.

    Raises:
        InputError: Or `error`, for a name that no file can have, and for a folder, pipe, device or socket: a file that is
            completed beside its place and then moved there would take the place of a device.
    """
    file = named_path(path, error=error).absolute()
    if file.exists() and not file.is_file():
        raise error(f"cannot write {_path_text(path)}: it {_kind(file.stat().st_mode)}; name a file")
    return file


def regular_file(
    path: str | os.PathLike[str], max_bytes: int | None = None, *, error: type[InputError] = InputError
) -> BinaryIO:
    """Open a regular file for reading; use it in a ``with``.

    A folder, pipe, device or socket is refused without being waited for, and so are a link to one, links in a circle, and a
    name that no file can have.

    Args:
        max_bytes: Refuse a longer file. A file that grows while it is read, or that has no size (``/proc``), passes:
            read at most this many bytes of it (`read_bytes` does).
    """
    try:
        file = Path(path).expanduser()
        # Opened first, and looked at then: a name that was checked may be another file when it is opened.
        descriptor = os.open(file, os.O_RDONLY | _NONBLOCK)
    except OSError as exc:
        # A name that is too long, links in a circle and a missing file differ in the system's own words only.
        raise error(f"cannot read {_path_text(path)}: {exc.strerror or exc}; check the path") from exc
    except (TypeError, ValueError, RuntimeError) as exc:  # no path, a zero byte in it, a ~user who does not exist
        raise error(f"cannot read {clipped(path)}: {exc}; check the path") from exc
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise error(f"cannot read {_path_text(path)}: it {_kind(facts.st_mode)}; give the path of a file")
        if max_bytes is not None and facts.st_size > max_bytes:
            raise error(_too_long(path, max_bytes, facts.st_size))
        os.read(descriptor, 1)  # a file of the kernel's, or a disk that is broken, says so at the first byte
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.fdopen(descriptor, "rb")
    except OSError as exc:
        os.close(descriptor)
        raise error(f"cannot read {_path_text(path)}: {exc.strerror or exc}") from exc
    # Until `fdopen` has it, nothing else closes the descriptor.
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], max_bytes: int, *, error: type[InputError] = InputError) -> bytes:
    """Read a regular file of at most `max_bytes`; see `regular_file`."""
    with regular_file(path, max_bytes, error=error) as file:
        try:
            # A byte more than is allowed: a file that grew, or has no size, is seen to be too long.
            data = file.read(max_bytes + 1) or b""  # None: a file of the kernel's that has nothing to say now
        except OSError as exc:
            raise error(f"cannot read {_path_text(path)}: {exc.strerror or exc}") from exc
    if len(data) > max_bytes:
        raise error(_too_long(path, max_bytes, None))
    return data


def read_text(path: str | os.PathLike[str], max_bytes: int, *, error: type[InputError] = InputError) -> str:
    """Read a regular file of UTF-8 text of at most `max_bytes`, with or without a byte order mark; see `regular_file`."""
    try:
        return read_bytes(path, max_bytes, error=error).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise error(f"cannot read {_path_text(path)}: it is not UTF-8 text (byte {exc.start:,})") from exc


def _kind(mode: int) -> str:
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "is no regular file")


def _too_long(path: object, max_bytes: int, size: int | None) -> str:
    length = f"has more than {max_bytes / 1e6:,.0f} MB" if size is None else f"has {size / 1e6:,.0f} MB"
    return f"cannot read {_path_text(path)}: it {length}, and no more than {max_bytes / 1e6:,.0f} MB are read"


def _path_text(path: object) -> str:
    return show.one_line(os.fspath(path) if isinstance(path, str | os.PathLike) else str(path), 200) or "''"
