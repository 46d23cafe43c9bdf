"""Whether the instrument was fit, what became of the trials, and each arm against a baseline, each case compared with itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import show, stats
from ..errors import InputError, clipped
from ..stats.intervals import Comparison
from .frames import LABELS, STOPPED, Source, attempts_df, counted_turns, ledgers_of, trials_df
from .modality import BY, SIMULATED, WHERE, joined, modality_table

if TYPE_CHECKING:
    import pandas as pd

# What a control is read as if the instrument works, by its role.
MUST_READ = {"positive": "text", "negative": "audio"}
TOLD_APART = ("endpoint", "model", "settings")
"""What is never pooled where there are two of it."""
POOLED = "all cases"
# What `compare_df` can ask about: (column of what happened, column of what it is out of).
OUTCOMES = {
    "final": ("text", "first_turns"), "first_response": ("first_response_drifted", "first_responses"),
    "any": ("any_drifted", "completed"), "lost_voice": ("lost_voice", "first_turns"),
}  # fmt: skip


def controls_df(source: Source, *, level: float = 0.95) -> pd.DataFrame:
    """Return a row per setting and kind of control: whether the instrument was fit.

    A positive control asks for text, so that text must be read: ``fit`` is true where all that were answered were read as text, and
    ``<NA>``, not known, where none was answered. A negative control has no history: text there is the background rate, a finding
    of its own with an interval (``rate``, ``low``, ``high``), and makes a setting unfit only if all of it is text.

    Columns: ``plan, settings, endpoint, model, role, must_read, planned, completed, known, as_it_must, read`` (how many were
    read, and as what), ``text, rate, low, high, fit, simulated``.
    """
    import pandas as pd

    trials = trials_df(source, role=None)
    trials = trials[trials["role"].isin(list(MUST_READ))]
    keys = ["plan", "settings", "endpoint", "model", "role"]
    rows = []
    for key, group in trials.groupby(keys, observed=True, sort=False, dropna=False):
        must_read = MUST_READ[key[keys.index("role")]]
        read_trials = group[group["first_turn_modality"].notna()]
        read, origins = read_trials["first_turn_modality"].astype("string"), read_trials["simulated"]
        text, right, n = int((read == "text").sum()), int((read == must_read).sum()), len(read)
        rate = stats.wilson(text, n, level)
        rows.append((
            *key, must_read, len(group), int((group["state"] == "completed").sum()), n, right,
            ", ".join(f"{word} {count}" for word, count in read.value_counts().items()), text, rate.estimate, rate.low, rate.high,
            None if not n else right == n if must_read == "text" else text < n,
            None if not n or origins.isna().any() else bool(origins.any()),
        ))  # fmt: skip
    names = ["must_read", "planned", "completed", "known", "as_it_must", "read", "text", "rate", "low", "high", "fit"]
    out = pd.DataFrame(rows, columns=[*keys, *names, "simulated"])
    return out.astype({"fit": "boolean", "simulated": "boolean", "rate": float, "low": float, "high": float})


def fit_of(controls: pd.DataFrame) -> bool | None:
    """Judge rows of `controls_df`: false if a control says so, true if each setting's positive control was read as text, else
    ``None``: not known."""
    if not len(controls):
        return None
    if not controls["fit"].fillna(True).all():
        return False
    keys = ["plan", "settings", "endpoint", "model"]
    positive = controls[(controls["role"] == "positive") & controls["fit"].notna()]
    # One control that was not answered leaves its setting unknown, and so the whole.
    return True if len(positive[keys].drop_duplicates()) == len(controls[keys].drop_duplicates()) else None


def flow_df(source: Source, by: Sequence[str] | str = ("arm",)) -> pd.DataFrame:
    """Return what became of the planned trials: a row per group, by default per arm.

    ``planned`` trials, of which an attempt was ``connected``, ``seeded`` (settings and history confirmed), ``asked`` (a reply to the
    history; ``<NA>`` where a ledger of before does not tell), ``answered`` (the first turn came to something); and of the attempts, those
    ``lost`` after asking, whatever became of the trial.

    Args:
        source: A ledger, its path, or a list of those.
        by: Columns of `trials_df`, such as ``["model", "arm"]``.
    """
    trials, attempts = trials_df(source), attempts_df(source, role="measure")
    by, ids, reply_asked = _names(by), ["plan", "trial_id"], attempts["reply_asked"]
    for name in by:
        if name not in trials:
            raise InputError(f"trials are not labelled by {clipped(name)}")
    seeded = attempts["stage"].isin(["seeded", "answered"])
    reached = attempts.assign(connected=attempts["session_id"].notna(), seeded=seeded, asked=reply_asked)
    # A trial came as far as the best of its attempts.
    flags = reached.groupby(ids, observed=True)[["connected", "seeded", "asked"]].max().reset_index()
    trials = trials.merge(flags, how="left", on=ids).assign(planned=1)
    trials["answered"] = trials["first_turn_modality"].notna()
    # Summed flags are counts.
    groups = trials.groupby(list(dict.fromkeys((*by, SIMULATED))), observed=True, dropna=False)
    out = groups[["planned", "connected", "seeded", "asked", "lost", "answered"]].sum().astype("Int64").reset_index()
    if len(reply_asked) and reply_asked.isna().all():  # schema 1 does not know it: then the sum of nothing is no count
        out["asked"] = None
    return out


DEFINITIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "text": (("text",), "what drift means everywhere else"),
    "no voice at all": (("text", "empty"), "text, or empty or silent"),
    "not wholly voice": (("text", "empty", "mixed"), "text and audio mixed, too"),
    "lost voice": (("lost_voice",), "text, silent, or late"),
}
"""What may be meant by drift: the columns of `modality_df` that count it, and in words."""


def definitions_df(source: Source, by: Sequence[str] | str = BY, *, level: float = 0.95) -> pd.DataFrame:
    """Return how the rate changes with the definition: a row per group and definition.

    The definitions are those of `DEFINITIONS`; ``lost voice`` only where the ledger knows outcomes. Columns: the labels, ``definition, k,
    n, rate, low, high, level, simulated``.
    """
    import pandas as pd

    names = _names(by)
    table: Any = source if _is_table(source) else modality_table(counted_turns(source), names, level)
    rows = []
    for _, row in table.iterrows():
        for word, (columns, _) in DEFINITIONS.items():
            k = row[list(columns)].sum(skipna=False)
            if pd.isna(k):
                continue
            rate = stats.wilson(int(k), int(row["first_turns"]), level)
            rates = {"rate": rate.estimate, "low": rate.low, "high": rate.high, "level": level}
            cells = {"definition": word, "k": int(k), "n": rate.n} | rates
            rows.append({name: row[name] for name in names} | cells | {SIMULATED: row[SIMULATED]})
    return pd.DataFrame(rows).astype({SIMULATED: "boolean", "rate": float, "low": float, "high": float})


def compare_df(
    source: Source,
    baseline: str = "as_is",
    *,
    within: Sequence[str] | str = ("case",),
    over: Sequence[str] | str | None = None,
    outcome: str = "final",
    alpha: float = 0.05,
    level: float = 0.95,
    margin: float | None = None,
) -> pd.DataFrame:
    """Return each arm less the baseline: a row per case and, over several cases, a pooled row (Mantel-Haenszel).

    Difference with Newcombe's interval (unadjusted), Fisher's exact p; the pooled row by Cochran-Mantel-Haenszel. All rows
    are one family: ``p_holm`` decides the ``sentence``, which carries the mark of its origin, and says how many attempts were lost
    after asking where the arms differ in it.

    Args:
        source: A ledger, its path, a list of those, or a table of `modality_df` that has the columns asked for.
        baseline: The arm that the others are compared with.
        within: What an arm is compared within; more than one value of it makes a pooled row.
        over: What is kept apart also in the pooled rows; endpoints, models and settings are as soon as there are two, unless this
            is given. What was simulated always is.
        outcome: ``"final"``: what the user finally heard to the seeded history. ``"first_response"``: before the arm
            reacted. ``"any"``: a text turn anywhere in a completed trial. ``"lost_voice"``: text, silent, or late.
        alpha: Where the family's error is held.
        level: Of the intervals.
        margin: Also say whether an arm is equivalent to the baseline within this difference; by default the plan's margin, if it has one.

    Raises:
        InputError: If no trial has the baseline, or there is nothing to compare it with.
    """
    if outcome not in OUTCOMES:
        raise InputError(f"outcome is one of {', '.join(OUTCOMES)}, not {clipped(outcome)}")
    within = _names(within)
    # A ledger is read once, and grouped as soon as it is known what has to be kept apart.
    turns = None if _is_table(source) else counted_turns(source)
    labels: Any = source if turns is None else turns
    keys_apart = [] if over is None else _names(over)
    columns = list(labels.columns)
    if over is None and turns is None:  # what a table was grouped by stands before `simulated`
        grouped = columns[: columns.index(SIMULATED)] if SIMULATED in columns else []
        keys_apart = [name for name in grouped if name in LABELS and name not in (*within, "arm")]
    elif over is None:
        n_apart = 1
        # Settings that name one model each need no model beside them: each further label has to tell something apart.
        for name in TOLD_APART:
            if name in columns and name not in within:
                n = len(labels[[*keys_apart, name]].dropna().drop_duplicates())
                if n > n_apart:
                    keys_apart, n_apart = [*keys_apart, name], n
    keys = [*keys_apart, *within, "arm"]
    table: Any = source if turns is None else modality_table(turns, keys, level)
    for name in (*keys, SIMULATED):
        if name not in table:
            raise InputError(f"the table has no column {clipped(name)}; make it with modality_df(source, by={keys})")
    if table[OUTCOMES[outcome][0]].isna().any():
        raise InputError(f"the {outcome} of some trials is not known: their ledger was written before it was recorded")
    family, about = _family(table, baseline, within, keys_apart, OUTCOMES[outcome], level)
    if not family:
        where = ", ".join(within) or "anything"
        raise InputError(f"no {where} has both {baseline} and another arm, so nothing can be compared within it")
    with suppress(InputError):  # a frame has no plan
        if margin is None:
            margins = {(ledger.plan.get("analysis") or {}).get("margin") for ledger in ledgers_of(source)}
            margin = margins.pop() if len(margins) == 1 else None
    verb = "loses the voice" if outcome == "lost_voice" else "drifts"
    return _frame(stats.adjusted(family), about, within, keys_apart, alpha, level, margin, verb)


def _family(
    table: pd.DataFrame, baseline: str, within: list[str], over: list[str], counts: tuple[str, str], level: float
) -> tuple[list[Comparison], list[dict[str, Any]]]:
    """Make every comparison that was asked for, and what else its row says."""
    arms = list(dict.fromkeys(table["arm"].astype(str)))
    if baseline not in arms:
        there_are = ", ".join(arms) or "none"
        raise InputError(f"no trial has the arm {clipped(baseline)} to compare with; there are {there_are}")
    if len(arms) < 2:
        raise InputError(f"{baseline} is the only arm, so there is nothing to compare it with")
    family: list[Comparison] = []
    about: list[dict[str, Any]] = []
    keys = [*over, SIMULATED]
    # Of completed trials those that failed are missing; of first turns those that were lost after asking.
    missing = "failed" if counts[1] == "completed" else "lost"
    # All of it is one family for Holm's correction, pooled rows too: who reads them all has had as many chances.
    for key, part in table.groupby(keys, observed=True, sort=False, dropna=False):
        labels = dict(zip(keys, key, strict=True))
        rows = {(tuple(row[name] for name in within), str(row["arm"])): row for _, row in part.iterrows()}
        strata = list(dict.fromkeys(stratum for stratum, _ in rows))
        origin = [name for name in (*WHERE, "run_ended") if name in part and name not in labels]
        where = {name: joined(part[name].dropna().astype(str).unique(), name) for name in origin}
        for arm in dict.fromkeys(arm for _, arm in rows if arm != baseline):
            # A stratum without one of the two arms compares nothing.
            pairs = [(rows[s, arm], rows[s, baseline]) for s in strata if (s, arm) in rows and (s, baseline) in rows]
            fours = [[int(row[name]) for row in pair for name in counts] for pair in pairs]
            names = [tuple(pair[0][name] for name in within) for pair in pairs]
            for stratum, four, pair in zip(names, fours, pairs, strict=True):
                words = ", ".join(f"{name} {word}" for name, word in zip(within, stratum, strict=True))
                k1, n1, k0, n0 = four
                family.append(stats.compare(k1, n1, k0, n0, level, arm=arm, baseline=baseline, stratum=words or None))
                about.append(labels | where | dict(zip(within, stratum, strict=True)) | _n_missing([pair], missing))
            # Over one stratum it would be the same test once more, and count in the family.
            if len(pairs) > 1:
                words_of = [", ".join(map(str, stratum)) for stratum in names]
                family.append(stats.mantel_haenszel(fours, level, names=words_of, arm=arm, baseline=baseline))
                about.append(labels | where | dict.fromkeys(within, POOLED) | _n_missing(pairs, missing))
    return family, about


def _n_missing(pairs: Sequence[tuple[Any, Any]], missing: str) -> dict[str, Any]:
    """Sum what is missing in the arm and in the baseline (lost after asking, or failed), and whether the bounds of a single pair
    overlap."""
    if any(row.isna().get(missing, True) for pair in pairs for row in pair):
        return {"lost": None, "baseline_lost": None, "overlap": False, "missing": missing}
    (arm, base), *more_pairs = pairs
    # Bounds of a pooled rate are not defined by those of its strata, so that only a single pair has them.
    overlap = not more_pairs and arm["drift_least"] <= base["drift_most"] and base["drift_least"] <= arm["drift_most"]
    n, n_base = (sum(int(pair[side][missing]) for pair in pairs) for side in (0, 1))
    return {"lost": n, "baseline_lost": n_base, "overlap": bool(overlap and (n or n_base)), "missing": missing}


def _frame(
    family: Sequence[Comparison],
    about: Sequence[dict[str, Any]],
    within: list[str],
    over: list[str],
    alpha: float,
    level: float,
    margin: float | None,
    verb: str,
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for comparison, labels in zip(family, about, strict=True):
        gap = comparison.difference
        cells = {
            "arm": comparison.arm, "baseline": comparison.baseline, "pooled": comparison.strata is not None,
            "k": comparison.k1, "n": comparison.n1, "rate": comparison.rate1,
            "baseline_k": comparison.k0, "baseline_n": comparison.n0, "baseline_rate": comparison.rate0,
            "difference": gap.estimate, "low": gap.low, "high": gap.high, "p": comparison.p, "p_holm": comparison.p_holm,
            "family": comparison.family, "shown": comparison.p_holm is not None and comparison.p_holm <= alpha,
            "test": comparison.method, "interval": gap.method, "level": level,
            "lost": labels["lost"], "baseline_lost": labels["baseline_lost"],
            "equivalent": None if margin is None else stats.equivalence(comparison, margin, alpha).note == "equivalent",
            "sentence": marked(comparison, labels, over, alpha, margin, verb),
        }  # fmt: skip
        first = {name: labels[name] for name in (*over, *within)}
        last = {name: labels[name] for name in (SIMULATED, *WHERE) if name in labels and name not in first}
        rows.append(first | cells | last)
    df = pd.DataFrame(rows)
    numbers = ["rate", "baseline_rate", "difference", "low", "high", "p", "p_holm"]
    df[numbers] = df[numbers].astype(np.float64)
    df[SIMULATED] = pd.array([None if pd.isna(v) else bool(v) for v in df[SIMULATED]], dtype="boolean")
    for name in (*over, *within, "arm", "baseline"):
        words = df[name].astype(str)
        df[name] = pd.Categorical(words, categories=words.dropna().unique())
    return df.astype({"family": "Int64", "lost": "Int64", "baseline_lost": "Int64", "equivalent": "boolean"})


def marked(
    comparison: Comparison, labels: dict[str, Any], over: Sequence[str], alpha: float, margin: float | None, verb: str
) -> str:
    """Return the plain sentence, with the mark of its origin in front: it must not pass for a measurement when it is quoted."""
    import pandas as pd

    simulated = labels.get(SIMULATED)
    mark = show.origin_word(None if pd.isna(simulated) else bool(simulated))
    where = ", ".join(str(labels[name]) for name in over)
    # Names of settings and arms come from a file: no control character, and no megabyte, gets into a sentence.
    arm, baseline = (show.plain(word, 60).replace("_", " ") for word in (comparison.arm, comparison.baseline))
    text = stats.sentence(replace(comparison, arm=arm, baseline=baseline), alpha, margin=margin, verb=verb)
    arm_lost, baseline_lost = labels.get("lost"), labels.get("baseline_lost")
    # Multiplied crosswise: equal shares say nothing, and an empty arm divides by nothing.
    if arm_lost is not None and baseline_lost is not None and arm_lost * comparison.n0 != baseline_lost * comparison.n1:
        word = "Failed" if labels.get("missing") == "failed" else "Lost after asking"
        text += f" {word}: {arm_lost} beside {comparison.n1} answered, against {baseline_lost} beside {comparison.n0}"
        text += "; with them the bounds of the two overlap." if labels.get("overlap") else "."
    reason = labels.get("run_ended") or ""
    # Fisher's and Newcombe's methods hold where results did not decide how many trials there were.
    if "interrupted" in reason or STOPPED in reason:
        ended_by = "by its stop rule" if STOPPED in reason else "by hand"
        text += f" The run was ended {ended_by}; these tests take the number of trials as fixed before."
    return f"[{mark}] " * bool(mark) + f"{where}: " * bool(where) + text


def _names(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _is_table(source: Any) -> bool:
    return hasattr(source, "columns") and "first_turns" in source.columns
