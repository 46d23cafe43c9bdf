"""What a report says: the tables of a ledger (`Material`), and one function per section that turns them into plain data.

``report.html`` makes the page of it. Everything here is text that the template escapes; only `Markup` is HTML already.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .. import plots, show, tables
from ..errors import InputError
from ..stats.intervals import percent
from ..tables.modality import points
from ..trials import arms
from ..trials.ledger import Ledger

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

MAX_DOWNLOAD_BYTES = 8_000_000  # of CSV inside the page; a larger table stays in the ledger
MAX_PLAN_CHARS = 200_000  # of the plan's JSON
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


class Material:
    """The tables of one ledger, made once and shared by the sections."""

    def __init__(self, ledger: Ledger, baseline: str, level: float) -> None:
        self.ledger = ledger
        self.baseline = baseline  # the arm that the others are compared with
        self.level = level  # of every interval on the page
        self.plan: dict[str, Any] = ledger.plan
        self.trials = tables.trials_df(ledger)  # measured trials; controls are in `controls`
        self.turns = tables.turns_df(ledger)
        self.attempts = tables.attempts_df(ledger)
        self.controls = tables.controls_df(ledger)
        self.settings = ordered(self.trials, "settings")  # names, in the plan's order
        # With several settings every table keeps them apart.
        self.over = ["settings"] if len(self.settings) > 1 else []
        self.table = tables.modality_df(ledger, [*self.over, "case", "arm"], level=level)
        self.arms = tables.modality_df(ledger, [*self.over, "arm"], level=level)
        self.until_drift = tables.until_drift_df(ledger, [*self.over, "arm"], level=level)
        # None where there is nothing to compare.
        self.comparisons = self._compare()
        responses = tables.responses_df(ledger)
        self.drifted = responses[(responses["modality"] == "text") & (responses["role"] == "measure")]
        self.simulated = ledger.simulated
        verdicts = self.controls["fit"].dropna()
        # Whether the controls read what they must; None where none has answered.
        self.fit = bool(verdicts.all()) if len(verdicts) else None

    def _compare(self) -> Frame | None:
        try:
            return tables.compare_df(self.table, self.baseline, over=self.over, level=self.level)
        except InputError:
            return None

    def called(self, name: str, row: Any) -> str:
        """What a cell of the column `name` says: of settings only the words in which they differ."""
        word = str(row[name])
        if name != "settings" or not self.over:
            return spaced(word)
        shared = set.intersection(*(set(settings.split()) for settings in self.settings))
        return " ".join(part for part in word.split() if part not in shared) or word

    def of(self, df: Frame, settings: str) -> Frame:
        """The rows of one of the plan's settings."""
        return df[df["settings"].astype(str) == settings] if "settings" in df and self.over else df


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the page.

    Attributes:
        names: The headings.
        rows: The cells, text or `Markup`.
        wide: Columns whose words may wrap.
        group: A row whose first so many cells differ from those of the row above begins a group; 0: there are none.
    """

    names: Sequence[str]
    rows: list[list[Any]]
    wide: Sequence[int] = ()
    group: int = 0


def context(m: Material, question: str) -> dict[str, Any]:
    """Everything that ``report.html`` shows."""
    return {
        "question": question,
        "m": m,
        "percent": percent(m.level),
        "baseline": spaced(m.baseline),
        "lead": lead(m),
        "verdicts": list(verdicts(m)),
        "in_short": in_short(m),
        "pictures": list(pictures(m)),
        "rates": rates(m),
        "counts": counts(m),
        "rare": rare(m),
        "costs": costs(m),
        "reported": reported(m),
        "comparisons": comparisons(m),
        "controls": controls(m),
        "plan": plan(m),
        "failures": failures(m),
        "money": money(m),
        "versions": versions(m),
        "ids": ids(m),
        "downloads": {
            "table": download(m.table, "table.csv", "The whole table as CSV"),
            "trials": download(m.trials, "trials.csv", "every trial as CSV"),
        },
    }


# ------------------------------------------------------------------------------------------------------------ small pieces


def figure(draw: Callable[..., Any], df: Frame, prefix: str, alt: str) -> Markup:
    """A plot as inline SVG that follows the page's theme."""
    return Markup(plots.svg(draw(df, ax=plots.figure()), themed=True, alt=alt, prefix=prefix))


def bar(rate: float, low: float, high: float) -> Markup:
    """A rate as a bar, its interval as a line across it."""
    if rate != rate:
        return Markup("<span class='bar none'></span>")
    return Markup(
        f"<span class='bar'><i style='width:{100 * rate:.2f}%'></i>"
        f"<b style='left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%'></b></span>"
    )


def download(df: Frame, name: str, words: str) -> Markup | str:
    """A link that saves a table from the page itself."""
    text = show.csv_of(df).encode("utf-8")
    if len(text) > MAX_DOWNLOAD_BYTES:
        return f"{words}: too large for a page ({len(text) / 1e6:.0f} MB); python -m kit table LEDGER --csv has it"
    link = '<a download="{}" href="data:text/csv;base64,{}">{}</a>'
    return Markup(link).format(name, base64.b64encode(text).decode("ascii"), words)


def code(text: object) -> Markup:
    return Markup(f"<code>{show.esc(text)}</code>")


def badge(modality: str) -> Markup:
    return Markup(show.badge(modality))


def when(at: Any) -> str:
    """An instant in UTC, to the second; a number is Unix seconds."""
    if at is None or at != at:
        return "–"
    if isinstance(at, int | float):
        at = datetime.fromtimestamp(at, UTC)
    return str(at.strftime("%Y-%m-%d %H:%M:%S"))


def ordered(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the plan's order where the column has one."""
    present = df[name].dropna()
    order = df[name].cat.categories if hasattr(df[name], "cat") else present.unique()
    words = set(present.astype(str))
    return [str(word) for word in order if str(word) in words]


def spaced(word: object) -> str:
    """An arm's name as words: ``one_user_message`` is one user message."""
    return str(word).replace("_", " ")


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def listing(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


def rate_text(row: Any, name: str) -> str:
    """A rate of `modality_df` in percent, its interval in brackets."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def number(value: float, *, sign: str = "") -> str:
    """Three digits, and whole from 100 on; a true minus sign."""
    return f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign},.3g}".replace("-", "−")


def milliseconds(value: Any) -> str:
    return show.ms(None if value != value else float(value))


def flag(value: Any) -> bool | None:
    """A cell of a nullable column."""
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def origin(value: Any) -> str:
    return show.origin_word(flag(value)) or "measured"


# --------------------------------------------------------------------------------------------------------- what came out


def lead(m: Material) -> str:
    """One line on what was done about the question."""
    n = m.ledger.counts()
    cases, arm_names = (ordered(m.trials, name) for name in ("case", "arm"))
    days = sorted({when(at)[:10] for at in m.trials["started_at"].dropna()})
    span = "" if not days else f", {days[0]}" if days[0] == days[-1] else f", {days[0]} to {days[-1]}"
    return (
        f"{n['completed']:,} of {n['planned']:,} planned trials completed: {plural(len(cases), 'case')} "
        f"({', '.join(cases)}), {plural(len(arm_names), 'arm')}, on {'; '.join(m.settings)}{span}."
    )


def verdicts(m: Material) -> Iterator[tuple[str, str, str]]:
    """Boxes to read before any number, each a CSS class, a word and a text: who answered, and was the instrument fit?"""
    if m.simulated:
        yield "simulated", show.SIMULATED, (
            "A local simulation answered, by a rule that it was given. This shows the instrument at work; it says nothing about "
            "what a model does."
        )  # fmt: skip
    elif m.simulated is None:
        yield "simulated", show.UNKNOWN_ORIGIN, (
            "Nothing has answered yet, or not everything is known to come from one kind of origin. The column “simulated” says "
            "which rows do."
        )  # fmt: skip
    completed, planned = int(m.controls["completed"].sum()), int(m.controls["planned"].sum())
    if m.fit is False:
        wrong = m.controls[m.controls["fit"].fillna(True) == False]  # noqa: E712 (a nullable column)
        failed = "; ".join(
            f"{row['settings']}: asked so that it must read {row['must_read']}, read {row['read'] or 'nothing'}"
            for _, row in wrong.iterrows()
        )
        yield "bad", "Unfit", (
            f"A control did not read what it must ({failed}). The numbers below are kept, and should not be relied on."
        )  # fmt: skip
    elif m.fit:
        yield "good", "Controls as they must be", (
            f"{completed} of {planned} answered, and all of them read what they must: text where text was asked for, audio where "
            "there was no history."
        )  # fmt: skip
    elif not planned:
        yield "", "No controls", "The plan has none, so nothing here says whether the instrument was fit."
    else:
        yield "", "Controls not answered yet", f"None of {planned} has completed."
    n, run = m.ledger.counts(), m.ledger.last_run
    if n["missing"]:
        note = f" ({run['note']})" if run and run["note"] else ""
        why = f" The last run ended by: {run['ended'] or 'unknown'}{note}." if run else ""
        yield "", "Not finished", f"{n['missing']:,} of {n['planned']:,} trials were not run.{why}"


def in_short(m: Material) -> dict[str, Any]:
    """What came out, in computed sentences; those that show a difference stand out."""
    mark = f"[{show.origin_word(m.simulated)}] " if m.simulated is not False else ""
    base = m.arms[m.arms["arm"].astype(str) == m.baseline]
    sentences: list[tuple[str, bool]] = []
    for _, row in (base if len(base) else m.arms).iterrows():
        n, k = int(row["first_turns"]), int(row["text"])
        if not n:
            continue
        where = f"{row['settings']}, " if m.over else ""
        sentence = (
            f"{mark}{where}{spaced(row['arm'])}: {k} of {n} first turns were answered in text ({percent(row['drift_rate'])}, "
            f"{percent(m.level)} interval {100 * row['drift_low']:.1f} to {100 * row['drift_high']:.1f})."
        )
        if row["turns_after_text"]:
            again = int(row["turns_after_text"])
            sentence += (
                f" After a text reply the next was text again in {percent(row['persistence_rate'])} of {again} turns."
            )
        sentences.append((sentence, False))
    if m.comparisons is None:
        return {"sentences": sentences, "more": ""}
    # Pooled rows speak for all cases; the others are listed under Comparisons.
    pooled = m.comparisons[m.comparisons["pooled"].astype(bool)]
    pooled = pooled if len(pooled) else m.comparisons
    single = m.comparisons.drop(index=pooled.index)
    n_shown = int(single["shown"].sum())
    note = f"Within single cases {n_shown} of {len(single)} comparisons show a difference; all are listed below."
    return {
        "sentences": sentences + list(zip(pooled["sentence"], pooled["shown"], strict=True)),
        "more": note if len(single) else "",
    }


def pictures(m: Material) -> Iterator[tuple[str, list[Markup]]]:
    """A heading and its figures for each of the plan's settings."""
    for n, name in enumerate(m.settings):
        yield name if m.over else "Pictures", list(_pictures(m, name, n))


def _pictures(m: Material, name: str, n: int) -> Iterator[Markup]:
    def of(df: Frame) -> Frame:
        return m.of(df, name).drop(columns="settings", errors="ignore")

    table, by_arm, turns = of(m.table), of(m.arms), m.of(m.turns, name)
    yield figure(plots.strip, turns, f"f{n}a-", "Every trial as a strip of its turns, coloured by modality")
    yield figure(
        plots.modality, table, f"f{n}b-", "Share of modalities of the first turn per case and arm, with intervals"
    )
    if (turns["turn"] > 0).any():
        alt = "Share of trials not drifted yet, by reply"
        yield figure(plots.until_drift, m.of(m.until_drift, name), f"f{n}c-", alt)
    if turns["heard_ms"].notna().any():
        yield figure(plots.first_audio, turns, f"f{n}d-", "Time until audio came, cumulative share of first turns")
    if len(ordered(by_arm, "arm")) > 1:
        cost = "responses_per_turn" if by_arm["responses_per_turn"].nunique() > 1 else "items_sent"
        draw = lambda df, ax: plots.cure_cost(df, cost=cost, ax=ax)  # noqa: E731
        yield figure(draw, by_arm, f"f{n}e-", "Drift against cost, a point per arm")
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
    names = [
        *by,
        "",
        "drift",
        "if the missing…",
        "first response",
        "any turn",
        "all turns",
        "text stays",
        "heard after",
    ]
    rows = []
    for _, row in m.table.iterrows():
        cells = [m.called(name, row) for name in by]
        cells += [bar(row["drift_rate"], row["drift_low"], row["drift_high"])]
        cells += [Markup("<strong>{}</strong>").format(rate_text(row, "drift")), _bounds(row)]
        cells += [rate_text(row, name) for name in ("first_response", "any_drift", "turn_drift", "persistence")]
        rows.append([*cells, milliseconds(row["heard_median_ms"])])
    return Grid(names, rows, group=len(by) - 1)


def _bounds(row: Any) -> str:
    least, most = row["drift_least"], row["drift_most"]
    return "–" if least != least or least == most else f"{points(least)}–{points(most)} %"


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
    if not len(completed) or completed["arm"].nunique() < 2:
        return None
    frame = completed.groupby(keys, observed=True)[list(COSTS)].mean().astype(float)
    means = {key if isinstance(key, tuple) else (key,): mean for key, mean in frame.iterrows()}
    rows = []
    for _, row in m.arms.iterrows():
        key = tuple(row[name] for name in keys)
        mean, usual = means.get(key), means.get((*key[:-1], m.baseline))
        cells = [*(m.called(name, row) for name in keys), rate_text(row, "drift")]
        for name in COSTS:
            value = float("nan") if mean is None else mean[name]
            extra = 0.0 if usual is None else value - usual[name]
            bracket = f" ({number(extra, sign='+')})" if round(extra, 9) else ""
            cells.append("–" if value != value else number(value) + bracket)
        rows.append([*cells, milliseconds(row["heard_median_ms"])])
    return Grid([*keys, "drift", *COSTS.values(), "heard after"], rows)


def reported(m: Material) -> dict[str, Any] | None:
    """What was reported in public beside what this ledger measured; never one in the place of the other."""
    cases, cures = _reported_cases(m), _reported_arms(m)
    if not cases and not cures:
        return None
    source = show.origin_word(m.simulated) or f"measured {when(m.trials['started_at'].min())[:10]}"
    names = [*m.over, "case, as it is", "reported", "in words", f"found ({source})", "as reported"]
    first = len(m.over)
    return {
        "circular": m.simulated is not False and any(map(_documented, m.plan.get("settings", ()))),
        "cases": Grid(names, cases, wide=[first + 2]) if cases else None,
        "arms": Grid(
            [*m.over, "arm", "reported", "where", f"found ({source}): text, all cases"], cures, wide=[first + 1, first + 2]
        )
        if cures
        else None,
    }  # fmt: skip


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
        rows.append([*cells, name, badge(word), notes.get(name) or "–", _measured(row), same])
    return rows


def _reported_arms(m: Material) -> list[list[Any]]:
    kit_arms = {arm.name: arm for arm in arms.all_arms()}
    custom = {str(arm["name"]) for arm in m.plan.get("arms", ()) if "code" in arm}
    rows = []
    for _, row in m.arms.iterrows():
        name = str(row["arm"])
        arm = None if name in custom else kit_arms.get(name.partition("(")[0])
        source = [arm.reported, arm.source] if arm else ["nothing: this arm is not one of the kit's", "–"]
        if name != AS_IS:
            rows.append([*(m.called(key, row) for key in m.over), spaced(name), *source, _measured(row)])
    return rows


def _measured(row: Any) -> str:
    n, failed = int(row["first_turns"]), int(row["failed"])
    if not n:
        return f"no answer; {failed} failed" if failed else "no answer yet"
    return f"{int(row['text'])} of {n} text: {rate_text(row, 'drift')}{f'; {failed} failed' if failed else ''}"


def _documented(settings: dict[str, Any]) -> bool:
    stand_in = settings.get("stand_in", {})
    return settings.get("endpoint") == "standin" and stand_in.get("drift", "documented") == "documented"


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


def controls(m: Material) -> Grid | None:
    """What the controls read."""
    verdict = {True: "fit", False: Markup("<strong>unfit</strong>"), None: "not known yet"}
    rows = [
        [
            row["settings"],
            "text asked" if row["role"] == "positive" else "no history",
            badge(row["must_read"]),
            f"{row['completed']} of {row['planned']}",
            row["read"] or "–",
            verdict[flag(row["fit"])],
            origin(row["simulated"]),
        ]
        for _, row in m.controls.iterrows()
    ]
    return Grid(["settings", "control", "must read", "completed", "read", "verdict", "origin"], rows) if rows else None


# ------------------------------------------------------------------------------------------------------------- the record


def plan(m: Material) -> dict[str, Any]:
    """What was planned, whole."""
    p = m.plan
    stop = p.get("stop")
    timeout = str(p.get("timeout_s", "–")).removesuffix(".0")
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
        "settings": [
            (
                settings.get("name"),
                [
                    (name, listing(value) if isinstance(value, dict) else value)
                    for name, value in settings.items()
                    if name != "name" and value not in ("", {}, None)
                ],
            )
            for settings in p.get("settings", ())
        ],
        "json": Markup(show.esc(json.dumps(p, indent=1, ensure_ascii=False), limit=MAX_PLAN_CHARS)),
    }


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
        "title": f"Case {case.get('name')}: {plural(n, 'item')}",
        "reported": badge(case["reported"]) if case.get("reported") else "",
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


def money(m: Material) -> list[tuple[str, str]]:
    """What it cost."""
    spent, run = m.ledger.spent(), m.ledger.last_run
    estimated = f", ${spent['estimated_usd']:.2f} of it estimated by reservation" if spent["estimated_usd"] else ""
    facts = [("spent", f"${spent['usd']:.2f}{estimated}")]
    if spent["unpriced"]:
        facts.append(("unpriced", f"{spent['unpriced']} attempts: the kit knows no price for them"))
    if run is not None:
        reason = run["ended"] or "still running, or killed"
        facts.append(("budget", "none was needed" if run["budget_usd"] is None else f"${run['budget_usd']:.2f}"))
        facts.append(("runs", f"the last began {when(run['started_at'])} and ended by: {reason}"))
    return facts


def versions(m: Material) -> list[tuple[str, str]]:
    """What ran it, and what answered."""
    run = m.ledger.last_run or {}
    facts = [
        ("kit", run.get("kit_version", "–")),
        ("Python", run.get("python", "–")),
        ("models, as the server named them", ", ".join(sorted(ordered(m.attempts, "served_model"))) or "–"),
        ("voices", ", ".join(sorted(ordered(m.attempts, "voice"))) or "–"),
    ]
    rules = ordered(m.attempts, "drift_rule")
    return facts + ([("the stand-in's drift rule", ", ".join(rules))] if rules else [])


def ids(m: Material) -> dict[str, Any] | None:
    """For the vendor: which sessions and responses to look up."""
    df = m.drifted
    if not len(df):
        return None
    rows = [
        [
            when(row["started_at"]),
            row["model"],
            code(row["session_id"]),
            code(row["response_id"]),
            row["case"],
            spaced(row["arm"]),
            row["turn"],
        ]
        for _, row in df.head(MAX_IDS).iterrows()
    ]
    simulated = "a local stand-in made them, so no vendor has them"
    return {
        "n": len(df),
        "where": simulated if m.simulated else "to be looked up in the service's own logs",
        "more": f" The first {MAX_IDS} are listed." if len(df) > MAX_IDS else "",
        "grid": Grid(["session began (UTC)", "model", "session", "response", "case", "arm", "turn"], rows),
        "download": download(df[ID_COLUMNS], "text-replies.csv", "All of them as CSV"),
    }
