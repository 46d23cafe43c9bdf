"""A session of a log, step by step, as it can be played again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..wire.dialect import BETA_NAME
from .files import Reading
from .frames import frames
from .logged import LoggedSession
from .objects import Frame
from .reading import Sorter

_BETA_ONLY = frozenset(BETA_NAME.values()) - frozenset(BETA_NAME)


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: who sent it, what it was, and when (ms since the session's first; NaN where the log does not say)."""

    direction: Literal["server", "client"]
    data: dict[str, Any]
    at_ms: float


@dataclass(frozen=True, slots=True)
class Recording:
    """One session of a log.

    Attributes:
        name: The file's name.
        steps: Every event, both ways.
        simulated: As the log says of itself.
        digests: Whether audio is missing in it: its hash and length were kept.
    """

    name: str
    steps: tuple[Step, ...]
    dialect: Literal["ga", "beta"]
    model: str | None
    simulated: bool | None
    opened_at: str | None
    end: dict[str, Any] | None
    digests: bool


def recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """The sessions of a log that can be played again: those of which it has both directions.

    Raises:
        InputError: If it cannot be read, or has no such session.
    """
    where = Path(path).expanduser()
    read = stepped(frames(where, reading := Reading()), reading, where.name)
    if any(session.n_withheld for session, _ in read):
        raise InputError(f"{where.name} cannot be played again: a redaction hook kept nothing of some frames")
    made = [_recording(where.name, session, steps) for session, steps in read if session.has_client]
    if not made:
        why = "it has what the server sent only" if read else "there is no Realtime event in it"
        raise InputError(
            f"{where.name} cannot be played again: {why}; a replay needs both directions, as connect(log=…) writes them"
        )
    return made


def stepped(
    told: Iterable[Frame], reading: Reading, name: str, *, simulated: bool | None = None
) -> list[tuple[LoggedSession, list[Step]]]:
    """The sessions among frames, each with its steps.

    Args:
        simulated: What is known of who answered, where the frames do not say.
    """
    sorter = Sorter(name, reading, whole=True)
    steps: dict[int, list[Step]] = {}
    for frame in told:
        session = sorter.session_of(frame)
        session.take(frame, reading)
        if frame.kind == "event":
            steps.setdefault(id(session), []).append(Step(frame.direction, frame.data, session.last_ms))
    for session in sorter.sessions:
        session.finish(simulated)
    return [(session, steps.get(id(session), [])) for session in sorter.sessions if session.n_events]


def _recording(name: str, session: LoggedSession, steps: list[Step]) -> Recording:
    header = session.header or {}
    spelled = {step.data.get("type") for step in steps}
    beta = header.get("dialect") == "beta" or bool(spelled & _BETA_ONLY) or "modalities" in session.settings
    return Recording(
        name=name,
        steps=tuple(steps),
        dialect="beta" if beta else "ga",
        model=session.model,
        simulated=session.simulated,
        opened_at=header.get("opened_at"),
        end=session.end,
        digests=header.get("audio") == "digest",
    )


def gap_s(before: Step | None, step: Step) -> float:
    """Seconds from the frame before to this one, where the log says so."""
    gap_ms = step.at_ms - before.at_ms if before is not None else 0.0
    return 0.0 if math.isnan(gap_ms) else max(0.0, gap_ms / 1000)
