"""What was reported in public, beside what was found here; never one in the place of the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import show
from ..trials import arms
from .material import Material
from .parts import grid, rated, said, when

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
