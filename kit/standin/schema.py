"""Checks that say what the service says: small functions from a value and its path to a refusal, put together as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..wire.dialect import Refusal, invalid_value, missing, too_long, unknown_parameter, wrong_type

Check = Callable[[object, str], Refusal | None]


class Refused(Exception):
    """The service says no; the event that asked is answered with an `error` and has no other effect."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(code: str | None, message: str, param: str | None = None) -> Refused:
    """A refusal, ready to be raised."""
    return Refused(Refusal(code, message, param))


def demand(refusal: Refusal | None) -> None:
    """Raise the refusal, if there is one."""
    if refusal is not None:
        raise Refused(refusal)


def anything(value: object, path: str) -> Refusal | None:
    return None


def text(value: object, path: str) -> Refusal | None:
    return None if isinstance(value, str) else wrong_type(path, "a string", value)


def flag(value: object, path: str) -> Refusal | None:
    return None if isinstance(value, bool) else wrong_type(path, "a boolean", value)


def nullable(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def one_of(*values: str) -> Check:
    return lambda value, path: (
        None if value in values and isinstance(value, str) else invalid_value(value, values, path)
    )


def _bounded(kind: str, low: float, high: float | None) -> Check:
    def check(value: object, path: str) -> Refusal | None:
        if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
            return wrong_type(path, f"a{'n' if kind == 'integer' else ''} {kind}", value)
        assert isinstance(value, int | float)
        # "Invalid 'session.temperature': decimal below minimum value. Expected a value >= 0.6, but got 0.3 instead."
        if value < low:
            why, code = f"below minimum value. Expected a value >= {low:g}", f"{kind}_below_min_value"
        elif high is not None and value > high:
            why, code = f"above maximum value. Expected a value <= {high:g}", f"{kind}_above_max_value"  # unverified
        else:
            return None
        return Refusal(code, f"Invalid '{path}': {kind} {why}, but got {value:g} instead.", path)

    return check


def integer(low: int, high: int | None = None) -> Check:
    return _bounded("integer", low, high)


def decimal(low: float, high: float | None = None) -> Check:
    return _bounded("decimal", low, high)


def either(word: str, check: Check) -> Check:
    """One fixed word, or what `check` takes."""
    return lambda value, path: None if value == word else check(value, path)


def array(check: Check, limit: int | None = None) -> Check:
    def run(value: object, path: str) -> Refusal | None:
        if not isinstance(value, list):
            return wrong_type(path, "an array", value)
        return next((r for n, one in enumerate(value) if (r := check(one, f"{path}[{n}]"))), None)

    return run


def fields(required: Iterable[str] = (), **known: Check) -> Check:
    """An object: what must be there is looked for first, then what must not."""
    needed = tuple(required)

    def check(value: object, path: str) -> Refusal | None:
        if not isinstance(value, dict):
            return wrong_type(path, "an object", value)
        for name in needed:
            if value.get(name) is None:
                return missing(f"{path}.{name}")
        for name, one in value.items():
            if name not in known:
                return unknown_parameter(f"{path}.{name}")
            if refusal := known[name](one, f"{path}.{name}"):
                return refusal
        return None

    return check


def by_type(**kinds: Check) -> Check:
    """An object that says in its ``type`` which of several it is."""

    def check(value: object, path: str) -> Refusal | None:
        if not isinstance(value, dict):
            return wrong_type(path, "an object", value)
        kind = value.get("type")
        if kind is None:
            return missing(f"{path}.type")
        if not isinstance(kind, str) or kind not in kinds:
            return invalid_value(kind, kinds, f"{path}.type")
        return kinds[kind](value, path)

    return check


def modalities(*combinations: frozenset[str]) -> Check:
    """Which kinds of content may be asked for together, with the service's own sentence for any other list."""

    def check(value: object, path: str) -> Refusal | None:
        if not isinstance(value, list):
            return wrong_type(path, "an array of strings", value)
        if any(not isinstance(word, str) for word in value) or frozenset(value) not in combinations:
            shown = ", ".join(f"'{word}'" for word in value)
            allowed = " and ".join("[" + ", ".join(f"'{w}'" for w in sorted(c)) + "]" for c in combinations)
            return Refusal(
                "invalid_value", f"Invalid modalities: [{shown}]. Supported combinations are: {allowed}.", path
            )
        return None

    return check


def metadata(value: object, path: str) -> Refusal | None:
    """Up to 16 pairs of strings, keys up to 64 and values up to 512 characters. The refusals are *unverified*."""
    if not isinstance(value, dict):
        return wrong_type(path, "an object", value)
    if len(value) > 16:
        return Refusal(
            "object_above_max_properties",
            f"Invalid '{path}': too many properties. Expected an object with at most 16 properties, "
            f"but got an object with {len(value)} properties instead.",
            path,
        )
    for key, one in value.items():
        if not isinstance(one, str):
            return wrong_type(f"{path}.{key}", "a string", one)
        if len(key) > 64:
            return too_long(path, len(key), 64)
        if len(one) > 512:
            return too_long(f"{path}.{key}", len(one), 512)
    return None


def at(settings: dict[str, Any], path: Iterable[str]) -> Any:
    """The value at a path of an object, ``None`` where the path ends early."""
    here: Any = settings
    for step in path:
        here = here.get(step) if isinstance(here, dict) else None
    return here
