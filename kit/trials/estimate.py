"""What a plan will take: sessions, responses, tokens, dollars, minutes; and the most that one trial can cost.

Guesses of a size, from the documented rates: a user's audio 10 tokens a second, an assistant's 20; text four characters a
token. `worst_usd` is no guess but a bound: at most one token per byte of text, every reply of the full `max_output_tokens` in
audio and none of it cached.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..endpoint import DEFAULT_MODEL, PRICES, Price
from ..history import History
from .arms import Arm

if TYPE_CHECKING:
    from .plan import Plan, Settings, Trial

_INSTRUCTIONS_TOKENS = 150  # what a server starts with (session.created, 2024-10 to 2026-09: some 600 characters)
_PER_ITEM_TOKENS = 4
_REPLY_AUDIO_TOKENS = 130  # 6.5 s of speech at 20 a second: a joke
_REPLY_TEXT_TOKENS = 35  # its transcript
_SERVICE_S = 6.0  # connect 0.7, seed 0.3, a reply streams at about twice real time
_STAND_IN_S = 0.06  # of one of 8 at once, on one core
AT_ONCE = 8
# gpt-realtime-2 and later allow 32,000 tokens of output, earlier ones 4,096 (protocol.md §8, 2026-10)
_MOST_OUTPUT = 32_000
_LEAST_KNOWN_OUTPUT = {"gpt-realtime": 4_096, "gpt-realtime-mini": 4_096, "gpt-realtime-1.5": 4_096}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will take. `usd` is ``None`` where a price is unknown; `str` of it is one sentence."""

    n_trials: int
    n_controls: int
    n_responses: int
    n_input_tokens: int
    n_output_tokens: int
    usd: float | None
    worst_usd: float | None
    """If every reply were as long as it may be, and every retry used."""
    enough_usd: float | None
    """A budget with which the plan comes to its end if replies are as expected: `usd`, and what the last sessions reserve."""
    minutes: float
    free: bool
    simulated: bool
    as_of: str
    """The months of the prices, as a phrase; empty where there is none."""
    elsewhere: str = ""
    """For a free plan: what it would cost as a measurement."""

    @property
    def n_sessions(self) -> int:
        """One each, if none has to be tried again."""
        return self.n_trials + self.n_controls

    def __str__(self) -> str:
        controls = f" and {self.n_controls:,} controls" if self.n_controls else ""
        tokens = f"{self.n_input_tokens + self.n_output_tokens:,} tokens"
        if self.free:
            cost = "free, simulated" if self.simulated else "no key is sent, so nothing is reckoned"
        elif self.usd is None:
            cost = "unpriced: the kit does not know what this costs"
        else:
            cost = (
                f"about ${self.usd:,.2f}{self.as_of}; a budget of ${self.enough_usd:,.0f} is enough if replies are as long as expected, "
                f"${self.worst_usd:,.2f} at worst"
            )
        return (
            f"{_n(self.n_trials, 'trial')}{controls}, {_n(self.n_sessions, 'session')}, about {_n(self.n_responses, 'response')} and {tokens}: "
            f"{cost}; about {_minutes(self.minutes)} at {AT_ONCE} at once{self.elsewhere}"
        )


def estimate(plan: Plan) -> Estimate:
    """What a plan will take, at 8 at once."""
    n_in = n_out = n_responses = 0
    usd: float | None = 0.0
    worst: float | None = 0.0
    dearest = 0.0
    seconds = elsewhere = 0.0
    models = list(dict.fromkeys(each.where.model or "" for each in plan.settings))
    if len(models) == 1 or not set(models) <= set(PRICES):
        models = [DEFAULT_MODEL]  # what a stand-in's one model is called says nothing of what would be measured
    of_cell: dict[object, tuple[int, float, int, int, int]] = {}
    for trial in plan.trials:
        key = (trial.role, *trial.cell)
        if key not in of_cell:
            text, audio, replies = _likely(trial)
            price = trial.settings.reckoned_price
            made = replies * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS)
            of_cell[key] = (
                replies,
                0.0 if price is None else _usd(price, text, audio, replies),
                text + audio,
                made,
                text,
            )
        replies, cost, given, made, text = of_cell[key]
        n_in, n_out, n_responses = n_in + given, n_out + made, n_responses + replies
        there = trial.settings.where.model or ""
        elsewhere += _usd(PRICES[there if there in models else models[0]], text, given - text, replies)
        seconds += (_STAND_IN_S if trial.settings.where.name == "standin" else _SERVICE_S) * replies
        if not trial.settings.free:
            most = worst_usd(trial)
            usd = None if usd is None or trial.settings.reckoned_price is None else usd + cost
            worst = None if worst is None or most is None else worst + most
            dearest = max(dearest, most or 0.0)
    free = all(each.free for each in plan.settings)
    minutes_there = n_responses * _SERVICE_S / AT_ONCE / 60
    simulated = all(each.where.name == "standin" for each in plan.settings)
    on = models[0] if len(models) == 1 else f"OpenAI's {len(models)} models of these names"
    when = _dates(PRICES[name] for name in models)
    measured = f". On {on}: about ${elsewhere:,.2f}{when}, {_minutes(minutes_there)}" if simulated else ""
    return Estimate(
        plan.n_trials,
        plan.n_controls,
        n_responses,
        n_in,
        n_out,
        usd,
        worst,
        None if usd is None or worst is None else float(math.ceil(min(usd + AT_ONCE * dearest, worst))),
        seconds / AT_ONCE / 60,
        free,
        simulated,
        _dates(price for each in plan.settings if (price := each.reckoned_price)),
        measured,
    )


def worst_usd(trial: Trial) -> float | None:
    """The most that one attempt at a trial can cost; ``None`` where there is no price, 0 where nobody pays."""
    settings = trial.settings
    price = settings.reckoned_price
    if price is None:
        return 0.0 if settings.free else None
    arm, history = trial.arm, trial.case.history
    most_out = _most_output(settings)
    told = settings.instructions
    text = len(told.encode()) if told else 10 * _INSTRUCTIONS_TOKENS
    text += len(str(arm.settings(history).get("instructions", "")).encode())
    items_text, audio = _size(arm.history(history), bytes_per_token=1)
    text += items_text
    usd = 0.0
    for said in (None, *trial.case.turns):
        if said is not None:
            more_text, more_audio = _size(History().user(arm.turn(said)), bytes_per_token=1)
            text, audio = text + more_text, audio + more_audio
        for left in reversed(range(arm.max_responses)):
            # Asked again is only after a reply in text, so all but the last of a turn are text. What an arm adds on the way
            # (silence, say) is within the ten seconds of audio that each response is given here.
            audio += 100
            usd += text * price.text[0] + audio * price.audio[0]
            usd += most_out * (price.text[2] if left else max(price.text[2], price.audio[2]))
            if left or price.text[0] > price.audio[0]:
                text += most_out
            else:
                audio += most_out
    return usd / 1e6


def tokens_of(trial: Trial) -> int:
    """About how many tokens an attempt takes: for a limit per minute."""
    text, audio, replies = _likely(trial)
    return text + audio + replies * (_REPLY_AUDIO_TOKENS + _REPLY_TEXT_TOKENS)


def _most_output(settings: Settings) -> int:
    limit = settings.max_output_tokens
    if isinstance(limit, int):
        return limit
    return _LEAST_KNOWN_OUTPUT.get(settings.where.model or "", _MOST_OUTPUT)


def _likely(trial: Trial) -> tuple[int, int, int]:
    """Input tokens of text and audio over all responses, and how many responses."""
    arm: Arm = trial.arm
    history = arm.history(trial.case.history)
    told = trial.settings.instructions or ""
    extra = str(arm.settings(trial.case.history).get("instructions", ""))
    text, audio = _size(history, bytes_per_token=4)
    text += (len(told) // 4 if told else _INSTRUCTIONS_TOKENS) + len(extra) // 4
    total_text = total_audio = 0
    for said in (None, *trial.case.turns):
        if said is not None:
            more_text, more_audio = _size(History().user(said), bytes_per_token=4)
            text, audio = text + more_text, audio + more_audio
        total_text, total_audio = total_text + text, total_audio + audio
        text, audio = text + _REPLY_TEXT_TOKENS, audio + _REPLY_AUDIO_TOKENS
    return total_text, total_audio, trial.n_turns


def _size(history: History, *, bytes_per_token: int) -> tuple[int, int]:
    """Tokens of text and of audio. At one byte per token they are a bound: no tokeniser makes more of a text."""
    text = audio = 0
    for item in history:
        texts = [part.text or dict(part.extra).get("transcript") or "" for part in item.parts]
        words = " ".join(map(str, texts)) if item.parts else item.text
        clips_ms = sum(part.clip.duration_ms for part in item.parts if part.clip)
        text += _PER_ITEM_TOKENS * 4 // bytes_per_token + len(words.encode()) // bytes_per_token
        audio += math.ceil(clips_ms / 100)
    return text, audio


def _usd(price: Price, text: int, audio: int, replies: int) -> float:
    made = replies * (_REPLY_TEXT_TOKENS * price.text[2] + _REPLY_AUDIO_TOKENS * price.audio[2])
    return (text * price.text[0] + audio * price.audio[0] + made) / 1e6


def _dates(prices: Iterable[Price]) -> str:
    dates = sorted({price.as_of for price in prices})
    return f" at the prices of {' and '.join(dates)}" if dates else ""


def _n(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _minutes(minutes: float) -> str:
    if minutes < 1 / 60:
        return "a second"
    if minutes >= 90:
        return f"{minutes / 60:.1f} h"
    return f"{minutes * 60:.0f} s" if minutes < 1.5 else f"{minutes:.0f} min"
