"""The Realtime history kit: how does a speech-to-speech model behave when it is given a conversation history?

::

    from kit import History, connect

    history = History().user("Tell me a joke.").assistant("…").user("Another one, please.")
    session = await connect("standin")
    await session.seed(history)
    response = await session.respond()      # modality, transcript, player, times

Names are loaded when they are first touched: importing `kit` imports nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing it would cost half of what `import kit` may
if TYPE_CHECKING:
    from typing import Any

    from . import cases as cases
    from . import plots as plots
    from . import tables as tables
    from . import widgets as widgets
    from .base import sessions as sessions
    from .cases import Case as Case
    from .clip import Clip as Clip
    from .connecting import connect as connect
    from .endpoint import Endpoint as Endpoint
    from .errors import KitError as KitError
    from .eventlog import read_log as read_log
    from .history import History as History
    from .reporting import report as report
    from .session import Session as Session
    from .standin import StandIn as StandIn
    from .trials import arms as arms
    from .trials import run as run
    from .trials.ledger import Ledger as Ledger
    from .trials.plan import Plan as Plan
    from .trials.plan import Settings as Settings

from .version import __version__ as __version__  # noqa: E402

_HOMES = {
    # what it is → where it lives; a namespace lives in itself
    "Case": "cases",
    "Clip": "clip",
    "Endpoint": "endpoint",
    "History": "history",
    "KitError": "errors",
    "Ledger": "trials.ledger",
    "Plan": "trials.plan",
    "Session": "session",
    "Settings": "trials.plan",
    "StandIn": "standin",
    "arms": "trials.arms",
    "cases": "cases",
    "connect": "connecting",
    "plots": "plots",
    "read_log": "eventlog",
    "report": "reporting",
    "run": "trials",
    "sessions": "base",
    "tables": "tables",
    "widgets": "widgets",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kit' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{home}", __name__)
    # `plots`, `tables` and their like are modules themselves; every other name is looked up in one.
    value = module if name == home.rpartition(".")[2] else getattr(module, name)
    # From now on an ordinary global: Python asks this function only for names that are not there.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
