"""The test cases, as data that notebooks and the terminal share.

Reported in 2024-10 on gpt-4o-realtime-preview-2024-10-01 (kwindla/openai-realtime-test-cases), with no count of trials:
a session that is seeded with text turns may answer in text, for the rest of the session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from . import show
from .errors import InputError, clipped
from .history import History

if TYPE_CHECKING:
    from .clip import Clip

SKELETON = "Why don't skeletons fight each other? They don't have the guts!"
SCARECROW = "Why did the scarecrow win an award? Because he was outstanding in his field!"
CLIP_NAME = "tell-me-a-joke"


@dataclass(frozen=True, slots=True)
class Case:
    """A history, and the user turns that follow the first reply.

    Attributes:
        name: What it is asked for by, such as ``1b``.
        history: Seeded before the first response; its last item is the user's turn.
        reported: The modality that was reported for the first reply, ``audio`` or ``text``.
        turns: Further user turns (text or a `Clip`), each asked after the reply to the one before.
        note: What was reported, in words.
    """

    name: str
    history: History
    reported: str
    turns: tuple[str | Clip, ...] = ()
    note: str = ""

    def __repr__(self) -> str:
        return f"<Case {self.name}: {len(self.history)} items, reported: {self.reported}>"

    def _repr_html_(self) -> str:
        return show.card(
            f"<b>case {show.esc(self.name)}</b> reported: {show.badge(self.reported)} {show.esc(self.note)}",
            self.history._repr_html_(),
        )


_STICKY = "text only, for the rest of the session"


@cache
def _all() -> dict[str, Case]:
    from .clip import Clip

    one_a = History().user("Tell me a joke.")
    one_b = one_a.assistant(SKELETON).user("Another one, please.")
    two_a = History().user(Clip.named(CLIP_NAME)).assistant(SKELETON).user("Tell me another joke.")
    two_b = two_a.assistant(SCARECROW).user("That was hilarious. One more, please.")
    cases = (
        Case("1a", one_a, "audio"),
        Case("1b", one_b, "text", note=_STICKY),
        Case("2a", two_a, "audio"),
        Case("2b", two_b, "text", note=_STICKY),
    )
    return {case.name: case for case in cases}


def case(name: str) -> Case:
    """The case of that name.

    Raises:
        InputError: For any other name.
    """
    known = _all()
    try:
        return known[name.lower()]
    except (KeyError, AttributeError):
        raise InputError(f"no case is called {clipped(name)}; there are {', '.join(known)}") from None


def all_cases() -> Iterator[Case]:
    """Every case, in order."""
    return iter(_all().values())


def __getattr__(name: str) -> Case:
    """``cases.one_a`` … ``cases.two_b``: opened when asked for, since case 2 reads a clip."""
    short = {"one_a": "1a", "one_b": "1b", "two_a": "2a", "two_b": "2b"}.get(name)
    if short is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return case(short)


def __dir__() -> list[str]:
    return sorted([*globals(), "one_a", "one_b", "two_a", "two_b"])
