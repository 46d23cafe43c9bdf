"""The durable record of a plan: one SQLite file, which says what was planned, tried, answered, failed and paid.

Any SQLite reader may look at it, also while it is being written (write-ahead log, ``synchronous=NORMAL``: it survives a
killed process, and a power cut costs at most the last trials). `Ledger` reads; only `run` writes, one runner at a time.
A trial is written down as pending *before* it connects, so that a crash leaves a row and never a hole.

Instants ``*_at`` are Unix seconds (UTC, wall clock); durations ``*_ms`` are milliseconds on the session's monotonic clock.
Truth values are 0 and 1; ``NULL`` is unknown, never zero.

==========  =======================================================================================================
table       one row per
==========  =======================================================================================================
plan        ledger (exactly one row)
            ``plan_hash``, ``plan`` (JSON of `Plan.describe`), ``created_at``, ``kit_version``
trials      planned trial, whether it was run or not: the fixed denominators
            ``trial_id`` (opaque: it says nothing of the arm), ``n`` (place in the planned order, from 0),
            ``role`` (``measure``, ``positive`` or ``negative`` control), ``case_name``, ``arm``, ``settings`` (index into the
            plan's), ``settings_name``, ``endpoint``, ``asked_model``, ``modality`` (planned: ``audio``, or ``text`` in a
            positive control), ``repeat`` (from 0), ``reported`` (what was reported for the case), ``n_history_items``
            (of the case, before the arm had it), ``n_turns`` (user turns that get an answer, the seeded one included)
runs        call of `run`
            ``run_id``, ``started_at``, ``ended_at``, ``ended`` (``complete``, ``interrupted``, ``budget``, ``stop rule``,
            ``error``; NULL: it died or still runs), ``note``, ``at_once``, ``budget_usd``, ``kit_version``, ``python``, ``pid``
attempts    try at a trial
            ``attempt_id``, ``trial_id``, ``attempt`` (1, 2, …), ``run_id``, ``worker`` (of a cluster),
            ``status`` (``pending``, ``completed``, ``failed``, ``interrupted``: the run stopped or died), ``stage``
            (``connecting``, ``seeded``, ``answered``: how far it is known to have come), ``reply_asked`` (1: a response had been
            asked for, or may have been by a run that died; NULL: not known), ``counts`` (1: this attempt decides the trial; at most one
            of a trial does), ``kind`` (of failure: ``transport``, ``rate_limit``, ``timeout``, ``refused``, ``server``,
            ``protocol``, ``worker_lost``, ``error``; ``interrupted``: stopped after the reply had begun; ``machine``: this
            machine's own trouble, which is no result), ``expected`` (1: the arm foresaw it),
            ``error_type``, ``error_code``, ``error``, ``started_at``, ``ended_at``, ``session_id``, ``model`` and ``voice`` (as
            the server named them), ``simulated``, ``drift_rule`` (of a stand-in), ``connect_ms``, ``seed_ms`` (settings and
            history confirmed), ``n_items_sent``, ``n_updates_sent``, ``n_deletes_sent``, ``n_responses``, ``reserved_usd``,
            ``cost_usd`` (NULL: unpriced), ``cost_estimated`` (1: the reservation, since usage is missing), ``priced_model`` (whose
            price that is; NULL: the plan's own price, or none), of GPT-Live: ``seconds`` (billed, as the server confirmed them at
            the end; NULL: it did not) and ``policy`` (by which replies and outcomes were inferred; never pooled with another)
turns       user turn that was asked for, in any attempt, and all the responses that it took
            ``attempt_id``, ``trial_id``, ``turn`` (0 is the one that the history ends with), ``n_responses``,
            ``first_modality`` (of the first response), ``final_modality`` (of the last response that had content: what the user
            finally had; NULL: nothing came), ``final_status`` (of that response), ``first_outcome`` (of the first response) and
            ``outcome`` (as finally had; both see below), ``ended`` (how the last reply with content ended: ``complete``, ``cut`` by its
            token limit, ``broken`` off, ``unfinished`` at the end of the observation window), ``first_ms`` (from asking first until
            the first content; NULL: never), ``heard_ms`` (from asking first until audio first came; NULL: never),
            ``n_items_sent`` (after asking first: what asking again took)
responses   response
            ``attempt_id``, ``trial_id``, ``turn``, ``response`` (index in the turn, from 0), ``response_id``, ``simulated``,
            ``modality`` (all that arrived), ``first_modality`` (of its first content part), ``status``, ``reason``, ``ended`` (as in
            ``turns``), ``asked`` (as the server echoed it, ``+`` between), ``started_by``,
            ``started_at_ms`` (from the opening of the session), ``first_audio_ms``, ``first_text_ms``, ``first_transcript_ms``,
            ``done_ms`` (all four from asking), ``n_audio_bytes``, ``transcript``, ``text``, ``n_calls``, ``error_code``, ``error``;
            tokens: ``input_text_tokens``, ``input_audio_tokens``, ``cached_text_tokens``, ``cached_audio_tokens`` (part of the
            input), ``output_text_tokens``, ``output_audio_tokens``, ``total_tokens``; ``cost_usd``, ``cost_estimated``
events      attempt, where `run` was asked for them
            ``attempt_id``, ``trial_id``, ``n_events``, ``jsonl`` (zlib; a line per event: ``at_ms``, ``direction``,
            ``n_audio_bytes``, ``event``; the audio itself is left out)
sounds      reply with sound, where `run` was asked for it; else there is no such table
            ``attempt_id``, ``trial_id``, ``response_id``, ``flac`` (a FLAC file: mono, 16 bits, 24 kHz)
==========  =======================================================================================================

What a turn came to (``outcome``, ``first_outcome``): a closed list. Content that had begun decides, however the reply ended.

============  =====================================================================================================
spoken        audio, first content within the plan's deadline
text          text alone, within the deadline
both          both, within the deadline
function      a function call and no content
late          the first content came after the deadline; the modality says what came
silent        connected and asked, and nothing came within the observation window, or the reply was empty
failed        nothing had come when the connection, the server or the arm failed
censored      nothing had come when the run was stopped, or died
============  =====================================================================================================

*Drift* is text where audio was asked for; *lost voice* is text, silent, or late. What ``failed`` or ``censored`` would have come
to is unknown: of turn 0, in all attempts, those are what bounds have to allow for, also where another attempt decided the trial.
An attempt that failed before anything was asked has no row in ``turns`` and says nothing.

A trial's state is that of its attempt that counts: ``completed`` or ``failed``; without one it is ``missing``. The view
``trial_states`` has it beside the columns of ``trials``, with ``attempt_id`` and ``n_attempts``. A trial whose reply had begun is
decided and is never played again; one that was lost before is, up to the plan's limit.

The costs of an arm are all there: items, updates and deletions sent, responses and tokens, ``heard_ms``.

Schema 1 (kit 0.1) is read as well: columns that it does not have are NULL, not known.
"""

from __future__ import annotations

import copy
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import show
from ..errors import LedgerError, clipped
from ..files import named_path, regular_file, writable_path
from .record import TrialRecord

SCHEMA = 2
READABLE = (1, 2)  # schemas; what 1 does not have is NULL when read, and is added when it is gone on with
APPLICATION_ID = 0x6B697431  # "kit1", in the file's header
# The first bytes of every SQLite file (sqlite.org/fileformat.html, 1.3).
_MAGIC = b"SQLite format 3\x00"

_COLUMNS = {
    "plan": "plan_hash TEXT NOT NULL, plan TEXT NOT NULL, created_at REAL NOT NULL, kit_version TEXT NOT NULL",
    "trials": """
        trial_id TEXT PRIMARY KEY, n INTEGER NOT NULL UNIQUE, role TEXT NOT NULL, case_name TEXT NOT NULL, arm TEXT NOT NULL,
        settings INTEGER NOT NULL, settings_name TEXT NOT NULL, endpoint TEXT NOT NULL, asked_model TEXT,
        modality TEXT NOT NULL, repeat INTEGER NOT NULL, reported TEXT, n_history_items INTEGER NOT NULL,
        n_turns INTEGER NOT NULL""",
    "runs": """
        run_id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, ended TEXT, note TEXT, at_once INTEGER NOT NULL,
        budget_usd REAL, kit_version TEXT NOT NULL, python TEXT NOT NULL, pid INTEGER NOT NULL""",
    "attempts": """
        attempt_id INTEGER PRIMARY KEY, trial_id TEXT NOT NULL REFERENCES trials, attempt INTEGER NOT NULL,
        run_id INTEGER NOT NULL REFERENCES runs, worker TEXT, status TEXT NOT NULL, stage TEXT NOT NULL, reply_asked INTEGER,
        counts INTEGER NOT NULL, kind TEXT, expected INTEGER, error_type TEXT, error_code TEXT, error TEXT,
        started_at REAL NOT NULL, ended_at REAL, session_id TEXT, model TEXT, voice TEXT, simulated INTEGER, drift_rule TEXT,
        connect_ms REAL, seed_ms REAL, n_items_sent INTEGER, n_updates_sent INTEGER, n_deletes_sent INTEGER,
        n_responses INTEGER, reserved_usd REAL, cost_usd REAL, cost_estimated INTEGER, priced_model TEXT, seconds REAL,
        policy TEXT""",
    "turns": """
        attempt_id INTEGER NOT NULL REFERENCES attempts, trial_id TEXT NOT NULL, turn INTEGER NOT NULL,
        n_responses INTEGER NOT NULL, first_modality TEXT, final_modality TEXT, final_status TEXT, first_outcome TEXT,
        outcome TEXT, ended TEXT, first_ms REAL, heard_ms REAL, n_items_sent INTEGER NOT NULL""",
    "responses": """
        attempt_id INTEGER NOT NULL REFERENCES attempts, trial_id TEXT NOT NULL, turn INTEGER NOT NULL,
        response INTEGER NOT NULL, response_id TEXT, simulated INTEGER, modality TEXT, first_modality TEXT, status TEXT,
        reason TEXT, ended TEXT, asked TEXT, started_by TEXT, started_at_ms REAL, first_audio_ms REAL, first_text_ms REAL,
        first_transcript_ms REAL, done_ms REAL, n_audio_bytes INTEGER NOT NULL, transcript TEXT, text TEXT,
        n_calls INTEGER NOT NULL, error_code TEXT, error TEXT, input_text_tokens INTEGER, input_audio_tokens INTEGER,
        cached_text_tokens INTEGER, cached_audio_tokens INTEGER, output_text_tokens INTEGER, output_audio_tokens INTEGER,
        total_tokens INTEGER, cost_usd REAL, cost_estimated INTEGER""",
    "events": """
        attempt_id INTEGER NOT NULL REFERENCES attempts, trial_id TEXT NOT NULL, n_events INTEGER NOT NULL,
        jsonl BLOB NOT NULL""",
}
TABLES: dict[str, dict[str, str]] = {
    # column → SQL type and constraints
    table: dict(column.strip().split(" ", 1) for column in columns.split(","))
    for table, columns in _COLUMNS.items()
}

ADDED: dict[str, tuple[str, ...]] = {
    # since schema 1; a ledger of schema 2 may lack the last
    "attempts": ("reply_asked", "priced_model", "seconds", "policy"),
    "turns": ("first_outcome", "outcome", "ended", "first_ms"),
    "responses": ("first_modality", "ended"),
}

# Made when the first sound comes, so that a ledger of schema 2 that has none is the same with any kit.
SOUNDS = (
    "CREATE TABLE IF NOT EXISTS sounds (attempt_id INTEGER NOT NULL REFERENCES attempts, trial_id TEXT NOT NULL, "
    "response_id TEXT NOT NULL, flac BLOB NOT NULL) STRICT"
)

OUTCOMES = ("spoken", "text", "both", "function", "late", "silent", "failed", "censored")

# Two runners that both believe to be alone (a lock file deleted, a file system without locks) cannot both decide a trial.
ONE_DECIDES = "CREATE UNIQUE INDEX one_decides ON attempts(trial_id) WHERE counts = 1"

_MAX_PLAN_CHARS = 64 * 2**20  # a plan of 1,000 cases of 40 turns is 10 MB
_MAX_EVENTS_BYTES = 256 * 2**20  # of one attempt; an hour of talk without its audio is some 10 MB

# A view, so that anybody's SQLite reader sees what decided a trial without knowing the rule.
_VIEW = """
CREATE VIEW trial_states AS
SELECT t.*, COALESCE(a.status, 'missing') AS state, a.attempt_id, COALESCE(x.n, 0) AS n_attempts
FROM trials t LEFT JOIN (SELECT trial_id, status, attempt_id FROM attempts WHERE counts = 1) a ON a.trial_id = t.trial_id
              LEFT JOIN (SELECT trial_id, COUNT(*) AS n FROM attempts GROUP BY trial_id) x ON x.trial_id = t.trial_id
"""

# As the first kits wrote it; it says the same.
_VIEW_OF_BEFORE = """
CREATE VIEW trial_states AS
SELECT t.*, COALESCE(a.status, 'missing') AS state, a.attempt_id,
       (SELECT COUNT(*) FROM attempts x WHERE x.trial_id = t.trial_id) AS n_attempts
FROM trials t LEFT JOIN attempts a ON a.trial_id = t.trial_id AND a.counts = 1
"""


def statements() -> list[str]:
    """Return the SQL that makes an empty ledger."""
    tables = [
        # STRICT: SQLite would else take a text in a column of numbers without a word.
        f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())}) STRICT"
        for name, columns in TABLES.items()
    ]
    return [
        *tables,
        ONE_DECIDES,
        _VIEW,
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA}",
    ]


class Ledger:
    """A ledger, for reading: what `run` returns, and ``Ledger("runs/joke.sqlite")`` opens. Holds no file open.

    Attributes:
        path: Where it is, absolute.

    Raises:
        LedgerError: If there is no such file, or it is no ledger that this version of the kit reads. Nothing is written.
    """

    def __init__(self, path: str | Path | Ledger) -> None:
        self.path = ledger_path(path)
        if not self.path.is_file():
            raise LedgerError(f"there is no ledger at {self.path}; run(plan, path) makes one")
        check_file(self.path)
        # Read at first use: a plan may be megabytes of JSON, and most questions need none of it.
        self._plan: tuple[str, dict[str, Any]] | None = None
        # Of a copy that answers several questions (`_on_one_connection`); None: each has a connection of its own.
        self._db: sqlite3.Connection | None = None

    # ---------------------------------------------------------------------------------------------------- what it holds

    def connect(self) -> sqlite3.Connection:
        """Open a read-only connection; the caller closes it. Rows are `sqlite3.Row`."""
        return open_read_only(self.path)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run a query on a connection of its own."""
        with nullcontext(self._db) if self._db is not None else closing(self.connect()) as db:
            try:
                return db.execute(sql, values).fetchall()
            except sqlite3.DatabaseError as exc:
                raise damage(self.path, exc) or LedgerError(f"{exc}, in: {clipped(sql)}") from exc

    @contextmanager
    def _on_one_connection(self) -> Iterator[Ledger]:
        """Yield a copy whose questions share a connection: to open one costs more than to ask."""
        same = copy.copy(self)
        with closing(self.connect()) as same._db:
            yield same

    @property
    def plan_hash(self) -> str:
        """The hash of its plan."""
        return self._read_plan()[0]

    @property
    def plan(self) -> dict[str, Any]:
        """Its plan, as `Plan.describe` returned it."""
        return self._read_plan()[1]

    def _read_plan(self) -> tuple[str, dict[str, Any]]:
        if self._plan is None:
            # SQLite measures it, so that a huge text is never loaded.
            rows = self.rows("SELECT plan_hash, plan FROM plan WHERE LENGTH(plan) <= ?", (_MAX_PLAN_CHARS,))
            try:
                (row,) = rows
                plan = json.loads(row["plan"])
            except (ValueError, RecursionError) as exc:
                raise LedgerError(
                    f"{self.path} does not say what was planned ({exc}); nothing can be read of it"
                ) from exc
            # A file may come from anybody: whatever shows or tabulates a plan relies on these three lists.
            lists = [plan.get(part, []) if isinstance(plan, dict) else None for part in ("cases", "arms", "settings")]
            if not all(isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists):
                raise LedgerError(f"{self.path} holds a plan that is none: {clipped(row['plan'])}")
            self._plan = row["plan_hash"], plan
        return self._plan

    def counts(self) -> dict[str, int]:
        """Count trials ``planned``, ``completed``, ``failed``, ``missing``; controls are left out."""
        rows = self.rows(
            "SELECT COALESCE(a.status, 'missing') AS state, COUNT(*) AS n FROM trials t LEFT JOIN "
            "(SELECT trial_id, status FROM attempts WHERE counts = 1) a USING (trial_id) WHERE t.role = 'measure' GROUP BY 1"
        )
        counts = {row["state"]: row["n"] for row in rows}
        states = ("completed", "failed", "missing")
        return {"planned": sum(counts.values())} | {state: counts.get(state, 0) for state in states}

    def spent(self) -> dict[str, Any]:
        """Dollars: ``usd`` spent, ``estimated_usd`` of them by reservation, ``reserved_usd`` by what runs now, and how many
        attempts are ``unpriced``."""
        (row,) = self.rows(
            "SELECT COALESCE(SUM(cost_usd), 0) AS usd, COALESCE(SUM(cost_usd * cost_estimated), 0) AS estimated_usd, "
            "COALESCE(SUM(CASE status WHEN 'pending' THEN reserved_usd END), 0) AS reserved_usd, "
            "SUM(status != 'pending' AND cost_usd IS NULL) AS unpriced FROM attempts"
        )
        return dict(row) | {"unpriced": row["unpriced"] or 0}

    @property
    def simulated(self) -> bool | None:
        """True: only a stand-in answered. False: none did. ``None``: mixed, unknown, or nothing has answered yet."""
        marks = {row[0] for row in self.rows("SELECT DISTINCT simulated FROM attempts WHERE session_id IS NOT NULL")}
        return bool(marks.pop()) if len(marks) == 1 and None not in marks else None

    @property
    def last_run(self) -> Mapping[str, Any] | None:
        """The latest row of ``runs``: why it ended (``ended``, ``note``) and under which budget."""
        rows = self.rows("SELECT * FROM runs ORDER BY run_id DESC LIMIT 1")
        return dict(rows[0]) if rows else None

    # ------------------------------------------------------------------------------------------------- one trial

    def trial(self, which: int | str) -> TrialRecord:
        """Return a trial, to look at and to hear: ``ledger.trial(17)``.

        Args:
            which: Its place in the planned order, from 0, or its id.

        Raises:
            LedgerError: If there is none.
        """
        column = "n" if isinstance(which, int) else "trial_id"
        rows = self.rows(f"SELECT * FROM trial_states WHERE {column} = ?", (which,))
        if not rows:
            (n_trials,) = self.rows("SELECT COUNT(*) FROM trials")[0]
            raise LedgerError(f"there is no trial {clipped(which)}; there are {n_trials:,}, from 0, and each has an id")
        trial = dict(rows[0])
        key = (trial["trial_id"],)
        attempts = [dict(r) for r in self.rows("SELECT * FROM attempts WHERE trial_id = ? ORDER BY attempt_id", key)]
        record = TrialRecord(trial, self._user_words(trial["case_name"]), attempts, (), (), {})
        # -1 is no attempt's id: a trial that was never run has neither turns nor responses.
        decisive = (record.attempt["attempt_id"],) if record.attempt else (-1,)
        where = "WHERE attempt_id = ? AND turn >= 0 ORDER BY turn"
        turns = [dict(row) for row in self.rows(f"SELECT * FROM turns {where}", decisive)]
        responses = [dict(row) for row in self.rows(f"SELECT * FROM responses {where}, response", decisive)]
        sounds = {name: flac for (_, name), flac in self.sounds(trial["trial_id"]).items()}
        return replace(record, turns=turns, responses=responses, sounds=sounds)

    def _user_words(self, case_name: str) -> list[str | None]:
        """The words of a case's user turns: the one that its history ends with, and those that follow it."""
        case: dict[str, Any] = next((item for item in self.plan["cases"] if item.get("name") == case_name), {})
        items, turns = _list(case.get("items")), _list(case.get("turns"))
        last = items[-1] if items and isinstance(items[-1], dict) else {}
        texts = map(_words, _list(last.get("content")))
        return [" ".join(filter(None, texts)) or None, *map(_words, turns)]

    def sounds(self, trial_id: str | None = None, *, max_bytes: int = 1 << 30) -> dict[tuple[str, str], bytes]:
        """The sound of replies, of one trial or of all, as FLAC files by trial and response id; empty where none was kept.

        Args:
            max_bytes: Of all together: what would go beyond is left out.
        """
        # The table comes with the first sound, see `SOUNDS`.
        if not self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sounds'"):
            return {}
        files: dict[tuple[str, str], bytes] = {}
        with closing(self.connect()) as db:
            rows = db.execute(
                "SELECT s.trial_id, s.response_id, s.flac FROM sounds s JOIN trials t USING (trial_id) WHERE typeof(s.flac) = 'blob' "
                "AND s.trial_id = COALESCE(?, s.trial_id) AND LENGTH(s.flac) < ? ORDER BY t.n, s.rowid",
                (trial_id, max_bytes),
            )
            for row in rows:
                # The query bounds each file, this all of them together.
                max_bytes -= len(row["flac"])
                if max_bytes < 0:
                    break
                files[str(row["trial_id"]), str(row["response_id"])] = row["flac"]
        return files

    # ------------------------------------------------------------------------------------------------- showing itself

    def facts(self) -> list[tuple[str, object]]:
        """Summarise it: counts, money, what failed most often, and why the last run ended early."""
        n, money, last = self.counts(), self.spent(), self.last_run
        facts: list[tuple[str, object]] = [("plan", self.plan_hash[:12]), *n.items()]
        for failure in self.rows(
            "SELECT error_type, COUNT(*) AS n, error FROM attempts WHERE counts = 1 AND status = 'failed' "
            "GROUP BY error_type ORDER BY n DESC, MIN(attempt_id) LIMIT 1"
        ):
            example = show.plain(failure["error"], 120)
            facts.append(("failed most often by", f"{failure['error_type']} ({failure['n']}), such as: {example}"))
        if money["usd"]:
            estimated = f", ${money['estimated_usd']:.2f} of it estimated" if money["estimated_usd"] else ""
            facts.append(("spent", f"${money['usd']:.2f}{estimated}"))
        if money["unpriced"]:
            facts.append(("unpriced attempts", money["unpriced"]))
        if last and last["ended"] not in (None, "complete"):
            facts.append(("last run ended by", f"{last['ended']}: {last['note']}" if last["note"] else last["ended"]))
        return facts

    def __repr__(self) -> str:
        with self._on_one_connection() as ledger:
            mark = show.origin_word(ledger.simulated)
            facts = ", ".join(f"{name} {value}" for name, value in ledger.facts())
        return f"<Ledger {self.path}: {facts}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        with self._on_one_connection() as ledger:
            title = f"<b>ledger</b> <code>{show.esc(self.path)}</code> {show.origin(ledger.simulated)}"
            return show.card(title, show.facts(ledger.facts()))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _words(content: Any) -> str | None:
    """The text of a turn of the plan, or of a part of one; of a clip, what is said in it."""
    if isinstance(content, dict):
        audio = content.get("audio")
        # A clip was frozen as length, digest and words (`plan._clip`); seeded assistant audio has a transcript.
        content = content.get("text") or (audio.get("text") if isinstance(audio, dict) else content.get("transcript"))
    return content if isinstance(content, str) and content else None


def inflate(jsonl: bytes, whose: str = "an attempt") -> bytes:
    """Decompress the kept events of an attempt: a few kilobytes can claim to hold gigabytes, so the length is bounded.

    Raises:
        LedgerError: If they are damaged, or far more than any session has.
    """
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(jsonl, _MAX_EVENTS_BYTES)
    except (zlib.error, TypeError) as exc:
        raise LedgerError(f"the events of {whose} cannot be unpacked ({exc})") from exc
    if inflater.unconsumed_tail:
        raise LedgerError(
            f"the events of {whose} unpack to more than {_MAX_EVENTS_BYTES >> 20} MiB, which no session has; the file is "
            "damaged, or made to fill the memory"
        )
    return text


# ---------------------------------------------------------------------------------------------------------- opening files


def ledger_path(path: object) -> Path:
    """Return the absolute path of a ledger.

    Raises:
        LedgerError: If it cannot be one: no path, or a folder.
    """
    if isinstance(path, Ledger):
        return path.path
    if not isinstance(path, str | Path) or not str(path):
        raise LedgerError(f"a ledger is the path of a file, such as runs/joke.sqlite, not {clipped(path)}")
    target = named_path(path, error=LedgerError).resolve()
    if target.is_dir():
        raise LedgerError(f"{target} is a folder; a ledger is a file, such as {target / 'trials.sqlite'}")
    return writable_path(target, error=LedgerError)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    uri = f"file:{quote(str(path))}"
    for options in ("?mode=ro", "?mode=ro&immutable=1"):  # the second for folders in which nothing may be written
        db = sqlite3.connect(uri + options, uri=True, isolation_level=None)
        db.row_factory = sqlite3.Row
        try:
            # SQLite opens a file when it is first asked something: its errors come here, not at `connect`.
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
            _add_missing_columns(db)
        except sqlite3.OperationalError as exc:
            db.close()
            # In a read-only folder the -shm file of a write-ahead log cannot be made.
            if options.endswith("immutable=1") or "unable to open" not in str(exc):
                raise LedgerError(f"cannot read {path}: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            db.close()
            raise _damaged(path, exc) from exc
        else:
            return db
    raise AssertionError("unreachable")


def missing_columns(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the columns, by table, that a ledger of an older version does not have."""
    missing = {}
    for table, columns in ADDED.items():
        names = {row[1] for row in db.execute(f"PRAGMA main.table_info({table})")}
        if names and (lacking := [column for column in columns if column not in names]):
            missing[table] = lacking
    return missing


def _add_missing_columns(db: sqlite3.Connection) -> None:
    """Let an older ledger be read as one of today's: a temporary view, in memory, stands before each table that lacks something."""
    # `check_file` says what is wrong with another kind of file; here it is only left alone.
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return
    if db.execute("PRAGMA user_version").fetchone()[0] not in READABLE:
        return
    for table, columns in missing_columns(db).items():
        # Whoever only reads writes nothing, not even a temporary file.
        db.execute("PRAGMA temp_store = MEMORY")
        nulls = ", ".join(f"NULL AS {column}" for column in columns)
        # SQLite looks a name up in `temp` before `main`, so that every query meets the view.
        db.execute(f"CREATE TEMP VIEW {table} AS SELECT *, {nulls} FROM main.{table}")


def check_file(path: Path, *, thoroughly: bool = False) -> None:
    """Check that a file is a ledger that this version reads.

    Args:
        thoroughly: Look at every page, as is done before writing on.

    Raises:
        LedgerError: If not; the sentence says what it is. The file is not touched.
    """
    with regular_file(path, error=LedgerError) as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise LedgerError(f"{path} is not an SQLite file, so it is no ledger and is left as it is; choose another path")
    try:
        with closing(open_read_only(path)) as db:
            (mark,), (version,) = (
                db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
            if mark != APPLICATION_ID:
                raise LedgerError(f"{path} is a database of something else and is left as it is; choose another path")
            if version not in READABLE:
                raise LedgerError(
                    f"{path} is a ledger of schema {version}, and this version of the kit reads {READABLE}; it is left as "
                    "it is: read it with the kit that wrote it (its plan names the version), or choose another path"
                )
            _check_tables(path, db)
            if thoroughly:
                (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
                if result != "ok":
                    raise _damaged(path, result)
            db.execute("SELECT plan_hash FROM plan").fetchone()
    except sqlite3.DatabaseError as exc:
        raise _damaged(path, exc) from exc


def _check_tables(path: Path, db: sqlite3.Connection) -> None:
    """Refuse a file whose tables are not those of a ledger: a view in their place could be endless, a trigger could do anything."""
    columns: dict[str, set[str]] = {}
    # `main`: the temporary views of `_add_missing_columns` are not the file's own.
    for kind, name, sql in db.execute("SELECT type, name, sql FROM main.sqlite_master"):
        if kind == "table" and name in TABLES:
            columns[name] = {row["name"] for row in db.execute(f"PRAGMA main.table_info({name})")}
        is_schema = (
            kind == "view" and name == "trial_states" and str(sql).split() in (_VIEW.split(), _VIEW_OF_BEFORE.split())
        )
        if kind in ("trigger", "view") and not is_schema:
            raise LedgerError(f"{path} has the {kind} {clipped(name)}, which no ledger has; it is left as it is")
    for name, names in TABLES.items():
        missing = set(names) - set(ADDED.get(name, ())) - columns.get(name, set())
        if missing:
            raise LedgerError(f"{path} has no {name}.{min(missing)}, which every ledger has; it is left as it is")


def damage(path: Path, exc: sqlite3.DatabaseError) -> LedgerError | None:
    """Return what to say of a damaged file; ``None`` if the error is about something else."""
    # An error that Python's module raises by itself has no code of SQLite.
    return _damaged(path, exc) if getattr(exc, "sqlite_errorname", "") in ("SQLITE_CORRUPT", "SQLITE_NOTADB") else None


def _damaged(path: Path, problem: object) -> LedgerError:
    return LedgerError(
        f"{path} is damaged ({show.one_line(str(problem), 120)}) and is left as it is; take a copy, try "
        f"`sqlite3 FILE .recover` on it, or choose another path"
    )
