"""``kit endpoints`` and ``kit probe``: where the kit can connect, and what each place can do."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from ..endpoint import ENDS, PRICES
from ..probe import probe
from ..services import COLUMNS, SERVICES, Service, rows
from .options import Verbs, access, add_options
from .screen import draw_table, say


def _endpoints(args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps([_row(service) for service in SERVICES.values()], indent=2))
        return 0
    draw_table(COLUMNS, rows(), hint="--json has them")
    say("")
    for service in SERVICES.values():
        if service.can.remark:
            say(f"{service.name}: {service.can.remark}", "dim")
    say(
        "Any other is reached by its ws:// URL, with --key-env, --auth and --header; what it can do is not known.",
        "dim",
    )
    for model, day in ENDS.items():
        if model in PRICES:
            say(f"{model} ends on {day} at openai", "dim")
    return 0


def _probe(args: argparse.Namespace) -> int:
    where = {"model": args.model, "dialect": args.dialect} | access(args)
    result = asyncio.run(probe(args.endpoint, **where, timeout_s=args.timeout, quiet=args.json))
    if args.json:
        print(json.dumps(asdict(result.found), indent=2))
    else:
        draw_table(("capability", "found", "known", "remark"), result.rows)
    return 0


def _row(service: Service) -> dict[str, object]:
    """A service as plain data: its name, the variable of its key, and what it can do."""
    return {"name": service.name, "key_env": service.key_env, "dialect": service.dialect, **asdict(service.can)}


def add(verbs: Verbs) -> None:
    """Add this verb to the command line."""
    endpoints = verbs.add_parser(
        "endpoints",
        help="list the services with a name, and what each can do",
        description="? is not known. Rows come from recordings, documents or other people's clients, as the last column says.",
    )
    add_options(endpoints, "json")
    endpoints.set_defaults(run=_endpoints)
    probing = verbs.add_parser(
        "probe",
        help="find out what an endpoint can do",
        description="Opens one session, asks for one short reply in speech and one in text, and seeds an item of each role: at a "
        "service a cent or two. Says where that differs from what was known.",
    )
    probing.add_argument("endpoint", metavar="WHERE", help="the name of a service, or a ws:// URL")
    timeout = {"default": 20, "help": "wait this long for each thing that is tried (default: 20)"}
    add_options(probing, "model", "dialect", "key-env", "auth", "header", "timeout", "json", timeout=timeout)
    probing.set_defaults(run=_probe)
