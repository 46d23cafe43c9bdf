"""A table in sentences: what may be said of it, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import show
from ..errors import InputError
from ..stats.intervals import percent

if TYPE_CHECKING:
    import pandas as pd


def in_words(table: pd.DataFrame) -> show.Words:
    """Say what a table shows, a sentence per row; a cell that ends on it shows them as a list.

    Args:
        table: Of `modality_df` or `compare_df`, whole or some of its rows.

    Raises:
        InputError: If it is neither.
    """
    if "sentence" in table:
        return show.Words("\n".join(f"- {sentence}" for sentence in table["sentence"]))
    missing = {"planned", "completed", "first_turns", "text", "drift_rate", "simulated"} - set(table.columns)
    if missing:
        raise InputError(
            f"in_words() takes a table of modality_df() or compare_df(); this one has no {sorted(missing)[0]!r}"
        )
    keys = list(table.columns[: table.columns.get_loc("simulated")])
    return show.Words("\n".join(f"- {_row(row, keys)}" for _, row in table.iterrows()))


def _row(row: pd.Series, keys: list[str]) -> str:
    names = ", ".join(_name(key, row[key]) for key in keys if row[key] is not None)
    incomplete = ""
    if row.notna()["planned"] and row["completed"] < row["planned"]:  # a log has no plan
        incomplete = f" ({int(row['planned'] - row['completed'])} of {int(row['planned'])} did not complete)"
    if not row["first_turns"]:
        counts = "no first turn was answered"
    else:
        counts = (
            f"text in {int(row['text'])} of {int(row['first_turns'])} sessions, {100 * row['drift_rate']:.0f} % "
            f"({percent(row.get('level', 0.95))} interval {100 * row['drift_low']:.0f} to {100 * row['drift_high']:.0f} %)"
        )
    origin = {True: "simulated by the stand-in", False: "measured"}.get(row["simulated"], show.UNKNOWN_ORIGIN)
    return f"**{names or 'all'}**: {counts}{incomplete}; {origin}."


def _name(key: str, value: object) -> str:
    text = show.plain(value).replace("_", " ").replace("*", "\\*")
    return text if key in ("arm", "model", "settings") else f"{key} {text}"
