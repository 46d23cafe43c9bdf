"""What a report says: one function per section turns the tables of a ledger into plain data.

``report.html`` makes the page of it. `findings` has the sentences and what could tilt them, `pieces` what all sections share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .. import plots, show, tables
from ..stats.intervals import percent
from ..tables.modality import heard_after, points
from ..trials import arms
from . import findings, pieces
from .pieces import (
    Grid,
    Material,
    badge,
    bar,
    code,
    figure,
    listing,
    ordered,
    origin,
    outline,
    rate_text,
    spaced,
    when,
)

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

MAX_PLAN_CHARS = 200_000  # of the plan's JSON
MAX_TRIALS = 600  # on the page, with what was said; a ledger of more has them all
MAX_SOUND_BYTES = 20_000_000  # of replies, inside the page; the ledger has all that was kept
MAX_WORDS = 200  # characters of a reply in the list of trials
MAX_IDS = 300  # rows of ids on the page; the download has all
AS_IS = arms.as_is.name
RARE = ("mixed", "function", "empty")  # modalities that get a column only where they occur

ID_COLUMNS = [
    "started_at", "endpoint", "model", "session_id", "response_id", "case", "arm", "turn", "response", "asked", "modality",
    "status", "simulated", "trial_id", "attempt_id",
]  # fmt: skip


def context(m: Material, question: str) -> dict[str, Any]:
    """Everything that ``report.html`` shows."""
    return {
        "question": question,
        "m": m,
        "percent": percent(m.level),
        "baseline": spaced(m.baseline),
        "lead": lead(m),
        "policies": sorted(set(m.attempts["policy"].dropna().astype(str))) if "policy" in m.attempts else [],
        "fitness": findings.fitness(m),
        "ended": findings.unfinished(m),
        "show": show,
        "in_short": findings.in_short(m),
        "flow": findings.flow(m),
        "definitions": findings.definitions(m),
        "meanings": {word: meaning for word, (_, meaning) in tables.DEFINITIONS.items()},
        "days": findings.days(m),
        "chosen_later": findings.chosen_later(m),
        "pictures": list(pictures(m)),
        "rates": rates(m),
        "counts": counts(m),
        "rare": rare(m),
        "reported": reported(m),
        "trials": trials(m),
        "comparisons": comparisons(m),
        "controls": findings.controls(m),
        "plan": plan(m),
        "failures": failures(m),
        "spent": m.ledger.spent(),
        "run": m.ledger.last_run,  # None of a ledger that was only planned
        "began": when((m.ledger.last_run or {}).get("started_at")),
        "served": {name: ordered(m.attempts, name) for name in ("served_model", "voice", "drift_rule")},
        "ids": ids(m),
        "downloads": {
            "table": pieces.download(m.table, "table.csv", "The whole table as CSV"),
            "trials": pieces.download(m.trials, "trials.csv", "every trial as CSV"),
        },
    }


# --------------------------------------------------------------------------------------------------------- what came out


def lead(m: Material) -> str:
    """One line on what was done about the question."""
    n = m.ledger.counts()
    # In the plan's order, as every table of the page has them.
    cases, arm_names = (ordered(m.trials, name) for name in ("case", "arm"))
    # An endpoint without a name is called by its host.
    hosts = [host for host in m.hosts if not any(host in name for name in m.settings)]
    at = f" at {', '.join(hosts)}" if hosts else ""
    return (
        f"{n['completed']:,} of {n['planned']:,} planned trials completed: {show.counted(len(cases), 'case')} "
        f"({', '.join(cases)}), {show.counted(len(arm_names), 'arm')}, on {'; '.join(m.settings)}{at}{pieces.days_of(m.trials['started_at'].dropna())}."
    )


def pictures(m: Material) -> Iterator[tuple[str, list[Markup]]]:
    """A heading and its figures for each of the plan's settings."""
    for n, name in enumerate(m.settings):
        yield name if m.over else "Pictures", list(_pictures(m, name, n))


def _pictures(m: Material, name: str, n: int) -> Iterator[Markup]:
    def of(df: Frame) -> Frame:
        # Without the column, which would be one more label in each picture of a single setting.
        return m.of(df, name).drop(columns="settings", errors="ignore")

    table, by_arm, turns = of(m.table), of(m.arms), m.of(m.turns, name)
    outcome = "lost_voice" if m.rate == "lost_voice" else "text"
    # Links only where the list of trials is on the page.
    strip = partial(plots.strip, link="#trial-" if has_trials(m) else "")
    yield figure(strip, turns, f"f{n}a-", "Every trial as a strip of its turns, coloured by modality")
    alt = "Share of modalities of the first turn per case and arm, with intervals"
    yield figure(partial(plots.modality, outcome=outcome), table, f"f{n}b-", alt)
    # With one turn each there is nothing to see over time.
    if (turns["turn"] > 0).any():
        alt = "Share of trials not drifted yet, by reply"
        yield figure(plots.until_drift, m.of(m.until_drift, name), f"f{n}c-", alt)
    if turns["heard_ms"].notna().any():
        yield figure(plots.first_audio, turns, f"f{n}d-", "Time until audio came, cumulative share of first turns")
    if len(ordered(by_arm, "arm")) > 1:
        # Where all arms ask equally often, they differ in what they send.
        cost = "responses_per_turn" if by_arm["responses_per_turn"].nunique() > 1 else "items_sent"
        cure_cost = partial(plots.cure_cost, cost=cost, outcome=outcome)
        yield figure(cure_cost, by_arm, f"f{n}e-", "Drift against cost, a point per arm")
    # A line through several lengths is honest only where each is one case: else it would join unlike cases.
    lengths = table[["case", "history_items"]].drop_duplicates()["history_items"]
    if len(lengths) > 2 and lengths.is_unique:
        yield figure(plots.drift_by_length, table, f"f{n}f-", "Drift against the number of items in the history")
    if m.comparisons is not None:
        alt = "Difference in drift from the baseline, with intervals"
        yield figure(plots.differences, of(m.comparisons), f"f{n}g-", alt)


def rare(m: Material) -> list[str]:
    """The rare modalities that occur."""
    return [name for name in RARE if m.table[name].sum()]


def rates(m: Material) -> Grid:
    """A row per case and arm: rates with their intervals."""
    by = [*m.over, "case", "arm"]
    names = [*by, "", "drift", "lost voice", "if the missing…",
             "first response", "any turn", "all turns", "text stays", "heard after"]  # fmt: skip
    rows = []
    for _, row in m.table.iterrows():
        cells = [m.called(name, row) for name in by]
        cells += [bar(*(row[f"{m.rate}_{end}"] for end in ("rate", "low", "high")))]
        for name in ("drift", "lost_voice"):
            text = rate_text(row, name)
            cells.append(Markup("<strong>{}</strong>").format(text) if name == m.rate else text)
        cells.append(_bounds(row))
        cells += [rate_text(row, name) for name in ("first_response", "any_drift", "turn_drift", "persistence")]
        rows.append([*cells, heard_after(row)])
    return Grid(names, rows, group=len(by) - 1)


def _bounds(row: Any) -> str:
    # With nothing lost they would be the same counts once more.
    n_lost = row["lost"]
    return f"{points(row['drift_least'])}–{points(row['drift_most'])} %" if n_lost == n_lost and n_lost else "–"


def counts(m: Material) -> Grid:
    """The same rows: what the rates are out of."""
    by = [*m.over, "case", "arm"]
    numbers = ["planned", "completed", "failed", "missing", "first_turns", "audio", "text", *rare(m), "turns"]
    headings = ["answered" if name == "first_turns" else name for name in numbers]
    rows = []
    for _, row in m.table.iterrows():
        means = ["–" if row[name] != row[name] else f"{row[name]:.3g}" for name in ("responses_per_turn", "items_sent")]
        usd = "–" if row["usd"] != row["usd"] else f"${row['usd']:.2f}"
        cells = [m.called(name, row) for name in by]
        rows.append([*cells, origin(row["simulated"]), *(str(int(row[name])) for name in numbers), *means, usd])
    return Grid([*by, "origin", *headings, "responses per turn", "items sent", "cost"], rows, group=len(by) - 1)


def reported(m: Material) -> dict[str, Any] | None:
    """What was reported in public beside what this ledger measured; never one in the place of the other."""
    cases, cures = _reported_cases(m), _reported_arms(m)
    if not cases and not cures:
        return None
    source = show.origin_word(m.simulated) or f"measured {when(m.trials['started_at'].min())[:10]}"
    names = [*m.over, "case, as it is", "reported", "in words", f"found ({source})", "as reported"]
    arm_names = [*m.over, "arm", "reported", "where", f"found ({source}), all cases"]
    first = len(m.over)
    return {
        # The stand-in's default rule was written after those reports: that it agrees with them shows nothing.
        "circular": m.simulated is not False and any(map(_documented, m.plan.get("settings", ()))),
        "cases": Grid(names, cases, wide=[first + 2]) if cases else None,
        "arms": Grid(arm_names, cures, wide=[first + 1, first + 2]) if cures else None,
    }


def _reported_cases(m: Material) -> list[list[Any]]:
    notes = {str(case["name"]): case.get("note") for case in m.plan.get("cases", ())}
    words = m.trials["reported"].astype("string").fillna("unknown")
    reports = dict(zip(m.trials["case"].astype(str), words, strict=True))
    rows = []
    for _, row in m.table[m.table["arm"].astype(str) == AS_IS].iterrows():
        name, n = str(row["case"]), int(row["first_turns"])
        word = reports.get(name, "unknown")
        same = f"{int(row[word])} of {n}" if word in row.index and n else "–"
        cells = [m.called(key, row) for key in m.over]
        rows.append([*cells, name, outline(word), notes.get(name) or "–", _measured(m, row), same])
    return rows


def _reported_arms(m: Material) -> list[list[Any]]:
    kit_arms = {arm.name: arm for arm in (*arms.all_arms(), *arms.all_arms("live"))}
    # An arm of the user's own may have the name of one of the kit's; nothing was reported of it.
    custom = {str(arm["name"]) for arm in m.plan.get("arms", ()) if "code" in arm}
    rows = []
    for _, row in m.arms.iterrows():
        name = str(row["arm"])
        # An arm with options is called `name(option=…)`.
        arm = None if name in custom else kit_arms.get(name.partition("(")[0])
        source = [arm.reported, arm.source] if arm else ["nothing: this arm is not one of the kit's", "–"]
        if name != AS_IS:
            rows.append([*(m.called(key, row) for key in m.over), spaced(name), *source, _measured(m, row)])
    return rows


def _measured(m: Material, row: Any) -> str:
    n, failed = int(row["first_turns"]), int(row["failed"])
    if not n:
        return f"no answer; {failed} failed" if failed else "no answer yet"
    k, word = (row["lost_voice"], "lost") if m.rate == "lost_voice" else (row["text"], "text")
    return f"{int(k)} of {n} {word}: {rate_text(row, m.rate)}{f'; {failed} failed' if failed else ''}"


def _documented(settings: dict[str, Any]) -> bool:
    stand_in = settings.get("stand_in", {})
    return settings.get("endpoint") == "standin" and stand_in.get("drift", "documented") == "documented"


def has_trials(m: Material) -> bool:
    return len(m.trials) <= MAX_TRIALS


def trials(m: Material) -> dict[str, Any]:
    """Every turn of every trial with the words of its replies; the strips of the first picture lead here."""
    if not has_trials(m):
        return {"note": f"{len(m.trials):,} trials are too many for a page; the ledger has them.", "grid": Grid([], [])}
    replies = tables.responses_df(m.ledger, words=True)
    texts = replies[["transcript", "text"]].astype("string").fillna("")
    is_audio = replies["modality"].astype("string").fillna("") == "audio"
    # What was said of a voice, what was written of a text; a reply may have both, or neither.
    replies["words"] = texts["transcript"].where(
        is_audio, texts["text"].where(texts["text"] != "", texts["transcript"])
    )
    # A turn that asked again has several.
    of_turn = dict(iter(replies.groupby([replies["trial_id"].astype(str), "turn"])))
    # Up to a bound: what is over it is in the ledger.
    sounds = m.ledger.sounds(max_bytes=MAX_SOUND_BYTES)
    rows: list[list[Any]] = []
    anchors = []
    for _, row in m.turns.iterrows():
        trial, turn = str(row["trial_id"]), int(row["turn"])
        prefix = f"f{m.settings.index(str(row['settings']))}a-"  # of the picture that leads here
        # The first turn has the trial's own anchor, which the strip leads to.
        anchors.append(f"{prefix}trial-{trial}" if turn == 0 else f"{prefix}trial-{trial}-{turn}")
        cells = [m.called(name, row) for name in (*m.over, "case", "arm")]
        modality = str(row["modality"])
        # A turn without a modality failed or was not run: the state says which.
        came_as = badge(modality) if modality in show.COLOURS else str(row["state"])
        own = of_turn.get((trial, turn), replies[:0])
        players = [
            show.sound(sounds[trial, name], "audio/flac") for name in own["response_id"] if (trial, name) in sounds
        ]
        replies_of_turn = " → ".join(show.plain(reply, MAX_WORDS) for reply in own["words"]) or "–"
        words = Markup("<br>").join([replies_of_turn, *map(Markup, players)])
        heard_ms = pieces.milliseconds(row["heard_ms"])
        rows.append([code(trial), *cells, int(row["repeat"]) + 1, turn + 1, came_as, heard_ms, words])
    names = ["trial", *m.over, "case", "arm", "repeat", "turn", "came as", "heard after", "words"]
    summary = f"{show.counted(len(m.trials), 'trial')}, {show.counted(len(rows), 'turn')}"
    if sounds:
        summary += f", with the sound of {show.counted(len(sounds), 'reply', 'replies')}"
    return {"note": "", "summary": summary, "grid": Grid(names, rows, wide=[len(names) - 1], group=1, ids=anchors)}


def comparisons(m: Material) -> dict[str, Any] | None:
    """Each arm against the baseline, in sentences."""
    df = m.comparisons
    if df is None:
        return None
    return {
        "n_tests": int(df["p"].notna().sum()),
        "shown": [(sentence, True) for sentence in df[df["shown"]]["sentence"]],
        "plain": [(sentence, False) for sentence in df[~df["shown"]]["sentence"]],
        "download": pieces.download(df, "comparisons.csv", "Comparisons as CSV"),
    }


# ------------------------------------------------------------------------------------------------------------- the record


def plan(m: Material) -> dict[str, Any]:
    """What was planned, whole."""
    p = m.plan
    stop = p.get("stop")
    timeout = str(p.get("timeout_s", "–")).removesuffix(".0")
    # Without a stop rule the number of trials was fixed before.
    until = "at its end"
    if stop:
        until = (
            f"when every rate is known to ±{50 * stop['width']:g} points (confidence sequences, α = {stop['alpha']:g})"
        )
    limits = f"at most {p.get('max_attempts', '–')} per trial, only after a failure of transport; {timeout} s per turn"
    repeats = f"{p.get('repeats', '–')} per case, arm and setting, in an order drawn by seed {p.get('seed', '–')}"
    arm_rows = [
        [spaced(arm["name"]), listing(arm.get("options")), arm.get("max_responses", "")] for arm in p.get("arms", ())
    ]
    return {
        "facts": [("hash", code(m.ledger.plan_hash)), ("repeats", repeats), ("tries", limits), ("stops", until)],
        "cases": [_case(case) for case in p.get("cases", ())],
        "arms": Grid(["arm", "options", "responses per turn, at most"], arm_rows),
        "settings": [(settings.get("name"), _facts(settings)) for settings in p.get("settings", ())],
        "json": Markup(show.esc(json.dumps(p, indent=1, ensure_ascii=False), limit=MAX_PLAN_CHARS)),
    }


def _facts(settings: dict[str, Any]) -> list[tuple[str, Any]]:
    options = {name: value for name, value in settings.items() if name != "name" and value not in ("", {}, None)}
    return [(name, listing(value) if isinstance(value, dict) else value) for name, value in options.items()]


def _case(case: dict[str, Any]) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for item in case.get("items", ()):
        parts = item.get("content") or [{}]
        words = " ".join(str(part.get("text") or _clip(part.get("audio")) or "") for part in parts)
        words = words or str(item.get("output") or item.get("arguments") or "")
        kinds = code(", ".join(str(part.get("type", "")) for part in parts))
        rows.append([item.get("role") or item.get("type"), kinds, words])
    n = len(rows)
    for turn in case.get("turns", ()):
        rows.append(["user, later", "", turn if isinstance(turn, str) else _clip(turn)])
    return {
        "title": f"Case {case.get('name')}: {show.counted(n, 'item')}",
        "reported": outline(case["reported"]) if case.get("reported") else "",
        "note": case.get("note", ""),
        "items": Grid(["who", "content", "says"], rows, wide=[2]),
    }


def _clip(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return f"a clip of {value.get('audio_ms', 0) / 1000:.2f} s: “{value.get('text') or '?'}”"


def failures(m: Material) -> dict[str, Any]:
    """What went wrong, by kind; each failure is an attempt in the ledger."""
    failed = m.attempts[m.attempts["status"].isin(["failed", "interrupted"])]
    rows = []
    kinds = failed["kind"].astype("string").fillna("–")
    for (status, kind), attempts in failed.groupby(["status", kinds], observed=True):
        example = next((show.plain(text, 300) for text in attempts["error"].dropna()), "")
        decided, foreseen = int(attempts["counts"].sum()), int(attempts["expected"].fillna(False).sum())
        arm_names = spaced(", ".join(ordered(attempts, "arm")))
        rows.append([status, kind, len(attempts), decided, foreseen, arm_names, example])
    names = ["status", "kind", "attempts", "decided the trial", "foreseen by the arm", "arms", "for example"]
    return {"n": len(failed), "n_attempts": len(m.attempts), "grid": Grid(names, rows, wide=[5, 6])}


def ids(m: Material) -> dict[str, Any] | None:
    """For the vendor: which sessions and responses to look up."""
    df = m.drifted
    if not len(df):
        return None
    rows = []
    for _, row in df.head(MAX_IDS).iterrows():
        ids_of_row = code(row["session_id"]), code(row["response_id"])
        rows.append([when(row["started_at"]), row["model"], *ids_of_row, row["case"], spaced(row["arm"]), row["turn"]])
    simulated = "a local stand-in made them, so no vendor has them"
    return {
        "n": len(df),
        "where": simulated if m.simulated else "to be looked up in the service's own logs",
        "more": f" The first {MAX_IDS} are listed." if len(df) > MAX_IDS else "",
        "grid": Grid(["session began (UTC)", "model", "session", "response", "case", "arm", "turn"], rows),
        "download": pieces.download(df[ID_COLUMNS], "text-replies.csv", "All of them as CSV"),
    }
