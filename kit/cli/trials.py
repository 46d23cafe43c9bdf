"""``trials``, ``table``, ``report``, ``study``: many trials, and what a ledger comes to.

A plan is a Python file that binds the name ``plan``::

    from kit import Plan, Settings, arms

    plan = Plan(["1b", "2b"], [arms.as_is, arms.one_user_message], repeats=40)
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import traceback
import types
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from .. import show
from ..errors import InputError, KitError, clipped
from ..files import named_path
from ..trials import arms, run
from ..trials.ledger import Ledger
from ..trials.plan import Plan, estimate
from .options import Verbs, access, add_options, add_verb
from .screen import Bar, Columns, complain, console, draw_frame, in_flags, only_the_instrument, say

if TYPE_CHECKING:
    from ..reporting.live_study import LiveStudy
    from ..reporting.study import Study

_ROWS = ("modality", "comparisons", "controls", "trials", "attempts", "turns", "responses", "events")
_WHY_NONE = {
    "events": "the run was told to keep none (--no-events, keep_events=False)",
    "controls": "a free plan has none unless it asks for them: Plan(…, controls=3)",
}

# What the columns of `brief_df` mean: those that most tables have in one line of 80 columns.
_LEGEND = {
    "trials": "completed",
    "drift": "text of first turns (interval)",
    "lost voice": "text, silent or late",
    "lost": "attempts that were asked and not answered",
    "first response": "text of those before the arm reacted",
    "all turns": "of all",
    "text stays": "text after a text",
    "heard after": "median",
}


def load_plan(path: str | Path) -> Plan:
    """The `Plan` that a Python file binds to the name ``plan``. The file is run, as ``python FILE`` would run it.

    Raises:
        InputError: If the file cannot be read, fails, or defines no plan.
    """
    file = named_path(path).resolve()
    if not file.is_file():
        raise InputError(f"there is no file {file}; a plan is a Python file that defines plan = Plan(…)")
    if file.suffix != ".py":
        raise InputError(f"{file} is not a Python file; the plan comes first: kit trials run plan.py ledger.sqlite")
    module = types.ModuleType("kit_plan")
    module.__file__ = str(file)
    sys.modules["kit_plan"] = module  # by which the source of an arm that the file defines is found, to be hashed
    sys.path.insert(0, str(file.parent))
    try:
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    except KitError:
        raise
    except Exception as exc:
        lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == str(file)]
        line = exc.lineno if isinstance(exc, SyntaxError) else lines[-1] if lines else "?"
        problem = "".join(traceback.format_exception_only(exc)[-1:]).strip()
        raise InputError(f"{file}, line {line}: {problem}") from exc
    plan = getattr(module, "plan", None)
    if not isinstance(plan, Plan):
        raise InputError(f"{file} defines no plan; it should say plan = Plan(…)")
    return plan


def draw_plan(plan: Plan) -> None:
    """Print what a plan is and, before anything is paid, what it may cost: expected, enough, at worst, and how long."""
    expected = estimate(plan)
    controls = f" and {expected.n_controls:,} controls" if expected.n_controls else ""
    facts = {
        "plan": plan.hash[:12],
        "cases": ", ".join(case.name for case in plan.cases),
        "arms": ", ".join(arm.name for arm in plan.arms),
        "settings": "\n".join(settings.name for settings in plan.settings),
        "trials": f"{expected.n_trials:,} trials{controls}, {plan.repeats} of each; about {expected.n_responses:,} responses "
        f"and {expected.n_tokens:,} tokens",
    }
    columns = Columns((8,))
    for name, value in facts.items():
        columns.row(Text(name, style="dim"), value)
    if expected.free or expected.usd is None:
        boxes = {"cost": ("free, simulated" if expected.simulated else "free") if expected.free else "unpriced"}
    else:
        boxes = {"expected": f"about ${expected.usd:,.2f}", "budget": f"${expected.enough_usd:,.0f} is enough"}
        boxes["at worst"] = f"${expected.worst_usd:,.2f}"
    boxes["time"] = f"{show.duration(60 * expected.minutes)}, 8 at once"
    table = Table(*boxes)
    table.add_row(*map(Text, boxes.values()))
    console().print(table, soft_wrap=False)
    if expected.elsewhere:
        say(expected.elsewhere.removeprefix(". "), "dim")
    elif expected.usd is None:
        say("Without a price no budget can be kept: give Settings(…, price=Price(…)), or --budget inf", "dim")
    elif not expected.free:
        prices = expected.as_of.removeprefix(" at the prices of ")
        say(f"prices of {prices}; a session begins only if its worst case still fits into the budget", "dim")
        say("a smaller budget runs a balanced beginning of the plan; the same command with more goes on", "dim")


def _budget(usd: float | None, *, is_free: bool) -> float | None:
    """Return what may be spent: as given, or an answer at a terminal. What is free is not asked about."""
    if is_free or usd is not None:
        return usd
    if not sys.stdin.isatty():
        raise InputError("this costs money: give --budget, the most in US dollars that it may cost")
    text = input("The most that this may cost, in US dollars (nothing: stop here): ").strip().lstrip("$")
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{text or 'nothing'} is no amount, so nothing was run") from None


def _plan(args: argparse.Namespace) -> int:
    draw_plan(load_plan(args.plan))
    return 0


def _arms(args: argparse.Namespace) -> int:
    columns = Columns([max(len(arm.name) for arm in arms.all_arms())])
    for arm in arms.all_arms():
        columns.row(Text(arm.name, style="bold"), " ".join((type(arm).__doc__ or "").split()))
    return 0


def _run(args: argparse.Namespace) -> int:
    if args.ledger is None:
        return _go_on(named_path(args.plan).resolve(), args)
    if args.header or args.key_env:
        raise InputError("--header and --key-env are a study's; a plan has Settings(…, headers={…}, key_env=…)")
    plan = load_plan(args.plan)
    draw_plan(plan)
    ledger = play(plan, Path(args.ledger), args, again=f"kit trials run {shlex.join([args.plan, args.ledger])}")
    return _outcome(ledger)


def play(plan: Plan, path: Path, args: argparse.Namespace, *, again: str) -> Ledger:
    """Run a plan under a bar, or what is left of it, and print what it came to; `again` is the command that goes on."""
    path = named_path(path).resolve()
    budget_usd = _budget(args.budget, is_free=estimate(plan).free)
    ledger: Ledger = _under_a_bar(partial(run, plan, path), args, budget_usd, again)
    draw_ledger(ledger)
    return ledger


def _under_a_bar(
    start: Callable[..., Coroutine[Any, Any, Any]], args: argparse.Namespace, budget_usd: float | None, again: str
) -> Any:
    """Run a plan or a study with the options that all verbs take alike, under a bar unless it is to be quiet."""
    options = {"at_once": args.at_once, "budget_usd": budget_usd}
    options |= {"keep_events": not args.no_events, "keep_sound": args.sound}
    try:
        with Bar() as bar:
            return asyncio.run(start(**options, progress=None if args.quiet else bar))
    except KeyboardInterrupt:
        say(f"stopped; to go on: {again}", "bold")
        raise


def _outcome(ledger: Ledger) -> int:
    """The exit code of a run: 0 if it came to its end and any trial completed."""
    reason = (ledger.last_run or {}).get("ended")
    return 0 if reason in ("complete", "stop rule", "budget") and ledger.counts()["completed"] else 1


def draw_ledger(ledger: Ledger) -> None:
    """Print the table of a ledger, and how its last run ended."""
    from .. import tables

    several = ["settings"] if len(ledger.plan["settings"]) > 1 else []
    df = tables.modality_df(ledger, [*several, "case", "arm"])
    trials = tables.trials_df(ledger)
    reports = dict(zip(trials["case"].astype(str), trials["reported"].astype("string"), strict=True))
    df["reported"] = df["case"].astype(str).map(reports).where(df["arm"].astype(str) == arms.as_is.name)
    rare = [word for word in ("mixed", "function", "empty") if df[word].sum()]
    signs = {word: f"{show.SIGNS[word]} {word}" for word in ("audio", "text", *rare)}
    names = [*several, "case", "arm", "reported", "planned", "completed", "failed", *signs]
    draw_frame(df[names].rename(columns=signs))
    say(f"what the user finally heard of the first turn{only_the_instrument(ledger.simulated)}")
    say("reported: what people said in public of the case as it is, without a count; nothing that was seen here")
    last = ledger.last_run or {}
    if last.get("ended") not in (None, "complete"):
        say(f"ended by {last['ended']}: {last['note']}", "bold")
    if why := dict(ledger.facts()).get("failed most often by"):
        say(f"failed most often by {in_flags(str(why))}")
    money = ledger.spent()
    if money["usd"]:
        say(f"spent ${money['usd']:.2f}, ${money['estimated_usd']:.2f} of it estimated")
    say(f"ledger: {ledger.path}")


def _table(args: argparse.Namespace) -> int:
    from .. import tables

    by = None if args.by is None else [name for words in args.by for name in words.split(",") if name]
    if args.rows == "modality":
        if by is None:  # two models or endpoints are never one row
            several = tables.trials_df(args.ledger)["settings"].nunique() > 1
            by = [*(["settings"] if several else []), "case", "arm"]
        df = tables.modality_df(args.ledger, by)
    elif args.rows == "comparisons":
        df = tables.compare_df(args.ledger, args.baseline or "as_is")
    else:
        df = getattr(tables, f"{args.rows}_df")(args.ledger)
    if args.csv:
        text = show.csv_of(df)
        sys.stdout.write(show.plain(text, len(text)) if sys.stdout.isatty() else text)
    elif args.json:
        sys.stdout.write(df.to_json(orient="records", date_format="iso", indent=1) + "\n")
    elif args.rows == "comparisons":
        for sentence in df["sentence"]:
            say(f"- {sentence}")
    elif df.empty:
        say(f"no {args.rows}: {_WHY_NONE.get(args.rows, 'nothing was run yet')}")
    else:
        draw_frame(tables.brief_df(df) if args.rows == "modality" else df, _LEGEND)
    return 0


def _report(args: argparse.Namespace) -> int:
    from ..reporting import report

    page = report(args.ledger, args.out, baseline=args.baseline)
    say(page.path)
    if page.fit is False:
        say("unfit: a control did not read what it must; the report says which", "bold")
    return 0


def _study(args: argparse.Namespace) -> int:
    from ..endpoint import endpoint
    from ..reporting.live_study import LiveStudy
    from ..reporting.study import Study

    where = named_path(args.out or f"runs/study-{endpoint(args.endpoint).label.replace(':', '-')}").resolve()
    if args.part == "live":
        options = {"models": args.model, "placements": args.arm, "seed": args.seed, "silence": args.drift}
        return _play_study(LiveStudy(where, args.endpoint, **options), args)
    options = {"models": args.model, "seed": args.seed, "drift": args.drift, "access": access(args)}
    if args.part:
        return _part(where, {"part": args.part, "where": args.endpoint} | options, args)
    return _play_study(Study(where, args.endpoint, cures=args.arm, days=args.days, **options), args)


def _play_study(study: Study | LiveStudy, args: argparse.Namespace) -> int:
    """Print what it costs, run it or what is left of it, and print what it came to. An interrupt leaves a page, too."""
    from ..endpoint import endpoint
    from ..reporting import study_page
    from ..reporting.study import Study

    write: Callable[[], Path]
    if isinstance(study, Study):
        say(f"models: {', '.join(study.design.models)}; cures: {', '.join(study.design.cures)}")
        write, again, is_free = partial(study_page.write, study), _again(study.folder, study.access), study.free
    else:
        say(f"models: {', '.join(study.models)}; placements: {', '.join(study.placements)}")
        write, again, is_free = study.write, "the same command", endpoint(args.endpoint).key_env is None
    say(f"price: {study.price()}")
    if args.dry_run:
        return 0
    usd, page = _budget(args.budget, is_free=is_free), None
    try:
        _under_a_bar(study.run, args, usd, again)
    finally:
        if study.ledgers:
            page = write()
    if page is None:
        return 0
    for rate in study.rates() if isinstance(study, Study) else ():
        say(f"{rate.model}: {rate}")
    for sentence in study.sentences():
        say(f"- {sentence}")
    say(f"report: {page}")
    if study.due:
        say(f"the next block may begin on {study.due} (UTC): {again}", "bold")
        return 0
    return 0 if study.complete else complain(f"not complete; to go on: {again}", 1)


def _again(path: Path, access: Mapping[str, Any]) -> str:
    """The command that goes on with a study."""
    key = f" --key-env {access['key_env']}" if access.get("key_env") else ""
    return f"kit trials run {shlex.quote(str(path))}{key}{' --header …' if access.get('headers') else ''}"


def _part(folder: Path, about: dict[str, Any], args: argparse.Namespace) -> int:
    """Run a smaller study into a ledger of its name, beside which stands how to go on with it."""
    from ..reporting import report
    from ..reporting.study import PARTS, UNREADABLE, write_about

    try:
        name, options = about["part"], {key: value for key, value in about.items() if key != "part"}
        plan_of, question = PARTS[name]
        plan = plan_of(**options)
    except KitError:
        raise
    except UNREADABLE as exc:  # of a file
        raise InputError(f"this is no study that can be gone on with: {clipped(str(exc))}") from exc
    draw_plan(plan)
    if args.dry_run:
        return 0
    args.budget = _budget(args.budget, is_free=estimate(plan).free)
    path = folder / f"{name}.sqlite"
    write_about(path.with_suffix(".json"), about)
    ledger = play(plan, path, args, again=_again(path, about["access"]))
    page = report(ledger, path.with_suffix(".html"), question=question)
    say(f"report: {page.path}")
    return _outcome(ledger)


def _go_on(path: Path, args: argparse.Namespace) -> int:
    """Go on with a ledger that `study` made, or with all of its folder."""
    from ..reporting.study import ABOUT, UNREADABLE, Study, read_about

    args.dry_run, again = False, {"headers": dict(args.header or ()), "key_env": args.key_env}
    part = path.with_suffix(".json")
    if path.suffix == ".sqlite" and part.is_file():
        try:
            about = read_about(part, again)
        except UNREADABLE as exc:
            raise InputError(f"{part} is no study that can be gone on with: {clipped(str(exc))}") from exc
        return _part(path.parent, about, args)
    folder = path if path.is_dir() else path.parent
    if path.suffix != ".py" and (folder / ABOUT).is_file():
        return _play_study(Study.load(folder, **again), args)
    if path.suffix == ".py":
        raise InputError(f"name a ledger, too: kit trials run {path.name} runs/{path.stem}.sqlite")
    raise InputError(f"{path} was not made by kit study, so its plan comes first: kit trials run PLAN.py {path.name}")


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    _add_trials(verbs)
    table = add_verb(verbs, "table", _table, "print which replies were audio and which text", "baseline")
    table.add_argument("ledger", nargs="+", help="a ledger, or several")
    table.add_argument(
        "--by", action="append", metavar="NAME",
        help="group by plan, case, arm, settings, endpoint, model, voice or day; may be repeated (default: case and arm, and "
        "settings where there are several)",
    )  # fmt: skip
    table.add_argument("--rows", choices=_ROWS, default="modality", help="print another table (default: modality)")
    add_options(table.add_mutually_exclusive_group(), "csv", "json")
    out = {"help": "write this file, or report.html in this folder (default: beside the ledger)"}
    help_text = "write a ledger as one HTML page that can be sent"
    report = add_verb(verbs, "report", _report, help_text, "out", "baseline", out=out)
    report.add_argument("ledger")
    _add_study(verbs)


def _add_trials(verbs: Verbs) -> None:
    trials = verbs.add_parser(
        "trials",
        help="plan and run many trials",
        description="A plan is a Python file that says plan = Plan(…): cases, arms, settings and repeats, as in a notebook.",
    )
    trials.set_defaults(parser=trials)
    steps = trials.add_subparsers(title="verbs", metavar="WHAT")
    file: dict[str, Any] = {"metavar": "PLAN", "help": "a Python file that defines plan = Plan(…)"}
    plan = add_verb(steps, "plan", _plan, "show what a plan would take: trials, tokens, dollars, minutes")
    plan.add_argument("plan", **file)
    header = {"help": "send this header again, which a study that had it does not keep; may be repeated"}
    key = {"help": "read a URL's key from this environment variable again, which a study does not keep"}
    start = add_verb(
        steps, "run", _run, "run a plan; run it again to go on",
        "budget", "at-once", "no-events", "sound", "quiet", "key-env", "header",
        description="Run a plan, or what is left of it, into a ledger. A ledger of kit study, or its folder, needs no plan.",
        header=header, key_env=key,
    )  # fmt: skip
    start.add_argument("plan", **file)
    ledger = "the file to write, such as runs/joke.sqlite, or to go on with; alone: what kit study made"
    start.add_argument("ledger", metavar="LEDGER", nargs="?", help=ledger)
    add_verb(steps, "arms", _arms, "list the arms, with where each was reported and what came of it")


_PARTS = {
    "dose": "ask instead after how many turns of text it stops speaking",
    "persistence": "ask instead whether replies stay text once one was",
    "live": "ask GPT-Live instead: after how much history it falls silent, and which placement keeps it speaking "
    "(--drift is then the stand-in's rule of silence, such as p=0.3@9)",
}


def _add_study(verbs: Verbs) -> None:
    default = "OpenAI's whose price is known and which are not about to end"
    model = {"action": "append", "help": f"use this model; may be repeated (default: {default})"}
    out = {"metavar": "DIR", "help": "write ledgers and report in this folder (default: runs/study-ENDPOINT)"}
    study = add_verb(
        verbs, "study", _study, "ask the whole question: price, budget, run, report",
        "endpoint", "model", "key-env", "auth", "header", "price",
        "budget", "at-once", "out", "seed", "drift", "no-events", "sound", "quiet",
        description="Run 40 histories as they are on every model, then cures only where replies came as text; on the stand-in a "
        "rehearsal. The same command goes on where it was stopped.",
        model=model, out=out,
    )  # fmt: skip
    study.add_argument("--arm", action="append", metavar="ARM", help="ask about this cure; may be repeated")
    days = "spread the histories over N days, 1 to 3: the same command goes on each day (default: 1)"
    study.add_argument("--days", type=int, default=1, metavar="N", help=days)
    part = study.add_mutually_exclusive_group()
    for name, help_text in _PARTS.items():
        part.add_argument(f"--{name}", dest="part", action="store_const", const=name, help=help_text)
    study.add_argument("--dry-run", action="store_true", help="show the plan and its price, and stop")
