"""The front ends of the sound widgets: modules of JavaScript put together here, so that nothing is fetched from outside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@cache
def esm(*names: str) -> str:
    """The source of these files, in this order, as one module."""
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


@cache
def css() -> str:
    """One look for all of them, in the colours of the reader's theme."""
    return (_HERE / "sound.css").read_text(encoding="utf-8")


def heard_while_a_cell_blocks(widget: Any) -> None:
    """Have the page's messages handled on the thread that the page asked for, so that a cell that blocks delays none.

    JupyterLab 4.4 and newer asks for a thread of its own for widgets ("comms over subshells"). ipykernel 7.4 answers on the
    thread that *sent* last on this comm, which for a widget made in a cell is the main one (``BaseComm._reply_subshell_for``,
    seen 2026-11). Handlers must be safe on any thread.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked_for: asked_for
