"""When something was logged, as logs write it. A number whose unit nobody says is no time: nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple


class Instant(NamedTuple):
    """An instant in milliseconds, and on which clock: instants of different clocks are not comparable."""

    ms: float
    clock: str


# Names of fields, in lower case without underscores, → milliseconds per unit.
_WITH_UNIT = {
    name + suffix: factor
    for name in ("at", "t", "ts", "time", "timestamp", "elapsed", "offset", "relative", "receivedat", "sentat", "since", "mono", "")
    for suffix, factor in (("ms", 1.0), ("millis", 1.0), ("milliseconds", 1.0), ("s", 1e3), ("sec", 1e3), ("seconds", 1e3),
                           ("us", 1e-3), ("micros", 1e-3), ("ns", 1e-6), ("nanos", 1e-6))
    if name + suffix not in ("s", "ts", "us", "ats", "ns")
}  # fmt: skip
_WITHOUT_UNIT = frozenset(
    {"t", "ts", "time", "timestamp", "at", "receivedat", "sentat", "createdat", "loggedat", "date", "datetime", "walltime",
     "unix", "epoch", "starttime", "eventtime"}
)  # fmt: skip
# Fields of the API's own events that look like one of these and are none.
_INSIDE = frozenset({"ts", "timestamp", "time", "atms", "timestampms", "tsms", "receivedat", "receivedatms", "unix"})

_ISO = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ]+(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
_TIME_OF_DAY = re.compile(r"(?<![\d:])(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?![\d:])", re.ASCII)
_EPOCH = re.compile(r"(?<![\d.])(1\d{9}(?:\.\d+)?|1\d{12})(?![\d.])", re.ASCII)


def of_fields(fields: Mapping[str, Any], *, inside_event: bool = False) -> Instant | None:
    """When, as a wrapper's fields say it; those with a unit in their name count first."""
    plain: Instant | None = None
    for key, value in fields.items():
        factor, unitless, inside, name = _meaning(key)
        if (factor is None and not unitless) or (inside_event and not inside):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        if factor is not None and isinstance(value, int | float) and abs(value) < 1e20:
            at_ms = value * factor
            return Instant(at_ms, "unix" if at_ms > 1e11 else name)
        if plain is None:
            plain = of_text(value) if isinstance(value, str) else _of_epoch(value)
    return plain


@lru_cache(maxsize=4_096)
def _meaning(key: str) -> tuple[float | None, bool, bool, str]:
    """Of a field's name: milliseconds per unit, whether it is a time without a unit, whether an event may have it, and its stem."""
    name = str(key)[:60].lower().replace("_", "").replace("-", "").lstrip("@$")
    return _WITH_UNIT.get(name), name in _WITHOUT_UNIT, name in _INSIDE, name


def of_text(text: str) -> Instant | None:
    """When, in front of an event in a line of text (or in a field): the last instant that stands there."""
    text = text[-300:]
    if dates := list(_ISO.finditer(text)):
        return _of_iso(dates[-1])
    if times := list(_TIME_OF_DAY.finditer(text)):
        hours, minutes, seconds, fraction = times[-1].groups()
        whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
        return Instant(whole * 1000 + _fraction_ms(fraction), "day")
    numbers = list(_EPOCH.finditer(text))
    return _of_epoch(float(numbers[-1][1])) if numbers else None


def begins_with_one(line: str) -> bool:
    """Whether a line of text begins with an instant, as a logger's records do."""
    head = line[:40].lstrip("[( ")
    return any(form.match(head) for form in (_ISO, _TIME_OF_DAY, _EPOCH))


def _of_iso(found: re.Match[str]) -> Instant | None:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except ValueError:
        return None
    at_ms = at.timestamp() * 1000 + _fraction_ms(fraction)
    if zone is None:
        return Instant(at_ms, "local")
    if zone not in ("Z", "UTC"):
        sign = -1 if zone[0] == "+" else 1
        at_ms += sign * (int(zone[1:3]) * 60 + int(zone[-2:])) * 60_000
    return Instant(at_ms, "unix")


def _of_epoch(value: float) -> Instant | None:
    """Seconds, ms, µs or ns since 1970, told apart by their size (from 2001 to 2286 they do not overlap)."""
    for factor in (1e3, 1.0, 1e-3, 1e-6):
        if 1e12 <= value * factor < 1e13:
            return Instant(value * factor, "unix")
    return None


def _fraction_ms(digits: str | None) -> float:
    return float(f"0.{digits}") * 1000 if digits else 0.0
