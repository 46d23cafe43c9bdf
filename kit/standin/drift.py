"""When a reply that was asked for as audio comes as text: the drift rules.

A rule sees conversation items and, where it draws, the session's own draws; never an arm's name, a URL or a header. What
is written here is **not OpenAI's law**: `documented` reproduces what people reported, the others are made up so that an
instrument can be tried on a known truth.

``documented`` gives text iff a system ``input_text`` item is in the conversation (openai-realtime-api-beta #58, 2024-10-29),
or there are more assistant-text items than one where the first message is the user's audio, than none otherwise
(kwindla/openai-realtime-test-cases, 2024-10: 1a and 2a stay audio, 1b and 2b turn to text for the rest of the session).
No flag is kept: a text reply is itself an assistant-text item, so it sticks by itself. wire/README.md, Modality drift.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError, clipped


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know: counts of the items that a response reads."""

    system_text: int = 0
    """System items with an ``input_text`` part."""
    assistant_text: int = 0
    """Assistant items with a text part."""
    user_audio: int = 0
    """User items with an ``input_audio`` part."""
    starts_with_user_audio: bool = False
    """Whether the first message is one of those."""


class Draws:
    """The draws of one session: a pure function of seed and trial, so that order, resuming and retries change nothing."""

    def __init__(self, seed: int, trial: str) -> None:
        self._seed, self._trial = seed, trial

    def of_attempt(self, attempt: str | None) -> Draws:
        """For what one attempt at the trial draws by itself: faults, and nothing of what the model says."""
        return Draws(self._seed, f"{self._trial}\x00attempt {attempt or 1}")

    def random(self, *about: object) -> random.Random:
        """A generator for one purpose, the same each time for the same words."""
        words = "\x00".join([str(self._seed), self._trial, *map(str, about)])
        return random.Random(hashlib.sha256(words.encode()).digest())

    def uniform(self, *about: object) -> float:
        """One number in [0, 1)."""
        return self.random(*about).random()


class Rule(Protocol):
    """A drift rule. `str` of it is the name it was made from."""

    def for_session(self, draws: Draws) -> Decide:
        """The rule at work in one session."""


class Decide(Protocol):
    def __call__(self, context: Context) -> bool:
        """Whether the next reply comes as text. Called once per response that asks for audio."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """``never`` or ``always``."""

    drifts: bool

    def __str__(self) -> str:
        return "always" if self.drifts else "never"

    def for_session(self, draws: Draws) -> Decide:
        return lambda context: self.drifts


@dataclass(frozen=True, slots=True)
class Documented:
    """What was reported in 2024 (module docstring): a pure function of the items."""

    def __str__(self) -> str:
        return "documented"

    def for_session(self, draws: Draws) -> Decide:
        return documented


def documented(context: Context) -> bool:
    """The rule `documented`."""
    return context.system_text > 0 or context.assistant_text > (1 if context.starts_with_user_audio else 0)


@dataclass(frozen=True, slots=True)
class OncePerSession:
    """``p=Q``: decided at the session's first response, with 1−(1−Q)^k for k assistant-text items beyond the user's audio
    items; then it stays."""

    q: float

    def __str__(self) -> str:
        return f"p={self.q:g}"

    def for_session(self, draws: Draws) -> Decide:
        decided: list[bool] = []

        def decide(context: Context) -> bool:
            if not decided:
                k = max(0, context.assistant_text - context.user_audio)
                decided.append(draws.uniform("drift") < 1 - (1 - self.q) ** k)
            return decided[0]

        return decide


@dataclass(frozen=True, slots=True)
class PerResponse:
    """``per-response=Q``: each response on its own."""

    q: float

    def __str__(self) -> str:
        return f"per-response={self.q:g}"

    def for_session(self, draws: Draws) -> Decide:
        count = iter(range(1 << 62))
        return lambda context: draws.uniform("drift", next(count)) < self.q


NAMES = ("documented", "never", "always", "p=Q", "per-response=Q")


def rule(name: str | Rule) -> Rule:
    """The rule of that name: ``documented``, ``never``, ``always``, ``p=0.3``, ``per-response=0.3``.

    Raises:
        InputError: For any other name, or a probability outside 0 to 1.
    """
    if not isinstance(name, str):
        if not hasattr(name, "for_session"):
            raise InputError(f"no drift rule is called {clipped(name)}; there are {', '.join(NAMES)} (0 ≤ Q ≤ 1)")
        return name
    plain: dict[str, Rule] = {"documented": Documented(), "never": Fixed(False), "always": Fixed(True)}
    if name in plain:
        return plain[name]
    word, _, number = name.partition("=")
    try:
        q = float(number)
    except ValueError:
        q = -1.0
    if word not in ("p", "per-response") or not 0 <= q <= 1:
        raise InputError(f"no drift rule is called {clipped(name)}; there are {', '.join(NAMES)} (0 ≤ Q ≤ 1)")
    return OncePerSession(q) if word == "p" else PerResponse(q)
