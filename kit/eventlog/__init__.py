"""Every event of a session kept, and anyone's log read.

* `LogWriter` writes what comes and goes over one socket, as it happens; `connect(log="x.jsonl")` makes one.
* `read_log` reads such a file, and logs of other programs in most of the shapes that they come in.
* `Redactor` takes keys and other secrets out of bytes before they reach the disk.

See README.md beside this file for what is kept, where, and how to delete it.
"""

from .formats import Frame, Reading
from .reading import COLUMNS, Log, LoggedSession, Recording, log_files, read_log, read_logs, recordings, row
from .redact import Redactor
from .writing import LogWriter

__all__ = [
    "COLUMNS",
    "Frame",
    "Log",
    "LogWriter",
    "LoggedSession",
    "Reading",
    "Recording",
    "Redactor",
    "log_files",
    "read_log",
    "read_logs",
    "recordings",
    "row",
]
