"""Pictures of the tables: a DataFrame of `kit.tables` in, matplotlib `Axes` out.

::

    plots.modality(table)          which replies were audio and which text, per case and arm, with intervals
    plots.strip(turns)             every trial, turn by turn
    plots.drift_by_length(table)   drift against the length of the history
    plots.first_audio(turns)       how long until the user hears something, and how often never
    plots.until_drift(curve)       the share of trials not drifted yet, turn by turn
    plots.cure_cost(table)         what an arm cures against what it costs
    plots.differences(compared)    each arm less the baseline, with intervals
    plots.pair(control, session)   the same question in two sessions: a wave against silent words
    plots.timeline(session)        one session on a line of time
    plots.Picture(axes, table)     any of them in the colours of a notebook's theme, with words for a screen reader, PNG and CSV

    plots.blank()                  empty axes in the same look, for a picture of your own

Each takes ``style="light"``, ``"dark"`` or ``"print"``, ``title=``, and ``ax=``: your own axes, or an empty `figure`, which is given
the size that the plot wants. Each says n, the date and the endpoint, and
carries a mark wherever a stand-in, or an unknown server, answered. Colours are `kit.show.COLOURS`, told apart with any kind of
colour vision; in print they have patterns too. Saved tables plot as well as fresh ones: only columns are read.
"""

from .curves import cure_cost, differences, drift_by_length, first_audio, until_drift
from .modality import modality, strip
from .style import STYLES, Picture, alt_text, blank, figure, sized, svg
from .timeline import pair, timeline

__all__ = [
    "STYLES", "Picture", "alt_text", "blank", "cure_cost", "differences", "drift_by_length", "figure", "first_audio",
    "modality", "pair", "sized", "strip", "svg", "timeline", "until_drift",
]  # fmt: skip
