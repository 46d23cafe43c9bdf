"""Ears for the tests: a recogniser that says which of some sentences a piece of speech holds."""

from __future__ import annotations

import functools
import re

import numpy as np
import soxr

from kit.clip import RATE_HZ, Clip


def heard(clip: Clip | bytes, candidates: list[str]) -> str | None:
    """Which of the candidates is spoken in a clip (or in 24 kHz mono int16 PCM); ``None`` where it is none of them.

    The whole sentence must be there: speech that is cut off in the middle is not heard as the sentence. The grammar
    holds the candidates only, so that it says which of them is likeliest, not what any speech is.
    """
    pcm = clip.pcm if isinstance(clip, Clip) else np.frombuffer(clip, dtype="<i2")
    quiet = np.zeros(16_000 * 3 // 10, np.int16)
    at_16k = np.concatenate([quiet, soxr.resample(pcm, RATE_HZ, 16_000), quiet])
    by_words = {words(text): text for text in candidates}
    decoder = _decoder()
    decoder.add_jsgf_string("candidates", f"#JSGF V1.0; grammar g; public <line> = {' | '.join(by_words)};")
    decoder.activate_search("candidates")
    decoder.start_utt()
    decoder.process_raw(at_16k.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return by_words.get(found.hypstr) if found else None


def words(text: str) -> str:
    """A text as the recogniser spells it. A word that it cannot know is an error, not a miss."""
    spelled = re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower().replace("’", "'"))
    unknown = [word for word in spelled if _decoder().lookup_word(word) is None]
    if unknown or not spelled:
        raise ValueError(f"the recogniser's dictionary lacks {unknown or repr(text)}: say it in other words")
    return " ".join(spelled)


@functools.cache
def _decoder():
    from pocketsphinx import Decoder

    return Decoder(samprate=16_000, loglevel="FATAL", lm=None)
