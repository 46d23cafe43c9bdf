"""What was said in a piece of sound, by an optional recogniser: pocketsphinx, which is small, offline and often wrong.

Words are decoded from the samples that came, never looked up by a file's name or length; what was decoded here once is not decoded
again, for trials repeat their clips. First the recogniser's own model of English, then a grammar of the sentences that the kit's
cases ask; where both hear nearly the same, the sentence of the grammar is taken, for it is spelled and punctuated.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import re
import threading
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from .. import speech
from ..clip import RATE_HZ
from ..errors import InputError, MissingExtra

INSTALL = 'pip install "realtime-history-kit[hear]"'

MAX_S = 60  # it would take half as long to make out

_HZ = 16_000
# 10 ms: the decoder holds the interpreter while it works, 3 ms a bite, and sound devices wait for it
_BLOCK = _HZ // 100
_ALIKE = 0.6  # share of words that both passes must agree in
_ONE_AT_A_TIME = threading.Lock()  # a decoder holds the state of one utterance
_words: dict[bytes, str] = {}  # by the hash of their sound
_MAX_WORDS = 1_000


def available() -> bool:
    """Whether the recogniser is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def prepare() -> None:
    """Load the recogniser, which holds the interpreter for a third of a second: better before somebody talks than while."""
    if available():
        with _ONE_AT_A_TIME:
            _decoder("english"), _decoder("cases")


def transcribe(pcm: bytes) -> str:
    """The words in PCM at 24 kHz; empty where none are heard. Blocks for about half as long as the sound lasts, the first time.

    Raises:
        MissingExtra: If the recogniser is not installed.
        InputError: If it lasts too long.
    """
    if not available():
        raise MissingExtra(f"no recogniser is installed to transcribe with; {INSTALL} brings one")
    samples = np.frombuffer(pcm, "<i2")
    if len(samples) > MAX_S * RATE_HZ:
        raise InputError(f"{len(samples) / RATE_HZ:.0f} s are too much for this recogniser: it takes {MAX_S} s at most")
    if not samples.any():
        return ""
    sound = hashlib.sha256(pcm).digest()
    with _ONE_AT_A_TIME:
        if sound not in _words:
            if len(_words) >= _MAX_WORDS:
                _words.clear()
            _words[sound] = _words_in(samples)
        return _words[sound]


def _words_in(samples: NDArray[np.int16]) -> str:
    quiet = np.zeros(_HZ * 3 // 10, np.int16)
    narrow = np.concatenate([quiet, soxr.resample(samples, RATE_HZ, _HZ), quiet])
    free = _heard(_decoder("english"), narrow)
    asked = _heard(_decoder("cases"), narrow)
    if asked and difflib.SequenceMatcher(None, asked.split(), free.split()).ratio() >= _ALIKE:
        return _sentences()[asked]
    return free


def _heard(decoder: Any, samples: NDArray[np.int16]) -> str:
    decoder.start_utt()
    for start in range(0, len(samples), _BLOCK):
        decoder.process_raw(samples[start : start + _BLOCK].tobytes())
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


@functools.cache
def _sentences() -> dict[str, str]:
    return {" ".join(re.findall(r"[a-z']+", line.text.lower())): line.text for line in speech.repertoire("user")}


@functools.cache
def _decoder(kind: str) -> Any:
    from pocketsphinx import Decoder

    if kind == "english":
        return Decoder(samprate=_HZ, loglevel="FATAL")
    decoder = Decoder(samprate=_HZ, loglevel="FATAL", lm=None)
    decoder.add_jsgf_string("cases", f"#JSGF V1.0; grammar cases; public <line> = {' | '.join(_sentences())};")
    decoder.activate_search("cases")
    return decoder
