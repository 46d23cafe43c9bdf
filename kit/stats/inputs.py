"""What a count, a rate and a level may be; each refusal names the value."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from kit.errors import InputError, clipped

Floats = npt.NDArray[np.float64]


def whole(value: object, name: str, *, at_least: int = 0) -> int:
    """A count as an int. Whole floats pass (pandas makes them of columns with gaps); truth values do not."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if ok and math.isfinite(value) and value == int(value) and value >= at_least:  # type: ignore[call-overload,operator,arg-type]
        return int(value)  # type: ignore[call-overload,no-any-return]
    raise InputError(f"{name} must be a whole number of {at_least} or more, got {clipped(value)}")


def k_of_n(k: object, n: object, names: tuple[str, str] = ("k", "n")) -> tuple[int, int]:
    """A count and what it is out of."""
    few, all_ = whole(k, names[0]), whole(n, names[1])
    if few > all_:
        raise InputError(f"{names[0]} cannot be more than {names[1]}, got {few} of {all_}")
    return few, all_


def k_of_n_arrays(k: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Counts and what they are out of, broadcast against each other, as float64."""
    pair = []
    for name, given in (("k", k), ("n", n)):
        try:
            values = np.asarray(given)
            numeric = values.dtype.kind in "iuf"
        except ValueError:
            numeric = False
        if not numeric:
            raise InputError(f"{name} must be an array of whole numbers, got {clipped(given)}")
        pair.append(values.astype(np.float64))
    try:
        few, all_ = np.broadcast_arrays(*pair)
    except ValueError:
        raise InputError(f"k and n must have one shape, got {pair[0].shape} and {pair[1].shape}") from None
    # one comparison per rule, NaN fails every one of them
    good = (few >= 0) & (few <= all_) & (all_ < np.inf) & (few == np.floor(few)) & (all_ == np.floor(all_))
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        where = at[0] if len(at) == 1 else at
        raise InputError(f"row {where}: k of n must be whole numbers with 0 <= k <= n, got {few[at]:g} of {all_[at]:g}")
    return few, all_


def probability(value: object, name: str, *, example: str) -> float:
    """A number strictly between 0 and 1; the usual slip is percent."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if ok and 0 < value < 1:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise InputError(f"{name} must lie between 0 and 1 (such as {example}), got {clipped(value)}")


def rate(value: object, name: str) -> float:
    """A number from 0 to 1, ends included."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if ok and 0 <= value <= 1:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise InputError(f"{name} must be a rate from 0 to 1, got {clipped(value)}")


def z_of(level: object) -> float:
    """The two-sided normal quantile of a level: 1.95996 for 0.95."""
    return NormalDist().inv_cdf(0.5 + probability(level, "level", example="0.95") / 2)
