"""The page of the study: what it says; ``study.html`` is its template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import show, tables
from ..stats.comparisons import p_words
from ..stats.intervals import percent
from ..trials.arms import arm as arm_of
from . import design
from .design import FUTILITY, p_of
from .pieces import Grid, bar, code, render, spaced, span, text_read, times_of, when
from .study import ModelRate, Study

QUESTION = "Does a seeded history cost the voice, and which cure works?"
LENGTHS = ((2, 4), (6, 8), (10, 20))  # turns of text before the user's last line


def write(study: Study) -> Path:
    """Write ``study.html`` into the study's folder: rates, cures, rules, and where the ledgers are. One file that fetches nothing."""
    path = study.folder / "study.html"
    path.write_text(render("study.html", **context(study)), encoding="utf-8")
    return path


def context(study: Study) -> dict[str, Any]:
    """Everything that ``study.html`` shows."""
    rates, ledgers = study.rates(), study.ledgers.values()
    controls = tables.controls_df(study.as_is_ledgers)
    of_whole, of_cut = study.design.whole_and_cut(study.results) if study.results else ((0, 0), (0, 0))
    return {
        "question": QUESTION,
        "study": study,
        "design": study.design,
        "rule": design,
        "n_controls": sum(len(ledger.rows("SELECT 1 FROM trials WHERE role <> 'measure'")) for ledger in ledgers),
        "fit": tables.fit_of(controls),
        "positives": text_read(controls),
        "cut": (*of_whole, *of_cut, p_words(p_of(of_whole, of_cut))),
        "in_short": in_short(study, rates),
        "models": models(rates),
        "lengths": lengths(study),
        "cures": cures(study),
        "cure_words": [
            (spaced(arm.name), " ".join((type(arm).__doc__ or "").split())) for arm in map(arm_of, study.cures)
        ],
        "not_asked": list(dict.fromkeys(v.model for v in study.verdicts() if v.outcome == "not asked")),
        "stages": stages(study),
    }


def in_short(study: Study, rates: list[ModelRate]) -> list[tuple[str, bool]]:
    """Sentences, each with whether it shows something: how many models, each model, each cure."""
    mark = f"[{show.origin_word(study.simulated)}] " if study.simulated is not False else ""
    drifting = [rate for rate in rates if rate.k]
    # A model that was not answered yet is no model without drift.
    measured = [rate for rate in rates if rate.n]
    n_more = sum(rate.is_more for rate in measured)
    n_models = show.counted(len(measured), "model")
    if drifting:
        shares = _range_of([rate.k / rate.n for rate in drifting])
        on_how_many = f"{n_more} of them" if n_more else "none of them is that shown to be"
        first = f"{len(drifting)} of {n_models} answered in text, in {shares} of replies; on {on_how_many} more often than without one"
    else:
        at_most = percent(max((rate.interval.high or 1.0 for rate in measured), default=1.0))
        n_replies = sum(rate.n for rate in measured)
        bound = f"over histories of this kind it is at most {at_most} on each, with 95 % confidence"
        first = f"no reply of {n_models} was text: 0 of {n_replies:,}; {bound}"
    sentences = [(f"{mark}With a seeded history {first}.", bool(n_more))]
    # Those with a result; what was not asked about has a sentence of its own (`not_asked`).
    compared = [verdict for verdict in study.verdicts() if verdict.n1]
    words = {
        "cures": "less text",
        "harms": "more text",
        "given up": f"less than {100 * FUTILITY:.0f} points better, and given up",
        "open": "no difference shown",
    }
    n_asked = len(study.design.models)
    for cure in dict.fromkeys(verdict.cure for verdict in compared):
        phrases = []
        for outcome, phrase in words.items():
            chosen = [verdict for verdict in compared if (verdict.cure, verdict.outcome) == (cure, outcome)]
            if not chosen:
                continue
            names = ", ".join(verdict.model for verdict in chosen)
            phrase += f" on {f'all {n_asked} models' if len(chosen) == n_asked > 1 else names}"
            beside = [verdict for verdict in chosen if verdict.n0]
            if beside and outcome in ("cures", "harms"):
                # The shares of text with the cure, then as it is beside it.
                treated, control = [v.k1 / v.n1 for v in beside], [v.k0 / v.n0 for v in beside]
                phrase += f" ({_range_of(treated)} instead of {_range_of(control)})"
            phrases.append(phrase)
        is_shown = any(verdict.outcome in ("cures", "harms") for verdict in compared if verdict.cure == cure)
        sentences.append((f"{mark}{spaced(cure)}: {'; '.join(phrases)}.", is_shown))
    return sentences


def _range_of(shares: list[float]) -> str:
    """The least and the most of them in percent, or the one."""
    return " to ".join(dict.fromkeys((percent(min(shares)), percent(max(shares)))))


def models(rates: list[ModelRate]) -> Grid:
    """A row per model: with the histories as they are, and without any."""
    rows = []
    for rate in rates:
        share = rate.k / rate.n if rate.n else float("nan")
        counts = ((rate.k, rate.n, rate.interval), (rate.background_k, rate.background_n, rate.background))
        rows.append([
            rate.model, bar(share, rate.interval.low or 0.0, rate.interval.high or 0.0),
            *(f"{k} of {n} ({span(interval)})" if n else "–" for k, n, interval in counts),
            "–" if rate.p is None else f"{'yes' if rate.is_more else 'not shown'}, {p_words(rate.p)}",
            f"{rate.lost_voice} of {rate.n}" if rate.n else "–",
            f"{rate.n_lost}: {span(rate.bounds)}" if rate.n_lost else "none",
        ])  # fmt: skip
    names = ["model", "", "text, with a history", "text, without one", "more than without", "voice lost (text, silent, late)",
             "lost after asking, and the rate with them"]  # fmt: skip
    return Grid(names, rows)


def lengths(study: Study) -> Grid | None:
    """A row per model, a column per length of the history."""
    if not study.as_is_ledgers:
        return None
    frame = tables.trials_df(study.as_is_ledgers)
    decided = frame[frame["first_turn_modality"].notna()]
    rows = []
    for model in study.design.models:
        # Settings are called `endpoint model …`: the second word is the model.
        part = decided[decided["settings"].astype(str).str.split().str[1] == model]
        cells = [model]
        for shortest, longest in LENGTHS:
            # The last item is the question itself.
            turns = part["history_items"] - 1
            group = part[(turns >= shortest) & (turns <= longest)]["first_turn_modality"].astype(str)
            cells.append(f"{int((group == 'text').sum())} of {len(group)}" if len(group) else "–")
        rows.append(cells)
    return Grid(["model", *(f"{shortest} to {longest} turns" for shortest, longest in LENGTHS)], rows)


def cures(study: Study) -> Grid:
    """A row per model and cure that was asked about."""
    rows: list[list[Any]] = []
    says = {"open": "no difference shown", "given up": f"given up: less than {100 * FUTILITY:.0f} points better"}
    for v in study.verdicts():
        if v.n1:
            with_it = f"{v.k1} of {v.n1} ({percent(v.k1 / v.n1)})"
            as_it_is = f"{v.k0} of {v.n0} ({percent(v.k0 / v.n0)})" if v.n0 else "–"
            rows.append([
                v.model, spaced(v.cure), with_it, as_it_is,
                says.get(v.outcome, v.outcome), p_words(v.p), v.look,
            ])  # fmt: skip
    names = ["model", "cure", "text, with it", "text, as it is", "shown", "unadjusted", "decided at look"]
    return Grid(names, rows, group=1)


def stages(study: Study) -> Grid:
    """A row per stage: when, what was asked, what came, and where it is kept."""
    rows: list[list[Any]] = []
    ledgers = list(study.ledgers.values())
    for stage, counts in study.results:
        n_ledgers = len({tuple(arms) for arms in stage.arms.values()})
        # Ledgers are kept in the order of the stages, one for each set of arms (`Study.plans`).
        own, ledgers = ledgers[:n_ledgers], ledgers[n_ledgers:]
        times = [at for ledger in own for at in times_of(ledger)]
        query = "SELECT 1 FROM turns WHERE turn = 0 AND outcome IN ('failed', 'censored')"
        n_lost = sum(len(ledger.rows(query)) for ledger in own)
        failed = sum(ledger.counts()["failed"] for ledger in own)
        arms = dict.fromkeys(arm for arms in stage.arms.values() for arm in arms)
        n_known, n_text = sum(n for _, n in counts.values()), sum(k for k, _ in counts.values())
        usd = sum(ledger.spent()["usd"] for ledger in own)
        rows.append([
            stage.name, when(min(times, default=None)), ", ".join(stage.arms), spaced(", ".join(arms)),
            n_known, n_text, n_lost, failed, f"${usd:.2f}",
            code(", ".join(ledger.path.name for ledger in own)),
        ])  # fmt: skip
    names = ["stage", "began (UTC)", "models", "how the history was handed over", "replies known", "of these text",
             "lost after asking", "failed", "cost", "ledger"]  # fmt: skip
    return Grid(names, rows, wide=[2, 3])
