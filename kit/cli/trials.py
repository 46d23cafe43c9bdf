"""``trials``: plan, run and go on with many trials in a terminal.

::

    python -m kit trials plan --case 1b 2b --arm as_is one_user_message --repeats 40
    python -m kit trials run runs/joke.sqlite --case 1b 2b --arm as_is one_user_message --repeats 40
    python -m kit trials resume runs/joke.sqlite
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import show
from ..cases import Case, all_cases
from ..endpoint import NAMES
from ..trials import arms
from ..trials.ledger import Ledger
from ..trials.plan import MAX_OUTPUT_TOKENS, Plan, Settings
from ..trials.rebuilding import plan_of
from ..trials.runner import run
from .options import Verbs

_console = Console(highlight=False, soft_wrap=True)


def _plan(args: argparse.Namespace) -> Plan:
    """What the options ask for."""
    stand_in = {"drift": args.drift} | ({} if args.pace is None else {"pace": args.pace})
    stand_in |= {"faults": args.fault} if args.fault else {}
    models = args.model or [None]
    settings = [
        Settings(
            args.endpoint,
            model=model,
            voice=args.voice,
            instructions=args.instructions,
            turn_detection=args.turn_detection,
            max_output_tokens=args.max_output_tokens,
            dialect=args.dialect,
            key_env=args.key_env,
            stand_in=stand_in if args.endpoint == "standin" else {},
        )
        for model in models
    ]
    cases: list[Case | str] = [*args.case, *(Case.from_chat(file) for file in args.chat)]
    return Plan(
        cases or [each.name for each in all_cases()],
        args.arm or "as_is",
        args.repeats,
        settings=settings,
        seed=args.seed,
        max_attempts=args.max_attempts,
        timeout_s=args.timeout,
        stop=args.stop,
        controls=args.controls,
    )


def _show(args: argparse.Namespace) -> int:
    _print_plan(_plan(args))
    return 0


def _arms(args: argparse.Namespace) -> int:
    table = Table(box=None, pad_edge=False, show_header=False)
    for arm in arms.all_arms():
        told = (type(arm).__doc__ or "").strip().split("\n\n")
        words = " ".join(" ".join(part.split()) for part in told)
        table.add_row(Text(arm.name, style="bold"), Text(words))
    _console.print(table)
    return 0


def _run(args: argparse.Namespace) -> int:
    return _play(_plan(args), args)


def _resume(args: argparse.Namespace) -> int:
    return _play(plan_of(Ledger(args.ledger), key_env=args.key_env), args)


def _play(plan: Plan, args: argparse.Namespace) -> int:
    path = Path(args.ledger).expanduser().resolve()
    _print_plan(plan)
    try:
        ledger = asyncio.run(
            run(
                plan,
                path,
                at_once=args.at_once,
                budget_usd=args.budget,
                keep_events=args.events,
                own_process=args.own_process,
                progress=None if args.quiet else True,
            )
        )
    except KeyboardInterrupt:
        _say(f"stopped; go on with: python -m kit trials resume {path}", "bold")
        raise
    _print_ledger(ledger)
    counts = ledger.counts()
    return 0 if counts["completed"] else 1


def _print_plan(plan: Plan) -> None:
    _say(repr(plan).strip("<>"))


def _print_ledger(ledger: Ledger) -> None:
    rows = ledger.rows(
        f"SELECT t.case_name, t.arm, CASE t.arm WHEN '{arms.as_is.name}' THEN t.reported ELSE '–' END AS reported, "
        "t.settings_name, COUNT(*) AS planned, SUM(t.state = 'completed') AS completed, "
        "SUM(t.state = 'failed') AS failed, "
        + ", ".join(
            f"SUM(t.state = 'completed' AND u.final_modality = '{word}') AS {word}"
            for word in ("audio", "text", "mixed", "function", "empty")
        )
        + " FROM trial_states t LEFT JOIN turns u ON u.attempt_id = t.attempt_id AND u.turn = 0 "
        "WHERE t.role = 'measure' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4"
    )
    several = len({row["settings_name"] for row in rows}) > 1
    names = ["case_name", "arm", "reported", *(["settings_name"] if several else []), "planned", "completed", "failed"]
    names += [word for word in ("audio", "text", "mixed", "function", "empty") if any(row[word] for row in rows)]
    table = Table(box=None, pad_edge=False)
    for name in names:
        words = name.removesuffix("_name")
        sign = show.SIGNS.get(words)
        table.add_column(
            f"{sign} {words}" if sign else words,
            justify="left" if "_name" in name or name in ("arm", "reported") else "right",
        )
    for row in rows:
        table.add_row(*(Text(show.plain(row[name])) for name in names))
    _console.print(table)
    origin = show.origin_word(ledger.simulated)
    _say(
        "what the user finally heard of the first turn"
        + (f" – {origin}: this shows the instrument, not what a model does" if origin else "")
    )
    _say("reported: what people said in public of the case as it is, without a count; nothing that was seen here")
    last: dict[str, Any] = dict(ledger.last_run or {})
    if last.get("ended") not in (None, "complete"):
        _say(f"ended by {last['ended']}: {last['note']}", "bold")
    if why := dict(ledger.facts()).get("failed most often by"):
        _say(f"failed most often by {why}")
    money = ledger.spent()
    if money["usd"]:
        _say(f"spent ${money['usd']:.2f}, ${money['estimated_usd']:.2f} of it estimated")
    _say(f"ledger: {ledger.path}")


def _say(words: str, style: str = "") -> None:
    _console.print(Text(show.plain(words), style=style))


# --------------------------------------------------------------------------------------------------------------- options


def _tokens(text: str) -> int | str:
    try:
        return text if text == "inf" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number or inf, not {text!r}") from None


def _plan_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add(
        "--case", nargs="+", default=[], metavar="NAME", help="1a 1b 2a 2b (default), system, tools, '8 turns', 1b+4, …"
    )
    add("--chat", nargs="+", default=[], metavar="FILE", help="cases of your own: files of chat messages")
    add("--arm", nargs="+", default=[], metavar="NAME", help="as_is (default), one_user_message, …: see `trials arms`")
    add("--repeats", type=int, default=20, help="of each case, arm and setting (default 20)")
    add("--seed", type=int, default=0, help="of the order and of the stand-in's draws (default 0)")
    add("--endpoint", default="standin", metavar="WHERE", help=f"{', '.join(NAMES)}, or a ws:// URL (default standin)")
    add("--model", nargs="+", metavar="MODEL", help="one model or several, side by side")
    add("--dialect", choices=("ga", "beta"), default="ga")
    add("--key-env", metavar="NAME", help="the environment variable that holds the key for a URL")
    add("--voice")
    add("--instructions")
    add("--turn-detection", choices=("manual", "server_vad", "semantic_vad"))
    add(
        "--max-output-tokens", type=_tokens, default=MAX_OUTPUT_TOKENS, help=f"of a reply (default {MAX_OUTPUT_TOKENS})"
    )
    add("--max-attempts", type=int, default=3, help="of a trial whose connection fails (default 3)")
    add("--timeout", type=float, default=60, metavar="S", help="for one turn (default 60)")
    add("--stop", type=float, metavar="WIDTH", help="stop once no interval is wider, such as 0.2: ±10 points")
    add("--controls", type=int, metavar="N", help="of each kind and setting (default 3 where somebody pays)")
    add(
        "--drift",
        default="documented",
        metavar="RULE",
        help="of the stand-in: documented, never, always, p=Q, per-response=Q",
    )
    add(
        "--pace",
        type=float,
        metavar="FACTOR",
        help="of the stand-in: audio at FACTOR times real time (default: at once)",
    )
    add(
        "--fault",
        nargs="+",
        default=[],
        metavar="NAME[=V][@WHEN]",
        help="of the stand-in: drop@p=0.1 stall@p=0.05 … (kit/standin/README.md lists them)",
    )
    return options


def _run_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "ledger", help="the file to write, such as runs/joke.sqlite; one that is there is gone on with"
    )
    options.add_argument("--at-once", type=int, default=8, help="sessions at the same time (default 8)")
    options.add_argument(
        "--budget", type=float, metavar="USD", help="what the whole ledger may cost; needed where you pay"
    )
    options.add_argument("--events", action="store_true", help="keep every event, without audio")
    options.add_argument("--own-process", action="store_true", help="run the stand-in in a process of its own")
    options.add_argument("--quiet", action="store_true", help="no progress bar")
    return options


def add(verbs: Verbs) -> None:
    """Add this verb to the command line."""
    trials = verbs.add_parser(
        "trials", help="many trials: plan, run, resume", description="Plan, run and go on with many trials."
    )
    what = trials.add_subparsers(required=True, metavar="WHAT")
    plan = what.add_parser(
        "plan", parents=[_plan_options()], help="what it would take: trials, tokens, dollars, minutes"
    )
    plan.set_defaults(run=_show)
    start = what.add_parser("run", parents=[_run_options(), _plan_options()], help="run a plan, or go on with it")
    start.set_defaults(run=_run)
    resume = what.add_parser("resume", parents=[_run_options()], help="go on with the plan that a ledger holds")
    resume.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the key for a URL")
    resume.set_defaults(run=_resume)
    arms_ = what.add_parser("arms", help="the arms, with where each was reported and what came of it")
    arms_.set_defaults(run=_arms)
