"""What came out: who answered, sentences, pictures, tables, comparisons. Each takes the `Material` and gives HTML."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import plots, show, tables
from ..errors import InputError
from ..stats.intervals import percent
from ..tables.modality import points
from ..trials import arms
from ..trials.ledger import Ledger

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

# Small pieces of HTML that the sections are made of. Arguments named ``html`` or ``cells`` are HTML already.


MOST_DOWNLOAD = 8_000_000  # bytes of CSV that go into the page; more belongs beside it


def figure(draw: Callable[..., Any], frame: Frame, prefix: str, alt: str) -> str:
    """A plot as inline SVG that follows the page's theme."""
    drawn = draw(frame, ax=plots.figure())
    return f"<figure>{plots.svg(drawn, themed=True, alt=alt, prefix=prefix)}</figure>"


def grid(names: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], *, wide: Sequence[int] = ()) -> str:
    """A table; a row is its cells and whether a group begins with it. Columns in `wide` may wrap."""
    head = "".join(f"<th>{show.esc(name)}</th>" for name in names)
    body = "".join(
        f"<tr{' class=new' if new else ''}>"
        + "".join(f"<td{' class=wide' if at in wide else ''}>{cell}</td>" for at, cell in enumerate(cells))
        + "</tr>"
        for cells, new in rows
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; a value is HTML."""
    return "<dl>" + "".join(f"<dt>{show.esc(name)}</dt><dd>{html}</dd>" for name, html in pairs) + "</dl>"


def sentence_list(said: Iterable[tuple[str, bool]]) -> str:
    """Sentences; those that show something stand out."""
    items = "".join(f"<li{' class=shown' if shown else ''}>{show.esc(text)}</li>" for text, shown in said)
    return f"<ul class='said'>{items}</ul>" if items else ""


def verdict(kind: str, word: str, text: str) -> str:
    """A box that is read first."""
    return f"<div class='verdict {kind}'><strong>{show.esc(word)}.</strong> {show.esc(text)}</div>"


def bar(rate: float, low: float, high: float) -> str:
    """A rate as a bar, its interval as a line across it."""
    if rate != rate:
        return "<span class='bar none'></span>"
    return f"<span class='bar'><i style='width:{100 * rate:.2f}%'></i><b style='left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%'></b></span>"


def download(frame: Frame, name: str, words: str) -> str:
    """A link that saves a table from the page itself."""
    text = frame.to_csv(index=False).encode("utf-8")
    if len(text) > MOST_DOWNLOAD:
        return f"{show.esc(words)}: too large for a page ({len(text) / 1e6:.0f} MB); python -m kit table LEDGER --csv has it"
    data = base64.b64encode(text).decode("ascii")
    return f'<a download="{show.esc(name)}" href="data:text/csv;base64,{data}">{show.esc(words)}</a>'


def when(at: Any) -> str:
    """An instant in UTC, to the second; a number is Unix seconds."""
    if at is None or at != at:
        return "–"
    if isinstance(at, int | float):
        at = datetime.fromtimestamp(at, UTC)
    return str(at.strftime("%Y-%m-%d %H:%M:%S"))


def sorted_words(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the plan's order."""
    present = set(df[name].dropna().astype(str))
    order: Iterable[Any] = df[name].cat.categories if hasattr(df[name], "cat") else df[name].dropna().unique()
    return [str(word) for word in order if str(word) in present]


def said(word: object) -> str:
    return str(word).replace("_", " ")


def counted(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def options(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


def rated(row: Any, name: str) -> str:
    """A rate of `modality_df` in percent, its interval in brackets."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def number(value: Any) -> float | None:
    return None if value != value else float(value)


def flag(value: Any) -> bool | None:
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def origin(value: Any) -> str:
    return show.esc(show.origin_word(flag(value)) or "measured")


# What a report is made of: every table of a ledger, read once.


class Material:
    """The tables that the sections share."""

    def __init__(self, ledger: Ledger, baseline: str, level: float) -> None:
        self.ledger, self.baseline, self.level = ledger, baseline, level
        self.plan: dict[str, Any] = ledger.plan

    @cached_property
    def trials(self) -> Frame:
        return tables.trials_df(self.ledger)

    @cached_property
    def turns(self) -> Frame:
        return tables.turns_df(self.ledger)

    @cached_property
    def attempts(self) -> Frame:
        return tables.attempts_df(self.ledger)

    @cached_property
    def controls(self) -> Frame:
        return tables.controls_df(self.ledger)

    @cached_property
    def settings(self) -> list[str]:
        """The names of the plan's settings, in order."""
        present = set(self.trials["settings"].astype(str))
        return [str(name) for name in self.trials["settings"].cat.categories if str(name) in present]

    @cached_property
    def _brief(self) -> dict[str, str]:
        shared = set.intersection(*(set(name.split()) for name in self.settings)) if len(self.settings) > 1 else set()
        return {n: " ".join(word for word in n.split() if word not in shared) or n for n in self.settings}

    def called(self, name: str, row: Any) -> str:
        """What a cell of the column `name` says: of settings only what they differ in."""
        word = str(row[name])
        return self._brief.get(word, word) if name == "settings" else said(word)

    @cached_property
    def by(self) -> list[str]:
        return [*(["settings"] if len(self.settings) > 1 else []), "case", "arm"]

    @cached_property
    def table(self) -> Frame:
        return tables.modality_df(self.ledger, self.by, level=self.level)

    @cached_property
    def arms(self) -> Frame:
        return tables.modality_df(self.ledger, [*self.by[:-2], "arm"], level=self.level)

    @cached_property
    def until_drift(self) -> Frame:
        return tables.until_drift_df(self.ledger, [*self.by[:-2], "arm"], level=self.level)

    @cached_property
    def compared(self) -> Frame | None:
        """``None`` where there is nothing to compare."""
        try:
            return tables.compare_df(self.table, self.baseline, over=self.by[:-2], level=self.level)
        except InputError:
            return None

    @cached_property
    def drifted(self) -> Frame:
        """The responses that came as text where audio was asked for."""
        df = tables.responses_df(self.ledger)
        return df[(df["modality"] == "text") & (df["role"] == "measure")]

    @property
    def fit(self) -> bool | None:
        """Whether the instrument was: ``None`` where no control has answered."""
        told = self.controls["fit"].dropna()
        return None if not len(told) else bool(told.all())

    @property
    def simulated(self) -> bool | None:
        return self.ledger.simulated

    def of(self, frame: Frame, name: str) -> Frame:
        """The rows of one of the plan's settings."""
        return frame[frame["settings"].astype(str) == name] if "settings" in frame and len(self.settings) > 1 else frame


# What an arm costs beside what it cures: items, responses, tokens, and how long until there is a voice.


MEANS = {
    "items_sent": "items sent",
    "updates_sent": "updates",
    "deletes_sent": "deletions",
    "responses": "responses",
    "total_tokens": "tokens",
    "output_audio_tokens": "of these, audio out",
}
"""Columns of `trials_df`, each the sum over a trial."""


def costs(m: Material) -> str:
    """A row per arm: means over its completed trials, and how much more that is than the baseline's."""
    over = m.by[:-2]
    done = m.trials[m.trials["state"] == "completed"]
    keys = [*over, "arm"]
    if not len(done) or done["arm"].nunique() < 2:
        return ""
    means = done.groupby(keys, observed=True)[list(MEANS)].mean().astype(float)
    known = {key if isinstance(key, tuple) else (key,): mean for key, mean in means.iterrows()}
    rows = []
    for _, row in m.arms.iterrows():
        who = tuple(row[name] for name in keys)
        mean, usual = known.get(who), known.get((*who[:-1], m.baseline))
        cells = [show.esc(m.called(name, row)) for name in keys]
        cells.append(rated(row, "drift"))
        for name in MEANS:
            if mean is None or mean[name] != mean[name]:
                cells.append("–")
                continue
            more = 0.0 if usual is None else mean[name] - usual[name]
            cells.append(f"{_short(mean[name])} ({_short(more, sign='+')})" if round(more, 9) else _short(mean[name]))
        cells.append(show.ms(number(row["heard_median_ms"])))
        rows.append((cells, False))
    return (
        "<h3>What an arm costs</h3><p>Means over the completed trials of an arm, and in brackets how much more that is than with "
        f"“{show.esc(said(m.baseline))}”; the last column is a median of first turns. Where trials failed, the cases are "
        "mixed otherwise, and the rows above say more.</p>"
        + grid([*keys, "drift", *MEANS.values(), "heard after"], rows)
    )


def _short(value: float, *, sign: str = "") -> str:
    return f"{value:{sign},.{0 if abs(value) >= 100 else 3}{'f' if abs(value) >= 100 else 'g'}}".replace("-", "−")


# What was reported in public, beside what was found here; never one in the place of the other.


AS_IS = arms.as_is.name


def reported(m: Material) -> str:
    """Two tables: cases handed over as they are, and arms."""
    found = show.origin_word(m.simulated) or f"measured {when(m.trials['started_at'].min())[:10]}"
    cases = [(cells, False) for cells in _cases(m)]
    cures = [(cells, False) for cells in _arms(m)]
    if not cases and not cures:
        return ""
    settings = ["settings"] if len(m.settings) > 1 else []
    told = (
        "<h2>Reported, and found</h2><p>“Reported” is what people said in public: of other models, on other days, and without a "
        "count. It is why a case or an arm is in the plan, and no finding of this report. “Found” is this ledger alone.</p>"
    )
    if m.simulated is not False and any(_documented(each) for each in m.plan.get("settings", ())):
        told += (
            "<p><strong>The stand-in's rule <code>documented</code> was made from these reports</strong>, so that agreement with "
            "them shows nothing but the instrument.</p>"
        )
    if cases:
        names = [*settings, "case, as it is", "reported", "in words", f"found ({found})", "as reported"]
        told += grid(names, cases, wide=(len(settings) + 2,))
    if cures:
        names = [*settings, "arm", "reported", "where", f"found ({found}): text, all cases"]
        told += grid(names, cures, wide=(len(settings) + 1, len(settings) + 2))
    return told


def _cases(m: Material) -> Iterator[list[str]]:
    notes = {str(each["name"]): each.get("note") for each in m.plan.get("cases", ())}
    words = dict(
        zip(m.trials["case"].astype(str), m.trials["reported"].astype("string").fillna("unknown"), strict=True)
    )
    for _, row in m.table.iterrows():
        if str(row["arm"]) != AS_IS:
            continue
        name = str(row["case"])
        word = words.get(name, "unknown")
        n = int(row["first_turns"])
        same = f"{int(row[word])} of {n}" if word in row.index and n else "–"
        yield [
            *_settings(m, row), show.esc(row["case"]), show.badge(word), show.esc(notes.get(name) or "–"), _found(row), same,
        ]  # fmt: skip


def _arms(m: Material) -> Iterator[list[str]]:
    ours = {each.name: each for each in arms.all_arms()}
    yours = {str(each["name"]) for each in m.plan.get("arms", ()) if "code" in each}
    for _, row in m.arms.iterrows():
        name = str(row["arm"])
        each = None if name in yours else ours.get(name.partition("(")[0])
        if each is None:
            yield [
                *_settings(m, row),
                show.esc(said(name)),
                "nothing: this arm is not one of the kit's",
                "–",
                _found(row),
            ]
        elif name != AS_IS:
            yield [
                *_settings(m, row),
                show.esc(said(name)),
                show.esc(each.reported),
                show.esc(each.source),
                _found(row),
            ]


def _settings(m: Material, row: Any) -> list[str]:
    return [show.esc(m.called("settings", row))] if len(m.settings) > 1 else []


def _found(row: Any) -> str:
    n = int(row["first_turns"])
    failed = int(row["failed"])
    if not n:
        return f"no answer; {failed} failed" if failed else "no answer yet"
    return f"{int(row['text'])} of {n} text: {rated(row, 'drift')}{f'; {failed} failed' if failed else ''}"


def _documented(settings: dict[str, Any]) -> bool:
    return (
        settings.get("endpoint") == "standin"
        and settings.get("stand_in", {}).get("drift", "documented") == "documented"
    )


# The record: what was planned, what failed, what it cost, what ran it, what to look up, and how it was counted.


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
    settings = "".join(_settings_record(each) for each in p.get("settings", ()))
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


def _settings_record(each: dict[str, Any]) -> str:
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
