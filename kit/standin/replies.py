"""What the stand-in says: recorded jokes and plain answers, chosen by seed. It is not a language model, and says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import speech
from .drift import Draws
from .items import Item

_JOKE_LIKE = re.compile(
    r"\b(jokes?|funny|hilarious|laugh|pun|another( one)?|one more|again|more|next)\b", re.IGNORECASE
)
_GREETING = re.compile(r"^\W*(hi|hello|hey|good (morning|afternoon|evening))\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(thanks|thank you)\b", re.IGNORECASE)
_FAREWELL = re.compile(r"\b(bye|goodbye|see you)\b", re.IGNORECASE)
_COUNT = re.compile(r"\bcount\b", re.IGNORECASE)


def asked_item(items: Sequence[Item]) -> Item | None:
    """What a reply answers: the last item that is not the assistant's."""
    return next((item for item in reversed(items) if item.role == "user" or item.type == "function_call_output"), None)


def words_of(item: Item | None) -> str:
    """What was said, written or understood."""
    return "" if item is None else item.words or item.heard or ""


def _tag(item: Item | None) -> str | None:
    """What kind of answer is wanted; ``None`` for a joke."""
    if item is None:
        return "greeting"
    if item.type == "function_call_output":
        return "after-tool"
    words = words_of(item)
    if not words:
        # sound that nobody could make out: it was heard, not understood
        if item.has("user", "audio"):
            return "heard" if item.heard is None else "silence"
        return "silence"
    if _FAREWELL.search(words):
        return "farewell"
    if _JOKE_LIKE.search(words):
        return None
    if _THANKS.search(words):
        return "thanks"
    if _COUNT.search(words):
        return "long"
    return "greeting" if _GREETING.search(words) else "self"


def choose(items: Sequence[Item], said: Sequence[str], draws: Draws, turn: int) -> str:
    """The text of the next reply.

    Args:
        items: What the response reads.
        said: What was said before in this session, in order: nothing comes twice while something else is left.
        draws: The session's draws; the same seed, trial and turn choose the same line.
        turn: Which reply of the session this is, from 0.
    """
    tag = _tag(asked_item(items))
    lines = speech.repertoire("joke") if tag is None else speech.repertoire("answer", tag=tag)
    known = set(said) | {item.words for item in items}
    fresh = [line.text for line in lines if line.text not in known]
    if not fresh:
        fresh = [line.text for line in speech.repertoire("answer", tag="no-more" if tag is None else tag)]
    return draws.random("reply", turn).choice(fresh or [line.text for line in speech.repertoire("answer")])
