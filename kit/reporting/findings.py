"""What may be said of a ledger: sentences per case first, then whatever could tilt them.

Drift is text where audio was asked for. Lost voice is text, silence or a reply after the deadline. A sentence is about one case;
cases are pooled only in comparisons, each case with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .. import show, stats, tables
from ..stats.comparisons import p_words
from ..stats.intervals import percent
from ..tables.modality import points
from .pieces import Grid, Material, flag, ordered, origin, spaced, text_read, when

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

MAX_SENTENCES = 12  # about single cases; more are in the table

# ------------------------------------------------------------------------------------------------------------ sentences


def in_short(m: Material) -> dict[str, Any]:
    """What came out, in computed sentences, each with whether it shows a difference: cases first, then comparisons."""
    # As it is first; where the plan has no baseline, every arm speaks for itself.
    base = m.table[m.table["arm"].astype(str) == m.baseline]
    cases = [case_sentence(m, row) for row in _rows(base if len(base) else m.table) if row["first_turns"]]
    notes = [f"{len(cases) - MAX_SENTENCES} more cases are in the table."] if len(cases) > MAX_SENTENCES else []
    sentences = [(sentence, False) for sentence in cases[:MAX_SENTENCES]]
    if m.comparisons is not None:
        pooled = m.comparisons["pooled"].astype(bool)
        single = m.comparisons[~pooled]
        shares = f"{int(single['shown'].sum())} of {show.counted(len(single), 'comparison')}"
        notes.append(f"Within single cases {shares} show a difference; all are listed below.")
        # The pooled rows and what is shown; hundreds of single cases without a difference are no summary.
        chosen = m.comparisons[pooled | m.comparisons["shown"]] if pooled.any() else m.comparisons
        for row in _rows(chosen.sort_values("pooled", kind="stable")):
            sentence = str(row["sentence"])
            if m.over:  # settings are called by what they differ in
                sentence = sentence.replace(f"{row['settings']}: ", f"{m.called('settings', row)}: ", 1)
            sentences.append((sentence, bool(row["shown"])))
    return {"sentences": sentences, "notes": notes}


def case_sentence(m: Material, row: Any) -> str:
    """One case of one arm that was answered: how many first turns came as text, with the interval, and how many lost the voice."""
    n, k, percents = int(row["first_turns"]), int(row["text"]), percent(row["level"])
    # Of the row: a ledger may hold what was simulated and what was measured.
    mark = show.origin_word(flag(row["simulated"]))
    where = f"[{mark}] " * bool(mark) + (f"{m.called('settings', row)}, " if m.over else "")
    where += f"case {row['case']}, {spaced(row['arm'])}"
    stopped = str(row.get("run_ended")).startswith("stop rule")
    name = "interval of the stop rule, good at any look," if stopped else "interval"
    # GPT-Live has no text, so "answered in text" would be 0 by its nature.
    if m.is_live:
        n_lost = int(row["lost_voice"])
        interval = stats.wilson(n_lost, n, float(row["level"]))
        bounds = f"{100 * (interval.low or 0.0):.1f} to {100 * (interval.high or 0.0):.1f}"
        return f"{where}: {n_lost} of {n} first turns had no voice in time ({percent(n_lost / n)}, {percents} {name} {bounds})."
    bounds = f"{100 * row['drift_low']:.1f} to {100 * row['drift_high']:.1f}"
    sentence = f"{where}: {k} of {n} first turns were answered in text ({percent(k / n)}, {percents} {name} {bounds})."
    # Ledgers of schema 1 did not record silence; 0 would be a claim.
    sentence += f" The voice was lost in {int(row['lost_voice'])} of {n}." if m.timed else " Silence is not known."
    # Sessions without a history, of the same settings: another model has another background.
    without = m.of(m.controls[m.controls["role"] == "negative"], str(row.get("settings")))
    text, n_known = int(without["text"].sum()), int(without["known"].sum())
    if (p := stats.fisher(k, n, text, n_known)) is not None:
        verdict = "a difference beyond chance" if p <= m.alpha else "no difference shown"
        sentence += f" Without a history it was {text} of {n_known}: {verdict}, {p_words(p)}, unadjusted."
    if row["turns_after_text"]:
        again = show.counted(int(row["turns_after_text"]), "turn")
        sentence += f" After a text reply the next was text again in {percent(row['persistence_rate'])} of {again}"
        # NaN where too few turns came after a text.
        low, high = row["persistence_low"], row["persistence_high"]
        sentence += f" ({points(low)} to {points(high)})." if low == low else " (of one trial, so without an interval)."
    return sentence


def _rows(df: Frame) -> Iterator[Any]:
    return (row for _, row in df.iterrows())


# --------------------------------------------------------------------------------------------- what could tilt the numbers


def controls(m: Material) -> Grid | None:
    """What the controls of each setting read. Text without a history is background: a rate, and no fault."""
    rows: list[list[Any]] = []
    verdicts = {True: "fit", False: Markup("<strong>unfit</strong>"), None: "not known"}
    for row in _rows(m.controls):
        positive, is_known = row["role"] == "positive", row["rate"] == row["rate"]
        share = f"{row['text']} text: {points(row['rate'])} % ({points(row['low'])}–{points(row['high'])})"
        cells = [row["settings"], "text asked" if positive else "no history", Markup(show.badge(row["must_read"]))]
        cells += [f"{row['completed']} of {row['planned']}", row["read"] or "–"]
        cells += [share if is_known and not positive else "–", verdicts[flag(row["fit"])], origin(row["simulated"])]
        rows.append(cells)
    names = ["settings", "control", "should read", "completed", "read", "background", "verdict", "origin"]
    return Grid(names, rows, group=1) if rows else None


def fitness(m: Material) -> tuple[str, str, str]:
    """A box, as class, word and text: was the instrument fit, setting by setting?"""
    df = m.controls
    if m.fit is False:
        unfit = "; ".join(
            f"{row['settings']}: asked so that it must read {row['must_read']}, read {row['read'] or 'nothing'}"
            for row in _rows(df)
            if flag(row["fit"]) is False
        )
        return "bad", "Unfit", (
            f"A control did not read what it must ({unfit}). The numbers below are kept, and should not be relied on."
        )  # fmt: skip
    if not len(df):
        return "", "No controls", "The plan has none, so nothing here says whether the instrument was fit."
    if not df["completed"].sum():
        return "", "Controls not answered yet", f"None of {df['planned'].sum()} has completed."
    text = text_read(df)
    without = df[(df["role"] == "negative") & (df["completed"] > 0)]
    if len(without):
        shares = " and ".join(f"{row['text']} of {row['completed']}" for row in _rows(without))
        text += f". Without a history {shares} came as text: the background that a case is compared with"
    if m.fit is None:
        fit = df[(df["role"] == "positive") & df["fit"].fillna(False)]["settings"].astype(str)
        unknown = "; ".join(name for name in ordered(df, "settings") if name not in set(fit))
        return "", "Fitness not known", f"No positive control has answered for {unknown}. In all {text}."
    return "good", "Controls as they must be", f"{text}."


def flow(m: Material) -> Grid:
    """How many trials of each arm came how far."""
    by, names = [*m.over, "arm"], ["planned", "connected", "seeded", "asked", "answered", "lost"]
    rows = []
    for row in _rows(tables.flow_df(m.ledger, by)):
        cells = ["–" if row[name] is None or row[name] != row[name] else f"{row[name]:,}" for name in names]
        rows.append([*(m.called(name, row) for name in by), *cells])
    return Grid([*by, *names[:-1], "attempts lost after asking"], rows)


def definitions(m: Material) -> dict[str, Any]:
    """The rate of each case and arm under the other definitions of a lost voice, and what those mean."""
    keys = [*m.over, "case", "arm"]
    rows: dict[tuple[str, ...], list[Any]] = {}
    names = [name for name in tables.DEFINITIONS if m.timed or name != "lost voice"]
    for row in _rows(tables.definitions_df(m.table, keys, level=m.level)):
        if row["definition"] in names:
            cells = rows.setdefault(tuple(str(row[name]) for name in keys), [m.called(name, row) for name in keys])
            interval = f" ({points(row['low'])}–{points(row['high'])} %)" if row["n"] else ""
            cells.append(f"{row['k']} of {row['n']}{interval}" if row["n"] else "–")
    meanings = [(word, meaning) for word, (_, meaning) in tables.DEFINITIONS.items()]
    return {"grid": Grid([*keys, *names], list(rows.values()), group=len(keys) - 1), "meanings": meanings}


def days(m: Material) -> dict[str, Any]:
    """Drift by day and by half of the planned order: whether what was measured stayed the same while it was measured."""
    trials = m.trials[m.trials["first_turn_modality"].notna()].copy()
    trials["day"] = [when(at)[:10] for at in trials["started_at"]]
    # By the planned order and not by time: a run that was gone on with has a gap in its hours.
    middle = m.trials["n"].median()
    trials["half"] = ["first half of the order" if n <= middle else "second half" for n in trials["n"]]
    trials["lost"] = trials["first_turn_modality"].astype(str) == "text"
    if m.rate == "lost_voice":
        trials["lost"] |= trials["first_turn_outcome"].astype(str).isin(["silent", "late"])
    keys, dates, halves = [*m.over, "arm"], sorted(ordered(trials, "day")), ["first half of the order", "second half"]
    rows = []
    for key, df in trials.groupby(keys, observed=True, sort=False):
        cells: list[Any] = [m.called(name, dict(zip(keys, key, strict=True))) for name in keys]
        parts = [df[df["day"] == date] for date in dates] + [df[df["half"] == half] for half in halves]
        rows.append(cells + [f"{int(part['lost'].sum())} of {len(part)}" if len(part) else "–" for part in parts])
    note = ""
    # The intervals know nothing of a service that changes overnight.
    if len(dates) == 1:
        note = f"All of it is from one day, {dates[0]}: the intervals allow for chance on that day, and say nothing of another."
    return {"grid": Grid([*keys, *dates, *halves], rows), "note": note}


def chosen_later(m: Material) -> str:
    """What of the analysis was chosen when the report was made, and not frozen with the trials; empty if nothing was."""
    chosen = "Chosen when this page was made, not with the plan: "
    if m.analysis is None:
        return (
            f"{chosen}the baseline, the outcome, the family of tests, α = {m.alpha:g} and the level of {percent(m.level)}. The plan of "
            "this ledger froze the trials alone."
        )
    later = []
    # Chosen afterwards is not wrong, but a reader must know.
    if m.analysis.get("baseline") != m.baseline:
        later.append(f"the baseline “{spaced(m.baseline)}” (planned: “{spaced(m.analysis.get('baseline'))}”)")
    if m.analysis.get("level") != m.level:
        later.append(f"the level of {percent(m.level)} (planned: {percent(m.analysis.get('level') or 0.95)})")
    return f"{chosen}{' and '.join(later)}." if later else ""


def unfinished(m: Material) -> tuple[str, str] | None:
    """A word and a text for a run that did not come to the plan's end: which numbers that touches."""
    run = m.ledger.last_run
    reason = run["ended"] if run else None
    n = m.ledger.counts()
    not_run = f"{n['missing']:,} of {n['planned']:,} trials were not run."
    note = f" ({run['note']})" if run and run["note"] else ""
    # A rule that was frozen with the plan is no choice of anybody who saw the counts.
    if reason == "stop rule":
        return "Stopped by its rule", (
            f"{not_run} They were never to be run. Beside each rate stands the rule's own interval, which is good at any look; tests and "
            "differences assume a fixed number of trials, and a rate that a rule stopped early leans towards 0 or 1."
        )  # fmt: skip
    # All were run: how the last run ended touches no number.
    if not n["missing"]:
        return None
    if reason == "budget":
        text = f"{not_run} The budget ended the run{note}; the order is balanced, so what was run is a smaller plan."
        return "Not finished", text
    return "Not finished", (
        f"{not_run}{f' The last run ended by: {reason}{note}.' if reason else ''} If somebody watched the counts and stopped it, tests and "
        "intervals do not hold: they assume that the number of trials was fixed before (stopping at a good moment makes 5 % of false "
        "findings 14 %)."
    )  # fmt: skip
