"""From a ledger, several, or a frame of responses to the small columns that are counted.

A source of another kind needs one function here that fills a `Rows`; every table and plot then takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import InputError, clipped
from ..trials.ledger import Ledger
from .columns import ANSWERED, MODALITIES, STATES, Labels, Rows, joined
from .counting import fold
from .ledgers import Role, rows_of_ledger

if TYPE_CHECKING:
    import pandas as pd

Source: TypeAlias = "Ledger | str | Path | pd.DataFrame | Rows | Sequence[Source]"

LABELS = ("plan", "role", "case", "arm", "settings", "endpoint", "model", "voice", "day")
"""What rows can be grouped by; `simulated` always is."""


def ledgers_of(source: object) -> list[Ledger]:
    """The ledgers that are meant: one or several, opened or by path.

    Raises:
        InputError: If it is something else.
        LedgerError: If a path leads to no ledger.
    """
    if isinstance(source, Ledger):
        return [source]
    if isinstance(source, str | Path):
        return [Ledger(source)]
    if isinstance(source, Sequence) and source:
        return [ledger for each in source for ledger in ledgers_of(each)]
    raise InputError(f"a source is a ledger, its path, or a list of those (event logs: log_df), not {clipped(source)}")


def rows_of(source: Source, role: Role | None = "measure") -> Rows:
    """A source as columns of small numbers.

    Args:
        role: Trials of that role only: the measurement unless told. ``None``: all.

    Raises:
        InputError: If it is nothing that can be tabulated.
        LedgerError: If a path leads to no ledger.
    """
    if isinstance(source, Rows):
        return source
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _of_frame(source, role)
    if isinstance(source, Ledger | str | Path):
        (ledger,) = ledgers_of(source)
        return rows_of_ledger(ledger, role)
    if isinstance(source, Sequence) and source:
        return joined([rows_of(each, role) for each in source])
    raise InputError(f"a source is a ledger, its path, a frame of responses, or a list of those, not {clipped(source)}")


# ------------------------------------------------------------------------------------------------------- from a frame

_NEEDED = ("trial_id", "turn", "response", "modality", "status", "simulated")


def _of_frame(df: pd.DataFrame, role: Role | None) -> Rows:
    lacking = [name for name in _NEEDED if name not in df]
    if lacking:
        raise InputError(
            f"the frame has no column {clipped(lacking[0])}; a frame to count is one of tables.responses_df"
        )
    if role is not None and "role" in df:
        df = df[(df["role"] == role).to_numpy()]
    ids = _categories(df["trial_id"]).codes.to_numpy()
    if "plan" in df:
        plans, names = _codes(df["plan"])
        if len(names) > 1:  # the same trial id in two plans is two trials
            ids = ids.astype(np.int64) * len(names) + plans
    if len(ids) and np.all(ids[1:] >= ids[:-1]):  # in order already: no sort
        begins = np.concatenate(([True], ids[1:] != ids[:-1]))
        trial = (np.cumsum(begins) - 1).astype(np.int32)
        row_of = np.flatnonzero(begins)
    else:
        _, row_of, inverse = np.unique(ids, return_index=True, return_inverse=True)
        trial = inverse.astype(np.int32)
    simulated = _flag(df["simulated"])

    def number(name: str) -> Any:
        return df[name].to_numpy(np.float64, na_value=np.nan) if name in df else np.full(len(df), np.nan)

    state = _mapped(df["state"], STATES) if "state" in df else np.zeros(len(df), np.int8)
    started, audio = number("started_at_ms"), number("first_audio_ms")
    return Rows(
        labels={name: _labels(df[name], row_of) for name in LABELS if name in df},
        state=state[row_of],
        simulated=simulated[row_of],
        turns=fold(
            trial,
            df["turn"].to_numpy(),
            df["response"].to_numpy(),
            _mapped(df["modality"], MODALITIES),
            _mapped(df["status"], ANSWERED) >= 0,
            started,
            audio,
        ),
        planned=False,
    )


def _categories(column: pd.Series) -> Any:
    return (column if hasattr(column, "cat") else column.astype("category")).cat


def _codes(column: pd.Series) -> tuple[Any, list[str]]:
    told = _categories(column)
    return told.codes.to_numpy(), [str(word) for word in told.categories]


def _mapped(column: pd.Series, words: Sequence[str]) -> Any:
    """A column of words as codes into `words`; -1 for any other."""
    codes, present = _codes(column)
    book = np.array([*(words.index(word) if word in words else -1 for word in present), -1], np.int8)
    return book[codes]


def _labels(column: pd.Series, row_of: Any) -> Labels:
    codes, words = _codes(column)
    return Labels(codes[row_of], tuple(words))


def _flag(column: pd.Series) -> Any:
    """1, 0, -1 for true, false and unknown, however the column was saved and read again."""
    if column.dtype.kind != "b":
        column = column.map({True: 1.0, False: 0.0, "True": 1.0, "False": 0.0}).astype("float64")
    return column.to_numpy(np.float64, na_value=-1).astype(np.int8)
