"""Sound files: what they hold becomes mono int16 at 24 000 Hz, and where it came from is kept beside it.

The home of libsndfile; `Clip.load` and `Clip.save` are what users call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AudioFormatError, InputError

RATE_HZ = 24_000  # the only PCM rate the Realtime API takes
MAX_MS = (
    600_000.0  # what `Clip.load` takes without being asked twice: ten minutes, longer than any turn of a conversation
)

FULL_SCALE = 32_768.0
_MAX_COMMENT_CHARS = 30_000  # libsndfile keeps a WAV header under 100 kB
_MARK = "realtime-history-kit"  # tells our comment in a file from anybody else's


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a clip came from. It is saved with the sound and comes back with it."""

    kind: str = ""
    """``file``, ``microphone``, ``synthesised``, or the caller's own word; empty where nobody said."""
    text: str = ""
    """What is spoken, where that is known."""
    when: str = ""
    """When it was made, as ISO 8601; empty where nobody said."""
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What else is known: the file's name, the voice, the device. Must be JSON; never a path of this machine."""


def refuse_beyond_one(samples: NDArray[np.floating[Any]], where: str) -> None:
    """`where` says whose sample it is: a template with ``index`` and ``total``."""
    outside = ~(np.abs(samples) <= 1)  # NaN compares as False, and so counts
    if outside.any():
        index = int(np.argmax(outside))
        value = float(samples[index])
        way_out = (
            "replace what is not a number before making a clip"
            if math.isnan(value)
            else "scale it first, such as by its peak"
        )
        raise AudioFormatError(
            f"{where.format(index=index, total=samples.size)} is {value:g}, and float samples lie within ±1; {way_out}"
        )


def quantised(samples: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int16], int]:
    """Float samples as int16, and how many had to be clipped to fit."""
    scaled = np.rint(samples * samples.dtype.type(FULL_SCALE))
    n_clipped = int(np.count_nonzero((scaled > FULL_SCALE) | (scaled < -FULL_SCALE)))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), n_clipped


# Reading files


def has_header(file: Path) -> bool:
    import soundfile

    try:
        soundfile.info(str(file))
    except (soundfile.LibsndfileError, TypeError):
        return False
    return True


def bare_options(file: Path, name: str, rate_hz: int, channels: int) -> dict[str, Any]:
    """How libsndfile is told of samples without a header."""
    if not 1 <= channels <= 32:
        raise AudioFormatError(f"{name} cannot have {channels} channels; 1 is mono, 2 is stereo")
    n_bytes = file.stat().st_size
    if n_bytes % (2 * channels):
        raise AudioFormatError(
            f"{name} has {n_bytes:,} bytes, which is no whole number of int16 samples in {channels} channel{'s' * (channels != 1)}; "
            "check rate_hz and channels, or copy it again"
        )
    _check_rate(name, rate_hz)
    return {"samplerate": rate_hz, "channels": channels, "format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"}


def decoded(
    file: Path, name: str, options: Mapping[str, Any], allow_long: bool
) -> tuple[NDArray[np.int16], Provenance, str]:
    """Decode in blocks: what a header claims is never allocated, and an hour of stereo never lies in memory as float."""
    import soundfile

    try:
        with soundfile.SoundFile(str(file), **options) as sound:
            _check_rate(name, sound.samplerate)
            if not sound.frames:
                raise AudioFormatError(f"{name} holds no samples, only a header; record or copy it again")
            minutes = sound.frames / sound.samplerate / 60
            if minutes * 60_000 > MAX_MS and not allow_long:
                raise AudioFormatError(
                    f"{name} is {minutes:,.1f} minutes long, more than the {MAX_MS / 60_000:.0f} of a turn; "
                    f"cut it, or say Clip.load({name!r}, allow_long=True)"
                )
            pcm, n_clipped = _mono_24k(sound, name)
            provenance = _provenance(sound, name)
            converted = _conversion(sound.samplerate, sound.channels, sound.subtype, n_clipped)
    except soundfile.LibsndfileError as exc:
        raise AudioFormatError(
            f"{name} is not a sound file that can be read ({exc.error_string.removeprefix('Error : ').rstrip('.')}): "
            "cut short or damaged? WAV, FLAC, OGG and MP3 can be read; others become one: ffmpeg -i FILE clip.wav; bare "
            "samples need rate_hz and channels"
        ) from exc
    return pcm, provenance, converted


def _check_rate(name: str, rate_hz: int) -> None:
    if not 4_000 <= rate_hz <= 768_000:
        raise AudioFormatError(
            f"{name} gives its rate as {rate_hz:,} Hz; speech has 4 000 to 768 000, and most files 48 000"
        )


def refuse_cut_wav(file: Path, name: str) -> None:
    """libsndfile reads what is left of a WAV that was cut short and says nothing: compare its header with its size."""
    size = file.stat().st_size
    with file.open("rb") as data:
        head = data.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":  # RF64, or not a WAV: libsndfile will say
            return
        at = 12
        for _ in range(1_000):  # as many chunks as a header may have before the samples
            data.seek(at)
            chunk = data.read(8)
            if len(chunk) < 8:
                raise AudioFormatError(
                    f"{name} is cut short: it ends before its samples begin; record or copy it again"
                )
            claimed = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                if claimed > size - at - 8:
                    raise AudioFormatError(
                        f"{name} is cut short: its header announces {claimed:,} bytes of sound and {size - at - 8:,} are "
                        "there; record or copy it again (one that was written to a pipe: `sox --ignore-length`)"
                    )
                return
            at += 8 + claimed + claimed % 2


def _mono_24k(sound: Any, name: str) -> tuple[NDArray[np.int16], int]:
    """All of an open sound file as clip samples, and how many were clipped to fit."""
    resampler = None
    if sound.samplerate != RATE_HZ:
        import soxr

        resampler = soxr.ResampleStream(sound.samplerate, RATE_HZ, 1, dtype="float32", quality="HQ")
    as_float = sound.subtype in ("FLOAT", "DOUBLE")  # the only ones that can say anything beyond ±1 on purpose
    block = max(262_144 // sound.channels, 1_024)
    pieces: list[NDArray[np.int16]] = []
    n_read = n_clipped = 0
    while n_read < sound.frames:
        frames = sound.read(min(block, sound.frames - n_read), dtype="float32", always_2d=True)
        if not len(frames):
            raise AudioFormatError(
                f"{name} is cut short: its header announces {sound.frames:,} frames and {n_read:,} can be read; "
                "record or copy it again"
            )
        if as_float:
            refuse_beyond_one(frames.reshape(-1), f"{name}: a sample after {n_read / sound.samplerate:.1f} s")
        n_read += len(frames)
        mono = frames.mean(axis=1) if sound.channels > 1 else frames[:, 0]
        if resampler is not None:
            mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=n_read >= sound.frames)
        piece, more = quantised(mono)
        pieces.append(piece)
        n_clipped += more
    return np.concatenate(pieces), n_clipped


_SAMPLE_WORDS = {"PCM_16": "int16", "PCM_24": "int24", "PCM_32": "int32", "PCM_U8": "uint8", "PCM_S8": "int8"}


def _conversion(rate_hz: int, channels: int, subtype: str, n_clipped: int) -> str:
    """What was done to a file, for a reader; empty where its samples were taken as they are."""
    word = _SAMPLE_WORDS.get(subtype, subtype.replace("_", " ").lower())
    if subtype in ("VORBIS", "OPUS"):
        word = word.capitalize()
    layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
    was, now = f"{rate_hz:,} Hz {layout} {word}".replace(",", " "), "24 000 Hz mono int16"
    lost = f", {n_clipped:,} samples clipped" if n_clipped else ""
    return "" if was == now else f"{was} → {now}{lost}"


# What is kept beside the samples


def comment_of(provenance: Provenance) -> str:
    body = {
        "kind": provenance.kind,
        "text": provenance.text,
        "when": provenance.when,
        "details": dict(provenance.details),
    }
    try:
        comment = json.dumps({_MARK: 1, **body}, allow_nan=False)  # ASCII, so that no player's encoding can spoil it
    except (TypeError, ValueError) as exc:
        raise InputError(f"the details of a clip's provenance must be JSON to be saved with it: {exc}") from exc
    if len(comment) > _MAX_COMMENT_CHARS:
        raise InputError(
            f"the provenance of this clip takes {len(comment):,} characters and a file keeps {_MAX_COMMENT_CHARS:,}; "
            "shorten its text or details"
        )
    return comment


def _provenance(sound: Any, name: str) -> Provenance:
    """Ours, if the kit saved the file; otherwise only that it is a file, and its name."""
    plain = Provenance("file", details={"file": name})
    try:
        found = json.loads(sound.comment or "")
    except (ValueError, RecursionError, UnicodeDecodeError):
        return plain
    if not isinstance(found, dict) or _MARK not in found:
        return plain
    kind, text, when, details = (found.get(key) for key in ("kind", "text", "when", "details"))
    if not (isinstance(kind, str) and isinstance(text, str) and isinstance(when, str) and isinstance(details, dict)):
        return plain
    return Provenance(kind, text, when, details)
