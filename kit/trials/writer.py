"""The one who writes a ledger. Every method is one transaction: done when it returns, or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import LedgerError
from ..version import __version__
from .attempt import AGAIN, THERE, Outcome, Row
from .ledger import TABLES, Ledger, check_file, ledger_path, statements
from .plan import Plan

# One runner per ledger: a lock that the operating system lets go of when its holder dies.


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


_BUSY_S = 2.0  # readers never keep a writer waiting in this mode, so whatever does is brief


def _insert(table: str) -> str:
    columns = TABLES[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERT = {table: _insert(table) for table in TABLES}
_Work = tuple[str, Sequence[Any]]


def _row(table: str, *told: Mapping[str, Any]) -> _Work:
    """An insert: each column from the first mapping that has it, else null."""
    values: dict[str, Any] = {}
    for each in reversed(told):
        values |= each
    return _INSERT[table], [values.get(name) for name in TABLES[table]]


class Writer:
    """Opens a plan's ledger for writing, or makes it. Use it in a ``with``.

    Raises:
        LedgerError: If the file is not this plan's ledger, or another runner has it. It is left as it is.
    """

    def __init__(self, path: str | Path | Ledger, plan: Plan) -> None:
        self.path = ledger_path(path)
        self.plan = plan
        self._lock = Lock(self.path)
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.take()
        except LedgerError:
            raise
        except OSError as exc:
            raise LedgerError(f"cannot write {self.path}: {exc.strerror or exc}; choose another path") from exc
        try:
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # somebody is reading: then it stays as it is, which is as good
                self._db.execute(
                    "PRAGMA journal_mode = DELETE"
                )  # one file again, which also reads from a read-only folder
            self._db.close()
        self._db = None
        self._lock.release()

    def _open(self) -> None:
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            check_file(self.path, thoroughly=True)
            self._same_plan()
        try:
            if new:
                self._create()
            self._db = _connect(self.path)
        except sqlite3.DatabaseError as exc:
            raise LedgerError(f"cannot write {self.path}: {exc}; choose another path") from exc

    def _same_plan(self) -> None:
        ledger = Ledger(self.path)
        if ledger.plan_hash == self.plan.hash:
            return
        ours, theirs = self.plan.describe(), ledger.plan
        different = [word for word in ours if json.loads(json.dumps(ours[word])) != theirs.get(word)]
        raise LedgerError(
            f"{self.path} is the ledger of another plan ({ledger.plan_hash[:12]}, this one is {self.plan.hash[:12]}; they "
            f"differ in {', '.join(different) or 'form'}); it is left as it is: choose another path, or run the plan it was "
            "made with"
        )

    def _create(self) -> None:
        plan = self.plan
        now = time.time()
        row = {
            "plan_hash": plan.hash,
            "plan": json.dumps(plan.describe(), ensure_ascii=True),
            "created_at": now,
            "kit_version": __version__,
        }
        trials = [
            {
                "trial_id": trial.trial_id,
                "n": trial.n,
                "role": trial.role,
                "case_name": trial.case.name,
                "arm": trial.arm.name,
                "settings": trial.settings_n,
                "settings_name": trial.settings.name,
                "endpoint": trial.settings.where.name,
                "asked_model": trial.settings.where.model,
                "modality": trial.modality,
                "repeat": trial.repeat,
                "reported": trial.case.reported,
                "n_history_items": len(trial.case.history),
                "n_turns": trial.n_turns,
            }
            for trial in plan.trials
        ]
        # Made whole beside its place and then moved there: a crash leaves a ledger or none, never half of one.
        begun = self.path.with_name(f"{self.path.name}.new")
        for path in (begun, self.path):  # a journal whose file is gone would be replayed into the new one
            for suffix in ("-wal", "-shm", "-journal"):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
        begun.unlink(missing_ok=True)
        self._db = _connect(begun)
        self._write(
            [*((sql, ()) for sql in statements()), _row("plan", row), *(_row("trials", each) for each in trials)]
        )
        self._db.close()
        begun.replace(self.path)

    def _write(self, work: Sequence[_Work]) -> int:
        """One transaction; gives the id of the last row. The only place where a ledger is written."""
        db = self._db
        assert db is not None
        if len(work) == 1:  # a statement by itself is a transaction by itself
            return db.execute(*work[0]).lastrowid or 0
        db.execute("BEGIN IMMEDIATE")
        try:
            last = 0
            for sql, values in work:
                last = db.execute(sql, values).lastrowid or last
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        return last

    # -------------------------------------------------------------------------------------------------- what is known

    def history(self) -> tuple[dict[str, str], dict[str, int], dict[str, int], dict[str, int]]:
        """What earlier runs left: decided trials with their status; per trial how many attempts, how many of them used
        the plan's limit (an interrupted one does not), and how many failed at the other end (a lost worker's did not)."""
        assert self._db is not None
        decided: dict[str, str] = {}
        attempts: dict[str, int] = {}
        used: dict[str, int] = {}
        failed_there: dict[str, int] = {}
        for trial_id, attempt, status, counts, kind in self._db.execute(
            "SELECT trial_id, attempt, status, counts, kind FROM attempts ORDER BY attempt_id"
        ):
            attempts[trial_id] = max(attempt, attempts.get(trial_id, 0))
            used[trial_id] = used.get(trial_id, 0) + (status == "failed" and kind in AGAIN)
            failed_there[trial_id] = failed_there.get(trial_id, 0) + (status == "failed" and kind in THERE)
            if counts:
                decided[trial_id] = status
        return decided, attempts, used, failed_there

    def first_modalities(self) -> dict[str, tuple[str | None, str | None]]:
        """Of the attempts that decide their trials: trial → first and final modality of the first turn."""
        assert self._db is not None
        rows = self._db.execute(
            "SELECT t.trial_id, t.first_modality, t.final_modality FROM turns t JOIN attempts a USING (attempt_id) "
            "WHERE a.counts = 1 AND a.status = 'completed' AND t.turn = 0"
        )
        return {trial_id: (first, final) for trial_id, first, final in rows}

    def spent_usd(self) -> float:
        """What all attempts so far cost, reservations of those without usage included."""
        assert self._db is not None
        return float(self._db.execute("SELECT COALESCE(SUM(cost_usd), 0) FROM attempts").fetchone()[0])

    # ---------------------------------------------------------------------------------------------------- what is done

    def begin_run(self, *, at_once: int, budget_usd: float | None) -> int:
        """Open a run. Attempts that an earlier one left pending are orphans of its death: interrupted, their cost unknown."""
        now = time.time()
        row = {
            "started_at": now,
            "at_once": at_once,
            "budget_usd": budget_usd,
            "kit_version": __version__,
            "python": platform.python_version(),
            "pid": os.getpid(),
        }
        orphans = (
            "UPDATE attempts SET status = 'interrupted', ended_at = ?, cost_usd = reserved_usd, "
            "cost_estimated = (reserved_usd > 0) WHERE status = 'pending'"
        )
        return self._write([(orphans, (now,)), _row("runs", row)])

    def end_run(self, run_id: int, ended: str, note: str | None = None) -> None:
        """Close a run: ``complete``, ``interrupted``, ``budget``, ``stop rule`` or ``error``."""
        sql = "UPDATE runs SET ended_at = ?, ended = ?, note = ? WHERE run_id = ?"
        self._write([(sql, (time.time(), ended, note, run_id))])

    def pending(
        self, run_id: int, tries: Sequence[tuple[str, int, float | None]], *, worker: str | None = None
    ) -> list[int]:
        """Write attempts down before anything is connected; gives their ids.

        Args:
            tries: Per attempt: trial id, the how-manieth attempt, reserved dollars.
        """
        same = {"run_id": run_id, "worker": worker, "started_at": time.time(), "counts": 0}
        same |= {"status": "pending", "stage": "connecting"}
        work = [
            _row("attempts", same, {"trial_id": trial_id, "attempt": attempt, "reserved_usd": usd})
            for trial_id, attempt, usd in tries
        ]
        last = self._write(work)
        return list(range(last - len(work) + 1, last + 1))

    def seeded(self, attempt_id: int, session: Row) -> None:
        """The history is in; who the server says it is."""
        sql, values = _update(attempt_id, {"stage": "seeded"} | session)
        self._write([(sql, values)])

    def turn(self, attempt_id: int, trial_id: str, turn: Row, responses: Sequence[Row]) -> None:
        """A turn has ended."""
        sql, values = _update(attempt_id, {"stage": "answered"})
        self._write([(sql, values), *_turn(attempt_id, trial_id, turn, responses)])

    def ended(
        self,
        attempt_id: int,
        trial_id: str,
        outcome: Outcome,
        *,
        counts: bool,
        cost_usd: float | None,
        cost_estimated: bool,
        turns_written: int = 0,
    ) -> None:
        """An attempt is over: its last rows, and how it went.

        Args:
            counts: Whether it decides its trial.
            turns_written: How many of its turns are in the ledger already.
        """
        columns = outcome.session | outcome.failure
        columns |= {"status": outcome.status, "ended_at": time.time(), "counts": int(counts)}
        columns |= {"cost_usd": cost_usd, "cost_estimated": int(cost_estimated)}
        if outcome.turns:
            columns["stage"] = "answered"
        work: list[_Work] = []
        for turn in outcome.turns[turns_written:]:
            rows = [row for row in outcome.responses if row["turn"] == turn["turn"]]
            work += _turn(attempt_id, trial_id, turn, rows)
        work.append(_update(attempt_id, columns))
        if outcome.jsonl is not None:
            ids = {"attempt_id": attempt_id, "trial_id": trial_id}
            work.append(_row("events", ids, {"n_events": outcome.n_events, "jsonl": outcome.jsonl}))
        self._write(work)

    def interrupted(self, attempt_id: int, *, cost_usd: float | None, cost_estimated: bool) -> None:
        """An attempt that was stopped from outside; it does not use the plan's limit."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed already
            columns = {"status": "interrupted", "ended_at": time.time()}
            columns |= {"cost_usd": cost_usd, "cost_estimated": int(cost_estimated)}
            self._write([_update(attempt_id, columns)])


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _update(attempt_id: int, columns: Row) -> tuple[str, list[Any]]:
    names = ", ".join(f"{name} = ?" for name in columns)
    return f"UPDATE attempts SET {names} WHERE attempt_id = ?", [*columns.values(), attempt_id]


def _turn(attempt_id: int, trial_id: str, turn: Row, responses: Sequence[Row]) -> list[_Work]:
    ids = {"attempt_id": attempt_id, "trial_id": trial_id}
    return [_row("turns", ids, turn), *(_row("responses", ids, row) for row in responses)]
