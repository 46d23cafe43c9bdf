"""``table``, ``report``, ``study``: what a ledger comes to."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import show
from ..errors import InputError
from .options import Verbs

if TYPE_CHECKING:
    from ..tables.columns import Frame
    from ..trials.plan import Plan

_console = Console(highlight=False, width=None if sys.stdout.isatty() else 220)
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
            _console.print(Text(f"- {show.plain(sentence)}"), soft_wrap=not sys.stdout.isatty())
    elif df.empty:
        _console.print(f"no {args.rows}: {_WHY_NONE.get(args.rows, 'nothing was run yet')}")
    else:
        _print(tables.brief_df(df) if args.rows == "modality" else df)
    return 0


def _print(df: Frame) -> None:
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for name in df.columns:
        grid.add_column(str(name), overflow="fold")
    for row in df.astype("string").fillna("–").itertuples(index=False):
        grid.add_row(*(Text(show.plain(cell, 60)) for cell in row))
    _console.print(grid)


def _report(args: argparse.Namespace) -> int:
    from ..reporting import report

    ledger = Path(args.ledger)
    made = report(ledger, args.out or ledger.with_suffix(""), baseline=args.baseline)
    _console.print(Text(str(made.path)), soft_wrap=True)
    if made.fit is False:
        _console.print("unfit: a control did not read what it must; the report says which", style="bold")
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
    _console.print(Text(f"ledger   {path} (the same command goes on where it stopped)"), soft_wrap=True)
    ledger = asyncio.run(run(plan, path, at_once=args.at_once, budget_usd=budget_usd, progress=not args.quiet))
    by = ["model", "case", "arm"] if len(plan.settings) > 1 else ["case", "arm"]
    _print(tables.brief_df(tables.modality_df(ledger, by)))
    made = report(ledger, where, baseline=plan.arms[0].name)
    last = ledger.last_run or {}
    if last.get("ended") != "complete":
        _console.print(Text(f"stopped by: {last.get('ended')} {last.get('note') or ''}"))
    _console.print(Text(f"report   {made.path}"), soft_wrap=True)
    return 1 if made.fit is False else 0


def _say_plan(plan: Plan) -> None:
    from ..trials.estimate import estimate

    for word, told in (
        ("cases", ", ".join(case.name for case in plan.cases)),
        ("arms", ", ".join(arm.name for arm in plan.arms)),
        ("models", ", ".join(settings.where.model or "?" for settings in plan.settings)),
        ("repeats", f"{plan.repeats} of each"),
        ("price", str(estimate(plan))),
    ):
        _console.print(Text(f"{word:8} {show.plain(told)}"), soft_wrap=True)


def _say_price(plan: Plan, args: argparse.Namespace) -> None:
    """What the two prices mean, and what less money buys."""
    from ..reporting.study import study_plan
    from ..trials.estimate import estimate

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
        _console.print(Text(f"{'':8} {line}"), soft_wrap=True)


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


def add(verbs: Verbs) -> None:
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
