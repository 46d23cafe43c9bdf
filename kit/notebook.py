"""What a notebook needs beyond a script: a session whose cell is run again is closed.

Jupyter keeps every displayed object (`Out`, `_`), so a session that was replaced is not collected, and a paid socket would
stay open unseen. After each cell, a session that had a name and lost its last one to another session is closed.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

_named: weakref.WeakKeyDictionary[Session, set[str]] = weakref.WeakKeyDictionary()
_closing: set[asyncio.Task[None]] = set()


def close_when_rebound(session: Session) -> None:
    """Watch this session's names, if we are in IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    if not getattr(shell, "_kit_watches_names", False):
        shell._kit_watches_names = True
        shell.events.register("post_run_cell", lambda _result=None: _after_cell(shell.user_ns))
    _named.setdefault(session, set())


def _after_cell(names: dict[str, Any]) -> None:
    for session, known in list(_named.items()):
        now = {name for name, value in names.items() if value is session and not name.startswith("_")}
        replaced = known and not now and any(type(names.get(name)) is type(session) for name in known)
        if replaced and session.closed is None:
            task = asyncio.ensure_future(session.close())
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            print(f"closed the session that was replaced ({session.id})")
        if replaced or session.closed is not None:
            _named.pop(session, None)
        else:
            known |= now
