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
one that is tried first (wire/README.md, Countermeasures)."""

QUICK_MODELS = ("gpt-realtime-2.1", "gpt-realtime-2.1-mini")
QUICK_ARMS = ("as_is", "one_user_message")
"""For a first look: the newest model, large and small, and the cure that ships as a default."""

MORE_TURNS = ("Another one, please.",)
"""What the user says after the first reply, so that it can be seen whether drift stays."""


def study_plan(
    endpoint: str = "standin",
    *,
    quick: bool = False,
    models: Sequence[str | None] | None = None,
    arms: Sequence[str] | None = None,
    repeats: int | None = None,
    p0: float | None = None,
    p1: float | None = None,
    seed: int = 0,
    drift: str = "documented",
    controls: int = 3,
) -> Plan:
    """The plan of the study.

    Args:
        endpoint: ``"standin"`` rehearses; ``"openai"`` measures, and is paid for.
        quick: A first look for a few dollars: `QUICK_MODELS`, `QUICK_ARMS`, and as many trials as tell drift of 90 % from 10 %.
            It shows whether drift is the rule, and whether the cure does away with it; not how often what is rare happens.
        models: One set of settings each; `MODELS` unless given, and elsewhere than at OpenAI the endpoint's own.
        arms: The first is what the others are compared with; `ARMS` unless given.
        repeats: Of each case, arm and model; by default as many as tell drift `p0` from `p1` with 80 % power, after Holm's
            correction over every comparison that the report makes.
        p0, p1: Rates that shall be told apart: 0.5 and 0.2 unless given.
        seed: Of the order, and of the stand-in's draws.
        drift: The stand-in's rule.
        controls: Positive and negative ones, of each per model.

    Raises:
        InputError: For a model, an arm, a rate or a count that cannot be.
    """
    if models is None:
        models = (QUICK_MODELS if quick else MODELS) if endpoint in ("standin", "openai") else (None,)
    arms = arms if arms is not None else QUICK_ARMS if quick else ARMS
    p0 = p0 if p0 is not None else 0.9 if quick else 0.5
    p1 = p1 if p1 is not None else 0.1 if quick else 0.2
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
