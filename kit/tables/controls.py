"""Whether the instrument was fit: text asked must read text, no history must read audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .grains import trials_df
from .sources import Source

if TYPE_CHECKING:
    import pandas as pd

MUST_READ = {"positive": "text", "negative": "audio"}


def controls_df(source: Source) -> pd.DataFrame:
    """A row per setting and kind of control.

    ``fit``: every control that completed read what it must, and at least one did complete. ``<NA>`` while none has. A plan
    without controls gives no rows: nothing is known of the instrument.

    Columns: ``settings, endpoint, model, role, must_read, planned, completed, as_it_must, read`` (what was read, counted),
    ``fit, simulated``.
    """
    import pandas as pd

    trials = trials_df(source, role=None)
    trials = trials[trials["role"].isin(list(MUST_READ))]
    keys = ["plan", "settings", "endpoint", "model", "role"]
    rows = []
    for key, some in trials.groupby(keys, observed=True, sort=False, dropna=False):
        told = dict(zip(keys, key, strict=True))
        done = some[some["state"] == "completed"]
        read = done["first_turn_modality"].astype("string").fillna("nothing")
        right = int((read == MUST_READ[told["role"]]).sum())
        rows.append(
            told
            | {
                "must_read": MUST_READ[told["role"]],
                "planned": len(some),
                "completed": len(done),
                "as_it_must": right,
                "read": ", ".join(f"{word} {n}" for word, n in read.value_counts().items()),
                "fit": right == len(done) if len(done) else (False if (some["state"] == "failed").all() else None),
                "simulated": None if done["simulated"].isna().any() or not len(done) else bool(done["simulated"].any()),
            }
        )
    names = [*keys, "must_read", "planned", "completed", "as_it_must", "read", "fit", "simulated"]
    out = pd.DataFrame(rows, columns=names)
    return out.astype({"fit": "boolean", "simulated": "boolean"})
