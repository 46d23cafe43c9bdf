"""Intervals, comparisons, sample sizes and stop rules, on plain numbers.

Nothing here knows a trial, a table or a plot: counts in, small frozen results out. Every result carries the method that
made it and, where there is no number, a note that says why: an empty arm is an answer, not a crash. A value that cannot be
(5 of 3, a level of 95, a turn that belongs to no trial) is an `InputError` that names it.

Which for what:

- one rate: `wilson`, and `bounds_if_missing` for what the missing could have done to it
- a rate over turns that share trials: `clustered` (turns of one trial are not independent: drift sticks)
- two rates: `compare`; over cases: `mantel_haenszel`; then `adjusted` over the family, then `sentence`
- before: `trials_needed`; during: `StopRule`, the only interval here that may be looked at after every trial
- drift over turns: `p_text_given_text`, `kaplan_meier`; latencies: `median_interval`

scipy and statsmodels take up to a second to import, so they are imported when first called.
"""

from kit.stats.clusters import clustered, clustered_array
from kit.stats.comparisons import adjusted, compare, fisher, holm, newcombe
from kit.stats.medians import median_interval
from kit.stats.persistence import Survival, kaplan_meier, p_text_given_text, survival_of_counts
from kit.stats.pooling import mantel_haenszel
from kit.stats.proportions import bounds_if_missing, wilson, wilson_array
from kit.stats.results import Comparison, Interval
from kit.stats.sample_size import fisher_power, trials_needed
from kit.stats.stopping import StopRule, confidence_sequence, confidence_sequence_array
from kit.stats.wording import sentence

__all__ = [
    "Comparison",
    "Interval",
    "StopRule",
    "Survival",
    "adjusted",
    "bounds_if_missing",
    "clustered",
    "clustered_array",
    "compare",
    "confidence_sequence",
    "confidence_sequence_array",
    "fisher",
    "fisher_power",
    "holm",
    "kaplan_meier",
    "mantel_haenszel",
    "median_interval",
    "newcombe",
    "p_text_given_text",
    "sentence",
    "survival_of_counts",
    "trials_needed",
    "wilson",
    "wilson_array",
]
