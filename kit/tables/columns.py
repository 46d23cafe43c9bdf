"""What is counted, as columns of small numbers: no text, no ids from the wire, no pandas.

A million turns are a few whole-number arrays of one entry each; what belongs to the trial (its case, its arm, its model) is
kept once per trial. `counting` needs nothing else. Ids and words stay where they came from until a ``*_df`` asks for them.

`Rows` is the seam for sources: whatever can fill one (a ledger, a frame, an event log) gets the same tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError, clipped

if TYPE_CHECKING:
    from pandas import DataFrame

    Frame = DataFrame  # plots take frames, and import no pandas

Codes = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]

MODALITIES = ("audio", "text", "mixed", "function", "empty")
TEXT = MODALITIES.index("text")
STATES = ("completed", "failed", "missing")
"""Of a trial. Failed: no attempt came to its end. Missing: never run, or not finished yet."""
COMPLETED, FAILED, MISSING = range(3)
ANSWERED = ("completed", "incomplete", "cancelled")
"""Response statuses after which what arrived is what was said; a ``failed`` one, or one without an end, says nothing."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of few different words: a code per row, -1 where there is none."""

    codes: Codes
    words: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[object], first: Iterable[str] = ()) -> Labels:
        """From the words themselves, numbered in the order of `first` and then as they come; ``None`` and NaN have no word."""
        seen: dict[str, int] = {word: at for at, word in enumerate(dict.fromkeys(first))}
        listed = list(values)
        codes = {
            value: -1 if value is None or value != value else seen.setdefault(str(value), len(seen))
            for value in dict.fromkeys(listed)
        }
        return cls(np.fromiter(map(codes.__getitem__, listed), _small(len(seen)), len(listed)), tuple(seen))

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """One column after another, under one numbering."""
        seen: dict[str, int] = {}
        arrays = []
        for part in parts:
            book = [*(seen.setdefault(word, len(seen)) for word in part.words), -1]
            arrays.append(np.asarray(book, _small(len(seen)))[part.codes])  # code -1 takes the last entry, which is -1
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int8), tuple(seen))

    def __len__(self) -> int:
        return len(self.codes)


def _small(n_words: int) -> npt.DTypeLike:
    """The smallest whole numbers that hold the codes of so many words, and one more."""
    return np.min_scalar_type(-n_words - 2)


@dataclass(frozen=True, slots=True)
class Turns:
    """A turn per entry, ordered by trial and turn, of the attempts that count: what its responses came to.

    Attributes:
        trial: Which trial: its row in `Rows`.
        turn: Which user turn, from 0; 0 is the one that the history ends with.
        final: What the user finally heard: code in `MODALITIES` of the last response, -1 where the turn was not answered.
        first: The same of the first response, before an arm reacted to it.
        heard_ms: From asking first until audio first came; NaN where none did.
        responses: How many it took.
    """

    trial: Codes
    turn: Codes
    final: Codes
    first: Codes
    heard_ms: Floats
    responses: Codes

    def __len__(self) -> int:
        return len(self.trial)

    @property
    def n_bytes(self) -> int:
        """What all of them take in memory."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class Rows:
    """Trials with what they are labelled by and how they ended, and their turns.

    Attributes:
        labels: Per trial, by name: ``case``, ``arm``, ``endpoint``, ``model``, ``day`` (UTC, ``2026-11-22``), …
        state: Code in `STATES`.
        simulated: 1 where a stand-in answered, 0 where a service did, -1 where nothing says.
        numbers: Per trial, by name: floats, NaN where unknown.
        planned: Whether every trial of a plan is here. A frame of responses has only those with a response.
    """

    labels: Mapping[str, Labels]
    state: Codes
    simulated: Codes
    turns: Turns
    numbers: Mapping[str, Floats] = field(default_factory=dict)
    planned: bool = True

    @property
    def n_trials(self) -> int:
        return len(self.state)

    def label(self, name: str) -> Labels:
        """A label by name.

        Raises:
            InputError: If trials are not labelled so.
        """
        try:
            return self.labels[name]
        except KeyError:
            known = ", ".join(self.labels) or "nothing"
            raise InputError(f"trials are not labelled by {clipped(name)}; there are {known}") from None


def joined(parts: Sequence[Rows]) -> Rows:
    """Several sources as one. Trials are numbered on; those of a source that lacks a label or a number have none."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.n_trials for part in parts)])
    labels = dict.fromkeys(name for part in parts for name in part.labels)
    numbers = dict.fromkeys(name for part in parts for name in part.numbers)

    def label(part: Rows, name: str) -> Labels:
        return part.labels.get(name) or Labels(np.full(part.n_trials, -1, np.int32), ())

    def number(part: Rows, name: str) -> Floats:
        return part.numbers[name] if name in part.numbers else np.full(part.n_trials, np.nan)

    def stacked(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part.turns, name) for part in parts])

    trial = np.concatenate([part.turns.trial + start for part, start in zip(parts, starts[:-1], strict=True)])
    others = {name: stacked(name) for name in ("turn", "final", "first", "heard_ms", "responses")}
    return Rows(
        labels={name: Labels.joined([label(part, name) for part in parts]) for name in labels},
        state=np.concatenate([part.state for part in parts]),
        simulated=np.concatenate([part.simulated for part in parts]),
        turns=Turns(trial=trial, **others),  # type: ignore[arg-type]
        numbers={name: np.concatenate([number(part, name) for part in parts]) for name in numbers},
        planned=all(part.planned for part in parts),
    )
