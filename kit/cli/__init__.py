"""The same verbs from a terminal: ``python -m kit`` lists them.

A verb lives in a module of this package that has an ``add(verbs)``, and is loaded when it is named (`_MODULES`); its options are in
``options.py``, what it prints in ``screen.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import importlib
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..errors import InputError, KitError
from ..version import __version__
from .screen import complain

_MODULES = {
    "talk": ("cases", "case", "chat", "voice"),
    "endpoints": ("endpoints", "probe"),
    "log": ("log", "bundle"),
    "trials": ("table", "report", "trials", "study"),
    "serving": ("serve", "record", "lab"),
}
"""The verbs of each module, in the order of the help."""

_EPILOG = """\
The stand-in, a local simulation, answers unless you name a service: nothing is
paid by accident.

exit codes:
  0    done
  1    not done, or not all of it: a session or a file failed, a run ended early,
       a control did not read what it must
  2    wrong usage
  130  interrupted
Trials that fail are results: a run that came to its end exits 0 if any trial
completed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (`_EPILOG`)."""
    words = sys.argv[1:] if argv is None else argv
    parser = _parser(words[0] if words else "")
    args, unknown = parser.parse_known_args(argv)
    if "run" not in args:  # a bare `kit`, or `kit trials`
        getattr(args, "parser", parser).print_help()
        return 0
    if unknown and not getattr(args, "passes_on", False):
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.unknown = unknown
    sentences: set[str] = set()

    def note(message: Warning | str, *_where: object, **_options: object) -> None:
        if str(message) not in sentences:  # a sentence for a reader, not the line of code that it came from
            sentences.add(str(message))
            complain(message, 0)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = note
            code = args.run(args)  # or the coroutine of a verb that talks
            return int(asyncio.run(code) if asyncio.iscoroutine(code) else code)
    except KeyboardInterrupt:
        return 130
    except InputError as exc:
        return complain(exc, 2)
    except KitError as exc:
        return complain(exc, 1)


class Parser(argparse.ArgumentParser):
    """Argparse without abbreviations, whose errors are one sentence with what was probably meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | options)

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument (?:VERB|WHAT): invalid choice: '(.*?)' \(choose from (.*)\)", message):
            verbs = re.findall(r"[\w-]+", match[2])
            message = f"no verb is called '{match[1]}'{_suggestion(match[1], verbs)}"
        elif match := re.match(r"unrecognized arguments: (\S+)", message):
            name = match[1].partition("=")[0]
            kind = "option" if name.startswith("-") else "further argument"
            message = f"`{self.prog}` takes no {kind} {name}{_suggestion(name, self._option_string_actions)}"
        end = "" if message.endswith("?") else "."
        raise SystemExit(complain(f"{message}{end} See {self.prog} --help", 2))


def _suggestion(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f". Did you mean {close[0]}?" if close else ""


def _parser(verb: str = "") -> argparse.ArgumentParser:
    """The parser of a verb, of which nothing else is loaded; of all, where it is none."""
    about = "Find out how a speech-to-speech model behaves when it is given a conversation history."
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = Parser(prog="kit", description=about, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"realtime-history-kit {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for module in [module for module, named in _MODULES.items() if verb in named] or _MODULES:
        importlib.import_module(f".{module}", __name__).add(verbs)
    return parser
