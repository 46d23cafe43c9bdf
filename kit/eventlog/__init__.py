"""Every event of a session kept, and anyone's log read.

* `LogWriter` writes what comes and goes over one socket, as it happens; `connect(log="x.jsonl")` makes one.
* `read_log` reads such a file, and logs of other programs in most of the shapes that they come in; `answer` counts what came.
* `Redactor` takes keys and other secrets out of bytes before they reach the disk.

A log is read in steps: `lines` (files to lines), `documents` (files that are none), `values` (text to objects) and `times`, `joining`
(objects over several lines), `events` (whose event an object is), `parsing` (the reader), `sessions` (the fold). See README.md
beside this file for what is kept, where, and how to delete it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .lines import ParseReport, log_files
    from .reading import Log, read_log, read_logs
    from .sessions import COLUMNS, LoggedSession

from .redact import Redactor as Redactor  # noqa: E402
from .writing import LogWriter as LogWriter  # noqa: E402

__all__ = [
    "COLUMNS",
    "Log",
    "LogWriter",
    "LoggedSession",
    "ParseReport",
    "Redactor",
    "log_files",
    "read_log",
    "read_logs",
]


def __getattr__(name: str) -> Any:
    """Load what reads logs when it is first asked for: a session has no use for it, and it costs as much as one."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import reading

    return getattr(reading, name)
