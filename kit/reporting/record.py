"""The record: what was planned, what failed, what it cost, what ran it, what to look up, and how it was counted."""

from __future__ import annotations

import json
from typing import Any

from .. import show
from .material import Material
from .parts import definitions, download, grid, options, said, sorted_words, when

MOST_IDS = 300  # rows of ids on the page; the download has all


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
                f"at most {p.get('max_attempts', '–')} per trial, only after a failure of transport; {str(p.get('timeout_s', '–')).removesuffix('.0')} s per turn"
            ),
        ),
        (
            "stops",
            show.esc(
                f"when every rate is known to ±{50 * stop['width']:g} points (confidence sequences, α = {stop['alpha']:g})"
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
                show.esc(said(arm["name"])),
                show.esc(options(arm.get("options"))),
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
        f"<details class='long'><summary>The plan as JSON</summary><pre>{whole}</pre></details>"
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
    n = len(rows)
    for turn in each.get("turns", ()):
        rows.append((["user, later", "", show.esc(turn if isinstance(turn, str) else _audio(turn))], False))
    reported = f" Reported: {show.badge(each['reported'])}" if each.get("reported") else ""
    return f"<details><summary>Case {show.esc(each.get('name'))}: {n} item{'' if n == 1 else 's'}</summary><p>{reported} {show.esc(each.get('note', ''))}</p>{grid(['who', 'content', 'says'], rows, wide=(2,))}</details>"


def _audio(value: Any) -> str:
    return (
        f"a clip of {value.get('audio_ms', 0) / 1000:.2f} s: “{value.get('text') or '?'}”"
        if isinstance(value, dict)
        else ""
    )


def _settings(each: dict[str, Any]) -> str:
    facts = [
        (name, show.esc(options(value) if isinstance(value, dict) else value))
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
                    show.esc(said(", ".join(sorted_words(some, "arm")))),
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
                show.esc(said(row["arm"])),
                str(row["turn"]),
            ],
            False,
        )
        for _, row in df.head(MOST_IDS).iterrows()
    ]
    more = f" The first {MOST_IDS} are listed." if len(df) > MOST_IDS else ""
    where = (
        "a local stand-in made them, so no vendor has them"
        if m.simulated
        else "to be looked up in the service's own logs"
    )
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
        f"<h2>For the vendor</h2><p>{len(df):,} responses came as text where audio was asked for. Their ids: {where}.{more}</p>"
        f"<details><summary>Sessions and responses</summary>{grid(names, rows)}</details><p class='quiet download'>{download(df[columns], 'text-replies.csv', 'All of them as CSV')}</p>"
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
