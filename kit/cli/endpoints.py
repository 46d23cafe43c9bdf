"""``kit endpoints`` and ``kit probe``: where the kit can connect, and what each place can do."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..endpoint import ENDS, PRICES
from ..probe import probe
from ..services import COLUMNS, SERVICES, rows
from .options import Verbs, access, add_verb
from .screen import draw_table, say


def _endpoints(args: argparse.Namespace) -> int:
    if args.json:
        services = [
            {"name": service.name, "key_env": service.key_env, "dialect": service.dialect, **asdict(service.can)}
            for service in SERVICES.values()
        ]
        print(json.dumps(services, indent=2))
        return 0
    draw_table(COLUMNS, rows(), hint="--json has them")
    say("")
    for service in SERVICES.values():
        if service.can.remark:
            say(f"{service.name}: {service.can.remark}", "dim")
    say("Any other is reached by its ws:// URL; kit probe finds out what it can do.", "dim")
    for model, day in ENDS.items():
        if model in PRICES:
            say(f"{model} ends on {day} at openai", "dim")
    return 0


async def _probe(args: argparse.Namespace) -> int:
    where = {"model": args.model, "dialect": args.dialect} | access(args)
    result = await probe(args.endpoint, **where, timeout_s=args.timeout, quiet=args.json)
    if args.json:
        print(json.dumps(asdict(result.found), indent=2))
    else:
        draw_table(("capability", "found", "known", "remark"), result.rows)
    return 0


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    add_verb(
        verbs, "endpoints", _endpoints, "list the services with a name, and what each can do", "json",
        description="? is not known. Rows come from recordings, documents or other people's clients, as the last column says.",
    )  # fmt: skip
    timeout = {"default": 20, "help": "wait this long for each thing that is tried (default: 20)"}
    probing = add_verb(
        verbs, "probe", _probe, "find out what an endpoint can do",
        "model", "dialect", "key-env", "auth", "header", "timeout", "json",
        description="Opens one session, asks for one short reply in speech and one in text, and seeds an item of each role: at a "
        "service a cent or two. Says where that differs from what was known.",
        timeout=timeout,
    )  # fmt: skip
    probing.add_argument("endpoint", metavar="WHERE", help="the name of a service, or a ws:// URL")
