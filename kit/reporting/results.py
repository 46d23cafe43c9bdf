"""What came out: who answered, sentences, pictures, tables, comparisons. Each takes the `Material` and gives HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import plots, show
from ..stats.results import percent
from ..tables.modality import points
from .material import Material
from .parts import (
    bar,
    counted,
    download,
    figure,
    flag,
    grid,
    number,
    origin,
    rated,
    said,
    sentence_list,
    sorted_words,
    verdict,
    when,
)


def head(m: Material, question: str) -> str:
    """The question, and in one line what was done about it."""
    n = m.ledger.counts()
    cases, arms = (sorted_words(m.trials, name) for name in ("case", "arm"))
    days = m.trials["started_at"].dropna()
    span = (
        f", {when(days.min())[:10]}"
        + (f" to {when(days.max())[:10]}" if when(days.min())[:10] != when(days.max())[:10] else "")
        if len(days)
        else ""
    )
    return (
        f"<h1>{show.esc(question)}</h1><p class='lead'>{n['completed']:,} of {n['planned']:,} planned trials completed: "
        f"{counted(len(cases), 'case')} ({show.esc(', '.join(cases))}), {counted(len(arms), 'arm')}, on {show.esc('; '.join(m.settings))}{span}.</p>"
    )


def verdicts(m: Material) -> str:
    """What a reader must know before any number: who answered, and whether the instrument was fit."""
    out = []
    if m.simulated:
        out.append(verdict("simulated", show.SIMULATED, "A local simulation answered, by a rule that it was given. This shows the "
                           "instrument at work; it says nothing about what a model does."))  # fmt: skip
    elif m.simulated is None:
        out.append(verdict("simulated", show.UNKNOWN_ORIGIN, "Nothing has answered yet, or not everything is known to come from one "
                           "kind of origin. The column “simulated” says which rows do."))  # fmt: skip
    done, planned = int(m.controls["completed"].sum()), int(m.controls["planned"].sum())
    if m.fit is False:
        wrong = m.controls[m.controls["fit"].fillna(True) == False]  # noqa: E712 (a nullable column)
        told = "; ".join(
            f"{row['settings']}: asked so that it must read {row['must_read']}, read {row['read'] or 'nothing'}"
            for _, row in wrong.iterrows()
        )
        out.append(verdict("bad", "Unfit", f"A control did not read what it must ({told}). The numbers below are kept, and "
                           "should not be relied on."))  # fmt: skip
    elif m.fit:
        out.append(verdict("good", "Controls as they must be", f"{done} of {planned} answered, and all of them read what they must: text "
                           "where text was asked for, audio where there was no history."))  # fmt: skip
    elif not planned:
        out.append(
            verdict("", "No controls", "The plan has none, so nothing here says whether the instrument was fit.")
        )
    else:
        out.append(verdict("", "Controls not answered yet", f"None of {planned} has completed."))
    n = m.ledger.counts()
    if n["missing"]:
        last = m.ledger.last_run
        note = f" ({last['note']})" if last and last["note"] else ""
        why = f" The last run ended by: {last['ended'] or 'unknown'}{note}." if last else ""
        out.append(verdict("", "Not finished", f"{n['missing']:,} of {n['planned']:,} trials were not run.{why}"))
    return "".join(out)


def in_short(m: Material) -> str:
    """What came out, in sentences that are computed."""
    base = m.arms[m.arms["arm"].astype(str) == m.baseline]
    lines: list[str] = []
    for _, row in (base if len(base) else m.arms).iterrows():
        who = f"{row['settings']}, " if "settings" in row else ""
        n, k = int(row["first_turns"]), int(row["text"])
        if n:
            interval = f"{percent(row['drift_rate'])}, 95 % interval {100 * row['drift_low']:.1f} to {100 * row['drift_high']:.1f}"
            stays = (
                f" After a text reply the next was text again in {percent(row['persistence_rate'])} of {int(row['turns_after_text'])} turns."
                if row["turns_after_text"]
                else ""
            )
            lines.append(
                f"{_mark(m)}{who}{said(row['arm'])}: {k} of {n} first turns were answered in text ({interval}).{stays}"
            )
    compared = m.compared
    if compared is None:
        return (
            f"<h2>In short</h2>{sentence_list((text, False) for text in lines) or '<p>No trial has answered yet.</p>'}"
        )
    # pooled rows say it for all cases; the others are listed below
    pooled = compared[compared["pooled"].astype(bool)] if compared["pooled"].any() else compared
    rest = compared.drop(index=pooled.index)
    n_shown = int(rest["shown"].sum())
    more = (
        f"<p class='quiet'>Within single cases {n_shown} of {len(rest)} comparisons show a difference; all are listed below.</p>"
        if len(rest)
        else ""
    )
    items = [(text, False) for text in lines] + list(zip(pooled["sentence"], pooled["shown"], strict=True))
    return f"<h2>In short</h2>{sentence_list(items)}{more}"


def pictures(m: Material) -> Iterator[str]:
    """The pictures, for each of the plan's settings."""
    for n, name in enumerate(m.settings):
        yield f"<h2>{show.esc(name)}</h2>" if len(m.settings) > 1 else "<h2>Pictures</h2>"
        yield "".join(_pictures(m, name, n))


def _pictures(m: Material, name: str, n: int) -> Iterator[str]:
    table, arms, turns = m.of(m.table, name), m.of(m.arms, name), m.turns[m.turns["settings"].astype(str) == name]
    table, arms = (frame.drop(columns="settings", errors="ignore") for frame in (table, arms))
    curve = m.of(m.until_drift, name)
    yield figure(plots.strip, turns, f"f{n}a-", "Every trial as a strip of its turns, coloured by modality")
    yield figure(
        plots.modality, table, f"f{n}b-", "Share of modalities of the first turn per case and arm, with intervals"
    )
    if (turns["turn"] > 0).any():
        yield figure(plots.until_drift, curve, f"f{n}c-", "Share of trials not drifted yet, by reply")
    if turns["heard_ms"].notna().any():
        yield figure(plots.first_audio, turns, f"f{n}d-", "Time until audio came, cumulative share of first turns")
    if len(sorted_words(arms, "arm")) > 1:
        cost = "responses_per_turn" if arms["responses_per_turn"].nunique() > 1 else "items_sent"
        yield figure(
            lambda t, ax: plots.cure_cost(t, cost=cost, ax=ax), arms, f"f{n}e-", "Drift against cost, a point per arm"
        )
    if _grows(table):
        yield figure(plots.drift_by_length, table, f"f{n}f-", "Drift against the number of items in the history")
    if m.compared is not None:
        some = m.of(m.compared, name)
        yield figure(
            plots.differences,
            some.drop(columns="settings", errors="ignore"),
            f"f{n}g-",
            "Difference in drift from the baseline, with intervals",
        )


def _grows(table: Any) -> bool:
    """Whether there are several lengths of history with one case each: else a line through them would join unlike cases."""
    lengths = table[["case", "history_items"]].drop_duplicates()["history_items"]
    return len(lengths) > 2 and bool(lengths.is_unique)


def table(m: Material) -> str:
    """Two tables, a row each per case and arm: rates with their intervals, and what they are out of."""
    rates, counts, before = [], [], None
    rare = [name for name in ("mixed", "function", "empty") if m.table[name].sum()]
    numbers = ["planned", "completed", "failed", "missing", "first_turns", "audio", "text", *rare, "turns"]
    for _, row in m.table.iterrows():
        first = tuple(row[name] for name in m.by[:-1])
        who = [show.esc(m.called(name, row)) for name in m.by]
        rates.append((
            [*who, bar(row["drift_rate"], row["drift_low"], row["drift_high"]), f"<strong>{rated(row, 'drift')}</strong>", _bounds(row),
             *(rated(row, name) for name in ("first_response", "any_drift", "turn_drift", "persistence")), show.ms(number(row["heard_median_ms"]))],
            first != before,
        ))  # fmt: skip
        means = ["–" if value != value else f"{value:.3g}" for value in (row["responses_per_turn"], row["items_sent"])]
        cost = "–" if row["usd"] != row["usd"] else f"${row['usd']:.2f}"
        cells = [*who, origin(row["simulated"]), *(str(int(row[name])) for name in numbers), *means, cost]
        counts.append((cells, first != before))
        before = first
    names = [
        *m.by,
        "",
        "drift",
        "if the missing…",
        "first response",
        "any turn",
        "all turns",
        "text stays",
        "heard after",
    ]
    counted_as = ["answered" if name == "first_turns" else name for name in numbers]
    of = [*m.by, "origin", *counted_as, "responses per turn", "items sent", "cost"]
    none = " or ".join(name for name in ("mixed", "function", "empty") if name not in rare)
    return (
        f"<h2>Table</h2><p>Drift: first turns answered in text, of those answered; what the user finally heard decides. Percent, with "
        f"{percent(m.level)} intervals in brackets.</p>{grid(names, rates)}<h3>What it is out of</h3><p>Trials, then first turns by what was heard"
        f"{f'; none was {none}' if none else ''}.</p>{grid(of, counts)}"
        f"<p class='quiet download'>{download(m.table, 'table.csv', 'The whole table as CSV')} · {download(m.trials, 'trials.csv', 'every trial as CSV')}</p>"
    )


def comparisons(m: Material) -> str:
    """Each arm against the baseline, in sentences."""
    if m.compared is None:
        return f"<h2>Comparisons</h2><p>There is nothing to compare with “{show.esc(said(m.baseline))}”.</p>"
    every = list(zip(m.compared["sentence"], m.compared["shown"], strict=True))
    plain = [(text, False) for text, shown in every if not shown]
    return (
        f"<h2>Comparisons</h2><p>Each arm against “{show.esc(said(m.baseline))}”, each case compared with itself. Holm's correction over the "
        f"{int(m.compared['p'].notna().sum())} tests decides what a sentence may say; intervals are unadjusted, and say so.</p>"
        + (sentence_list((text, True) for text, shown in every if shown) or "<p>None of them shows a difference.</p>")
        + (
            f"<details><summary>{counted(len(plain), 'comparison')} that show{'s' * (len(plain) == 1)} none</summary>{sentence_list(plain)}</details>"
            if plain
            else ""
        )
        + f"<p class='quiet download'>{download(m.compared, 'comparisons.csv', 'Comparisons as CSV')}</p>"
    )


def controls(m: Material) -> str:
    """What the controls read."""
    if not len(m.controls):
        return ""
    rows = [
        ([show.esc(row["settings"]), "text asked" if row["role"] == "positive" else "no history", show.badge(row["must_read"]), f"{row['completed']} of {row['planned']}",
          show.esc(row["read"] or "–"), {True: "fit", False: "<strong>unfit</strong>", None: "not known yet"}[flag(row["fit"])], origin(row["simulated"])], False)
        for _, row in m.controls.iterrows()
    ]  # fmt: skip
    return (
        f"<h2>Controls</h2>{grid(['settings', 'control', 'must read', 'completed', 'read', 'verdict', 'origin'], rows)}"
    )


def _mark(m: Material) -> str:
    mark = show.origin_word(m.simulated)
    return f"[{mark}] " if mark else ""


def _bounds(row: Any) -> str:
    if row["drift_least"] != row["drift_least"] or row["drift_least"] == row["drift_most"]:
        return "–"
    return f"{points(row['drift_least'])}–{points(row['drift_most'])} %"
