"""Clips: pieces of speech, as the API takes them, that know where they came from.

A clip is mono int16 at 24 000 Hz and never changes. Everything else (a stereo file at 44 100 Hz, a float array, an Ogg)
becomes one at the door, in `Clip.load` and its siblings, and what was converted there is said in ``clip.converted``.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import show
from .errors import AudioFormatError, InputError, clipped

__all__ = ["Clip", "MAX_MS", "Provenance", "RATE_HZ", "clips_dir", "waveform"]

# Sound files: what they hold becomes mono int16 at 24 000 Hz, and where it came from is kept beside it.
#
# The home of libsndfile; `Clip.load` and `Clip.save` are what users call.


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


_PLAYER_MAX_MS = 120_000.0  # a player carries its sound in the page: two minutes are 7.7 MB of base64
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
_BARE = {".raw", ".pcm"}


class Clip:
    """A piece of speech: mono int16 at 24 000 Hz, immutable, at least one sample long.

    Two clips are equal where their samples are; where they came from does not count.

    Args:
        pcm: int16 samples, shape ``(n_samples,)``, mono at 24 kHz; copied, unless they lie in `bytes`, which nobody can change.
            Open files with `Clip.load`.
        source: ``file``, ``microphone``, ``synthesised``, or your own word.
        text: What is spoken, if known.
        provenance: All that is known of its origin, in place of `source` and `text`.
        converted: What was done to make it a clip; empty where nothing was.

    Raises:
        AudioFormatError: If `pcm` isn't one-dimensional int16, or is empty.
    """

    __slots__ = ("converted", "pcm", "provenance")

    pcm: NDArray[np.int16]
    provenance: Provenance
    converted: str

    def __init__(
        self,
        pcm: NDArray[np.int16],
        *,
        source: str = "",
        text: str = "",
        provenance: Provenance | None = None,
        converted: str = "",
    ) -> None:
        if not isinstance(pcm, np.ndarray):
            raise AudioFormatError(
                f"expected int16 samples of shape (n,), got {type(pcm).__name__}; open files with Clip.load(), "
                "bytes with Clip.from_pcm()"
            )
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise AudioFormatError(
                f"expected int16 samples of shape (n,), got {pcm.dtype} {pcm.shape}; open files with Clip.load()"
            )
        if not pcm.size:
            raise AudioFormatError(
                "expected at least one sample, got none: there is no empty clip; use None for no sound"
            )
        own = pcm
        if pcm.flags.writeable or not isinstance(pcm.base, bytes):  # somebody could change it; bytes nobody can
            own = np.array(pcm)
            own.flags.writeable = False
        object.__setattr__(self, "pcm", own)
        object.__setattr__(self, "provenance", provenance or Provenance(source, text))
        object.__setattr__(self, "converted", converted)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a clip never changes: cannot set {name}; make a new one with Clip(...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a clip never changes: cannot delete {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.to_bytes(), self.provenance, self.converted)

    # How a clip is made

    @classmethod
    def from_pcm(
        cls,
        data: bytes | bytearray | memoryview,
        *,
        source: str = "",
        text: str = "",
        provenance: Provenance | None = None,
    ) -> Clip:
        """Take what the API sends: little-endian int16, mono, 24 kHz."""
        n_bytes = memoryview(data).nbytes
        if n_bytes % 2:
            raise AudioFormatError(
                f"expected int16 samples of 2 bytes each, got {n_bytes:,} bytes, an odd number; "
                "join the pieces before making a clip of them"
            )
        pcm = np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)
        return cls(pcm, source=source, text=text, provenance=provenance)

    @classmethod
    def from_float(
        cls, array: NDArray[np.floating[Any]], *, source: str = "", text: str = "", provenance: Provenance | None = None
    ) -> Clip:
        """Take float samples at 24 kHz between −1 and 1, shape ``(n_samples,)``.

        Raises:
            AudioFormatError: If a sample is not a number or lies beyond ±1 (int16 values in a float array do).
        """
        samples = np.asarray(array)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise AudioFormatError(f"expected float samples of shape (n,), got {samples.dtype} {samples.shape}")
        refuse_beyond_one(samples, "sample {index:,} of {total:,}")
        pcm, _ = quantised(samples.astype(np.float64))
        return cls(pcm, source=source, text=text, provenance=provenance)

    @classmethod
    def silence(cls, ms: float) -> Clip:
        """So many milliseconds of digital zero."""
        n = _n_samples(ms, "silence")
        if not n:
            raise AudioFormatError(f"a silence of {ms:g} ms holds no sample; ask for at least 1 ms")
        return cls(np.zeros(n, np.int16), source="silence")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        rate_hz: int | None = None,
        channels: int | None = None,
        allow_long: bool = False,
    ) -> Clip:
        """Open a sound file, and make it mono int16 at 24 000 Hz if it is not.

        Channels are averaged, the rate is converted by soxr in its high quality, and ``clip.converted`` says what was
        done. A file that the kit saved brings its provenance back.

        Args:
            path: WAV, FLAC, OGG or anything else that libsndfile reads; or bare little-endian int16 samples, for which
                both of the next two are needed.
            rate_hz: The rate of bare samples; leave it out for a file with a header.
            channels: How many are interleaved in bare samples; leave it out for a file with a header.
            allow_long: Take more than ten minutes.

        Raises:
            AudioFormatError: If the file is missing, empty, cut short, damaged, too long or no sound.
        """
        file = Path(path).expanduser()
        name = show.one_line(file.name or str(path), 80)
        try:
            return cls._load(file, name, rate_hz, channels, allow_long)
        except OSError as exc:
            raise AudioFormatError(f"{name} cannot be opened: {exc.strerror}") from exc

    @classmethod
    def _load(cls, file: Path, name: str, rate_hz: int | None, channels: int | None, allow_long: bool) -> Clip:
        if not file.exists():
            raise AudioFormatError(
                f"{name} does not exist in {show.one_line(str(file.parent.absolute()), 200)}; "
                "clips that come with the kit are opened by Clip.named()"
            )
        if file.is_dir():
            raise AudioFormatError(f"{name} is a directory; give the path of one sound file")
        if not file.is_file():
            raise AudioFormatError(f"{name} is not a regular file; give the path of one sound file")
        if not file.stat().st_size:
            raise AudioFormatError(f"{name} is empty (0 bytes); record or copy it again")
        given = rate_hz is not None or channels is not None
        if file.suffix.lower() in _BARE or (given and not has_header(file)):
            if rate_hz is None or channels is None:
                raise AudioFormatError(
                    f"{name} holds bare samples and no header says of which kind; "
                    f"say it: Clip.load({name!r}, rate_hz=24_000, channels=1)"
                )
            return cls._of(decoded(file, name, bare_options(file, name, rate_hz, channels), allow_long))
        if given:
            raise AudioFormatError(
                f"{name} has a header that gives its rate and channels; leave rate_hz and channels out"
            )
        refuse_cut_wav(file, name)
        return cls._of(decoded(file, name, {}, allow_long))

    @classmethod
    def _of(cls, found: tuple[NDArray[np.int16], Provenance, str]) -> Clip:
        pcm, provenance, converted = found
        return cls(pcm, provenance=provenance, converted=converted)

    @classmethod
    def named(cls, name: str, *, allow_long: bool = False) -> Clip:
        """Open a clip of the clip folder by its name, with or without its ending: ``Clip.named("tell-me-a-joke")``."""
        folder = clips_dir()
        for ending in ("", ".wav", ".flac", ".ogg"):
            file = _inside(folder, name, ending)
            if file.is_file():
                return cls.load(file, allow_long=allow_long)
        there = sorted(p.stem for p in folder.glob("*") if p.suffix in (".wav", ".flac", ".ogg"))
        listed = ", ".join(there[:12]) or "none"
        raise AudioFormatError(f"no clip is named {clipped(name)}; there are: {show.one_line(listed, 400)}")

    # What it is

    @property
    def source(self) -> str:
        """``file``, ``microphone``, ``synthesised`` …: the kind of its provenance."""
        return self.provenance.kind

    @property
    def text(self) -> str:
        """What is spoken, where that is known."""
        return self.provenance.text

    @property
    def n_samples(self) -> int:
        """Samples at 24 kHz."""
        return int(self.pcm.size)

    @property
    def duration_ms(self) -> float:
        """Length in milliseconds."""
        return self.n_samples * 1000 / RATE_HZ

    @property
    def level_dbfs(self) -> float:
        """Root mean square over the whole clip, in dB below full scale (32 768); ``-inf`` for silence."""
        return _dbfs(math.sqrt(_energy(self.pcm) / self.n_samples))

    @property
    def peak_dbfs(self) -> float:
        """The largest sample, in dB below full scale; ``-inf`` for silence."""
        return _dbfs(float(max(int(self.pcm.max()), -int(self.pcm.min()))))

    def to_bytes(self) -> bytes:
        """Little-endian int16, as ``input_audio_buffer.append`` takes it before base64."""
        return self.pcm.astype("<i2", copy=False).tobytes()

    def chunks(self, chunk_ms: int = 20) -> Iterator[NDArray[np.int16]]:
        """Cut speech into the pieces that a microphone would have delivered.

        Args:
            chunk_ms: Length of each piece in milliseconds; 20 ms is 480 samples.

        Yields:
            Views into ``clip.pcm`` (nothing is copied), shape ``(480,)`` at the default length; the last may be shorter.
        """
        n = _n_samples(chunk_ms, "chunk")
        if not n:
            raise InputError(f"a chunk of {chunk_ms:g} ms holds no sample; 20 is usual")
        return (self.pcm[start : start + n] for start in range(0, self.n_samples, n))

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.pcm, other.pcm) if isinstance(other, Clip) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.pcm.tobytes())

    # What can be made of it

    def __add__(self, other: Clip) -> Clip:
        if not isinstance(other, Clip):
            return NotImplemented
        mine, theirs = self.provenance, other.provenance
        return Clip(
            np.concatenate([self.pcm, other.pcm]),
            provenance=Provenance(
                kind=mine.kind if mine.kind == theirs.kind else "joined",
                text=" ".join(part for part in (mine.text, theirs.text) if part),
                when=max(mine.when, theirs.when),
                details=mine.details
                if mine.details == theirs.details
                else {"parts": [dict(mine.details), dict(theirs.details)]},
            ),
        )

    def trim(self, start_ms: float = 0, end_ms: float | None = None) -> Clip:
        """The part between two instants of the clip. It no longer claims to say the whole text."""
        first = _n_samples(start_ms, "start")
        last = self.n_samples if end_ms is None else min(_n_samples(end_ms, "end"), self.n_samples)
        if first >= last:
            until = "the end" if end_ms is None else f"{end_ms:g} ms"
            raise InputError(f"nothing lies between {start_ms:g} ms and {until} of a clip of {self.duration_ms:.0f} ms")
        whole = first == 0 and last == self.n_samples
        details = {**self.provenance.details, "trimmed_ms": [first * 1000 / RATE_HZ, last * 1000 / RATE_HZ]}
        return self if whole else self._made(self.pcm[first:last], replace(self.provenance, text="", details=details))

    def trim_silence(self, below_dbfs: float = -50, keep_ms: float = 50) -> Clip:
        """Without the quiet at both ends.

        Args:
            below_dbfs: Pieces of 10 ms whose peak stays below this are quiet.
            keep_ms: How much quiet to leave on either side.

        Raises:
            InputError: If nothing is louder than that.
        """
        size = RATE_HZ // 100
        pieces = np.pad(self.pcm, (0, -self.n_samples % size)).reshape(-1, size).astype(np.int32)
        loud = np.flatnonzero(np.abs(pieces).max(axis=1) >= FULL_SCALE * 10 ** (below_dbfs / 20))
        if not loud.size:
            raise InputError(
                f"nothing in this clip is louder than {below_dbfs:g} dBFS: its peak is {_level_word(self.peak_dbfs)}"
            )
        keep = _n_samples(keep_ms, "kept quiet")
        first, last = int(loud[0]) * size - keep, (int(loud[-1]) + 1) * size + keep
        return self._made(self.pcm[max(first, 0) : last], self.provenance)

    def pad(self, before_ms: float = 0, after_ms: float = 0) -> Clip:
        """With silence before and after it."""
        widths = (_n_samples(before_ms, "silence before"), _n_samples(after_ms, "silence after"))
        return self._made(np.pad(self.pcm, widths), self.provenance)

    def _made(self, pcm: NDArray[np.int16], provenance: Provenance) -> Clip:
        return Clip(pcm, provenance=provenance, converted=self.converted)

    # Where it is kept

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a WAV or FLAC file (16 bit, mono, 24 kHz) with the provenance in its comment; replaces what was there.

        Returns:
            The absolute path of what was written. A failed write leaves the old file as it was.
        """
        file = Path(path).expanduser().absolute()
        name = show.one_line(file.name, 80)
        if file.suffix.lower() not in _FORMATS:
            raise AudioFormatError(f"{name} does not end in .wav or .flac, which are what a clip is saved as")
        if file.is_dir():
            raise AudioFormatError(f"{name} is a directory; give the path of one sound file")
        if not file.parent.is_dir():
            raise AudioFormatError(
                f"there is no folder {show.one_line(str(file.parent), 200)} to save {name} in; make it first"
            )
        comment = comment_of(self.provenance)
        import soundfile

        temporary = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            kind = _FORMATS[file.suffix.lower()]
            with soundfile.SoundFile(str(temporary), "w", RATE_HZ, 1, "PCM_16", format=kind) as out:
                out.comment = comment
                if title := show.one_line(self.text, 200):  # libsndfile refuses an empty one
                    out.title = title
                if self.provenance.when:
                    out.date = self.provenance.when
                out.write(self.pcm)
            os.replace(temporary, file)
        except soundfile.LibsndfileError as exc:
            raise AudioFormatError(f"{name} could not be written: {exc.error_string}") from exc
        finally:
            temporary.unlink(missing_ok=True)
        return file

    def save_as(self, name: str, *, replace: bool = False) -> Path:
        """Keep it in the clip folder under a name; ``.wav`` unless the name ends in ``.flac``. `Clip.named` finds it there."""
        folder = clips_dir()
        file = _inside(folder, name, "" if Path(name).suffix.lower() in _FORMATS else ".wav")
        if file.exists() and not replace:
            raise AudioFormatError(
                f"there is a clip named {clipped(name)} already; choose another name, or replace=True"
            )
        return self.save(file)

    # How it shows itself

    def __repr__(self) -> str:
        quoted = f"“{show.one_line(self.text)}”" if self.text else ""
        parts = [f"{self.duration_ms / 1000:.2f} s", _level_word(self.level_dbfs), show.one_line(self.source), quoted]
        return f"Clip({', '.join(p for p in (*parts, show.one_line(self.converted, 120)) if p)})"

    def _repr_html_(self) -> str:
        heard = self.pcm[: int(_PLAYER_MAX_MS * RATE_HZ / 1000)]
        pairs: list[tuple[str, object]] = [
            ("length", f"{self.duration_ms / 1000:.2f} s"),
            ("level", _level_word(self.level_dbfs)),
            ("peak", _level_word(self.peak_dbfs)),
        ]
        if self.source:
            pairs.append(("source", self.source))
        if self.provenance.when:
            pairs.append(("made", self.provenance.when))
        if self.converted:
            pairs.append(("converted", self.converted))
        if heard.size < self.n_samples:
            pairs.append(("the player holds", f"the first {_PLAYER_MAX_MS / 60_000:.0f} minutes"))
        words = f"<em>{show.esc(self.text)}</em>" if self.text else ""
        return show.card(
            words, waveform(self.pcm), show.player(heard.astype("<i2", copy=False).tobytes()), show.facts(pairs)
        )


def clips_dir() -> Path:
    """The clip folder: ``data/clips`` of the checkout, or ``kit/data/clips`` where the kit is installed from a wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "data" / "clips"
    return installed if installed.is_dir() else package.parent / "data" / "clips"


def waveform(pcm: NDArray[np.int16], *, width: int = 480, height: int = 56) -> str:
    """The outline of speech as a small SVG in the colour of the text around it: lowest and highest sample per column.

    Args:
        pcm: int16 samples, shape ``(n_samples,)``.
        width: In pixels; one column for every two of them.
        height: In pixels; full scale reaches both edges.
    """
    columns = min(width // 2, int(pcm.size))
    edges = np.linspace(0, pcm.size, columns, endpoint=False).astype(np.intp)
    middle = height / 2
    tops = middle - np.maximum.reduceat(pcm, edges).astype(float) * (middle / FULL_SCALE)
    bottoms = middle - np.minimum.reduceat(pcm, edges).astype(float) * (middle / FULL_SCALE)
    step = width / columns
    marks = "".join(
        f"M{(i + 0.5) * step:.1f} {top - 0.5:.1f}V{bottom + 0.5:.1f}"
        for i, (top, bottom) in enumerate(zip(tops.tolist(), bottoms.tolist(), strict=True))
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="waveform" '
        f'style="max-width:100%"><path d="{marks}" stroke="currentColor" stroke-width="{min(step * 0.75, 3):.2f}" '
        'fill="none" opacity=".8"/></svg>'
    )


def _revive(data: bytes, provenance: Provenance, converted: str) -> Clip:
    return Clip(np.frombuffer(data, dtype="<i2").astype(np.int16), provenance=provenance, converted=converted)


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude / FULL_SCALE) if amplitude > 0 else -math.inf


def _level_word(dbfs: float) -> str:
    return "silent" if dbfs == -math.inf else f"{dbfs:.1f} dBFS".replace("-", "−")


def _energy(pcm: NDArray[np.int16]) -> float:
    """The sum of squares; in pieces that stay in the cache, so that ten minutes take milliseconds."""
    total = 0.0
    for start in range(0, pcm.size, 65_536):
        piece = pcm[start : start + 65_536].astype(np.float32)
        total += float(np.dot(piece, piece))
    return total


def _n_samples(ms: float, what: str) -> int:
    if not 0 <= ms < math.inf:  # NaN too
        raise InputError(f"a {what} of {ms:g} ms is not a length; give milliseconds from 0 up")
    if ms > MAX_MS:
        raise InputError(
            f"a {what} of {ms / 60_000:,.1f} minutes is longer than any clip; the limit is {MAX_MS / 60_000:.0f}"
        )
    return round(ms * RATE_HZ / 1000)


def _inside(folder: Path, name: str, ending: str) -> Path:
    """The path of a name in the clip folder; refuses every name that is more than a name."""
    if not re.fullmatch(r"\w[\w .,()+-]{0,99}", name):
        raise AudioFormatError(
            f"{clipped(name)} is no name for a clip: use letters, digits, dashes and spaces, a letter or digit first, at most "
            "100 of them, and no folders; a file elsewhere is opened by Clip.load() and written by clip.save()"
        )
    file = folder / f"{name}{ending}"
    if not file.resolve().is_relative_to(folder.resolve()):
        raise AudioFormatError(
            f"{clipped(name)} leads out of the clip folder; a file elsewhere is opened by Clip.load()"
        )
    return file
