"""What may be said of a ledger: sentences per case first, then whatever could tilt them.

Drift is text where audio was asked for. Lost voice is text, silence or a reply after the deadline. A sentence is about one case;
cases are pooled only in comparisons, each case with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .. import show, stats
from ..stats.intervals import percent
from ..tables.modality import points
from .pieces import Grid, Material, badge, ordered, plural, spaced, when

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

MAX_SENTENCES = 12  # about single cases; more are in the table
TILTED = 0.1  # failed shares of two arms that differ by as much, or with a p as small, are named beside a comparison

# How far the trials of an arm came, over all of their attempts. `reply_asked` is NULL in ledgers of schema 1: what got an answer had
# been asked for.
_FLOW = """
SELECT t.settings_name AS settings, t.arm, COUNT(DISTINCT t.trial_id) AS planned, COUNT(DISTINCT a.trial_id) AS begun,
  COUNT(DISTINCT CASE WHEN a.session_id IS NOT NULL THEN t.trial_id END) AS connected,
  COUNT(DISTINCT CASE WHEN a.stage IN ('seeded', 'answered') THEN t.trial_id END) AS seeded,
  COUNT(DISTINCT CASE WHEN COALESCE(a.reply_asked, a.stage = 'answered') THEN t.trial_id END) AS asked,
  COUNT(DISTINCT CASE WHEN a.counts = 1 AND a.status = 'completed' THEN t.trial_id END) AS completed,
  COUNT(DISTINCT CASE WHEN a.counts = 1 AND a.status = 'failed' THEN t.trial_id END) AS failed,
  SUM(COALESCE(a.reply_asked, a.stage = 'answered') AND a.status IN ('failed', 'interrupted')) AS lost
FROM trials t LEFT JOIN attempts a ON a.trial_id = t.trial_id WHERE t.role = 'measure' GROUP BY 1, 2 ORDER BY MIN(t.n)
"""

# The same first turns under other definitions: which outcomes and modalities count as the voice being lost.
DEFINITIONS = {
    "drift": "text alone, of what was answered",
    "first response": "text first, before the arm reacted",
    "lost voice": "text, silent, or late",
    "no voice at all": "no audio arrived, early or late",
    "not wholly voice": "anything but audio alone in time",
}


def lost_voice(df: Frame, definition: str = "lost voice") -> tuple[int, int]:
    """How many first turns lost the voice by a definition of `DEFINITIONS`, and of how many it is known.

    What failed, or was not watched to the end, is not known and is left out. A function call is neither voice nor its loss.
    """
    known = df[~df["outcome"].isin(["failed", "censored", "function"])]
    heard = known["modality"].isin(["audio", "mixed"])
    hits = {
        "drift": known["modality"] == "text",
        "first response": known["first_modality"] == "text",
        "lost voice": known["outcome"].isin(["text", "silent", "late"]),
        "no voice at all": ~heard,
        "not wholly voice": known["outcome"] != "spoken",
    }[definition]
    if definition in ("drift", "first response"):
        known = df[df["modality"].notna() & (df["outcome"] != "failed")]
        column = "modality" if definition == "drift" else "first_modality"
        hits = known[column] == "text"
    return int(known.loc[hits, "n"].sum()), int(known["n"].sum())


# ------------------------------------------------------------------------------------------------------------ sentences


def in_short(m: Material) -> dict[str, Any]:
    """What came out, in computed sentences, each with whether it shows a difference: cases first, then comparisons."""
    mark = f"[{show.origin_word(m.simulated)}] " if m.simulated is not False else ""
    base = m.table[m.table["arm"].astype(str) == m.baseline]
    cases = [
        f"{mark}{sentence}"
        for sentence in map(lambda row: case_sentence(m, row), _rows(base if len(base) else m.table))
        if sentence
    ]
    notes = [f"{len(cases) - MAX_SENTENCES} more cases are in the table."] if len(cases) > MAX_SENTENCES else []
    sentences = [(sentence, False) for sentence in cases[:MAX_SENTENCES]]
    if m.comparisons is not None:
        pooled = m.comparisons["pooled"].astype(bool)
        single = m.comparisons[~pooled]
        n_shown = int(single["shown"].sum())
        notes.append(
            f"Within single cases {n_shown} of {plural(len(single), 'comparison')} show a difference; all are listed below."
        )
        chosen = m.comparisons[pooled | m.comparisons["shown"]] if pooled.any() else m.comparisons
        sentences += [
            (m.brief_settings(row) + tilt(m, row), bool(row["shown"]))
            for row in _rows(chosen.sort_values("pooled", kind="stable"))
        ]
    return {"sentences": sentences, "notes": notes}


def case_sentence(m: Material, row: Any) -> str:
    """One case of one arm: how many first turns came as text, with the interval, and how many lost the voice."""
    n, k = int(row["first_turns"]), int(row["text"])
    if not n:
        return ""
    where = f"{m.called('settings', row)}, " if m.over else ""
    interval, name = drift_interval(m, k, n)
    sentence = (
        f"{where}case {row['case']}, {spaced(row['arm'])}: {k} of {n} first turns were answered in text "
        f"({percent(k / n)}, {name} {100 * interval.low:.1f} to {100 * interval.high:.1f})."
    )
    k_lost, n_known = lost_voice(m.first_turns_of(row))
    if n_known:
        sentence += f" The voice was lost in {k_lost} of {n_known}{'' if m.timed else ', silence not counted'}."
    if row["turns_after_text"]:
        again = plural(int(row["turns_after_text"]), "turn")
        sentence += f" After a text reply the next was text again in {percent(row['persistence_rate'])} of {again}"
        low, high = row["persistence_low"], row["persistence_high"]
        sentence += f" ({points(low)} to {points(high)})." if low == low else "."
    return sentence


def drift_interval(m: Material, k: int, n: int) -> tuple[Any, str]:
    """The interval that may stand beside a rate, and its name: Wilson's, but the stop rule's own where one watched it."""
    if m.stop_rule is None:
        return stats.wilson(k, n, m.level), f"{percent(m.level)} interval"
    level = 1 - m.stop_rule.alpha / m.stop_rule.n_arms
    return m.stop_rule.interval(k, n), f"{percent(level)} interval of the stop rule, good at any look,"


def tilt(m: Material, row: Any) -> str:
    """A sentence where the arms of a comparison failed unequally often: what is missing may not be like what is there."""
    table = m.of(m.table, str(row["settings"])) if m.over else m.table
    if not row["pooled"]:
        table = table[table["case"].astype(str) == str(row["case"])]
    failed, planned = {}, {}
    for arm in (str(row["arm"]), m.baseline):
        cells = table[table["arm"].astype(str) == arm]
        failed[arm], planned[arm] = int(cells["failed"].sum()), int(cells["completed"].sum() + cells["failed"].sum())
    (arm, base) = failed
    if not planned[arm] or not planned[base]:
        return ""
    p = stats.fisher(failed[arm], planned[arm], failed[base], planned[base])
    if abs(failed[arm] / planned[arm] - failed[base] / planned[base]) < TILTED and (p is None or p > TILTED):
        return ""
    return (
        f" Mind what failed: {failed[arm]} of {planned[arm]} trials of {spaced(arm)}, {failed[base]} of {planned[base]} of "
        f"{spaced(base)}; had they been answered, the difference could be another."
    )


def _rows(df: Frame) -> Iterator[Any]:
    return (row for _, row in df.iterrows())


# --------------------------------------------------------------------------------------------- what could tilt the numbers


def controls(m: Material) -> Grid | None:
    """What the controls of each setting read. The negative control is a measurement: text without a history is background."""
    rows: list[list[Any]] = []
    for control in m.controls:
        answered = f"{control.n_answered} of {control.n_planned}"
        read, verdict = (
            f"{control.n_text} text",
            {True: "fit", False: Markup("<strong>unfit</strong>"), None: "not known"}[control.fit],
        )
        if control.role == "negative" and control.n_answered:
            interval = stats.wilson(control.n_text, control.n_answered, m.level)
            read += f", background {points(interval.estimate or 0.0)} % ({points(interval.low or 0.0)}–{points(interval.high or 0.0)})"
        kind = "text asked" if control.role == "positive" else "no history"
        must = badge("text") if control.role == "positive" else badge("audio")
        rows.append([control.settings, kind, must, answered, read, control.others or "–", verdict])
    return (
        Grid(["settings", "control", "should read", "answered", "text", "and", "verdict"], rows, group=1)
        if rows
        else None
    )


def fitness(m: Material) -> tuple[str, str, str]:
    """A box, as class, word and text: was the instrument fit, setting by setting?"""
    if not m.controls:
        return "", "No controls", "The plan has none, so nothing here says whether the instrument was fit."
    answered, planned = (sum(getattr(control, name) for control in m.controls) for name in ("n_answered", "n_planned"))
    unfit = [
        f"{control.settings}: asked so that it must read {'text' if control.role == 'positive' else 'audio'}, read {control.read}"
        for control in m.controls
        if control.fit is False
    ]
    if unfit:
        return "bad", "Unfit", (
            f"A control did not read what it must ({'; '.join(unfit)}). The numbers below are kept, and should not be relied on."
        )  # fmt: skip
    if not answered:
        return "", "Controls not answered yet", f"None of {planned} has completed."
    unknown = [control.settings for control in m.controls if control.role == "positive" and control.fit is None]
    text = f"{answered} of {planned} answered; where text was asked for, text was read"
    background = [
        f"{control.n_text} of {control.n_answered}"
        for control in m.controls
        if control.role == "negative" and control.n_answered
    ]
    if background:
        text += (
            f". Without a history {' and '.join(background)} came as text: the background that a case is compared with"
        )
    if unknown:
        return "", "Fitness not known", f"No positive control has answered for {'; '.join(unknown)}. In all, {text}."
    return "good", "Controls as they must be", f"{text}."


def flow(m: Material) -> Grid:
    """How many trials of each arm came how far."""
    names = ["planned", "begun", "connected", "seeded", "asked", "completed", "failed", "lost"]
    headings = [*names[:-1], "attempts lost after asking"]
    rows = []
    for row in m.ledger.rows(_FLOW):
        cells = [m.called("settings", row)] if m.over else []
        rows.append([*cells, spaced(row["arm"]), *(f"{row[name] or 0:,}" for name in names)])
    return Grid([*m.over, "arm", *headings], rows)


def definitions(m: Material) -> Grid:
    """The rate of each case and arm under the other definitions of a lost voice."""
    rows = []
    for row in _rows(m.table):
        df = m.first_turns_of(row)
        cells = [m.called(name, row) for name in (*m.over, "case", "arm")]
        for name in DEFINITIONS:
            k, n = lost_voice(df, name)
            interval = stats.wilson(k, n, m.level) if n else None
            cells.append(f"{k} of {n} ({points(interval.low)}–{points(interval.high)} %)" if interval else "–")  # type: ignore[arg-type]
        rows.append(cells)
    return Grid([*m.over, "case", "arm", *DEFINITIONS], rows, group=len(m.over) + 1)


def days(m: Material) -> dict[str, Any]:
    """Drift by day and by half of the planned order: whether what was measured stayed the same while it was measured."""
    trials = m.trials[m.trials["first_turn_modality"].notna()].copy()
    trials["day"] = [when(at)[:10] for at in trials["started_at"]]
    middle = m.trials["n"].median()
    trials["half"] = ["first half of the order" if n <= middle else "second half" for n in trials["n"]]
    keys = [*m.over, "arm"]
    rows, dates = [], ordered(trials, "day")
    for key, df in trials.groupby(keys, observed=True, sort=False):
        cells: list[Any] = [m.called(name, dict(zip(keys, key, strict=True))) for name in keys]
        for column, words in (("day", sorted(dates)), ("half", ["first half of the order", "second half"])):
            for word in words:
                part = df[df[column] == word]["first_turn_modality"].astype(str)
                cells.append(f"{int((part == 'text').sum())} of {len(part)}" if len(part) else "–")
        rows.append(cells)
    note = ""
    if len(dates) == 1:
        note = f"All of it is from one day, {dates[0]}: the intervals allow for chance on that day, and say nothing of another."
    return {"grid": Grid([*keys, *sorted(dates), "first half of the order", "second half"], rows), "note": note}


def chosen_later(m: Material) -> str:
    """What of the analysis was chosen when the report was made, and not frozen with the trials; empty if nothing was."""
    if m.analysis is None:
        return (
            "Chosen when this page was made, not with the plan: the baseline, the outcome, the family of tests, "
            f"α = {m.alpha:g} and the level of {percent(m.level)}. The plan of this ledger froze the trials alone."
        )
    later = []
    if m.analysis.get("baseline") != m.baseline:
        later.append(f"the baseline “{spaced(m.baseline)}” (planned: “{spaced(m.analysis.get('baseline'))}”)")
    if m.analysis.get("level") != m.level:
        later.append(f"the level of {percent(m.level)} (planned: {percent(m.analysis.get('level') or 0.95)})")
    return f"Chosen when this page was made, not with the plan: {' and '.join(later)}." if later else ""


def ended(m: Material) -> tuple[str, str] | None:
    """A word and a text for a run that did not come to the plan's end: which numbers that touches."""
    run = m.ledger.last_run
    reason = run["ended"] if run else None
    n = m.ledger.counts()
    left = f"{n['missing']:,} of {n['planned']:,} trials were not run."
    note = f" ({run['note']})" if run and run["note"] else ""
    if reason == "stop rule":
        return "Stopped by its rule", (
            f"{left} They were never to be run. Beside each rate stands the rule's own interval, which is good at any look; tests and "
            "differences assume a fixed number of trials, and a rate that a rule stopped early leans towards 0 or 1."
        )  # fmt: skip
    if not n["missing"]:
        return None
    if reason == "budget":
        return (
            "Not finished",
            f"{left} The budget ended the run{note}; the order is balanced, so what was run is a smaller plan.",
        )
    return "Not finished", (
        f"{left}{f' The last run ended by: {reason}{note}.' if reason else ''} If somebody watched the counts and stopped it, tests and "
        "intervals do not hold: they assume that the number of trials was fixed before (stopping at a good moment makes 5 % of false "
        "findings 14 %)."
    )  # fmt: skip
