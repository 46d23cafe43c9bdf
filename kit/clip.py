"""Clips: pieces of speech, as the API takes them, that know where they came from.

A clip is mono int16 at 24 000 Hz and never changes. Everything else (a stereo file at 44 100 Hz, a float array, an Ogg)
becomes one at the door, in `Clip.load` and its siblings, and ``clip.converted`` says what was converted there.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import show
from .errors import AudioFormatError, InputError, clipped
from .files import regular_file, writable_path

__all__ = ["Clip", "MAX_MS", "Provenance", "RATE_HZ", "clips_dir", "waveform"]

RATE_HZ = 24_000  # the only PCM rate that the Realtime API takes (wire/README.md, Input audio)
MAX_MS = 600_000.0
"""What `Clip.load` takes without being asked twice: ten minutes, longer than any turn of a conversation."""
FULL_SCALE = 32_768.0

_LONGEST_MS = 4 * 3_600_000.0  # what it takes at all: 690 MB of samples. A megabyte of FLAC may hold days of silence
_STREAMED_BYTES = 1_900_000_000  # a WAV that claims more was written as a stream, whose end its writer did not know
_MAX_REPAIRED_BYTES = 512 * 1024 * 1024  # the whole file is in memory while it is repaired
_MAX_COMMENT_CHARS = 30_000  # libsndfile keeps a WAV header under 100 kB
_MARK = "realtime-history-kit"  # tells our comment in a file from anybody else's
_PLAYER_MAX_MS = 120_000.0  # a player carries its sound in the page: two minutes are 7.7 MB of base64
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}  # which keep int16 exactly, by libsndfile's name
_BARE = (".raw", ".pcm")  # endings that say nothing of rate and channels
# Telephone sound as it came off the wire. It has one rate, and is mono unless its owner says otherwise.
_G711 = {
    f".{ending}": law for law in ("ULAW", "ALAW") for ending in (law.lower(), law[:2].lower(), f"pcm{law[0].lower()}")
}
_SAMPLE_WORDS = {"PCM_16": "int16", "PCM_24": "int24", "PCM_32": "int32", "PCM_U8": "uint8", "PCM_S8": "int8"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a clip came from. It is saved with the sound and comes back with it; empty is unknown.

    Attributes:
        kind: ``file``, ``microphone``, ``synthesised``, or the caller's own word.
        text: The words that are spoken.
        when: When it was made, as ISO 8601.
        details: What else is known: the file's name, the voice, the device. Must be JSON; never a path of this machine.
    """

    kind: str = ""
    text: str = ""
    when: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_comment(self) -> str:
        """Encode it for a sound file's comment field, in ASCII, so that no player's encoding can spoil it."""
        fields = {"kind": self.kind, "text": self.text, "when": self.when, "details": dict(self.details)}
        try:
            # Python would write NaN, which is no JSON: other programs could not read it back.
            comment = json.dumps({_MARK: 1, **fields}, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise InputError(f"the details of a clip's provenance must be JSON to be saved with it: {exc}") from exc
        if len(comment) > _MAX_COMMENT_CHARS:
            raise InputError(
                f"{len(comment):,} characters of provenance, and a file keeps {_MAX_COMMENT_CHARS:,}; shorten its text"
            )
        return comment

    @classmethod
    def from_comment(cls, comment: str | None, name: str) -> Provenance:
        """Decode a sound file's comment if the kit wrote it; otherwise all that is known is the file's name."""
        unknown = cls("file", details={"file": name})
        try:
            fields = json.loads(comment or "")
            kind, text, when, details = (fields[key] for key in ("kind", "text", "when", "details"))
        # Somebody else's comment: a title, a licence, an encoder's name.
        except (ValueError, RecursionError, TypeError, KeyError):
            return unknown
        # A file may come from anywhere: the mark alone proves nothing.
        are_words = all(isinstance(word, str) for word in (kind, text, when))
        is_ours = _MARK in fields and are_words and isinstance(details, dict)
        return cls(kind, text, when, details) if is_ours else unknown


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Clip:
    """A piece of speech: mono int16 at 24 000 Hz, immutable, at least one sample long.

    Two clips are equal where their samples are; where they came from does not count.

    Args:
        pcm: int16 samples, shape ``(n_samples,)``, mono at 24 kHz; copied, unless they lie in `bytes`, which cannot change.
        source: ``file``, ``microphone``, ``synthesised``, or your own word.
        text: The words that are spoken, if known.
        provenance: All that is known of its origin, in place of `source` and `text`.
        converted: What was done to make it a clip; empty where nothing was.
    """

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
        if not isinstance(pcm, np.ndarray) or pcm.ndim != 1 or pcm.dtype != np.int16:
            kind = f"{pcm.dtype} {pcm.shape}" if isinstance(pcm, np.ndarray) else type(pcm).__name__
            raise AudioFormatError(
                f"expected int16 samples of shape (n,), got {kind}; open files with Clip.load(), bytes with Clip.from_pcm(), "
                "floats with Clip.from_float()"
            )
        if not pcm.size:
            raise AudioFormatError("expected at least one sample, got none; use None for no sound")
        # Bytes cannot change; any other memory may be written to by another name.
        if pcm.flags.writeable or not isinstance(pcm.base, bytes):
            pcm = np.array(pcm)
            pcm.flags.writeable = False
        # The class is frozen, its own `__init__` included.
        object.__setattr__(self, "pcm", pcm)
        object.__setattr__(self, "provenance", provenance or Provenance(source, text))
        object.__setattr__(self, "converted", converted)

    def __reduce__(self) -> tuple[Any, ...]:  # by `__init__`: an array that is pickled as it is comes back writeable
        return partial(Clip, provenance=self.provenance, converted=self.converted), (self.pcm,)

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.pcm, other.pcm) if isinstance(other, Clip) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.pcm.tobytes())

    # ---------------------------------------------------------------------------------------------- how a clip is made

    @classmethod
    def from_pcm(
        cls,
        data: bytes | bytearray | memoryview,
        *,
        source: str = "",
        text: str = "",
        provenance: Provenance | None = None,
        audio_format: str = "pcm16",
    ) -> Clip:
        """Take what the API sends: little-endian int16, mono, 24 kHz; or one of its other formats (`to_bytes`)."""
        if audio_format != "pcm16":
            import soxr

            rate_hz, _ = _wire_format(audio_format)
            pcm = np.asarray(soxr.resample(samples_of(data, audio_format), rate_hz, RATE_HZ), np.int16)
            return cls(pcm, source=source, text=text, provenance=provenance)
        # Not `len`, which counts elements: those of a memoryview may be wider than a byte.
        n_bytes = memoryview(data).nbytes
        if n_bytes % 2:
            raise AudioFormatError(f"expected int16 samples, got {n_bytes:,} bytes, an odd number; join the pieces")
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
        _refuse_beyond_one(samples, "sample {index:,} of {total:,}")
        pcm, _ = _quantised(samples.astype(np.float64))
        return cls(pcm, source=source, text=text, provenance=provenance)

    @classmethod
    def silence(cls, ms: float) -> Clip:
        """Make digital zero, `ms` milliseconds long."""
        n = _n_samples(ms, "silence")
        if not n:
            raise InputError(f"a silence of {ms:g} ms holds no sample")
        return cls(np.zeros(n, np.int16), source="silence")

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        rate_hz: int | None = None,
        channels: int | None = None,
        channel: int | None = None,
        allow_long: bool = False,
    ) -> Clip:
        """Open a sound file: WAV, FLAC, OGG or MP3 of any rate, or samples without a header.

        Channels are averaged, other rates resampled (soxr HQ). A WAV that was written as a stream, so that its header does
        not say how long it is, is read to the end of the file.

        Args:
            path: The file, or an open binary file.
            rate_hz: Of bare samples (``.raw``, ``.pcm``, or no header): little-endian int16. G.711 (``.ulaw``, ``.alaw``)
                has 8 000 Hz unless it is given.
            channels: Of bare samples; 1 for G.711 unless it is given.
            channel: Take this one alone, from 0: one side of a telephone call.
            allow_long: Take more than ten minutes (at most four hours).
        """
        import soundfile

        opened: AbstractContextManager[BinaryIO]
        if isinstance(path, str | os.PathLike):
            name = show.one_line(Path(path).name or str(path), 80)
            opened = regular_file(path, error=AudioFormatError)
        elif hasattr(path, "seek"):
            name, opened = "this sound", nullcontext(path)
        else:
            raise AudioFormatError(f"a clip is opened by the path of a sound file, not by {clipped(path)}")
        try:
            with opened as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                # libsndfile would only say that it does not know the format.
                if not size:
                    raise AudioFormatError(f"{name} is empty (0 bytes); record or copy it again")
                with soundfile.SoundFile(file, **_bare_options(file, name, size, rate_hz, channels)) as sound:
                    # libsndfile reads what is left of a WAV that was cut short, and says so in its log alone.
                    note = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.M)
                    is_cut = note is not None and int(note[1]) < _STREAMED_BYTES
                    if sound.frames and not is_cut:
                        return cls._decoded(sound, name, channel, allow_long)
                # The file of a writer that never filled in its sizes (0) announces nothing, too.
                with soundfile.SoundFile(_with_length(file, name, size, note if is_cut else None)) as sound:
                    return cls._decoded(sound, name, channel, allow_long)
        except soundfile.LibsndfileError as exc:
            reason = exc.error_string.removeprefix("Error : ").rstrip(".")
            if "No 'data' chunk" in reason:  # of a WAV that ends within its header
                reason = "it is cut short: it ends before its samples begin"
            raise AudioFormatError(
                f"{name} is not a sound file that can be read ({reason}); others than WAV, FLAC, OGG and MP3 become one by "
                "ffmpeg -i FILE clip.wav; bare samples need rate_hz and channels"
            ) from exc

    @classmethod
    def _decoded(cls, sound: Any, name: str, channel: int | None, allow_long: bool) -> Clip:
        """Decode an open sound file, in blocks: what a header claims is never allocated."""
        _check_rate(name, sound.samplerate)
        ms = sound.frames / sound.samplerate * 1000
        # Before anything is decoded: a small FLAC may announce days of silence.
        limit_ms = _LONGEST_MS if allow_long else MAX_MS
        if ms > limit_ms:
            hint = "" if allow_long or ms > _LONGEST_MS else f", or say Clip.load({name!r}, allow_long=True)"
            raise AudioFormatError(
                f"{name} is {ms / 60_000:,.1f} minutes long, more than the {limit_ms / 60_000:.0f} of a turn; cut it{hint}"
            )
        if channel is not None and not (isinstance(channel, int) and 0 <= channel < sound.channels):
            raise AudioFormatError(f"{name} has no channel {clipped(channel)}; it has {sound.channels}, counted from 0")
        provenance = Provenance.from_comment(sound.comment, name)
        resampler = None  # a stream: blocks that were resampled one by one would click where they meet
        if sound.samplerate != RATE_HZ:
            import soxr

            resampler = soxr.ResampleStream(sound.samplerate, RATE_HZ, 1, dtype="float32", quality="HQ")
        as_float = sound.subtype in ("FLOAT", "DOUBLE")  # the only ones that can say anything beyond ±1 on purpose
        block = max(262_144 // sound.channels, 1_024)  # a megabyte of float32, however many channels there are
        pieces: list[NDArray[np.int16]] = []
        n_read = n_clipped = 0
        while n_read < sound.frames:
            frames = sound.read(min(block, sound.frames - n_read), dtype="float32", always_2d=True)
            if not len(frames):
                raise AudioFormatError(f"{name} is cut short: of {sound.frames:,} frames {n_read:,} can be read")
            if as_float:
                _refuse_beyond_one(frames.reshape(-1), f"{name}: a sample after {n_read / sound.samplerate:.1f} s")
            n_read += len(frames)
            mono = frames[:, channel or 0] if channel is not None or sound.channels == 1 else frames.mean(axis=1)
            if resampler is not None:
                # soxr holds samples back until it is told which are the last.
                mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=n_read >= sound.frames)
            piece, n_beyond = _quantised(mono)
            pieces.append(piece)
            n_clipped += n_beyond
        encoding = _SAMPLE_WORDS.get(sound.subtype, sound.subtype.replace("_", " ").lower())
        if sound.subtype in ("VORBIS", "OPUS"):
            encoding = encoding.capitalize()
        layout = {1: "mono", 2: "stereo"}.get(sound.channels, f"{sound.channels} channels")
        before, after = f"{sound.samplerate:,} Hz {layout} {encoding}".replace(",", " "), "24 000 Hz mono int16"
        picked = f", channel {channel}" if channel is not None and sound.channels > 1 else ""
        clipping = f", {n_clipped:,} samples clipped" if n_clipped else ""
        converted = "" if before == after else f"{before}{picked} → {after}{clipping}"
        return cls(np.concatenate(pieces), provenance=provenance, converted=converted)

    @classmethod
    def named(cls, name: str, *, allow_long: bool = False) -> Clip:
        """Open a clip of the clip folder by its name, with or without its ending: ``Clip.named("tell-me-a-joke")``."""
        folder = clips_dir()
        for ending in ("", ".wav", ".flac", ".ogg"):
            file = _inside(folder, name, ending)
            if file.is_file():
                return cls.load(file, allow_long=allow_long)
        names = sorted(p.stem for p in folder.glob("*") if p.suffix in (".wav", ".flac", ".ogg"))
        listed = show.one_line(", ".join(names[:12]) or "none", 400)
        raise AudioFormatError(f"no clip is named {clipped(name)}; there are: {listed}")

    @property
    def source(self) -> str:
        """``file``, ``microphone``, ``synthesised`` …: the kind of its provenance."""
        return self.provenance.kind

    @property
    def text(self) -> str:
        """The words that are spoken, where they are known."""
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
        return _dbfs(float(np.linalg.norm(self.pcm.astype(np.float32))) / math.sqrt(self.n_samples))

    @property
    def peak_dbfs(self) -> float:
        """The largest sample, in dB below full scale; ``-inf`` for silence."""
        return _dbfs(float(max(int(self.pcm.max()), -int(self.pcm.min()))))

    def to_bytes(self, audio_format: str = "pcm16") -> bytes:
        """Return the samples as the API takes them before base64.

        Args:
            audio_format: ``pcm16`` (little-endian, 24 kHz), ``pcm16-16k``, or ``g711_ulaw`` and ``g711_alaw`` at 8 kHz.
        """
        if audio_format == "pcm16":
            return self.pcm.astype("<i2", copy=False).tobytes()
        import soundfile
        import soxr

        rate_hz, subtype = _wire_format(audio_format)
        data = io.BytesIO()
        soundfile.write(data, soxr.resample(self.pcm, RATE_HZ, rate_hz), rate_hz, format="RAW", subtype=subtype)
        return data.getvalue()

    def to_flac(self) -> bytes:
        """Return it as a FLAC file: every sample, in about half the bytes, and browsers play it."""
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, self.pcm, RATE_HZ, "PCM_16", format="FLAC")
        return out.getvalue()

    def chunks(self, chunk_ms: int = 20) -> Iterator[NDArray[np.int16]]:
        """Yield the pieces that a microphone would have delivered: views into ``clip.pcm``, shape ``(480,)`` at 20 ms.

        Nothing is copied; the last piece may be shorter.
        """
        n = _n_samples(chunk_ms, "chunk")
        if not n:
            raise InputError(f"a chunk of {chunk_ms:g} ms holds no sample; 20 is usual")
        return (self.pcm[start : start + n] for start in range(0, self.n_samples, n))

    # -------------------------------------------------------------------------------------------- what can be made of it

    def __add__(self, other: Clip) -> Clip:
        if not isinstance(other, Clip):
            return NotImplemented
        a, b = self.provenance, other.provenance
        details = a.details if a.details == b.details else {"parts": [dict(a.details), dict(b.details)]}
        provenance = Provenance(
            kind=a.kind if a.kind == b.kind else "joined",
            text=" ".join(text for text in (a.text, b.text) if text),
            when=max(a.when, b.when),
            details=details,
        )
        return Clip(np.concatenate([self.pcm, other.pcm]), provenance=provenance)

    def trim(self, start_ms: float = 0, end_ms: float | None = None) -> Clip:
        """Cut out what lies between two instants. It no longer claims to say the whole text."""
        first = _n_samples(start_ms, "start")
        last = self.n_samples if end_ms is None else min(_n_samples(end_ms, "end"), self.n_samples)
        if first >= last:
            until = "the end" if end_ms is None else f"{end_ms:g} ms"
            raise InputError(f"nothing lies between {start_ms:g} ms and {until} of a clip of {self.duration_ms:.0f} ms")
        if first == 0 and last == self.n_samples:
            return self
        details = {**self.provenance.details, "trimmed_ms": [first * 1000 / RATE_HZ, last * 1000 / RATE_HZ]}
        return replace(self, pcm=self.pcm[first:last], provenance=replace(self.provenance, text="", details=details))

    def trim_silence(self, below_dbfs: float = -50, keep_ms: float = 50) -> Clip:
        """Cut off the quiet at both ends.

        Args:
            below_dbfs: Pieces of 10 ms whose peak stays below this are quiet.
            keep_ms: How much quiet to leave on either side.
        """
        size = RATE_HZ // 100
        # int32, since the magnitude of −32,768 does not fit into int16.
        pieces = np.pad(self.pcm, (0, -self.n_samples % size)).reshape(-1, size).astype(np.int32)
        loud = np.flatnonzero(np.abs(pieces).max(axis=1) >= FULL_SCALE * 10 ** (below_dbfs / 20))
        if not loud.size:
            raise InputError(f"nothing in this clip is louder than {below_dbfs:g} dBFS: {_level_word(self.peak_dbfs)}")
        keep = _n_samples(keep_ms, "kept quiet")
        first, last = int(loud[0]) * size - keep, (int(loud[-1]) + 1) * size + keep
        return replace(self, pcm=self.pcm[max(first, 0) : last])

    def pad(self, before_ms: float = 0, after_ms: float = 0) -> Clip:
        """Add silence before and after it."""
        widths = (_n_samples(before_ms, "silence before"), _n_samples(after_ms, "silence after"))
        return replace(self, pcm=np.pad(self.pcm, widths))

    # ------------------------------------------------------------------------------------------------- where it is kept

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a WAV or FLAC file (16 bit, mono, 24 kHz) with the provenance in its comment; replaces what was there.

        Returns:
            The absolute path of what was written. A failed write leaves the old file as it was.
        """
        file = writable_path(path, error=AudioFormatError)
        name = show.one_line(file.name, 80)
        if file.suffix.lower() not in _FORMATS:
            raise AudioFormatError(f"{name} does not end in .wav or .flac, which are what a clip is saved as")
        if not file.parent.is_dir():
            folder = show.one_line(str(file.parent), 200)
            raise AudioFormatError(f"there is no folder {folder} to save {name} in; make it first")
        comment = self.provenance.to_comment()
        import soundfile

        # Beside its place: the move is one step, and a failed write leaves the old file whole.
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
        except (soundfile.LibsndfileError, OSError) as exc:
            raise AudioFormatError(f"{name} could not be written: {getattr(exc, 'error_string', exc)}") from exc
        finally:
            temporary.unlink(missing_ok=True)
        return file

    def save_as(self, name: str, *, replace: bool = False) -> Path:
        """Keep it in the clip folder under a name; ``.wav`` unless the name ends in ``.flac``. `Clip.named` finds it there."""
        folder = clips_dir()
        file = _inside(folder, name, "" if Path(name).suffix.lower() in _FORMATS else ".wav")
        if file.exists() and not replace:
            raise AudioFormatError(f"there is a clip named {clipped(name)} already; take another name, or replace=True")
        return self.save(file)

    def __repr__(self) -> str:
        text = f"“{show.one_line(self.text)}”" if self.text else ""
        facts = [f"{self.duration_ms / 1000:.2f} s", _level_word(self.level_dbfs), show.one_line(self.source), text]
        return f"Clip({', '.join(fact for fact in (*facts, show.one_line(self.converted, 120)) if fact)})"

    def _repr_html_(self) -> str:
        pcm = self.pcm[: int(_PLAYER_MAX_MS * RATE_HZ / 1000)]
        facts: dict[str, object] = {
            "length": f"{self.duration_ms / 1000:.2f} s",
            "level": _level_word(self.level_dbfs),
            "peak": _level_word(self.peak_dbfs),
            "source": self.source,
            "made": self.provenance.when,
            "converted": self.converted,
            "the player holds": f"the first {_PLAYER_MAX_MS / 60_000:.0f} minutes" if pcm.size < self.n_samples else "",
        }
        return show.card(
            f"<em>{show.esc(self.text)}</em>" if self.text else "",
            waveform(self.pcm),
            show.player(pcm.astype("<i2", copy=False).tobytes()),
            show.facts((name, value) for name, value in facts.items() if value),
        )


# ------------------------------------------------------------------------------------------- sound files and their samples


def _bare_options(file: BinaryIO, name: str, size: int, rate_hz: int | None, channels: int | None) -> dict[str, Any]:
    """Return what libsndfile has to be told of samples without a header; nothing for a file that has one."""
    suffix = Path(name).suffix.lower()
    subtype = _G711.get(suffix)
    if suffix == ".g711":
        raise AudioFormatError(f"{name} does not say by which law of G.711 it is coded; name it .ulaw or .alaw")
    if subtype is None and suffix not in _BARE:
        if rate_hz is None and channels is None:
            return {}
        import soundfile

        # TypeError: by the ending .raw soundfile takes a file for bare samples, and wants their rate.
        with suppress(soundfile.LibsndfileError, TypeError):
            soundfile.info(file)
            raise AudioFormatError(f"{name} has a header with its rate and channels; leave rate_hz and channels out")
        file.seek(0)
    if subtype is not None:
        rate_hz, channels = rate_hz or 8_000, channels or 1
    if rate_hz is None or channels is None:
        raise AudioFormatError(f"{name} holds bare samples only; say Clip.load({name!r}, rate_hz=24_000, channels=1)")
    if not 1 <= channels <= 32:
        raise AudioFormatError(f"{name} cannot have {channels} channels; 1 is mono, 2 is stereo")
    _check_rate(name, rate_hz)
    if size % (channels * (1 if subtype else 2)):
        raise AudioFormatError(
            f"{name} has {size:,} bytes, which is no whole number of {'G.711' if subtype else 'int16'} samples in "
            f"{show.counted(channels, 'channel')}; check rate_hz and channels, or copy it again"
        )
    options: dict[str, Any] = {"samplerate": rate_hz, "channels": channels, "format": "RAW"}
    return options | ({"subtype": subtype} if subtype else {"subtype": "PCM_16", "endian": "LITTLE"})


# The API's other formats: rate, and libsndfile's name of the encoding.
_WIRE_FORMATS = {"pcm16-16k": (16_000, "PCM_16"), "g711_ulaw": (8_000, "ULAW"), "g711_alaw": (8_000, "ALAW")}


def _wire_format(audio_format: str) -> tuple[int, str]:
    if audio_format not in _WIRE_FORMATS:
        raise InputError(f"an audio format is one of pcm16, {', '.join(_WIRE_FORMATS)}, not {audio_format!r}")
    return _WIRE_FORMATS[audio_format]


def samples_of(data: bytes | bytearray | memoryview, audio_format: str) -> NDArray[np.int16]:
    """Decode bytes of one of the API's formats into int16 samples of that format's rate; half a sample at the end is left out."""
    if audio_format.startswith("pcm"):
        return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16, copy=False)
    import soundfile

    rate_hz, law = _wire_format(audio_format)
    samples, _ = soundfile.read(
        io.BytesIO(data), samplerate=rate_hz, channels=1, format="RAW", subtype=law, dtype="int16"
    )
    return np.asarray(samples, np.int16)


def _with_length(file: BinaryIO, name: str, size: int, cut_short: re.Match[str] | None) -> BinaryIO:
    """A WAV whose writer never filled in the sizes (0), with the size that means "to the end".

    Raises:
        AudioFormatError: For another file: it is cut short, as libsndfile noted in its log, or it holds nothing.
    """
    file.seek(0)
    data = bytearray(file.read(_MAX_REPAIRED_BYTES))
    # The chunk's name and a size of 0. The first 12 bytes are RIFF, its own size, and WAVE.
    start = data.find(b"data\0\0\0\0", 12, 65_536)
    if data[:4] != b"RIFF" or start < 0 or size <= start + 8 or size > _MAX_REPAIRED_BYTES:
        if cut_short is None:
            raise AudioFormatError(f"{name} holds no samples, only a header; record or copy it again")
        n_announced, n_bytes = map(int, cut_short.groups())
        raise AudioFormatError(
            f"{name} is cut short: its header announces {n_announced:,} bytes of sound and {n_bytes:,} are there"
        )
    data[start + 4 : start + 8] = b"\xff\xff\xff\xff"
    return io.BytesIO(data)


def _check_rate(name: str, rate_hz: int) -> None:
    if not 4_000 <= rate_hz <= 768_000:
        raise AudioFormatError(f"{name} states its rate as {rate_hz:,} Hz; speech has 4 000 to 768 000")


def _refuse_beyond_one(samples: NDArray[np.floating[Any]], where: str) -> None:
    """Refuse float samples outside ±1. `where` says whose sample it is: a template with ``index`` and ``total``."""
    outside = ~(np.abs(samples) <= 1)  # NaN compares as False, and so counts
    if outside.any():
        index = int(np.argmax(outside))
        value = float(samples[index])
        advice = "replace what is not a number" if math.isnan(value) else "scale it first, such as by its peak"
        sample = where.format(index=index, total=samples.size)
        raise AudioFormatError(f"{sample} is {value:g}, and float samples lie within ±1; {advice}")


def _quantised(samples: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int16], int]:
    """Float samples as int16, and how many had to be clipped to fit."""
    # +1.0 becomes 32,768, one more than int16 holds: full scale, which does not count as clipped.
    scaled = np.rint(samples * samples.dtype.type(FULL_SCALE))
    n_clipped = int(np.count_nonzero((scaled > FULL_SCALE) | (scaled < -FULL_SCALE)))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), n_clipped


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude / FULL_SCALE) if amplitude > 0 else -math.inf


def _level_word(dbfs: float) -> str:
    return "silent" if dbfs == -math.inf else f"{dbfs:.1f} dBFS".replace("-", "−")


def _n_samples(ms: float, name: str) -> int:
    if not 0 <= ms < math.inf:  # NaN too
        raise InputError(f"a {name} of {ms:g} ms is not a length; give milliseconds from 0 up")
    if ms > MAX_MS:
        minutes = f"{ms / 60_000:,.1f} minutes"
        raise InputError(f"a {name} of {minutes} is longer than any clip; the limit is {MAX_MS / 60_000:.0f}")
    return round(ms * RATE_HZ / 1000)


# -------------------------------------------------------------------------------------------- the clip folder, and a picture


def clips_dir() -> Path:
    """The clip folder: ``data/clips`` of the checkout, or ``kit/data/clips`` where the kit is installed from a wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "data" / "clips"
    return installed if installed.is_dir() else package.parent / "data" / "clips"


def _inside(folder: Path, name: str, ending: str) -> Path:
    """The path of a name in the clip folder; refuses every name that is more than a name."""
    # On Windows `con.wav` is the console.
    if not re.fullmatch(r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)\W*(\.|$))\w[\w .,()+-]{0,99}", name):
        raise AudioFormatError(f"{clipped(name)} is no name for a clip: use letters, digits, spaces, or Clip.load()")
    file = folder / f"{name}{ending}"
    # A link in the folder may lead anywhere.
    if not file.resolve().is_relative_to(folder.resolve()):
        raise AudioFormatError(f"{clipped(name)} leads out of the clip folder; Clip.load() opens a file elsewhere")
    return file


def waveform(pcm: NDArray[np.int16], *, width: int = 480, height: int = 56) -> str:
    """Draw the outline of speech as a small SVG in the colour of the text around it: lowest and highest sample per column."""
    columns = min(width // 2, int(pcm.size))
    # `reduceat` takes the samples from each edge to the next: one column.
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
