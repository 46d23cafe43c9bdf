"""The drift rules: when a reply that was asked for as audio comes as text, late, or not at all.

A rule sees conversation items and, where it draws, the session's own draws; never an arm's name, a URL or a header. What
is written here is **not OpenAI's law**: `documented` reproduces what people reported, the others are made up so that an
instrument can be tried on a known truth.

`KINDS` is the one list of them: what they do, how they are spelled, what errors, ``--help`` and the README say of them. A new one is
a row there; a test holds the README's table to it. One that goes by a fact which no rule knows yet also needs it in `Context`, filled
where a response begins (`session.py`, `_begin`).

Rules are added up by ``+``, such as ``share=0.1+silent=0.05+late=0.2:3000``: one rule for text at most (none: ``never``), then any
of those that silence. Of these the first that is drawn is the one, and a late reply is text or audio as the rule for text says.

Draws are a function of the seed and the query field ``trial``: the same at every attempt at a trial. ``fresh:RULE``, such as
``fresh:per-response=0.3``, draws afresh at every attempt (query field ``attempt``), as a service does.

`documented`: openai-realtime-api-beta #58, 2024-10-29; kwindla/openai-realtime-test-cases, 2024-10 (1a and 2a stay audio, 1b and 2b turn
to text for the rest of the session). No flag is kept: a text reply is itself an assistant text item, so it sticks by itself.
wire/README.md, Modality drift.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import InputError, clipped


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know of the items that a response reads."""

    # System items with an ``input_text`` part.
    system_text: int = 0
    # Assistant items with a text part.
    assistant_text: int = 0
    # User items with an ``input_audio`` part.
    user_audio: int = 0
    # Whether the first message is one of those.
    starts_with_user_audio: bool = False


# A generator is made anew for each draw, out of what it is for. So a draw that is added somewhere changes no other, and two
# connections of one trial, in whatever order they come, draw the same.
class Draws:
    """The draws of one session: a pure function of seed and trial, so that order, resuming and retries change nothing."""

    def __init__(self, seed: int, trial: str, attempt: str | None = None) -> None:
        self._seed, self._trial, self._attempt = seed, trial, attempt

    def of_attempt(self) -> Draws:
        """Return draws that are made afresh at each attempt at the trial: for faults, and for ``fresh:`` rules."""
        return Draws(self._seed, f"{self._trial}\x00attempt {self._attempt or 1}")

    def random(self, *about: object) -> random.Random:
        """Return a generator for one purpose, the same each time for the same words."""
        words = "\x00".join([str(self._seed), self._trial, *map(str, about)])
        return random.Random(hashlib.sha256(words.encode()).digest())

    def uniform(self, *about: object) -> float:
        """Draw one number in [0, 1)."""
        return self.random(*about).random()


@dataclass(frozen=True, slots=True)
class Silence:
    """A reply without content in time."""

    kind: Literal["silent", "empty", "late"]
    # Seconds of real time by which a late reply begins later.
    late_s: float = 0.0
    # Whether a late reply comes as text.
    text: bool = False


Decide = Callable[[Context], bool | Silence]
"""Called once per response that asks for audio: whether it comes as text, or how it is silent."""


class Rule(Protocol):
    """A drift rule. `str` of it is the name it was made from."""

    def for_session(self, draws: Draws) -> Decide:
        """Return the rule at work in one session."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """One response that asks for audio, as a rule sees it."""

    # The session's own.
    draws: Draws
    # Which of the session's it is, from 0.
    n: int
    context: Context
    # What the session's first one read.
    first: Context


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of rule: either it says whether a reply comes as text, or it silences.

    Args:
        spelling: How it is asked for: its name, and after ``=`` its numbers by ``:``. Q is a chance from 0 to 1, MS milliseconds.
        does: What a reply is that was asked for as audio, for the README.
        is_text: Called with the occasion and the numbers; says whether the reply comes as text.
        silence: How a reply is silent, with the chance Q, instead.
        limits: The highest value of each number.
        of: What Q is a chance of, for ``--help``; nothing where that is any response.
    """

    spelling: str
    does: str
    is_text: Callable[..., bool] | None = None
    silence: Literal["silent", "empty", "late"] | None = None
    limits: tuple[float, ...] = ()
    of: str = ""


KINDS = (
    Kind(
        "documented",
        "text iff a system `input_text` item is in the conversation, or more assistant text items than one (than none where the "
        "first message is not the user's audio): what was reported in 2024, and the default",
        lambda on: (
            on.context.system_text > 0 or on.context.assistant_text > (1 if on.context.starts_with_user_audio else 0)
        ),
    ),
    Kind("never", "audio", lambda on: False),
    Kind("always", "text", lambda on: True),
    Kind(
        "share=Q",
        "text in this share of sessions: drawn once per session, whatever is in the conversation",
        lambda on, q: on.draws.uniform("drift") < q,
        limits=(1,),
        of="sessions",
    ),
    Kind(
        "per-response=Q",
        "text with chance Q, drawn for each response",
        lambda on, q: on.draws.uniform("drift", on.n) < q,
        limits=(1,),
    ),
    Kind(
        "p=Q",
        "text with chance 1−(1−Q)^k, k being the assistant text items beyond the user's audio items at the session's first response; "
        "drawn once per session. Q is the chance of *one* such item, not of the session: with k = 0 nothing drifts",
        lambda on, q: on.draws.uniform("drift") < 1 - (1 - q) ** max(0, on.first.assistant_text - on.first.user_audio),
        limits=(1,),
        of="each assistant text item",
    ),
    Kind(
        "silent=Q",
        "with chance Q, for each response: `response.created`, and then nothing, ever",
        silence="silent",
        limits=(1,),
    ),
    Kind("empty=Q", "with chance Q, for each response: `completed`, with no output", silence="empty", limits=(1,)),
    Kind(
        "late=Q:MS",
        "with chance Q, for each response: the first content comes MS milliseconds of real time later, whatever the pace",
        silence="late",
        limits=(1, 3_600_000),
    ),
)
_BY_NAME = {kind.spelling.partition("=")[0]: kind for kind in KINDS}


def in_words() -> str:
    """Return the spellings of `KINDS`, each with what its Q is a chance of, for ``--help``."""
    return ", ".join(f"{kind.spelling} of {kind.of}" if kind.of else kind.spelling for kind in KINDS)


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule made of a name: of at most one kind for text, and of those that silence, each with its numbers."""

    name: str
    text: tuple[Kind, list[float]]
    silences: list[tuple[Kind, list[float]]]
    # Whether it draws afresh at every attempt.
    fresh: bool

    def __str__(self) -> str:
        return self.name

    def for_session(self, draws: Draws) -> Decide:
        """Return the rule at work in one session."""
        draws = draws.of_attempt() if self.fresh else draws
        kind, numbers = self.text
        count = itertools.count()
        first: list[Context] = []  # what the session's first response read

        def decide(context: Context) -> bool | Silence:
            n = next(count)
            if not first:
                first.append(context)
            assert kind.is_text is not None
            text = kind.is_text(Occasion(draws, n, context, first[0]), *numbers)
            for silencing, (q, *late_ms) in self.silences:
                assert silencing.silence is not None
                if draws.uniform(silencing.silence, n) < q:
                    return Silence(silencing.silence, late_ms[0] / 1000 if late_ms else 0.0, text)
            return text

        return decide


def rule(name: str | Rule) -> Rule:
    """Make the rule of that name, such as ``documented``, ``share=0.3`` or ``fresh:never+silent=0.1``.

    Raises:
        InputError: For any other name, or a number that cannot be.
    """
    if hasattr(name, "for_session"):
        return name
    fresh = isinstance(name, str) and name.startswith("fresh:")
    parts: list[tuple[Kind, list[float]]] = []
    for word in name.removeprefix("fresh:").split("+") if isinstance(name, str) else [""]:
        kind_name, equals, values = word.partition("=")
        kind = _BY_NAME.get(kind_name)
        if kind is None:
            spellings = ", ".join(kind.spelling for kind in KINDS)
            raise InputError(f"no drift rule is called {clipped(name)}; there are {spellings} (0 ≤ Q ≤ 1)")
        try:
            numbers = [float(text) for text in values.split(":")] if equals else []
        except ValueError:
            numbers = [math.nan]  # within no limits
        if len(numbers) != len(kind.limits) or not all(
            0 <= n <= most for n, most in zip(numbers, kind.limits, strict=True)
        ):
            letters = kind.spelling.partition("=")[2].split(":")
            ranges = [f", {letter} from 0 to {most:,}" for letter, most in zip(letters, kind.limits, strict=False)]
            raise InputError(f"no drift rule is called {clipped(word)}: it is {kind.spelling}{''.join(ranges)}")
        parts.append((kind, numbers))
    text_rules = [part for part in parts if part[0].silence is None]
    if len(text_rules) > 1:
        raise InputError(f"the drift rule {clipped(name)} says twice when a reply is text; one of its words can")
    silences = [part for part in parts if part[0].silence is not None]
    return NamedRule(name, text_rules[0] if text_rules else (_BY_NAME["never"], []), silences, fresh)
