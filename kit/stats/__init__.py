"""Intervals, comparisons, sample sizes and stop rules, on plain numbers.

Nothing here knows a trial, a table or a plot: counts in, small frozen results out. Every result carries the method that
made it and, where there is no number, a note that says why: an empty arm is an answer, not a crash. A value that cannot be
(5 of 3, a level of 95, rates that are equal where a difference is looked for) is an `InputError` that names it, in every
function here; in columns it names the first row that is wrong. ``level`` is that of the interval, 0.95 unless given.

Which for what:

- one rate: `wilson`, and `bounds_if_missing` for what the missing could have done to it
- a rate over turns that share trials: `clustered` (turns of one trial are not independent: drift sticks)
- two rates: `compare`; over cases: `mantel_haenszel`; then `adjusted` over the family, then `sentence`; `equivalence` with a margin
- before: `trials_needed`; during: `StopRule`, the only interval here that may be looked at after every trial
- drift over turns: `p_text_given_text`, `kaplan_meier`; latencies: `median_interval`

scipy takes up to a second to import, so it is imported when first called.
"""

from .comparisons import (
    adjusted,
    compare,
    equivalence,
    fisher,
    fisher_power,
    holm,
    mantel_haenszel,
    newcombe,
    sentence,
    trials_needed,
    trials_needed_per_stratum,
)
from .intervals import (
    Comparison,
    Interval,
    StopRule,
    Survival,
    bounds_if_missing,
    bounds_if_missing_array,
    clustered,
    clustered_array,
    clustered_counts,
    confidence_sequence,
    confidence_sequence_array,
    kaplan_meier,
    median_interval,
    p_text_given_text,
    survival_of_counts,
    wilson,
    wilson_array,
)

__all__ = [
    "Comparison", "Interval", "StopRule", "Survival", "adjusted", "bounds_if_missing", "bounds_if_missing_array",
    "clustered", "clustered_array", "clustered_counts", "compare", "confidence_sequence", "confidence_sequence_array",
    "equivalence", "fisher", "fisher_power", "holm", "kaplan_meier", "mantel_haenszel", "median_interval", "newcombe",
    "p_text_given_text", "sentence", "survival_of_counts", "trials_needed",
    "trials_needed_per_stratum", "wilson", "wilson_array",
]  # fmt: skip
