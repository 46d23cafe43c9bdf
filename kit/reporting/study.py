"""The study: does a seeded history still cost the voice, on which models, and which cure works?

Nobody has published how often it happens on the models of today (design.md). This is the plan that would: the four test cases,
as they are and with the cures that people use most, on every GA model whose price is known, with as many trials as a difference
worth knowing needs, and controls. On the stand-in it is a rehearsal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..cases import all_cases
from ..endpoint import PRICES
from ..errors import InputError
from ..stats import trials_needed
from ..trials.plan import Plan, Settings

MODELS = tuple(PRICES)
"""The GA models whose prices the kit knows."""

ARMS = ("as_is", "one_user_message", "delete_and_retry", "history_in_instructions", "modality_each_response")
"""As is, and the cures used most: pipecat's default since 2024-10; livekit's recovery loop; the one that threads recommend; the
one that is tried first (protocol.md §9.3, §9.4)."""

MORE_TURNS = ("Another one, please.",)
"""What the user says after the first reply, so that it can be seen whether drift stays."""


def study_plan(
    endpoint: str = "standin",
    *,
    models: Sequence[str] = MODELS,
    arms: Sequence[str] = ARMS,
    repeats: int | None = None,
    p0: float = 0.5,
    p1: float = 0.2,
    seed: int = 0,
    drift: str = "documented",
    controls: int = 3,
) -> Plan:
    """The plan of the study.

    Args:
        endpoint: ``"standin"`` rehearses; ``"openai"`` measures, and is paid for.
        models: One set of settings each.
        arms: The first is what the others are compared with.
        repeats: Of each case, arm and model; by default as many as tell drift `p0` from `p1` with 80 % power, after Holm's
            correction over every comparison that the report makes.
        p0, p1: Rates that shall be told apart.
        seed: Of the order, and of the stand-in's draws.
        drift: The stand-in's rule.
        controls: Positive and negative ones, of each per model.

    Raises:
        InputError: For a model, an arm, a rate or a count that cannot be.
    """
    if not models or len(arms) < 2:
        raise InputError("the study needs a model at least, and an arm beside the baseline to compare with it")
    cases = [replace(case, turns=MORE_TURNS) for case in all_cases()]
    tests = (len(arms) - 1) * (len(cases) + 1) * len(models)
    stand_in = {"drift": drift} if endpoint == "standin" else {}
    return Plan(
        cases,
        arms,
        repeats if repeats is not None else trials_needed(p0, p1, comparisons=tests),
        settings=[Settings(endpoint=endpoint, model=model, stand_in=stand_in) for model in models],
        seed=seed,
        controls=controls,
    )
