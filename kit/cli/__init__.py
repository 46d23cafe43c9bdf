"""The same verbs from a terminal.

::

    python -m kit cases                 the four cases, a row each
    python -m kit case 1b               one of them; then you go on by typing
    python -m kit chat                  no history: just talk
    python -m kit log FILE…             anyone's log of events, a row per response
    python -m kit voice                 talk, with this machine's microphone and speaker
    python -m kit serve --port 8765     the stand-in, for any client in any language
    python -m kit trials run LEDGER     many trials, which can be stopped and gone on with; trials plan: what they would take
    python -m kit table LEDGER          which replies were audio and which text; report LEDGER: as a page
    python -m kit study                 the whole question: price, budget, run, report
    python -m kit lab                   the notebooks, in JupyterLab

A verb lives in a module of this package that has an ``add(verbs)``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import InputError, KitError
from ..version import __version__
from . import log, serving, talk, trials
from .options import complain


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 a session failed, 2 wrong usage, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except InputError as exc:
        return complain(exc, 2)
    except KitError as exc:
        return complain(exc, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kit",
        description="How does a speech-to-speech model behave when it is given a conversation history over the Realtime API?",
        epilog="The stand-in, a local simulation, answers unless you name a service: nothing is paid by accident.",
    )
    parser.add_argument("--version", action="version", version=f"realtime-history-kit {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for add in (talk.add, talk.add_voice, log.add, trials.add, trials.add_report, serving.add):
        add(verbs)
    return parser
