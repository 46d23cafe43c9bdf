"""One runner per ledger: a lock that the operating system lets go of when its holder dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO

from ..errors import LedgerError


class Lock:
    """A lock file beside the ledger; it is gone when no runner is.

    SQLite's own locks cannot serve: they would keep readers out, or be lost with any other handle of the same file.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.name}.lock")
        self._ledger = ledger
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            LedgerError: If another runner has it.
        """
        while True:
            file = self.path.open("a+", encoding="utf-8")
            try:
                _lock(file)
            except OSError:
                file.seek(0)
                who = file.read(100).strip() or "another process"
                file.close()
                raise LedgerError(
                    f"{self._ledger} is being written by another runner ({who}); wait for it or stop it. Reading is fine: "
                    f'Ledger("{self._ledger.name}")'
                ) from None
            try:  # it may have been deleted by its last holder between our opening and our locking
                same = os.path.samestat(os.fstat(file.fileno()), self.path.stat())
            except FileNotFoundError:
                same = False
            if same or sys.platform == "win32":
                break
            file.close()
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go of it and remove the file."""
        file, self._file = self._file, None
        if file is None:
            return
        if sys.platform != "win32":
            self.path.unlink(missing_ok=True)  # while it is still ours
        file.close()
        if sys.platform == "win32":
            self.path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1_000)  # beyond the words, which stay readable
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
