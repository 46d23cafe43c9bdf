"""The front ends of the sound widgets: modules of JavaScript put together here, so that nothing is fetched from outside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def esm(*names: str) -> str:
    """The source of these files, in this order, as one module."""
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


@cache
def css() -> str:
    """One look for all of them, in the colours of the reader's theme."""
    return (_HERE / "sound.css").read_text(encoding="utf-8")
