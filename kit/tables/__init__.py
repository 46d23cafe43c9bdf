"""Tables: what a ledger holds, a frame per row grain, and what it comes to.

::

    tables.modality_df(ledger, by=["case", "arm"])    which replies were audio and which text, with intervals
    tables.compare_df(ledger, baseline="as is")       each arm against a baseline, within case and pooled, in sentences
    tables.until_drift_df(ledger, by=["arm"])         the share of trials that had not drifted, turn by turn
    tables.controls_df(ledger)                        whether the instrument was fit
    tables.flow_df(ledger)                            what became of the planned trials: connected, seeded, asked, lost, answered
    tables.definitions_df(ledger)                     how the rate changes with what counts as drift
    tables.modality_df(ledger, by=["day"])            the rate day by day
    tables.brief_df(table)                            a table for reading: rates with their intervals, as words
    tables.in_words(table)                            the same, or a comparison, in sentences that carry their origin

    tables.log_df("logs/")                            anybody's event logs as a frame of responses, to be counted like a ledger

    tables.trials_df, attempts_df, turns_df, responses_df, events_df     a row each per trial, attempt, turn, …

A source is a ledger, its path, or a list of those; `modality_df` also takes a frame of responses. Frames are plain pandas.
"""

from .comparing import DEFINITIONS, compare_df, controls_df, definitions_df, fit_of, flow_df
from .frames import attempts_df, events_df, log_df, responses_df, trials_df, turns_df
from .modality import brief_df, in_words, modality_df, until_drift_df

__all__ = [
    "DEFINITIONS", "attempts_df", "brief_df", "compare_df", "controls_df", "definitions_df", "events_df", "fit_of",
    "flow_df", "in_words", "log_df", "modality_df", "responses_df", "trials_df", "turns_df", "until_drift_df",
]  # fmt: skip
