"""``trials``: plan, run and go on with many trials in a terminal.

::

    python -m kit trials plan --case 1b 2b --arm as_is one_user_message --repeats 40
    python -m kit trials run runs/joke.sqlite --case 1b 2b --arm as_is one_user_message --repeats 40
    python -m kit trials resume runs/joke.sqlite
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import show
from ..cases import Case, all_cases
from ..endpoint import NAMES
from ..errors import InputError
from ..trials import arms
from ..trials.ledger import Ledger
from ..trials.plan import MAX_OUTPUT_TOKENS, Plan, Settings, plan_of
from ..trials.runner import run
from .options import Verbs

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

    from ..trials.plan import Plan

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


# ``table``, ``report``, ``study``: what a ledger comes to.


_console_report = Console(highlight=False, width=None if sys.stdout.isatty() else 220)
_ROWS = ("modality", "comparisons", "controls", "trials", "attempts", "turns", "responses", "events")
_WHY_NONE = {
    "events": "`kit trials run` keeps them with --events",
    "controls": "a free plan has none unless asked with --controls",
}


def _table(args: argparse.Namespace) -> int:
    from .. import tables

    by = [name for name in args.by.split(",") if name]
    if args.rows == "modality":
        df = tables.modality_df(args.ledger, by)
    elif args.rows == "comparisons":
        df = tables.compare_df(args.ledger, args.baseline)
    else:
        df = getattr(tables, f"{args.rows}_df")(args.ledger)
    if args.csv:
        sys.stdout.write(df.to_csv(index=False))
    elif args.json:
        sys.stdout.write(df.to_json(orient="records", date_format="iso", indent=1) + "\n")
    elif args.rows == "comparisons":
        for sentence in df["sentence"]:
            _console_report.print(Text(f"- {show.plain(sentence)}"), soft_wrap=not sys.stdout.isatty())
    elif df.empty:
        _console_report.print(f"no {args.rows}: {_WHY_NONE.get(args.rows, 'nothing was run yet')}")
    else:
        _print(tables.brief_df(df) if args.rows == "modality" else df)
    return 0


def _print(df: Frame) -> None:
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for name in df.columns:
        grid.add_column(str(name), overflow="fold")
    for row in df.astype("string").fillna("–").itertuples(index=False):
        grid.add_row(*(Text(show.plain(cell, 60)) for cell in row))
    _console_report.print(grid)


def _report(args: argparse.Namespace) -> int:
    from ..reporting import report

    ledger = Path(args.ledger)
    made = report(ledger, args.out or ledger.with_suffix(""), baseline=args.baseline)
    _console_report.print(Text(str(made.path)), soft_wrap=True)
    if made.fit is False:
        _console_report.print("unfit: a control did not read what it must; the report says which", style="bold")
    return 0


def _study(args: argparse.Namespace) -> int:
    from ..reporting.study import study_plan

    plan = study_plan(
        args.endpoint,
        quick=args.quick,
        models=args.model,
        arms=args.arm,
        repeats=args.repeats,
        p0=args.p0,
        p1=args.p1,
        seed=args.seed,
        drift=args.drift,
    )
    _say_plan(plan)
    _say_price(plan, args)
    if args.dry_run:
        return 0
    return _run_study(plan, args, _budget(plan, args.budget))


def _run_study(plan: Plan, args: argparse.Namespace, budget_usd: float | None) -> int:
    from .. import tables
    from ..reporting import report
    from ..trials.runner import run

    where = Path(args.out or f"runs/study-{plan.hash[:8]}").expanduser().resolve()
    path = where / "study.sqlite"
    _console_report.print(Text(f"ledger   {path} (the same command goes on where it stopped)"), soft_wrap=True)
    ledger = asyncio.run(run(plan, path, at_once=args.at_once, budget_usd=budget_usd, progress=not args.quiet))
    by = ["model", "case", "arm"] if len(plan.settings) > 1 else ["case", "arm"]
    _print(tables.brief_df(tables.modality_df(ledger, by)))
    made = report(ledger, where, baseline=plan.arms[0].name)
    last = ledger.last_run or {}
    if last.get("ended") != "complete":
        _console_report.print(Text(f"stopped by: {last.get('ended')} {last.get('note') or ''}"))
    _console_report.print(Text(f"report   {made.path}"), soft_wrap=True)
    return 1 if made.fit is False else 0


def _say_plan(plan: Plan) -> None:
    from ..trials.plan import estimate

    for word, told in (
        ("cases", ", ".join(case.name for case in plan.cases)),
        ("arms", ", ".join(arm.name for arm in plan.arms)),
        ("models", ", ".join(settings.where.model or "?" for settings in plan.settings)),
        ("repeats", f"{plan.repeats} of each"),
        ("price", str(estimate(plan))),
    ):
        _console_report.print(Text(f"{word:8} {show.plain(told)}"), soft_wrap=True)


def _say_price(plan: Plan, args: argparse.Namespace) -> None:
    """What the two prices mean, and what less money buys."""
    from ..reporting.study import study_plan
    from ..trials.plan import estimate

    if all(settings.free for settings in plan.settings):
        return
    lines = (
        ["Without a price no budget can be kept: --budget inf runs it all the same, whatever it costs."]
        if estimate(plan).usd is None
        else [
            f"at worst: every reply of the full {plan.settings[0].max_output_tokens} tokens, and every retry used. No session begins unless its own "
            "worst case still fits into the budget, and what it does not use is given back: the budget is never passed.",
            "A smaller budget runs a balanced beginning of the plan, and says what was not run; the same command goes on.",
        ]
    )
    if args.endpoint == "openai" and not args.quick and not (args.model or args.arm or args.repeats):
        quick = study_plan(args.endpoint, quick=True)
        usd = estimate(quick).usd
        lines.append(
            f"A first look, {quick.repeats} of each on {' and '.join(s.where.model or '?' for s in quick.settings)}"
            f"{f', for about ${usd:.2f}' if usd else ''}: the same with --quick."
        )
    for line in lines:
        _console_report.print(Text(f"{'':8} {line}"), soft_wrap=True)


def _budget(plan: Plan, given: float | None) -> float | None:
    """What it may cost: as given, or asked for. Nothing is asked where nobody pays."""
    if given is not None or all(settings.free for settings in plan.settings):
        return given
    if not sys.stdin.isatty():
        raise InputError(
            "this costs money: give --budget, the most in US dollars that it may cost (the price is above)"
        )
    told = input("The most that this may cost, in US dollars (nothing: stop here): ").strip().lstrip("$")
    try:
        return float(told)
    except ValueError:
        raise InputError(f"{told or 'nothing'} is no amount, so nothing was run") from None


def add_report(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    table = verbs.add_parser("table", help="a ledger as a table: which replies were audio, which text")
    table.add_argument("ledger", nargs="+", help="one or several")
    table.add_argument(
        "--by", default="case,arm", metavar="NAMES", help="plan, case, arm, settings, endpoint, model, voice, day"
    )
    table.add_argument("--rows", choices=_ROWS, default="modality", help="another table (default modality)")
    table.add_argument("--baseline", default="as_is", metavar="ARM", help="for comparisons (default as_is)")
    form = table.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="every column, as CSV")
    form.add_argument("--json", action="store_true", help="every column, as JSON")
    table.set_defaults(run=_table)
    report = verbs.add_parser("report", help="a ledger as one HTML page that can be sent")
    report.add_argument("ledger")
    report.add_argument("--out", metavar="DIR", help="where report.html goes (default: beside the ledger, by its name)")
    report.add_argument(
        "--baseline", default="as_is", metavar="ARM", help="what arms are compared with (default as_is)"
    )
    report.set_defaults(run=_report)
    study = verbs.add_parser(
        "study", help="the four cases, as is and with the cures used most, on the GA models: price, budget, run, report"
    )
    study.add_argument(
        "--endpoint",
        default="standin",
        metavar="WHERE",
        help="openai measures and is paid (default: standin, a rehearsal)",
    )
    study.add_argument(
        "--quick",
        action="store_true",
        help="a first look for a few dollars: two models, one cure, enough to tell drift of 90 %% from 10 %%",
    )
    study.add_argument(
        "--model",
        action="append",
        help="one of them (may be repeated; default: all of OpenAI's whose price is known; elsewhere the endpoint's own)",
    )
    study.add_argument("--arm", action="append", help="one of them, the baseline first (may be repeated)")
    study.add_argument("--repeats", type=int, help="of each case, arm and model (default: as --p0 and --p1 need)")
    study.add_argument("--p0", type=float, help="drift that is to be told ... (default 0.5; --quick 0.9)")
    study.add_argument("--p1", type=float, help="... from this (default 0.2; --quick 0.1)")
    study.add_argument(
        "--budget", type=float, metavar="USD", help="the most that it may cost; asked for where it is paid"
    )
    study.add_argument("--at-once", type=int, default=8, metavar="N", help="sessions at the same time (default 8)")
    study.add_argument("--out", metavar="DIR", help="where ledger and report go (default runs/study-…)")
    study.add_argument("--seed", type=int, default=0, help="of the order and of the stand-in's draws (default 0)")
    study.add_argument("--drift", default="documented", metavar="RULE", help="of the stand-in (default documented)")
    study.add_argument("--dry-run", action="store_true", help="say the plan and its price, and stop")
    study.add_argument("--quiet", action="store_true", help="no progress bar")
    study.set_defaults(run=_study)
