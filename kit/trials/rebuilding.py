"""A plan from what its ledger says of it, so that a run can be gone on with where the plan's own cell is not at hand."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from ..cases import Case, case
from ..endpoint import Price
from ..errors import InputError, LedgerError
from ..stats import StopRule
from .arms import Arm, all_arms
from .ledger import Ledger
from .plan import Plan, Settings


def plan_of(ledger: Ledger, *, key_env: str | None = None) -> Plan:
    """The plan of a ledger, if it is made of the kit's own cases and arms.

    Args:
        key_env: The environment variable that holds a URL's key; no ledger says which.

    Raises:
        LedgerError: If it cannot be made again exactly: it has a case or an arm of your own, a clip, an address with secrets in
            it. Then only the code that made it can go on: ``run(plan, path)``.
    """
    told = ledger.plan
    try:
        plan = Plan(
            [_case(each) for each in told["cases"]],
            [_arm(each) for each in told["arms"]],
            told["repeats"],
            settings=[_settings(each, key_env) for each in told["settings"]],
            seed=told["seed"],
            max_attempts=told["max_attempts"],
            timeout_s=told["timeout_s"],
            stop=StopRule(**told["stop"]) if told["stop"] else None,
            controls=told["controls"],
        )
    except (InputError, KeyError, TypeError, ValueError) as exc:
        raise _cannot(ledger, str(exc)) from exc
    if plan.hash != ledger.plan_hash:
        theirs, ours = told, plan.describe()
        different = [word for word in ours if _differ(ours[word], theirs.get(word))]
        raise _cannot(ledger, f"its {', '.join(different) or 'form'} cannot be made again from here")
    return plan


def _cannot(ledger: Ledger, why: str) -> LedgerError:
    return LedgerError(
        f"the plan of {ledger.path} cannot be rebuilt ({why}); go on from the code that made it: run(plan, path)"
    )


def _differ(ours: object, theirs: object) -> bool:
    return bool(json.loads(json.dumps(ours)) != theirs)


def _case(told: Mapping[str, Any]) -> Case:
    name, _, more = str(told["name"]).partition("+")
    turns = told.get("turns") or ()
    return case(name).then(*turns) if more and turns else case(str(told["name"]))


def _arm(told: Mapping[str, Any]) -> Arm:
    stem = str(told["name"]).partition("(")[0]
    for each in all_arms():
        if each.name == stem and "code" not in told:
            return type(each)(**{name: ast.literal_eval(value) for name, value in told["options"].items()})
    raise InputError(f"the arm {stem} is not one of the kit's")


def _settings(told: Mapping[str, Any], key_env: str | None) -> Settings:
    session = dict(told["session"])
    given: dict[str, Any] = {name: session.pop(name, None) for name in ("voice", "instructions", "max_output_tokens")}
    if "turn_detection" in session:
        given["turn_detection"] = session.pop("turn_detection") or "manual"
    rates: Any = [tuple(told["price"][kind]) for kind in ("text", "audio", "image")] if "price" in told else None
    url = told["endpoint"] == "url"
    return Settings(
        told["url"] if url else told["endpoint"],
        model=told["model"],
        dialect=told["dialect"],
        key_env=key_env if url else None,
        price=Price(*rates) if rates else None,
        stand_in=told.get("stand_in", {}),
        more=session,
        **given,
    )
