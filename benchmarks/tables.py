"""What the table of modalities costs beside DuckDB: a million responses in memory, and a ledger of a hundred thousand.

    python benchmarks/tables.py          # needs duckdb, which is no dependency of the kit: pip install duckdb pyarrow

Both sides do the same work: final and first modality per turn, counts per case and arm, trials with any drift, Wilson's interval
and the median time to audio. Ours also makes what DuckDB is not asked for: clustered intervals, persistence, the curve until
drift. `counts only` is the least that DuckDB could be asked: counts of responses, an interval, a median. Interleaved rounds,
medians; only ratios within one run mean anything.
"""

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from kit import tables
from kit.tables.columns import MODALITIES
from kit.tables.rates import frame, rate_columns
from kit.tables.sources import rows_of
from kit.trials.ledger import TABLES, statements

CASES, ARMS = ("1a", "1b", "2a", "2b"), tuple(f"arm {n}" for n in range(5))
ROUNDS = 9
WILSON = """
  ({k}/{n} + 1.9208/{n} - 1.96*sqrt({k}/{n}*(1-{k}/{n})/{n} + 0.9604/{n}/{n}))/(1+3.8416/{n}) AS low,
  ({k}/{n} + 1.9208/{n} + 1.96*sqrt({k}/{n}*(1-{k}/{n})/{n} + 0.9604/{n}/{n}))/(1+3.8416/{n}) AS high"""
COUNTS = ", ".join(f"count(*) FILTER ({{where}}{{column}} = '{word}') AS n_{word}" for word in MODALITIES)
SAME = f"""
WITH turns AS (SELECT trial_id, turn, any_value("case") c, any_value(arm) a, arg_max(modality, response) final,
                 arg_min(modality, response) first, count(*) n, min(first_audio_ms) heard FROM {{source}} GROUP BY trial_id, turn),
 g AS (SELECT c, a, count(DISTINCT trial_id) planned, count(*) turns, sum(n) responses, count(*) FILTER (turn = 0) n,
         {COUNTS.format(where="turn = 0 AND ", column="final")}, count(*) FILTER (turn = 0 AND first = 'text') first_text,
         count(*) FILTER (final = 'text') all_text, count(DISTINCT trial_id) FILTER (final = 'text') any_text,
         median(heard) FILTER (turn = 0) heard FROM turns GROUP BY c, a)
SELECT *, {WILSON.format(k="n_text", n="n")} FROM g ORDER BY c, a"""
LEAST = f"""
WITH g AS (SELECT "case" c, arm a, count(*) n, {COUNTS.format(where="", column="modality")}, median(first_audio_ms) heard
           FROM {{source}} GROUP BY c, a)
SELECT *, {WILSON.format(k="n_text", n="n")} FROM g ORDER BY c, a"""


def responses(n_trials, turns, seed=0):
    """A frame as `tables.responses_df` gives it, of the columns that are counted."""
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


def medians(**sides):
    """Interleaved: name → median seconds."""
    times = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            begin = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(some) for name, some in times.items()}


def in_memory(n_trials, turns):
    df = responses(n_trials, turns)
    rows = rows_of(df)
    db = duckdb.connect(config={"threads": 2})
    db.register("df", df)
    db.execute("CREATE TABLE responses AS SELECT * FROM df")
    told = medians(
        columns=lambda: frame(rate_columns(rows, ["case", "arm"], 0.95)),
        frame=lambda: tables.modality_df(df),
        same=lambda: db.execute(SAME.format(source="responses")).fetchall(),
        least=lambda: db.execute(LEAST.format(source="responses")).fetchall(),
    )
    check = db.execute(SAME.format(source="responses")).df()
    assert (check["n_text"].to_numpy() == tables.modality_df(df)["text"].to_numpy()).all()
    print(
        f"\n{len(df):,} responses of {n_trials:,} trials in memory ({rows.turns.n_bytes / len(rows.turns):.0f} bytes a turn)"
    )
    for name, words in (("columns", "from columns"), ("frame", "from a frame of responses")):
        print(f"  modality_df {words:26} {told[name] * 1e3:6.0f} ms: {told[name] / told['same']:.2f} of DuckDB on the same work, "
              f"{told[name] / told['least']:.2f} of DuckDB on counts only")  # fmt: skip


def from_storage(n_trials, turns, folder):
    df = responses(n_trials, turns)
    path, parquet = folder / "ledger.sqlite", folder / "responses.parquet"
    df.to_parquet(parquet)
    write(path, df, n_trials, turns)
    db = duckdb.connect(config={"threads": 2})
    told = medians(
        ours=lambda: tables.modality_df(path), same=lambda: db.execute(SAME.format(source=f"'{parquet}'")).fetchall(),
        least=lambda: db.execute(LEAST.format(source=f"'{parquet}'")).fetchall(),
    )  # fmt: skip
    print(f"\na ledger of {len(df):,} responses, {n_trials:,} trials, to the table: {told['ours'] * 1e3:.0f} ms: {told['ours'] / told['same']:.1f} of "
          f"DuckDB on Parquet on the same work, {told['ours'] / told['least']:.1f} on counts only")  # fmt: skip


def write(path, df, n_trials, turns):
    """A ledger of those responses, written as plainly as SQLite takes it."""
    case, arm = (df[name].astype(str).to_numpy()[::turns] for name in ("case", "arm"))
    modality, heard = df["modality"].astype(str).tolist(), df["first_audio_ms"].to_numpy()
    rows = {
        "plan": [("feed" * 16, '{"plan": 1}', 0.0, "0")],
        "runs": [(1, 0.0, 1.0, "complete", None, 8, None, "0", "3.11", 1)],
        "trials": [(f"{n:016x}", n, "measure", case[n], arm[n], 0, "standin", "standin", "m", "audio", n, "audio", 3, turns) for n in range(n_trials)],
        "attempts": [
            (n + 1, f"{n:016x}", 1, 1, None, "completed", "answered", 1, *[None] * 5, 0.0, 1.0, f"sess_{n}", "m", "alloy", 1, None, 1.0, 1.0, 3, 1, 0, turns, 0.0, 0.0, 0)
            for n in range(n_trials)
        ],
        "turns": [
            (n // turns + 1, f"{n // turns:016x}", n % turns, 1, modality[n], modality[n], "completed", None if np.isnan(heard[n]) else heard[n], 1)
            for n in range(len(df))
        ],
    }  # fmt: skip
    with sqlite3.connect(path) as db:
        for sql in statements():
            db.execute(sql)
        for name, some in rows.items():
            db.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(TABLES[name]))})", some)


if __name__ == "__main__":
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, DuckDB {duckdb.__version__}"
    )
    in_memory(250_000, 4)
    in_memory(1_000_000, 1)
    with tempfile.TemporaryDirectory() as folder:
        for n_trials, turns in ((25_000, 4), (100_000, 1)):
            here = Path(folder) / str(turns)
            here.mkdir()
            from_storage(n_trials, turns, here)
