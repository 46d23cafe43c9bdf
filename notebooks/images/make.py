"""Make the pictures of README, in a light and a dark style: ``python notebooks/images/make.py``.

The stand-in's seeds are fixed, so that words and counts are always the same; the date is today's.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from kit import Plan, Settings, cases, connect, plots, run, tables

HERE = Path(__file__).parent
STYLES = ("light", "dark")


async def pair() -> None:
    """Draw the same question in two sessions: a wave against silent words."""
    sessions = []
    for case in (cases.one_a, cases.one_b):
        session = await connect("standin", trial=f"README, case {case.name}", quiet=True)
        await session.seed(case.history)
        await session.respond()
        sessions.append(session)
    names = ("1a: the question alone", "1b: one joke told before")
    for style in STYLES:
        plots.pair(
            *sessions,
            names=names,
            title="The same question, one joke earlier",
            style=style,
            ax=(figure := plots.figure()),
        )
        figure.savefig(HERE / f"pair-{style}.png", dpi=150, bbox_inches="tight")
    for session in sessions:
        await session.close()


async def strip() -> None:
    """Draw forty sessions of three cases under a rule by which drift is chance, turn by turn."""
    chosen = [case.then("Another one, please.", "And one more.") for case in (cases.one_a, cases.one_b, cases.two_b)]
    plan = Plan(chosen, repeats=40, settings=Settings(stand_in={"drift": "p=0.3"}), seed=7)
    with tempfile.TemporaryDirectory() as folder:
        turns = tables.turns_df(await run(plan, f"{folder}/trials.sqlite", progress=None))
    for style in STYLES:
        plots.strip(turns, title="Forty sessions each, turn by turn", style=style, ax=(figure := plots.figure()))
        figure.savefig(HERE / f"strip-{style}.png", dpi=150, bbox_inches="tight")


async def main() -> None:
    await pair()
    await strip()


if __name__ == "__main__":
    asyncio.run(main())
