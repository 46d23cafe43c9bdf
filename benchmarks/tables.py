"""What does the table of modalities cost? ``python benchmarks/tables.py [--rounds N] [--most ROWS] [--json FILE]``

Needs duckdb and pyarrow, which are no dependencies of the kit: they are in the dependency group `peers`. Wall time, because DuckDB
has two threads; the kit has one. Both sides count the same million responses, 20 groups of case and arm. What each does:

* DuckDB, the same questions: responses folded to turns (final and first modality, time to first audio) and turns to trials; per group
  the counts of planned trials, turns, responses, of first turns by final modality, of first responses that were text, of text turns
  and of trials with any; Wilson's interval of the share of text, in SQL; the exact median time to audio of first turns.
* DuckDB, counts only: the least that can be meant by counts, an interval and a median. It takes every row for a first turn with
  one response, and folds nothing: what it counts is the same only where each trial has one turn of one response. Shown beside,
  and no limit is set on it: `modality_df` answers far more.
* `modality_df`: the same questions, and three more intervals of rates by Wilson, two that know which turns share a trial, the median
  turn of first drift (Kaplan-Meier) and of the time to audio with their intervals. It also finds each trial's rows, which lie in
  order, as `responses_df` returns them. It returns a DataFrame.

The ledger is SQLite with every column a run writes, in its usual order; DuckDB reads a Parquet file of the ten columns that are
counted. Bytes are those of the frame of turns that `modality_df` groups, deep. Growth: milliseconds per thousand responses, at 1e4 as 1.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

try:
    import duckdb
except ImportError:
    sys.exit("needs duckdb and pyarrow: the dependency group `peers`")
import numpy as np
import pandas as pd
from running import absolute, interleaved, option, report, status, versions

from kit import tables
from kit.tables.frames import MODALITIES, counted_turns
from kit.trials.ledger import statements

Sides = dict[str, Callable[[], pd.DataFrame]]
CASES, ARMS = ("1a", "1b", "2a", "2b"), tuple(f"arm {n}" for n in range(5))
SAME, LEAST = "DuckDB, the same questions", "DuckDB, counts only"
WILSON = """
  ({k}/{n} + 1.9208/{n} - 1.96*sqrt({k}/{n}*(1-{k}/{n})/{n} + 0.9604/{n}/{n}))/(1+3.8416/{n}) AS low,
  ({k}/{n} + 1.9208/{n} + 1.96*sqrt({k}/{n}*(1-{k}/{n})/{n} + 0.9604/{n}/{n}))/(1+3.8416/{n}) AS high"""
COUNTS = ", ".join(f"count(*) FILTER ({{column}} = '{word}') AS n_{word}" for word in MODALITIES)
SQL = {
    SAME: f"""
WITH turns AS (SELECT trial_id, turn, "case" AS c, arm AS a, arg_max(modality, response) AS final, arg_min(modality, response) AS first,
                 count(*) AS n, min(first_audio_ms) AS heard FROM {{source}} GROUP BY trial_id, turn, "case", arm),
 trials AS (SELECT c, a, count(*) AS turns, sum(n) AS responses, count(*) FILTER (final = 'text') AS texts,
              any_value(final) FILTER (turn = 0) AS final0, any_value(first) FILTER (turn = 0) AS first0,
              any_value(heard) FILTER (turn = 0) AS heard FROM turns GROUP BY trial_id, c, a),
 g AS (SELECT c, a, count(*) AS planned, sum(turns) AS turns, sum(responses) AS responses, count(final0) AS n,
         {COUNTS.format(column="final0")}, count(*) FILTER (first0 = 'text') AS first_text, sum(texts) AS all_text,
         count(*) FILTER (texts > 0) AS any_text, median(heard) AS heard FROM trials GROUP BY c, a)
SELECT *, {WILSON.format(k="n_text", n="n")} FROM g ORDER BY c, a""",
    LEAST: f"""
WITH g AS (SELECT "case" AS c, arm AS a, count(*) AS n, {COUNTS.format(column="modality")}, median(first_audio_ms) AS heard
           FROM {{source}} GROUP BY c, a)
SELECT *, {WILSON.format(k="n_text", n="n")} FROM g ORDER BY c, a""",
}


def responses(n_trials, turns, seed=0):
    """Return a frame as from `tables.responses_df`, of the columns that are counted."""
    draw, n = np.random.default_rng(seed), n_trials * turns
    trial = np.repeat(np.arange(n_trials), turns)
    modality = draw.choice(5, n, p=[0.6, 0.3, 0.05, 0.03, 0.02])
    return pd.DataFrame(
        {
            "trial_id": pd.Categorical.from_codes(trial, [f"{n:016x}" for n in range(n_trials)]),
            "case": pd.Categorical.from_codes(draw.integers(0, 4, n_trials)[trial], CASES),
            "arm": pd.Categorical.from_codes(draw.integers(0, 5, n_trials)[trial], ARMS),
            "turn": np.tile(np.arange(turns), n_trials),
            "response": np.zeros(n, np.int64),
            "modality": pd.Categorical.from_codes(modality, MODALITIES),
            "status": pd.Categorical(["completed"] * n),
            "simulated": pd.array([True] * n, dtype="boolean"),
            "started_at_ms": np.zeros(n),
            "first_audio_ms": np.where(modality == 0, draw.gamma(4, 100, n), np.nan),
        }
    )


def ms(work: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1000

    return timed


def checked(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Both sides told the same."""
    ours = ours.assign(c=ours["case"].astype(str), a=ours["arm"].astype(str)).sort_values(["c", "a"])
    for name, column in (("text", "n_text"), ("any_drifted", "any_text"), ("turns_text", "all_text")):
        assert (ours[name].to_numpy() == theirs[column].to_numpy()).all(), name
    for name, column in (("drift_low", "low"), ("drift_high", "high"), ("heard_median_ms", "heard")):
        assert np.allclose(ours[name], theirs[column], atol=2e-4), name


def beside_duckdb(title: str, ours: Sides, source: str, limit: float, turns: int, rounds: int, db) -> bool:
    """A table against each of the two things that DuckDB can be asked."""
    for side in ours.values():
        checked(side(), db.execute(SQL[SAME].format(source=source)).df())
    duck = {name: ms(lambda sql=sql: db.execute(sql.format(source=source)).fetchall()) for name, sql in SQL.items()}
    costs = interleaved(duck | {name: ms(side) for name, side in ours.items()}, rounds)
    limits = dict.fromkeys(ours, limit)
    met = report(f"{title}, beside {SAME}", costs, SAME, limits)
    return report(f"{title}, beside {LEAST}", costs, LEAST, {}) and met


def in_memory(n_trials: int, turns: int, rounds: int) -> bool:
    df = responses(n_trials, turns)
    with duckdb.connect(config={"threads": 2}) as db:
        db.register("df", df)
        db.execute("CREATE TABLE responses AS SELECT * FROM df")
        ours = {"modality_df": lambda: tables.modality_df(df)}
        title = f"{len(df):,} responses of {n_trials:,} trials in memory"
        return beside_duckdb(title, ours, "responses", 1.0, turns, rounds, db)


def from_storage(n_trials: int, turns: int, rounds: int, folder: Path) -> bool:
    df = responses(n_trials, turns)
    path, parquet = folder / f"{n_trials}.sqlite", folder / f"{n_trials}.parquet"
    df.to_parquet(parquet)
    write(path, df, n_trials, turns)
    title = f"a ledger of {len(df):,} responses, {n_trials:,} trials"
    with duckdb.connect(config={"threads": 2}) as db:
        ours = {"ledger → table": lambda: tables.modality_df(path)}
        met = beside_duckdb(f"{title}, on Parquet", ours, f"'{parquet}'", 10, turns, rounds, db)
    held = int(counted_turns(path).memory_usage(deep=True).sum())
    return (
        absolute(
            f"{title}: its columns in memory", {"bytes a response": [held / len(df)]}, "B", {"bytes a response": 60}
        )
        and met
    )


def growth(most: int, rounds: int, folder: Path) -> bool:
    """Of the cost per response, with ten and a hundred times the responses, four to a trial."""
    memory, ledger = {}, {}
    for n in (10_000, 100_000, 1_000_000):
        if n <= most:
            df, path = responses(n // 4, 4), folder / f"growth-{n}.sqlite"
            write(path, df, n // 4, 4)
            memory[f"{n:,} responses"] = lambda df=df, n=n: ms(lambda: tables.modality_df(df))() / n * 1000
            ledger[f"{n:,} responses"] = lambda path=path, n=n: ms(lambda: tables.modality_df(path))() / n * 1000
    base, *more = memory
    limits = dict.fromkeys(more, LINEAR)
    met = report("Growth in memory, ms per thousand responses", interleaved(memory, rounds), base, limits)
    return report("Growth from a ledger, ms per thousand responses", interleaved(ledger, rounds), base, limits) and met


LINEAR = 1.25  # cost per response at most a quarter more with a hundred times as many: our reading of "linear"


def write(path, df, n_trials, turns):
    """A ledger of those responses, written as plainly as SQLite takes it."""
    case, arm = (df[name].astype(str).to_numpy()[::turns] for name in ("case", "arm"))
    modality, heard = df["modality"].astype(str).tolist(), df["first_audio_ms"].to_numpy()
    trial_ids = [f"{n:016x}" for n in range(n_trials)]
    rows = {
        "plan": [{"plan_hash": "feed" * 16, "plan": '{"plan": 1}', "created_at": 0.0, "kit_version": "0"}],
        "runs": [{"run_id": 1, "started_at": 0.0, "at_once": 8, "kit_version": "0", "python": "3.11", "pid": 1}],
        "trials": [
            {"trial_id": trial_ids[n], "n": n, "role": "measure", "case_name": case[n], "arm": arm[n], "settings": 0,
             "settings_name": "standin", "endpoint": "standin", "asked_model": "m", "modality": "audio", "repeat": n,
             "reported": "audio", "n_history_items": 3, "n_turns": turns}
            for n in range(n_trials)
        ],
        "attempts": [
            {"attempt_id": n + 1, "trial_id": trial_ids[n], "attempt": 1, "run_id": 1, "status": "completed", "stage": "answered",
             "counts": 1, "started_at": 0.0, "ended_at": 1.0, "session_id": f"sess_{n}", "model": "m", "voice": "alloy",
             "simulated": 1, "n_items_sent": 3, "n_updates_sent": 1, "n_deletes_sent": 0, "n_responses": turns, "cost_usd": 0.0}
            for n in range(n_trials)
        ],
        "turns": [
            {"attempt_id": n // turns + 1, "trial_id": trial_ids[n // turns], "turn": n % turns, "n_responses": 1,
             "first_modality": modality[n], "final_modality": modality[n], "final_status": "completed",
             "heard_ms": None if np.isnan(heard[n]) else heard[n], "n_items_sent": 1}
            for n in range(len(df))
        ],
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as db, db:
        for sql in statements():
            db.execute(sql)
        for name, some in rows.items():
            columns = list(some[0])
            values = f"({', '.join(columns)}) VALUES ({', '.join(f':{column}' for column in columns)})"
            db.executemany(f"INSERT INTO {name} {values}", some)


def main() -> bool:
    rounds, most = option("--rounds", 27), option("--most", 1_000_000)
    print(versions("duckdb", "pyarrow", "pandas"))
    met = [in_memory(most // 4, 4, rounds), in_memory(most, 1, rounds)]
    with tempfile.TemporaryDirectory() as folder:
        met += [from_storage(n_trials, turns, rounds, Path(folder)) for n_trials, turns in ((25_000, 4), (100_000, 1))]
        met.append(growth(most, min(rounds, 5), Path(folder)))
    return all(met)


if __name__ == "__main__":
    raise SystemExit(status(main()))
