"""`compare_df`: each arm against a baseline, each case compared with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show, stats
from ..errors import InputError, clipped
from ..stats.intervals import Comparison
from .frames import Source, trials_df
from .modality import SIMULATED, WHERE, modality_df

if TYPE_CHECKING:
    import pandas as pd

# Whether the instrument was fit: text asked must read text, no history must read audio.


MUST_READ = {"positive": "text", "negative": "audio"}


def controls_df(source: Source) -> pd.DataFrame:
    """A row per setting and kind of control.

    ``fit``: every control that completed read what it must, and at least one did complete. ``<NA>`` while none has. A plan
    without controls gives no rows: nothing is known of the instrument.

    Columns: ``settings, endpoint, model, role, must_read, planned, completed, as_it_must, read`` (what was read, counted),
    ``fit, simulated``.
    """
    import pandas as pd

    trials = trials_df(source, role=None)
    trials = trials[trials["role"].isin(list(MUST_READ))]
    keys = ["plan", "settings", "endpoint", "model", "role"]
    rows = []
    for key, some in trials.groupby(keys, observed=True, sort=False, dropna=False):
        told = dict(zip(keys, key, strict=True))
        done = some[some["state"] == "completed"]
        read = done["first_turn_modality"].astype("string").fillna("nothing")
        right = int((read == MUST_READ[told["role"]]).sum())
        rows.append(
            told
            | {
                "must_read": MUST_READ[told["role"]],
                "planned": len(some),
                "completed": len(done),
                "as_it_must": right,
                "read": ", ".join(f"{word} {n}" for word, n in read.value_counts().items()),
                "fit": right == len(done) if len(done) else (False if (some["state"] == "failed").all() else None),
                "simulated": None if done["simulated"].isna().any() or not len(done) else bool(done["simulated"].any()),
            }
        )
    names = [*keys, "must_read", "planned", "completed", "as_it_must", "read", "fit", "simulated"]
    out = pd.DataFrame(rows, columns=names)
    return out.astype({"fit": "boolean", "simulated": "boolean"})


POOLED = "all cases"
OUTCOMES = {"final": ("text", "first_turns"), "first_response": ("first_response_drifted", "first_turns"),
            "any": ("any_drifted", "completed")}  # fmt: skip


def compare_df(
    source: Source,
    baseline: str = "as_is",
    *,
    within: Sequence[str] | str = ("case",),
    over: Sequence[str] | str = (),
    outcome: str = "final",
    alpha: float = 0.05,
    level: float = 0.95,
) -> pd.DataFrame:
    """Each arm less the baseline: a row per case and, over several cases, a pooled row (Mantel-Haenszel).

    Difference with Newcombe's interval (unadjusted), Fisher's exact p; the pooled row by Cochran-Mantel-Haenszel. All rows
    are one family: ``p_holm`` decides the ``sentence``, which carries the mark of its origin.

    Args:
        source: A ledger, its path, a list of those, or a table of `modality_df` that has the columns asked for.
        baseline: The arm that the others are compared with.
        within: What an arm is compared within; more than one value of it makes a pooled row.
        over: What is kept apart also in the pooled rows, such as ``"model"``. What was simulated always is.
        outcome: ``"final"``: what the user finally heard to the seeded history. ``"first_response"``: before the arm
            reacted. ``"any"``: a text turn anywhere in a completed trial.
        alpha: Where the family's error is held.
        level: Of the intervals.

    Raises:
        InputError: If no trial has the baseline, or there is nothing to compare it with.
    """
    within, over = _names(within), _names(over)
    if outcome not in OUTCOMES:
        raise InputError(f"outcome is one of {', '.join(OUTCOMES)}, not {clipped(outcome)}")
    keys = [*over, *within, "arm"]
    table: Any = source if _is_table(source) else modality_df(source, keys, level=level)
    for name in (*keys, SIMULATED):
        if name not in table:
            raise InputError(f"the table has no column {clipped(name)}; make it with modality_df(source, by={keys})")
    family, told = _family(table, baseline, within, over, OUTCOMES[outcome], level)
    if not family:
        where = ", ".join(within) or "anything"
        raise InputError(f"no {where} has both {baseline} and another arm, so nothing can be compared within it")
    return _frame(stats.adjusted(family), told, within, over, alpha)


def _family(
    table: pd.DataFrame, baseline: str, within: list[str], over: list[str], counts: tuple[str, str], level: float
) -> tuple[list[Comparison], list[dict[str, Any]]]:
    arms = list(dict.fromkeys(table["arm"].astype(str)))
    if baseline not in arms:
        raise InputError(
            f"no trial has the arm {clipped(baseline)} to compare with; there are {', '.join(arms) or 'none'}"
        )
    if len(arms) < 2:
        raise InputError(f"{baseline} is the only arm, so there is nothing to compare it with")
    family: list[Comparison] = []
    told: list[dict[str, Any]] = []
    kept = [*over, SIMULATED]
    for key, part in table.groupby(kept, observed=True, sort=False, dropna=False):
        apart = dict(zip(kept, key, strict=True))
        cells = {
            (tuple(row[name] for name in within), str(row["arm"])): (int(row[counts[0]]), int(row[counts[1]]))
            for _, row in part.iterrows()
        }
        strata = list(dict.fromkeys(stratum for stratum, _ in cells))
        where = {name: _joined(part, name) for name in WHERE if name in part and name not in apart}
        for arm in dict.fromkeys(arm for _, arm in cells if arm != baseline):
            both = [s for s in strata if (s, arm) in cells and (s, baseline) in cells]
            fours = [(*cells[s, arm], *cells[s, baseline]) for s in both]
            for stratum, four in zip(both, fours, strict=True):
                name = ", ".join(f"{what} {word}" for what, word in zip(within, stratum, strict=True))
                family.append(stats.compare(*four, level, arm=arm, baseline=baseline, stratum=name or None))
                told.append(apart | where | dict(zip(within, stratum, strict=True)))
            if len(both) > 1:
                names = [", ".join(map(str, stratum)) for stratum in both]
                family.append(stats.mantel_haenszel(fours, level, names=names, arm=arm, baseline=baseline))
                told.append(apart | where | dict.fromkeys(within, POOLED))
    return family, told


def _frame(
    family: Sequence[Comparison], told: Sequence[dict[str, Any]], within: list[str], over: list[str], alpha: float
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for one, about in zip(family, told, strict=True):
        gap = one.difference
        facts = {
            "arm": one.arm, "baseline": one.baseline, "pooled": one.strata is not None,
            "k": one.k1, "n": one.n1, "rate": one.rate1, "baseline_k": one.k0, "baseline_n": one.n0, "baseline_rate": one.rate0,
            "difference": gap.estimate, "low": gap.low, "high": gap.high, "p": one.p, "p_holm": one.p_holm, "family": one.family,
            "shown": one.p_holm is not None and one.p_holm <= alpha, "test": one.method, "interval": gap.method,
            "sentence": marked(one, about, over, alpha),
        }  # fmt: skip
        first = {name: about[name] for name in (*over, *within)}
        last = {name: about[name] for name in (SIMULATED, *WHERE) if name in about and name not in first}
        rows.append(first | facts | last)
    df = pd.DataFrame(rows)
    numbers = ["rate", "baseline_rate", "difference", "low", "high", "p", "p_holm"]
    df[numbers] = df[numbers].astype(np.float64)
    df[SIMULATED] = pd.array([None if pd.isna(v) else bool(v) for v in df[SIMULATED]], dtype="boolean")
    for name in (*over, *within, "arm", "baseline"):
        words = list(dict.fromkeys(str(word) for word in df[name]))
        df[name] = pd.Categorical(df[name].astype(str), categories=words)
    return df.astype({"family": "Int64"})


def marked(one: Comparison, about: dict[str, Any], over: Sequence[str], alpha: float) -> str:
    """The plain sentence, with the mark of its origin in front: it must not pass for a measurement when it is quoted."""
    import pandas as pd

    simulated = about.get(SIMULATED)
    mark = show.origin_word(None if pd.isna(simulated) else bool(simulated))
    apart = ", ".join(str(about[name]) for name in over)
    text = stats.sentence(replace(one, arm=_said(one.arm), baseline=_said(one.baseline)), alpha)
    return f"[{mark}] " * bool(mark) + f"{apart}: " * bool(apart) + text


def _said(arm: str) -> str:
    return arm.replace("_", " ")


def _names(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _is_table(source: Any) -> bool:
    return hasattr(source, "columns") and "first_turns" in source.columns


def _joined(part: pd.DataFrame, name: str) -> str | None:
    words = list(dict.fromkeys(str(word) for word in part[name].dropna()))
    if name == "day":
        days = sorted({day for word in words for day in word.split(" to ")})
        return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else None
    return ", ".join(words) or None
