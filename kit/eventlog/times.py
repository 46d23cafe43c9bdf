"""Read the times that logs give. A number whose unit is not known is no time: nothing is guessed."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple


class Instant(NamedTuple):
    """An instant in milliseconds, and on which clock: instants of different clocks are not comparable.

    Clocks: ``unix``; ``local`` (a date without a zone); ``day`` (a time of day without a date); else the name of the field that
    it stood in, such as ``atms``.
    """

    ms: float
    clock: str


# Names of fields, in lower case without _ - @ $, and milliseconds per unit.
_WITH_UNIT = {
    name + suffix: factor
    for name in ("at", "t", "ts", "time", "timestamp", "elapsed", "offset", "relative", "receivedat", "sentat", "since", "mono", "")
    for suffix, factor in (("ms", 1.0), ("millis", 1.0), ("milliseconds", 1.0), ("s", 1e3), ("sec", 1e3), ("seconds", 1e3),
                           ("us", 1e-3), ("micros", 1e-3), ("ns", 1e-6), ("nanos", 1e-6))
    if name + suffix not in ("s", "ts", "us", "ats", "ns")
}  # fmt: skip
_WITHOUT_UNIT = frozenset(
    {"t", "ts", "time", "timestamp", "at", "asctime", "receivedat", "sentat", "loggedat", "date", "datetime", "walltime", "unix",
     "epoch", "eventtime", "created"}
)  # fmt: skip
# When the thing began that a line is about, not when the line was written: only where nothing better stands.
_WEAK = frozenset({"createdat", "starttime", "startedat", "updatedat", "insertedat"})
# Fields that logs add to an event itself; the API's own (expires_at, start_ms) are no times of the line.
_IN_EVENTS = frozenset({"ts", "timestamp", "time", "atms", "timestampms", "tsms", "receivedat", "receivedatms", "unix"})

_ISO = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d[T ] ?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d))?", re.ASCII
)
_TIME_OF_DAY = re.compile(r"(?<![\d:])(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?![\d:])", re.ASCII)
_EPOCH = re.compile(r"(?<![\d.])(1\d{9}(?:\.\d+)?|1\d{12}|1\d{15}|1\d{18})(?![\d.])", re.ASCII)
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
# Dates of web servers, mail, browsers and Kibana: "26/Nov/2025:20:46:40 +0000", "Wed, 26 Nov 2025 20:46:40 GMT", "11/26/2025, 8:46:40 PM",
# "Nov 26, 2025 @ 20:46:40.123"
_OTHER_DATE = re.compile(
    rf"\d{{1,2}}[/ ](?:{_MONTHS})[/ ]\d{{4}}[: ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:[+-]\d{{4}}|GMT|UTC|Z))?"
    rf"|(?:{_MONTHS}) \d{{1,2}}, \d{{4}} @ \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d{1,2}/\d{1,2}/\d{4},? \d{1,2}:\d\d:\d\d(?:\.\d+)?(?: [AP]M)?",
    re.ASCII,
)


def of_fields(fields: Mapping[str, Any], *, inside_event: bool = False) -> Instant | None:
    """When, as the fields beside an event say it; those with a unit in their name count first.

    Args:
        inside_event: The fields are the event's own, so that only a few names are a log's addition.
    """
    plain = weak = None
    for key, value in fields.items():
        factor, has_no_unit, is_weak, in_events, name = _meaning(str(key)[:60])
        if (inside_event and not in_events) or isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        if factor is not None and isinstance(value, int | float) and abs(value) < 1e20 and value == value:
            at_ms = value * factor
            return Instant(at_ms, "unix" if at_ms > 1e11 else name)
        if has_no_unit and plain is None:
            plain = of_text(value) if isinstance(value, str) else _of_epoch(value)
        elif weak is None and not inside_event and isinstance(value, str) and 18 < len(value) < 40:
            weak = _of_iso(value) if (is_weak or name.endswith(("time", "date", "stamp", "at"))) else None
    return plain or weak


@lru_cache(maxsize=4_096)
def _meaning(key: str) -> tuple[float | None, bool, bool, bool, str]:
    """Of a field's name: milliseconds per unit, whether it is a time without a unit, a weak one, one in events; its stem."""
    name = key.lower().replace("_", "").replace("-", "").lstrip("@$")
    return _WITH_UNIT.get(name), name in _WITHOUT_UNIT, name in _WEAK, name in _IN_EVENTS, name


def of_text(text: str) -> Instant | None:
    """When, in the text before an event: the first date, else the first time of day, else the first number of seconds.

    The first: a program's own stamp stands at the beginning, and whatever it tells of a caller comes after it.
    """
    text = text[:2_000]
    for date in _ISO.finditer(text):
        if (instant := _of_iso(date[0])) is not None:
            return instant
    if (match := _OTHER_DATE.search(text)) is not None:
        from dateutil import parser  # with a quarter of a megabyte, which most logs have no use for

        with contextlib.suppress(ValueError, OverflowError):
            return _of_datetime(parser.parse(re.sub(r"(\d{4}):", r"\1 ", match[0].replace(" @", ""), count=1)))
    if (match := _TIME_OF_DAY.search(text)) is not None:
        hours, minutes, seconds, fraction = match.groups()
        total_s = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
        return Instant(total_s * 1000 + (float(f"0.{fraction}") * 1000 if fraction else 0.0), "day")
    if (match := _EPOCH.search(text)) is not None:
        return _of_epoch(float(match[1]))
    return None


def begins_with_time(line: str) -> bool:
    """Whether a line of text begins with a time, as a logger's records do."""
    head = line[:40].lstrip("[( ")
    return any(form.match(head) for form in (_ISO, _TIME_OF_DAY, _EPOCH))


@lru_cache(maxsize=64)
def _of_iso(text: str) -> Instant | None:
    match = _ISO.match(text.strip())
    if match is None:
        return None
    iso = re.sub(r",1000$", ",999", match[0])  # Python's logging rounds 999.9 ms to 1000
    iso = iso.replace("/", "-").replace("UTC", "Z").replace("GMT", "Z").replace(" Z", "Z").replace("  ", " ")
    iso = re.sub(r" ([+-]\d\d:?\d\d)$", r"\1", iso).replace(":60", ":59")  # a leap second
    try:
        return _of_datetime(datetime.fromisoformat(iso))
    except ValueError:
        return None


def _of_datetime(at: datetime) -> Instant:
    if at.tzinfo is None:
        return Instant(at.replace(tzinfo=UTC).timestamp() * 1000, "local")
    return Instant(at.timestamp() * 1000, "unix")


def _of_epoch(value: float) -> Instant | None:
    """Seconds, ms, µs or ns since 1970, told apart by their size (from 2001 to 2286 they do not overlap)."""
    if not (0 < value < 1e20):
        return None
    for factor in (1e3, 1.0, 1e-3, 1e-6):
        if 1e12 <= value * factor < 1e13:
            return Instant(value * factor, "unix")
    return None


def wall_time(instant: Instant) -> str | None:
    """An instant as ISO 8601, to the millisecond: in UTC, or as the log's own local time; a time of day without a date."""
    if not math.isfinite(instant.ms) or instant.clock not in ("unix", "local", "day"):
        return None
    try:
        at = datetime.fromtimestamp(instant.ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if instant.clock == "day":
        return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03}"
    text = at.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if instant.clock == "unix" else text.removesuffix("+00:00")
