"""What an arm costs beside what it cures: items, responses, tokens, and how long until there is a voice."""

from __future__ import annotations

from .. import show
from .material import Material
from .parts import grid, number, rated, said

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
