"""The sections of a report, in order. Each takes the `Material` and gives HTML; what is foreign goes through `show.esc`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .. import plots, show
from ..stats.results import percent
from ..tables.modality import points
from .material import Material
from .parts import bar, definitions, download, figure, grid, sentence_list, verdict, when

if TYPE_CHECKING:
    from ..tables.columns import Frame

MOST_IDS = 300  # rows of ids on the page; the download has all


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
        f"<h1>{show.esc(question)}</h1><p class='lead'>{n['completed']:,} of {n['planned']:,} planned trials: "
        f"{_count(len(cases), 'case')} ({show.esc(', '.join(cases))}), {_count(len(arms), 'arm')}, on {show.esc('; '.join(m.settings))}{span}.</p>"
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
    said = []
    for _, row in (base if len(base) else m.arms).iterrows():
        who = f"{row['settings']}, " if "settings" in row else ""
        n, k = int(row["first_turns"]), int(row["text"])
        if n:
            interval = f"{percent(row['drift_rate'])}, 95 % interval {100 * row['drift_low']:.3g} to {100 * row['drift_high']:.3g}"
            stays = (
                f" After a text reply the next was text again in {percent(row['persistence_rate'])} of {int(row['turns_after_text'])} turns."
                if row["turns_after_text"]
                else ""
            )
            said.append(
                f"{_mark(m)}{who}{_said(row['arm'])}: {k} of {n} first turns were answered in text ({interval}).{stays}"
            )
    compared = m.compared
    if compared is None:
        return (
            f"<h2>In short</h2>{sentence_list((text, False) for text in said) or '<p>No trial has answered yet.</p>'}"
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
    items = [(text, False) for text in said] + list(zip(pooled["sentence"], pooled["shown"], strict=True))
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
    if table["history_items"].nunique() > 2:
        yield figure(plots.drift_by_length, table, f"f{n}f-", "Drift against the number of items in the history")
    if m.compared is not None:
        some = m.of(m.compared, name)
        yield figure(
            plots.differences,
            some.drop(columns="settings", errors="ignore"),
            f"f{n}g-",
            "Difference in drift from the baseline, with intervals",
        )


def table(m: Material) -> str:
    """Two tables, a row each per case and arm: rates with their intervals, and what they are out of."""
    rates, counts, before = [], [], None
    for _, row in m.table.iterrows():
        first = tuple(row[name] for name in m.by[:-1])
        who = [show.esc(_said(row[name])) for name in m.by]
        rates.append((
            [*who, bar(row["drift_rate"], row["drift_low"], row["drift_high"]), f"<strong>{_rate(row, 'drift')}</strong>", _bounds(row),
             *(_rate(row, name) for name in ("first_response", "any_drift", "turn_drift", "persistence")), show.ms(_number(row["heard_median_ms"]))],
            first != before,
        ))  # fmt: skip
        numbers = [
            int(row[name])
            for name in (
                "planned",
                "completed",
                "failed",
                "missing",
                "first_turns",
                "audio",
                "text",
                "mixed",
                "function",
                "empty",
                "turns",
            )
        ]
        cost = "–" if row["usd"] != row["usd"] else f"${row['usd']:.2f}"
        counts.append(
            (
                [
                    *who,
                    *map(str, numbers),
                    f"{row['responses_per_turn']:.3g}",
                    f"{row['items_sent']:.3g}",
                    cost,
                    _origin(row["simulated"]),
                ],
                first != before,
            )
        )
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
    of = [
        *m.by,
        "planned",
        "completed",
        "failed",
        "missing",
        "answered",
        "audio",
        "text",
        "mixed",
        "function",
        "empty",
        "turns",
        "responses per turn",
        "items sent",
        "cost",
        "origin",
    ]
    return (
        f"<h2>Table</h2><p>Drift: first turns answered in text, of those answered; what the user finally heard decides. Percent, with "
        f"{percent(m.level)} intervals in brackets.</p>{grid(names, rates)}<h3>What it is out of</h3><p>Trials, then first turns by what was heard.</p>{grid(of, counts)}"
        f"<p class='quiet'>{download(m.table, 'table.csv', 'The whole table as CSV')} · {download(m.trials, 'trials.csv', 'every trial as CSV')}</p>"
    )


def comparisons(m: Material) -> str:
    """Each arm against the baseline, in sentences."""
    if m.compared is None:
        return f"<h2>Comparisons</h2><p>There is nothing to compare with “{show.esc(_said(m.baseline))}”.</p>"
    items = sentence_list(zip(m.compared["sentence"], m.compared["shown"], strict=True))
    return (
        f"<h2>Comparisons</h2><p>Each arm against “{show.esc(_said(m.baseline))}”, each case compared with itself. Holm's correction over the "
        f"{int(m.compared['p'].notna().sum())} tests decides what a sentence may say; intervals are unadjusted, and say so.</p>{items}"
        f"<p class='quiet'>{download(m.compared, 'comparisons.csv', 'Comparisons as CSV')}</p>"
    )


def controls(m: Material) -> str:
    """What the controls read."""
    if not len(m.controls):
        return ""
    rows = [
        ([show.esc(row["settings"]), "text asked" if row["role"] == "positive" else "no history", show.badge(row["must_read"]), f"{row['completed']} of {row['planned']}",
          show.esc(row["read"] or "–"), {True: "fit", False: "<strong>unfit</strong>", None: "not known yet"}[_flag(row["fit"])], _origin(row["simulated"])], False)
        for _, row in m.controls.iterrows()
    ]  # fmt: skip
    return (
        f"<h2>Controls</h2>{grid(['settings', 'control', 'must read', 'completed', 'read', 'verdict', 'origin'], rows)}"
    )


def plan(m: Material) -> str:
    """What was planned, whole."""
    p = m.plan
    stop = p.get("stop")
    facts = [
        ("hash", f"<code>{show.esc(m.ledger.plan_hash)}</code>"),
        (
            "repeats",
            show.esc(
                f"{p.get('repeats', '–')} per case, arm and setting, in an order drawn by seed {p.get('seed', '–')}"
            ),
        ),
        (
            "tries",
            show.esc(
                f"at most {p.get('max_attempts', '–')} per trial, only after a failure of transport; {p.get('timeout_s', '–')} s per turn"
            ),
        ),
        (
            "stops",
            show.esc(
                f"when every rate is known to within {stop['width']:g} (confidence sequences, α = {stop['alpha']:g})"
                if stop
                else "at its end"
            ),
        ),
    ]
    cases = "".join(_case(each) for each in p.get("cases", ()))
    whole = show.esc(json.dumps(p, indent=1, ensure_ascii=False), limit=200_000)
    arms = [
        (
            [
                show.esc(_said(arm["name"])),
                show.esc(_options(arm.get("options"))),
                show.esc(arm.get("max_responses", "")),
            ],
            False,
        )
        for arm in p.get("arms", ())
    ]
    settings = "".join(_settings(each) for each in p.get("settings", ()))
    return (
        f"<h2>Plan</h2><p>Frozen and hashed before the first trial.</p>{definitions(facts)}<h3>Cases</h3>{cases}"
        f"<h3>Arms</h3>{grid(['arm', 'options', 'responses per turn, at most'], arms)}{settings}"
        f"<details><summary>The plan as JSON</summary><pre>{whole}</pre></details>"
    )


def _case(each: dict[str, Any]) -> str:
    rows = []
    for item in each.get("items", ()):
        parts = item.get("content") or [{}]
        said = " ".join(str(part.get("text") or _audio(part.get("audio")) or "") for part in parts) or str(
            item.get("output") or item.get("arguments") or ""
        )
        rows.append(
            (
                [
                    show.esc(item.get("role") or item.get("type")),
                    f"<code>{show.esc(', '.join(str(part.get('type', '')) for part in parts))}</code>",
                    show.esc(said),
                ],
                False,
            )
        )
    for turn in each.get("turns", ()):
        rows.append((["user, later", "", show.esc(turn if isinstance(turn, str) else _audio(turn))], False))
    reported = f" Reported: {show.badge(each['reported'])}" if each.get("reported") else ""
    return f"<details><summary>Case {show.esc(each.get('name'))}: {len(each.get('items', ()))} items</summary><p>{reported} {show.esc(each.get('note', ''))}</p>{grid(['who', 'content', 'says'], rows, wide=(2,))}</details>"


def _audio(value: Any) -> str:
    return (
        f"a clip of {value.get('audio_ms', 0) / 1000:.2f} s: “{value.get('text') or '?'}”"
        if isinstance(value, dict)
        else ""
    )


def _settings(each: dict[str, Any]) -> str:
    facts = [
        (name, show.esc(_options(value) if isinstance(value, dict) else value))
        for name, value in each.items()
        if name != "name" and value not in ("", {}, None)
    ]
    return f"<h3>{show.esc(each.get('name'))}</h3>{definitions(facts)}"


def failures(m: Material) -> str:
    """What went wrong, by kind; every one of them is a row of the ledger."""
    bad = m.attempts[m.attempts["status"].isin(["failed", "interrupted"])]
    if not len(bad):
        return f"<h2>Failures</h2><p>None: {len(m.attempts):,} attempts, none failed and none was interrupted.</p>"
    rows = []
    for (status, kind), some in bad.groupby(["status", bad["kind"].astype("string").fillna("–")], observed=True):
        example = next((text for text in some["error"].dropna()), "")
        expected = int(some["expected"].fillna(False).sum())
        rows.append(
            (
                [
                    show.esc(status),
                    show.esc(kind),
                    str(len(some)),
                    str(int(some["counts"].sum())),
                    str(expected),
                    show.esc(_said(", ".join(sorted_words(some, "arm")))),
                    show.esc(example, 300),
                ],
                False,
            )
        )
    names = ["status", "kind", "attempts", "decided the trial", "foreseen by the arm", "arms", "for example"]
    return f"<h2>Failures</h2><p>{len(bad):,} of {len(m.attempts):,} attempts. A failed trial stays in the denominators as failed; it is never counted as drift.</p>{grid(names, rows, wide=(5, 6))}"


def money(m: Material) -> str:
    """What it cost."""
    spent, last = m.ledger.spent(), m.ledger.last_run
    facts = [
        (
            "spent",
            f"${spent['usd']:.2f}"
            + (f", ${spent['estimated_usd']:.2f} of it estimated by reservation" if spent["estimated_usd"] else ""),
        )
    ]
    if spent["unpriced"]:
        facts.append(("unpriced", f"{spent['unpriced']} attempts: the kit knows no price for them"))
    if last is not None:
        facts.append(("budget", "none was needed" if last["budget_usd"] is None else f"${last['budget_usd']:.2f}"))
        facts.append(
            (
                "runs",
                f"the last began {when(last['started_at'])} and ended by: {last['ended'] or 'still running, or killed'}",
            )
        )
    return f"<h2>Cost</h2>{definitions([(name, show.esc(value)) for name, value in facts])}"


def versions(m: Material) -> str:
    """What ran it, and what answered."""
    last = m.ledger.last_run or {}
    told = m.attempts
    facts = [
        ("kit", last.get("kit_version", "–")),
        ("Python", last.get("python", "–")),
        ("models, as the server named them", ", ".join(sorted(set(told["served_model"].dropna().astype(str)))) or "–"),
        ("voices", ", ".join(sorted(set(told["voice"].dropna().astype(str)))) or "–"),
    ]
    rules = sorted_words(told, "drift_rule")
    if rules:
        facts.append(("the stand-in's drift rule", ", ".join(rules)))
    return f"<h2>Versions</h2>{definitions([(name, show.esc(value)) for name, value in facts])}"


def ids(m: Material) -> str:
    """For the vendor: which sessions and responses to look up."""
    df = m.drifted
    if not len(df):
        return "<h2>For the vendor</h2><p>No response came as text where audio was asked for, so there is none to look up.</p>"
    rows = [
        (
            [
                when(row["started_at"]),
                show.esc(row["model"]),
                f"<code>{show.esc(row['session_id'])}</code>",
                f"<code>{show.esc(row['response_id'])}</code>",
                show.esc(row["case"]),
                show.esc(_said(row["arm"])),
                str(row["turn"]),
            ],
            False,
        )
        for _, row in df.head(MOST_IDS).iterrows()
    ]
    more = f" The first {MOST_IDS} are listed." if len(df) > MOST_IDS else ""
    names = ["session began (UTC)", "model", "session", "response", "case", "arm", "turn"]
    columns = [
        "started_at",
        "endpoint",
        "model",
        "session_id",
        "response_id",
        "case",
        "arm",
        "turn",
        "response",
        "asked",
        "modality",
        "status",
        "simulated",
        "trial_id",
        "attempt_id",
    ]
    return (
        f"<h2>For the vendor</h2><p>{len(df):,} responses came as text where audio was asked for. Their ids, to be looked up in the service's own logs.{more}</p>"
        f"<details><summary>Sessions and responses</summary>{grid(names, rows)}</details><p class='quiet'>{download(df[columns], 'text-replies.csv', 'All of them as CSV')}</p>"
    )


def method(m: Material) -> str:
    """How it was counted, so that somebody else could."""
    return (
        "<h2>How it was counted</h2><p>The modality of a reply is decided by the content parts and deltas that arrived, never by what was asked for or by the echo of it. "
        "Drift is text where audio was asked for; mixed, empty and function-only replies, and failures, have columns of their own. A turn is one user turn and all the responses that it took; "
        "what the user finally heard decides it, and the first response stands beside it.</p>"
        "<p>Rates of first turns have Wilson's interval. Rates over all turns have one that knows which turns share a session, since drift sticks. Turns until drift are Kaplan and Meier's. "
        "Arms are compared within case: Newcombe's interval for the difference, Fisher's exact test; pooled over cases by Mantel and Haenszel. "
        "“If the missing…” is what the rate would be had none, or all, of the planned trials without an answer drifted.</p>"
    )


# ------------------------------------------------------------------------------------------------------------ small words


def sorted_words(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the plan's order."""
    present = set(df[name].dropna().astype(str))
    order: Iterable[Any] = df[name].cat.categories if hasattr(df[name], "cat") else df[name].dropna().unique()
    return [str(word) for word in order if str(word) in present]


def _mark(m: Material) -> str:
    mark = show.origin_word(m.simulated)
    return f"[{mark}] " if mark else ""


def _said(word: object) -> str:
    return str(word).replace("_", " ")


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _options(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


def _number(value: Any) -> float | None:
    return None if value != value else float(value)


def _flag(value: Any) -> bool | None:
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def _origin(value: Any) -> str:
    return show.esc(show.origin_word(_flag(value)) or "measured")


def _rate(row: Any, name: str) -> str:
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def _bounds(row: Any) -> str:
    if row["drift_least"] != row["drift_least"] or row["drift_least"] == row["drift_most"]:
        return "–"
    return f"{points(row['drift_least'])}–{points(row['drift_most'])} %"
