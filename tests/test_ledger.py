"""The ledger: what it refuses, what it survives, and that reading it disturbs nobody."""

import re
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from kit import Ledger, Plan, run
from kit.errors import LedgerError
from kit.trials import ledger as ledger_module
from kit.trials.attempt import Outcome, _text
from kit.trials.ledger import TABLES
from kit.trials.writer import Writer

PLAN = Plan("1b", repeats=3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.sqlite"


@pytest.fixture
async def done(path):
    """A ledger of a plan that was run."""
    return await run(PLAN, path, progress=None)


def refused(path, plan=PLAN):
    """Why a writer will not have it; the file must be as it was."""
    before = path.read_bytes()
    with pytest.raises(LedgerError) as caught, Writer(path, plan):
        pass
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------ the schema


def test_every_column_is_in_the_docstring_and_in_the_file(path):
    with Writer(path, PLAN):
        pass

    documented = set(re.findall(r"``(\w+)``", ledger_module.__doc__))
    for table, columns in TABLES.items():
        there = [row["name"] for row in Ledger(path).rows(f"PRAGMA table_info({table})")]
        assert there == list(columns)
        assert set(columns) <= documented, table


def test_every_planned_trial_is_there_before_anything_runs(path):
    with Writer(path, PLAN):
        pass

    ledger = Ledger(path)
    assert ledger.counts() == {"planned": 3, "completed": 0, "failed": 0, "missing": 3}
    assert ledger.plan == PLAN.describe()
    assert ledger.plan_hash == PLAN.hash
    assert ledger.simulated is None


async def test_a_run_leaves_one_file(done):
    assert [file.name for file in done.path.parent.iterdir()] == ["trials.sqlite"]


async def test_what_a_response_was_is_in_its_row(done):
    for row in done.rows("SELECT * FROM responses JOIN attempts USING (attempt_id)"):
        assert (row["modality"], row["status"], row["asked"], row["started_by"]) == (
            "text",
            "completed",
            "audio",
            "create",
        )
        assert row["first_audio_ms"] is None
        assert 0 < row["first_text_ms"] <= row["done_ms"]  # what one read of the socket brings arrived together
        assert row["text"]
        assert row["transcript"] == ""
        assert row["input_text_tokens"] + row["output_text_tokens"] == row["total_tokens"]
        assert (row["simulated"], row["drift_rule"], row["model"]) == (1, "documented", "gpt-realtime")
        assert row["session_id"].startswith("sess_")
        assert row["response_id"].startswith("resp_")


async def test_it_shows_what_it_holds_and_that_it_is_simulated(done):
    for text in (repr(done), done._repr_html_()):
        for words in (PLAN.hash[:12], "planned 3", "completed 3", "missing 0", "stand-in: simulated"):
            assert words in text


# --------------------------------------------------------------------------------------------------------- what it refuses


async def test_another_plans_ledger_is_refused_and_the_difference_named(done):
    says = refused(done.path, Plan("1b", repeats=4, seed=2))

    assert "another plan" in says
    assert "repeats, seed" in says


async def test_another_schema_is_refused(done):
    with sqlite3.connect(done.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    assert "schema 99" in refused(done.path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"dear diary", "not an SQLite file"), (b"SQLite format 3\x00" + b"\x07" * 5_000, "damaged")],
)
def test_a_file_of_something_else_is_refused(path, content, says):
    path.write_bytes(content)

    assert says in refused(path)


def test_a_database_of_something_else_is_refused(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE diary (day TEXT)")
    db.commit()
    db.close()

    assert "database of something else" in refused(path)


@pytest.mark.parametrize("harm", ["cut", "scribbled"])
async def test_a_damaged_ledger_is_refused(done, harm):
    whole = done.path.read_bytes()
    middle = len(whole) // 2
    done.path.write_bytes(
        whole[:middle] if harm == "cut" else whole[:5_000] + b"\xff" * middle + whole[5_000 + middle :]
    )

    assert "damaged" in refused(done.path)


def test_a_folder_and_a_path_that_is_none_are_named(tmp_path):
    for path, says in ((tmp_path, "is a folder"), (None, "not None"), (tmp_path / "none.sqlite", "there is no ledger")):
        with pytest.raises(LedgerError, match=says):
            Ledger(path)


def test_an_empty_file_is_a_new_ledger(path):
    path.touch()

    with Writer(path, PLAN):
        pass

    assert Ledger(path).counts()["planned"] == 3


# ---------------------------------------------------------------------------------------------------- two at the same time


def test_a_second_runner_is_refused_in_this_process_and_the_first_goes_on(path):
    with Writer(path, PLAN) as first:
        first.begin_run(at_once=1, budget_usd=None)
        with pytest.raises(LedgerError, match=r"another runner \(process \d+, since"), Writer(path, PLAN):
            pass
        first.begin_run(at_once=1, budget_usd=None)

    with Writer(path, PLAN):
        pass


def test_a_second_runner_is_refused_in_another_process_and_a_dead_one_leaves_no_lock(path):
    code = (
        "import sys; from kit import Plan; from kit.trials.writer import Writer\n"
        f"with Writer({str(path)!r}, Plan('1b', repeats=3)) as writer:\n"
        "    writer.begin_run(at_once=1, budget_usd=None); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(LedgerError, match=f"process {other.pid}"), Writer(path, PLAN):
            pass
        other.kill()

    with Writer(path, PLAN):
        pass


def test_it_is_read_while_it_is_written(path):
    with Writer(path, PLAN) as book:
        run_id = book.begin_run(at_once=1, budget_usd=None)
        reader = Ledger(path)
        for n, trial in enumerate(PLAN.trials, 1):
            (attempt_id,) = book.pending(run_id, [(trial.trial_id, 1, 0.0)])
            book.ended(attempt_id, trial.trial_id, Outcome(), counts=True, cost_usd=0.0, cost_estimated=False)
            assert reader.counts()["completed"] == n
        db = reader.connect()
        db.execute("BEGIN")
        db.execute("SELECT COUNT(*) FROM attempts").fetchone()
        book.end_run(run_id, "complete")  # a reader in the middle of reading keeps nobody from writing
        db.close()


def test_an_end_that_may_wait_is_written_with_what_comes_next_and_at_the_latest_when_the_ledger_is_closed(path):
    decided = {"counts": True, "cost_usd": 0.0, "cost_estimated": False, "may_wait": True}
    first, second, third = (trial.trial_id for trial in PLAN.trials)
    n_completed = []
    with Writer(path, PLAN) as book:
        run_id = book.begin_run(at_once=1, budget_usd=None)
        (attempt_id,) = book.pending(run_id, [(first, 1, 0.0)])
        book.ended(attempt_id, first, Outcome(), **decided)
        n_completed.append(Ledger(path).counts()["completed"])
        (attempt_id,) = book.pending(run_id, [(second, 1, 0.0)])
        n_completed.append(Ledger(path).counts()["completed"])
        book.ended(attempt_id, second, Outcome(), **decided)
        book.flush()
        n_completed.append(Ledger(path).counts()["completed"])
        (attempt_id,) = book.pending(run_id, [(third, 1, 0.0)])
        book.ended(attempt_id, third, Outcome(), **decided)

    assert [*n_completed, Ledger(path).counts()["completed"]] == [0, 1, 2, 3]


def test_a_reader_cannot_write(path):
    with Writer(path, PLAN):
        pass

    with pytest.raises(LedgerError, match="readonly"):
        Ledger(path).rows("DELETE FROM trials")


async def test_it_is_read_in_a_folder_where_nothing_may_be_written(done, tmp_path):
    there = tmp_path / "archive"
    there.mkdir()
    shutil.copy(done.path, there / "old.sqlite")
    there.chmod(0o555)

    try:
        assert Ledger(there / "old.sqlite").counts()["completed"] == 3
    finally:
        there.chmod(0o755)


# ------------------------------------------------------------------------------------------------------------- what it costs


def test_an_append_is_far_below_a_millisecond(path):
    plan = Plan("1b", repeats=300)
    with Writer(path, plan) as book:
        run_id = book.begin_run(at_once=1, budget_usd=None)
        began = time.perf_counter()
        for trial in plan.trials:
            book.pending(run_id, [(trial.trial_id, 1, 0.0)])
        each_ms = (time.perf_counter() - began) / 300 * 1000

    assert each_ms < 2  # 0.1 where the machine is quiet


def test_half_a_character_from_a_server_does_not_stop_the_book(path):
    half = _text("joke \ud83d")
    outcome = Outcome(session={"model": half}, turns=[], responses=[])
    with Writer(path, PLAN) as book:
        run_id = book.begin_run(at_once=1, budget_usd=None)
        (attempt_id,) = book.pending(run_id, [(PLAN.trials[0].trial_id, 1, 0.0)])
        book.ended(attempt_id, PLAN.trials[0].trial_id, outcome, counts=True, cost_usd=0.0, cost_estimated=False)

    assert Ledger(path).rows("SELECT model FROM attempts")[0]["model"] == "joke ?"
