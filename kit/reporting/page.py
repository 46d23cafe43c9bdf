"""`report`: a ledger as one self-contained HTML file; a function per section turns the ledger's tables into plain data.

``report.html`` makes the page of it. `findings` has the sentences and what could tilt them, `pieces` what all pages share.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from .. import plots, show, tables
from ..errors import InputError, clipped
from ..files import named_path, writable_path
from ..tables.modality import heard_after, points
from ..trials import arms
from ..trials.ledger import Ledger
from . import findings
from .pieces import (
    Grid,
    Material,
    bar,
    code,
    days_of,
    download,
    figure,
    number,
    ordered,
    origin,
    rate_text,
    render,
    spaced,
    when,
    written_by_a_run,
)  # fmt: skip

QUESTION = "How often does a seeded history cost the voice?"
MAX_PLAN_CHARS = 200_000  # of the plan's JSON
MAX_TRIALS = 600  # on the page, with what was said; a ledger of more has them all
MAX_SOUND_BYTES = 20_000_000  # of replies, inside the page; the ledger has all that was kept
MAX_WORDS = 200  # characters of a reply in the list of trials
MAX_IDS = 300  # rows of ids on the page; the download has all
AS_IS = arms.as_is.name
RARE = ("mixed", "function", "empty")  # modalities that get a column only where they occur

# Means over a trial's sums: columns of `trials_df` and their headings.
COSTS = {
    "items_sent": "items sent",
    "updates_sent": "updates",
    "deletes_sent": "deletions",
    "responses": "responses",
    "total_tokens": "tokens",
    "output_audio_tokens": "of these, audio out",
}
ID_COLUMNS = [
    "started_at", "endpoint", "model", "session_id", "response_id", "case", "arm", "turn", "response", "asked", "modality",
    "status", "simulated", "trial_id", "attempt_id",
]  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report that was written.

    Attributes:
        path: The HTML file, absolute.
        fit: Whether the controls read what they must; ``None`` where there were none.
        simulated: Whether a stand-in answered; ``None`` for several origins, or an unknown one.
    """

    path: Path
    fit: bool | None
    simulated: bool | None

    def __repr__(self) -> str:
        words = {True: "controls as they must be", False: "UNFIT: a control failed", None: "no control answered"}
        mark = show.origin_word(self.simulated)
        return f"<Report {self.path}: {words[self.fit]}{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        unfit = "" if self.fit is not False else "<b>UNFIT: a control failed</b>"
        return show.card(f"<b>report</b> {show.link(self.path)} {show.origin(self.simulated)}", unfit)


def report(
    ledger: Ledger | str | Path,
    folder: str | Path | None = None,
    *,
    baseline: str | None = None,
    question: str = QUESTION,
    level: float | None = None,
) -> Report:
    """Write ``folder/report.html``: question, controls, comparisons, tables, pictures, settings, failures, ids for the vendor.

    One file that fetches nothing: it opens from disk, prints, follows the reader's light or dark theme, and can be sent.

    Args:
        ledger: A ledger or its path. Of one that is still being written to, the report shows that moment.
        folder: Made if there is none; a report that is there is replaced. A path that ends in ``.html`` is the file itself. By
            default the report is beside the ledger, under its name.
        baseline: The arm that others are compared with; by default the plan's, or ``as_is``. One that is named must be in the plan.
        question: The heading.
        level: Of every interval; by default the plan's, or 0.95. What differs from the plan is marked as chosen afterwards.

    Raises:
        LedgerError: If the path leads to no ledger, or the ledger holds what no run writes.
        InputError: If the folder cannot be written to, or for a baseline that the plan does not have.
    """
    book = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
    with written_by_a_run(book):
        # All tables are made before the folder is touched: a ledger that cannot be read leaves an old report alone.
        material = Material(book, baseline, level)
    arm_names = list(dict.fromkeys(material.trials["arm"].astype(str)))
    # `as_is` may be named although the plan has it not: then there is nothing to compare.
    if baseline is not None and baseline not in ("as_is", *arm_names):
        there_are = ", ".join(arm_names)
        raise InputError(f"no trial has the arm {clipped(baseline)} to compare with; there are {there_are}")
    target = named_path(folder).resolve() if folder is not None else book.path.resolve().with_suffix(".html")
    if target.suffix.lower() != ".html":
        target /= "report.html"
    target = writable_path(target)
    # What the template calls by the names of these functions.
    sections = (
        lead, findings.fitness, findings.unfinished, findings.in_short, pictures, rates, rare, counts, costs, findings.flow,
        findings.definitions, findings.days, reported, trials, comparisons, findings.chosen_later, findings.controls, plan, failures, ids,
    )  # fmt: skip
    with written_by_a_run(book):
        data: dict[str, Any] = {section.__name__: section(material) for section in sections}
        html = render("report.html", m=material, question=question, show=show, download=download, **data)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and put in place: who reads the report meanwhile sees the old one or the new one.
        part = target.with_name(f".{target.name}.{os.getpid()}")
        part.write_text(html, encoding="utf-8")
        part.replace(target)
    except OSError as exc:
        raise InputError(f"cannot write {clipped(str(target))}: {exc.strerror or exc}; choose another folder") from exc
    return Report(target, material.fit, material.simulated)


# --------------------------------------------------------------------------------------------------------- what came out


def lead(m: Material) -> str:
    """One line on what was done about the question."""
    n = m.ledger.counts()
    # In the plan's order, as every table of the page has them.
    cases, arm_names = (ordered(m.trials, name) for name in ("case", "arm"))
    # An endpoint without a name is called by its host.
    hosts = [host for host in m.hosts if not any(host in name for name in m.settings)]
    at = f" at {', '.join(hosts)}" if hosts else ""
    days = days_of(m.trials["started_at"].dropna())
    return (
        f"{n['completed']:,} of {n['planned']:,} planned trials completed: {show.counted(len(cases), 'case')} "
        f"({', '.join(cases)}), {show.counted(len(arm_names), 'arm')}, on {'; '.join(m.settings)}{at}{days}."
    )


def pictures(m: Material) -> list[tuple[str, list[Markup]]]:
    """A heading and its figures for each of the plan's settings."""
    by_settings = []
    outcome = "lost_voice" if m.rate == "lost_voice" else "text"
    # Links only where the list of trials is on the page.
    strip = partial(plots.strip, link="#trial-" if len(m.trials) <= MAX_TRIALS else "")
    modality = partial(plots.modality, outcome=outcome)
    for n, name in enumerate(m.settings):
        turns = m.of(m.turns, name)
        # Without the column, which would be one more label in each picture of a single setting.
        table, by_arm = (m.of(df, name).drop(columns="settings", errors="ignore") for df in (m.table, m.arms))
        figures = [
            figure(strip, turns, f"f{n}a-", "Every trial as a strip of its turns, coloured by modality"),
            figure(
                modality, table, f"f{n}b-", "Share of modalities of the first turn per case and arm, with intervals"
            ),
        ]
        # With one turn each there is nothing to see over time.
        if (turns["turn"] > 0).any():
            until_drift = m.of(m.until_drift, name)
            figures.append(
                figure(plots.until_drift, until_drift, f"f{n}c-", "Share of trials not drifted yet, by reply")
            )
        if turns["heard_ms"].notna().any():
            alt = "Time until audio came, cumulative share of first turns"
            figures.append(figure(plots.first_audio, turns, f"f{n}d-", alt))
        if len(ordered(by_arm, "arm")) > 1:
            # Where all arms ask equally often, they differ in what they send.
            cost = "responses_per_turn" if by_arm["responses_per_turn"].nunique() > 1 else "items_sent"
            cure_cost = partial(plots.cure_cost, cost=cost, outcome=outcome)
            figures.append(figure(cure_cost, by_arm, f"f{n}e-", "Drift against cost, a point per arm"))
        # A line through several lengths is honest only where each is one case: else it would join unlike cases.
        lengths = table[["case", "history_items"]].drop_duplicates()["history_items"]
        if len(lengths) > 2 and lengths.is_unique:
            alt = "Drift against the number of items in the history"
            figures.append(figure(plots.drift_by_length, table, f"f{n}f-", alt))
        if m.comparisons is not None:
            differences = m.of(m.comparisons, name).drop(columns="settings", errors="ignore")
            alt = "Difference in drift from the baseline, with intervals"
            figures.append(figure(plots.differences, differences, f"f{n}g-", alt))
        by_settings.append((name if m.over else "Pictures", figures))
    return by_settings


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
        # With nothing lost they would be the same counts once more.
        n_lost = row["lost"]
        has_bounds = n_lost == n_lost and n_lost
        cells.append(f"{points(row['drift_least'])}–{points(row['drift_most'])} %" if has_bounds else "–")
        cells += [rate_text(row, name) for name in ("first_response", "any_drift", "turn_drift", "persistence")]
        rows.append([*cells, heard_after(row)])
    return Grid(names, rows, group=len(by) - 1)


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


def costs(m: Material) -> Grid | None:
    """What an arm costs beside what it cures: means over its completed trials, and how much more that is than the baseline's."""
    completed = m.trials[m.trials["state"] == "completed"]
    keys = [*m.over, "arm"]
    # Means of completed trials only: one that failed early cost little, and cured nothing.
    if not len(completed) or completed["arm"].nunique() < 2:
        return None
    frame = completed.groupby(keys, observed=True)[list(COSTS)].mean().astype(float)
    means = {key if isinstance(key, tuple) else (key,): mean for key, mean in frame.iterrows()}
    rows = []
    for _, row in m.arms.iterrows():
        key = tuple(row[name] for name in keys)
        # The baseline of the same settings.
        mean, usual = means.get(key), means.get((*key[:-1], m.baseline))
        cells = [*(m.called(name, row) for name in keys), rate_text(row, m.rate)]
        for name in COSTS:
            value = float("nan") if mean is None else mean[name]
            extra = 0.0 if usual is None else value - usual[name]
            # A difference of 1e-16 is none, and one from a mean that is not known says nothing.
            bracket = f" ({number(extra, sign='+')})" if abs(extra) > 1e-9 else ""
            cells.append("–" if value != value else number(value) + bracket)
        rows.append([*cells, heard_after(row)])
    return Grid([*keys, spaced(m.rate), *COSTS.values(), "heard after"], rows)


def reported(m: Material) -> dict[str, Any] | None:
    """What was reported in public beside what this ledger measured; never one in the place of the other."""
    cases, cures, first = [], [], len(m.over)
    notes = {str(case["name"]): case.get("note") for case in m.plan.get("cases", ())}
    reports = m.trials["reported"].astype("string").fillna("unknown")
    words = dict(zip(m.trials["case"].astype(str), reports, strict=True))
    for _, row in m.table[m.table["arm"].astype(str) == AS_IS].iterrows():
        name, n = str(row["case"]), int(row["first_turns"])
        word = words.get(name, "unknown")
        same = f"{int(row[word])} of {n}" if word in row.index and n else "–"
        cells = [*(m.called(key, row) for key in m.over), name, Markup(show.outline(word)), notes.get(name) or "–"]
        cases.append([*cells, _measured(m, row), same])
    kit_arms = {arm.name: arm for arm in (*arms.all_arms(), *arms.all_arms("live"))}
    # An arm of the user's own may have the name of one of the kit's; nothing was reported of it.
    custom = {str(arm["name"]) for arm in m.plan.get("arms", ()) if "code" in arm}
    for _, row in m.arms[m.arms["arm"].astype(str) != AS_IS].iterrows():
        name = str(row["arm"])
        # An arm with options is called `name(option=…)`.
        arm = None if name in custom else kit_arms.get(name.partition("(")[0])
        source = [arm.reported, arm.source] if arm else ["nothing: this arm is not one of the kit's", "–"]
        cures.append([*(m.called(key, row) for key in m.over), spaced(name), *source, _measured(m, row)])
    if not cases and not cures:
        return None
    found_words = f"found ({show.origin_word(m.simulated) or 'measured ' + when(m.trials['started_at'].min())[:10]})"
    names = [*m.over, "case, as it is", "reported", "in words", found_words, "as reported"]
    arm_names = [*m.over, "arm", "reported", "where", f"{found_words}, all cases"]
    # The stand-in's default rule was written after those reports: that it agrees with them shows nothing.
    documented = [
        settings.get("endpoint") == "standin"
        and settings.get("stand_in", {}).get("drift", "documented") == "documented"
        for settings in m.plan.get("settings", ())
    ]
    return {
        "circular": m.simulated is not False and any(documented),
        "cases": Grid(names, cases, wide=[first + 2]) if cases else None,
        "arms": Grid(arm_names, cures, wide=[first + 1, first + 2]) if cures else None,
    }


def _measured(m: Material, row: Any) -> str:
    n, failed = int(row["first_turns"]), int(row["failed"])
    if not n:
        return f"no answer; {failed} failed" if failed else "no answer yet"
    k, word = (row["lost_voice"], "lost") if m.rate == "lost_voice" else (row["text"], "text")
    return f"{int(k)} of {n} {word}: {rate_text(row, m.rate)}{f'; {failed} failed' if failed else ''}"


def trials(m: Material) -> dict[str, Any]:
    """Every turn of every trial with the words of its replies; the strips of the first picture lead here."""
    if len(m.trials) > MAX_TRIALS:
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
        came_as = Markup(show.badge(modality)) if modality in show.COLOURS else str(row["state"])
        own = of_turn.get((trial, turn), replies[:0])
        players = [
            show.sound(sounds[trial, name], "audio/flac") for name in own["response_id"] if (trial, name) in sounds
        ]
        replies_of_turn = " → ".join(show.plain(reply, MAX_WORDS) for reply in own["words"]) or "–"
        words = Markup("<br>").join([replies_of_turn, *map(Markup, players)])
        heard_ms = show.ms(None if row["heard_ms"] != row["heard_ms"] else float(row["heard_ms"]))
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
        "download": download(df, "comparisons.csv", "Comparisons as CSV"),
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
        [spaced(arm["name"]), _listing(arm.get("options")), arm.get("max_responses", "")] for arm in p.get("arms", ())
    ]
    settings_facts = [
        (settings.get("name"), [
            (name, _listing(value) if isinstance(value, dict) else value)
            for name, value in settings.items()
            if name != "name" and value not in ("", {}, None)
        ])
        for settings in p.get("settings", ())
    ]  # fmt: skip
    return {
        "facts": [("hash", code(m.ledger.plan_hash)), ("repeats", repeats), ("tries", limits), ("stops", until)],
        "cases": [_case(case) for case in p.get("cases", ())],
        "arms": Grid(["arm", "options", "responses per turn, at most"], arm_rows),
        "settings": settings_facts,
        "json": Markup(show.esc(json.dumps(p, indent=1, ensure_ascii=False), limit=MAX_PLAN_CHARS)),
    }


def _listing(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


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
        "reported": Markup(show.outline(case["reported"])) if case.get("reported") else "",
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
        "download": download(df[ID_COLUMNS], "text-replies.csv", "All of them as CSV"),
    }
