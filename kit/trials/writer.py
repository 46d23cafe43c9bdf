"""Writing a ledger. A method of `Writer` is one transaction: done when it returns, or not there at all. Only the end of an attempt
may wait for the next one (`Writer.ended`)."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from ..errors import LedgerError
from ..version import __version__
from .attempt import AGAIN, THERE, Outcome, Row
from .ledger import ONE_DECIDES, SCHEMA, SOUNDS, TABLES, Ledger, check_file, ledger_path, missing_columns, statements
from .limits import FirstTurn
from .plan import Plan

_BUSY_S = 2.0  # readers never keep a writer waiting in this mode, so whatever does is brief


_Work = tuple[str, Sequence[Any]]


def _row(table: str, *mappings: Mapping[str, Any]) -> _Work:
    """An insert: each column from the first mapping that has it, else null."""
    names = TABLES[table]
    values: dict[str, Any] = {}
    for mapping in reversed(mappings):
        values |= mapping
    # Nulls are left out: to bind one costs the sqlite3 module more than to bind a number, and half the columns are null.
    known = {name: value for name, value in values.items() if value is not None and name in names}
    return _insert(table, *known), list(known.values())


@functools.cache
def _insert(table: str, *columns: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _update(attempt_id: int, columns: Row) -> _Work:
    """A change of an attempt: what is not known stays null."""
    known = {name: value for name, value in columns.items() if value is not None}
    return f"UPDATE attempts SET {' = ?, '.join(known)} = ? WHERE attempt_id = ?", [*known.values(), attempt_id]


class Writer:
    """Opens a plan's ledger for writing, or makes it. Use it in a ``with``.

    One runner per ledger: a lock file beside it, which the operating system releases when its holder dies. SQLite's own locks
    cannot serve: they would keep readers out, or be lost with any other handle of the same file. Where the lock fails (its file
    deleted, a file system without locks), the newest run wins: every write of an older one is refused.

    Raises:
        LedgerError: If the file is not this plan's ledger, or another runner has it, or it cannot be written.
    """

    def __init__(self, path: str | Path | Ledger, plan: Plan) -> None:
        # Absolute, as in every message; `Ledger` takes the same.
        self.path = ledger_path(path)
        self.plan = plan
        # filelock follows no link (O_NOFOLLOW): a lock that is a link to something else is an error, and that file is untouched.
        self._lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=0, thread_local=False)
        # One connection for the whole run, in autocommit: transactions are begun by hand, since sqlite3's own begin at odd moments.
        self._db: sqlite3.Connection | None = None
        # SQLite's counter of what other connections wrote, when the newest run was last looked up.
        self._data_version: object = None
        # The run that writes. Once it is known, every write checks that it is the newest.
        self._run_id: int | None = None
        # Ends of attempts that wait for the next transaction: it writes them first.
        self._ends: list[_Work] = []

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise LedgerError(
                f"{self.path} is being written by another runner{self._holder()}; wait for it or stop it. Reading is fine: "
                f'Ledger("{self.path.name}")'
            ) from None
        except OSError as exc:
            raise LedgerError(f"cannot write {self.path}: {exc.strerror or exc}; choose another path") from exc
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._db is not None:
            with contextlib.suppress(LedgerError):  # why it could not be written, the run's own error says
                self.flush()
            with contextlib.suppress(
                sqlite3.Error
            ):  # somebody is reading: it stays as it is, with all that can be in it
                # What is still in the -wal file would be missing in a copy of the ledger alone.
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                # one file again, which can also be read from a read-only folder
                self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.close()
        self._db = None
        with contextlib.suppress(OSError):  # on Windows a file that is open stays
            os.unlink(self._lock.lock_file)  # while it is held: no other runner can have opened it
        self._lock.release()

    def _holder(self) -> str:
        """Who writes: the process of the newest run, if that has not ended."""
        # It is one word more in an error: a ledger that cannot be read just now goes without it.
        with contextlib.suppress(LedgerError):
            run = Ledger(self.path).last_run or {}
            if run.get("pid") and run.get("ended") is None:
                return f" (process {run['pid']}, since {time.strftime('%H:%M:%S', time.localtime(run['started_at']))})"
        return ""

    def _open(self) -> None:
        # An empty file has nothing that could be lost, so that it may become a ledger.
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            check_file(self.path, thoroughly=True)
            self._same_plan()
        try:
            if new:
                self._create()
            self._db = _connect(self.path)
            self._upgrade()
            self._close_orphans()
        except sqlite3.DatabaseError as exc:
            raise LedgerError(f"cannot write {self.path}: {exc}; choose another path") from exc

    def _same_plan(self) -> None:
        ledger = Ledger(self.path)
        if ledger.plan_hash in self.plan.hashes:
            return
        plan = self.plan.describe()
        # Through JSON, as the file's was: tuples become lists.
        different = [name for name in plan if json.loads(json.dumps(plan[name])) != ledger.plan.get(name)]
        raise LedgerError(
            f"{self.path} is the ledger of another plan ({ledger.plan_hash[:12]}, this one is {self.plan.hash[:12]}; they "
            f"differ in {', '.join(different) or 'form'}); it is left as it is: choose another path, or run the plan it was "
            "made with"
        )

    def _upgrade(self) -> None:
        """Add what an older ledger does not have; what it cannot tell stays NULL."""
        assert self._db is not None
        columns = [
            (f"ALTER TABLE {table} ADD COLUMN {column} {TABLES[table][column]}", ())
            for table, names in missing_columns(self._db).items()
            for column in names
        ]
        if self._db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
            columns += [(ONE_DECIDES, ()), (f"PRAGMA user_version = {SCHEMA}", ())]
        if columns:
            self._write(columns)

    def _close_orphans(self) -> None:
        """Close attempts that a run which died left pending. They cost their reservation. Where a turn had ended they decide
        their trial; where a response may have been asked for, a turn that is ``censored`` says so."""
        db = self._db
        assert db is not None
        if db.execute("SELECT 1 FROM attempts WHERE status = 'pending' LIMIT 1").fetchone() is None:
            return
        # A worker of a cluster says nothing until its attempt is over: it may have asked.
        may_have_asked = "(stage = 'seeded' OR (worker IS NOT NULL AND stage = 'connecting'))"
        cost = "ended_at = ?, cost_usd = reserved_usd, cost_estimated = (reserved_usd > 0)"
        # In this order: the last statement takes whatever the one before it left pending.
        now = (time.time(),)
        self._write(
            [
                (
                    "INSERT INTO turns (attempt_id, trial_id, turn, n_responses, first_outcome, outcome, n_items_sent) "
                    "SELECT attempt_id, trial_id, 0, 0, 'censored', 'censored', 0 "
                    f"FROM attempts WHERE status = 'pending' AND {may_have_asked}",
                    (),
                ),
                (
                    "UPDATE attempts SET status = 'failed', kind = 'interrupted', counts = 1, error_type = 'RunDied', "
                    f"error = 'the run died after a reply', {cost} WHERE status = 'pending' AND stage = 'answered'",
                    now,
                ),
                (f"UPDATE attempts SET status = 'interrupted', {cost} WHERE status = 'pending'", now),
            ]
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
        shown = [(item.name, item.where.label, item.where.model) for item in plan.settings]
        trials = [
            {
                "trial_id": trial.trial_id,
                "n": trial.n,
                "role": trial.role,
                "case_name": trial.cell[0],
                "arm": trial.cell[1],
                "settings": trial.settings_n,
                **dict(zip(("settings_name", "endpoint", "asked_model"), shown[trial.settings_n], strict=True)),
                "modality": trial.modality,
                "repeat": trial.repeat,
                "reported": trial.case.reported,
                "n_history_items": len(trial.case.history),
                "n_turns": trial.n_turns,
            }
            for trial in plan.trials
        ]
        # Completed beside its place and then moved there: a crash leaves a ledger or none, never half of one.
        unfinished = self.path.with_name(f"{self.path.name}.new")
        for path in (unfinished, self.path):  # a journal whose file is gone would be replayed into the new one
            for suffix in ("-wal", "-shm", "-journal"):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as db:
            # Whatever dies here leaves a file that nobody opens, so that no journal has to bring it back.
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("BEGIN")
            for sql in statements():
                db.execute(sql)
            db.execute(*_row("plan", row))
            columns = TABLES["trials"]
            db.executemany(_insert("trials", *columns), ([trial[name] for name in columns] for trial in trials))
            db.execute("COMMIT")
        unfinished.replace(self.path)

    def flush(self) -> None:
        """Write the ends of attempts that wait for a transaction.

        Raises:
            LedgerError: As every write: they still wait then, and the next write tries again.
        """
        if self._ends:
            self._write([])

    def _write(self, work: Sequence[_Work]) -> int:
        """Run one transaction; return the id of the last row. The only place where a ledger that is there is written.

        Raises:
            LedgerError: If it cannot be written (a full disk, a file locked by another program), or a newer run writes it.
        """
        db = self._db
        assert db is not None
        try:
            # The write lock at once: between a read and a later lock another writer could come.
            db.execute("BEGIN IMMEDIATE")
            try:
                self._check_newest(db)
                last = 0
                for sql, values in (*self._ends, *work):
                    last = db.execute(sql, values).lastrowid or last
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            self._ends.clear()
        except sqlite3.DatabaseError as exc:
            raise LedgerError(f"cannot write {self.path}: {exc}; mend that and run it again: it goes on") from exc
        return last

    def _check_newest(self, db: sqlite3.Connection) -> None:
        """Refuse to go on where a newer run writes. Looked up only if another connection has written anything meanwhile."""
        # SQLite's own counter: cheaper than a query, and changed only by other connections.
        version = db.execute("PRAGMA data_version").fetchone()
        if self._run_id is None or version == self._data_version:
            return
        (newest,) = db.execute("SELECT MAX(run_id) FROM runs").fetchone()
        if newest != self._run_id:
            raise LedgerError(
                f"{self.path} is being written by a newer run ({newest}); this one ({self._run_id}) stops"
            )
        self._data_version = version

    # ------------------------------------------------------------------------------------------------------------- reading

    def history(self) -> tuple[dict[str, str], dict[str, int], dict[str, int], dict[str, int]]:
        """Read what earlier runs left: decided trials with their status; per trial how many attempts, how many of them used
        the plan's limit (only what was lost after a session had come about), and how many the other end failed."""
        assert self._db is not None
        decided: dict[str, str] = {}
        attempts: dict[str, int] = {}
        used: dict[str, int] = {}
        failed_there: dict[str, int] = {}
        for trial_id, attempt, status, counts, kind, session_id in self._db.execute(
            "SELECT trial_id, attempt, status, counts, kind, session_id FROM attempts ORDER BY attempt_id"
        ):
            attempts[trial_id] = max(attempt, attempts.get(trial_id, 0))
            is_lost = status == "failed" and kind in AGAIN and (session_id is not None or kind == "worker_lost")
            used[trial_id] = used.get(trial_id, 0) + is_lost
            failed_there[trial_id] = failed_there.get(trial_id, 0) + (status == "failed" and kind in THERE)
            if counts:
                decided[trial_id] = status
        return decided, attempts, used, failed_there

    def first_turns(self) -> dict[str, FirstTurn | None]:
        """Read the first turn of every trial that is decided."""
        assert self._db is not None
        rows = self._db.execute(
            "SELECT a.trial_id, t.outcome, t.final_modality FROM attempts a LEFT JOIN turns t "
            "ON t.attempt_id = a.attempt_id AND t.turn = 0 WHERE a.counts = 1"
        )
        return {trial_id: FirstTurn.of(outcome, modality) for trial_id, outcome, modality in rows}

    def spent_usd(self) -> float:
        """Read what all attempts so far cost, reservations of those without usage included."""
        assert self._db is not None
        return float(self._db.execute("SELECT COALESCE(SUM(cost_usd), 0) FROM attempts").fetchone()[0])

    # ------------------------------------------------------------------------------------------------------------- writing

    def begin_run(self, *, at_once: int, budget_usd: float | None) -> int:
        """Open a run, the newest from now on; return its id."""
        row = {
            "started_at": time.time(),
            "at_once": at_once,
            "budget_usd": budget_usd,
            "kit_version": __version__,
            "python": platform.python_version(),
            "pid": os.getpid(),
        }
        self._run_id = None  # an older one of this writer is over
        self._run_id = self._write([_row("runs", row)])
        return self._run_id

    def end_run(self, run_id: int, reason: str, note: str | None = None) -> None:
        """Close a run: ``complete``, ``interrupted``, ``budget``, ``stop rule`` or ``error``."""
        sql = "UPDATE runs SET ended_at = ?, ended = ?, note = ? WHERE run_id = ?"
        self._write([(sql, (time.time(), reason, note, run_id))])

    def pending(
        self, run_id: int, tries: Sequence[tuple[str, int, float | None]], *, worker: str | None = None
    ) -> list[int]:
        """Write attempts down before anything is connected; return their ids.

        Args:
            tries: Per attempt: trial id, number of the attempt (from 1), reserved dollars.
        """
        # A worker of a cluster says nothing until its attempt is over: whether it had asked is then not known.
        reply_asked = 0 if worker is None else None
        same = {"run_id": run_id, "worker": worker, "started_at": time.time(), "counts": 0, "reply_asked": reply_asked}
        same |= {"status": "pending", "stage": "connecting"}
        work = [
            _row("attempts", same, {"trial_id": trial_id, "attempt": attempt, "reserved_usd": usd})
            for trial_id, attempt, usd in tries
        ]
        last = self._write(work)
        # One transaction of the only writer: its ids stand together.
        return list(range(last - len(work) + 1, last + 1))

    def seeded(self, attempt_id: int, session: Row) -> None:
        """The history is in, and a response is about to be asked for."""
        self._write([_update(attempt_id, {"stage": "seeded", "reply_asked": 1} | session)])

    def turn(self, attempt_id: int, trial_id: str, turn: Row, responses: Sequence[Row]) -> None:
        """A turn has ended."""
        self._write([_update(attempt_id, {"stage": "answered"}), *_turn(attempt_id, trial_id, turn, responses)])

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
        may_wait: bool = False,
    ) -> None:
        """An attempt is over: its last rows, and how it went.

        Args:
            counts: Whether it decides its trial.
            turns_written: How many of its turns are in the ledger already.
            may_wait: It is written in the next transaction, or by `flush`: one transaction costs half of two.
        """
        columns = outcome.session | outcome.failure
        columns |= {"status": outcome.status, "ended_at": time.time(), "counts": int(counts)}
        columns |= {"cost_usd": cost_usd, "cost_estimated": int(cost_estimated)}
        if outcome.reply_begun:
            columns["stage"] = "answered"
        if outcome.kind != "worker_lost":
            columns.setdefault("reply_asked", 0)  # no session came about
        ids = {"attempt_id": attempt_id, "trial_id": trial_id}
        work: list[_Work] = [_row("responses", ids, row) for row in outcome.responses if row["turn"] < 0]
        for turn in outcome.turns[turns_written:]:
            rows = [row for row in outcome.responses if row["turn"] == turn["turn"]]
            work += _turn(attempt_id, trial_id, turn, rows)
        work.append(_update(attempt_id, columns))
        if outcome.jsonl is not None:
            work.append(_row("events", ids, {"n_events": outcome.n_events, "jsonl": outcome.jsonl}))
        if outcome.sounds:
            work.append((SOUNDS, ()))
            insert = "INSERT INTO sounds (attempt_id, trial_id, response_id, flac) VALUES (?, ?, ?, ?)"
            work += [(insert, (attempt_id, trial_id, name, flac)) for name, flac in outcome.sounds]
        self._ends += work
        if not may_wait:
            self.flush()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
    # Readers keep nobody waiting; a killed process loses nothing, a power cut the last trials at most.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _turn(attempt_id: int, trial_id: str, turn: Row, responses: Sequence[Row]) -> list[_Work]:
    ids = {"attempt_id": attempt_id, "trial_id": trial_id}
    return [_row("turns", ids, turn), *(_row("responses", ids, row) for row in responses)]
