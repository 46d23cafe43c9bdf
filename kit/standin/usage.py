"""Token counts by the published rates, and the rate limits that follow from them.

Audio counts are the service's: one token per 100 ms of the user's speech, one per 50 ms of the assistant's (244 tokens for
12.304 s, 16 for 1.63 s: wire logs of 2025-06 and 2026-09). Text counts are an **approximation**: the service counts with
its tokenizer, this counts words, numbers and signs. On the recordings of 2026-07 it comes within a few tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..wire.dialect import Dialect

USER_MS_PER_TOKEN = 100
ASSISTANT_MS_PER_TOKEN = 50
CACHE_BLOCK = 64  # cached_tokens come in multiples of it

_PIECE = re.compile(r"[^\W\d_]{1,9}|\d{1,3}|[^\w\s]|_")
_PER_MESSAGE = 3  # role and separators; "Your name is Alice, and …" is 12 pieces and 14 tokens

LIMIT_PER_MINUTE = 40_000  # tokens; the figure of the 2026-09 captures
REQUESTS_PER_MINUTE = 20_000  # beta told requests as well (log of 2025-06)


def text_tokens(text: str) -> int:
    """About how many tokens a text is."""
    return len(_PIECE.findall(text))


def audio_tokens(ms: float, ms_per_token: int) -> int:
    """How many tokens a piece of audio is: one per started period."""
    return -int(-ms // ms_per_token)


@dataclass(frozen=True, slots=True)
class Weight:
    """What one piece of context costs. `key` says which piece, so that a cached prefix can be recognised."""

    key: str
    text: int = 0
    audio: int = 0


def usage(
    context: Sequence[Weight], before: Sequence[Weight], *, text_out: int, audio_out: int, d: Dialect
) -> dict[str, Any]:
    """The `usage` of a response.

    Args:
        context: What it read, in order.
        before: What the response before it read: the common beginning, in whole blocks of 64 tokens, is cached.
        text_out, audio_out: Tokens that it wrote.
    """
    text, audio = sum(w.text for w in context), sum(w.audio for w in context)
    same_text = same_audio = 0
    for ours, theirs in zip(context, before, strict=False):
        if ours != theirs:
            break
        same_text, same_audio = same_text + ours.text, same_audio + ours.audio
    cached = (same_text + same_audio) // CACHE_BLOCK * CACHE_BLOCK
    cached_text = min(same_text, cached)
    image = {"image_tokens": 0} if d.name == "ga" else {}
    return {
        "total_tokens": text + audio + text_out + audio_out,
        "input_tokens": text + audio,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            **image,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached - cached_text, **image},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def nothing_used(d: Dialect) -> dict[str, Any]:
    """The `usage` of a failed response: all zeros."""
    return usage((), (), text_out=0, audio_out=0, d=d)


def rate_limits(total_tokens: int, d: Dialect) -> list[dict[str, Any]]:
    """What is left of the minute after a response: 1,510 tokens of 40,000 take 2.265 s to come back, as in the captures."""
    tokens = {
        "name": "tokens",
        "limit": LIMIT_PER_MINUTE,
        "remaining": max(0, LIMIT_PER_MINUTE - total_tokens),
        "reset_seconds": round(min(total_tokens, LIMIT_PER_MINUTE) * 60 / LIMIT_PER_MINUTE, 3),
    }
    if d.name == "ga":
        return [tokens]
    requests = {
        "name": "requests",
        "limit": REQUESTS_PER_MINUTE,
        "remaining": REQUESTS_PER_MINUTE - 1,
        "reset_seconds": round(60 / REQUESTS_PER_MINUTE, 3),
    }
    return [requests, tokens]


def message_weight(key: str, text: str, audio_ms: float = 0.0) -> Weight:
    """What a message in the context costs."""
    return Weight(key, text_tokens(text) + _PER_MESSAGE, audio_tokens(audio_ms, USER_MS_PER_TOKEN))
