"""A recorder: speak, stop, look at the waveform, listen, keep it. The browser's microphone, or the kernel's.

==========  ========================  ===================================================================================
state       `_recording`, `_blocks`   what changes it
==========  ========================  ===================================================================================
idle        None, None                Record or `record()` → browser or kernel; an upload → idle, with its clip
browser     a Recording, None         its last block → idle, with a clip; the page's problem → idle, without;
                                      the page is left or opened anew → idle, with what came
kernel      a Recording, a queue      Stop, silence, the limit → idle, with a clip; no device → idle, without
==========  ========================  ===================================================================================

Each recording has a number (`_n_takes`): what still comes of an earlier one is not taken.
"""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import traitlets

from .. import show
from ..audio import Microphone, Recording, kernel_details
from ..audio.microphone import silence_limit_ms
from ..clip import MAX_MS, RATE_HZ, Clip
from ..errors import AudioFormatError, DeviceError, InputError, KitError, LocalProtocolError, clipped
from .page import CONFIRM_EVERY, Content, PageWidget, read, settle

SNAPSHOT_S = 10  # of sound in the picture that is left for a page without a kernel
_GONE_S = 3.0  # a kernel's microphone that brings nothing for this long is gone
_LEVEL_MS = 60  # how often the page hears how loud it is
_PIECE_BYTES = 1 << 20  # of one message: well below what notebook servers pass on
_SLIP_S = 0.3  # a second take as short as this was a click too many
_LATE_S = 1.0  # how long blocks that another thread still handles may come after the last one
_HERE_S = 10.0  # how long a page may take to show the recorder
_LEFT_S = 1.0  # a page that records and brings nothing for this long was left or opened anew
_PROCESSING = {
    "echoCancellation": "echo cancellation",
    "noiseSuppression": "noise suppression",
    "autoGainControl": "gain control",
}
_NO_PAGE = (
    "Before JupyterLab 4.4 and ipykernel 7 show the recorder in one cell, press Record and Stop, and use recorder.clip in the "
    "next. Without a browser: kit.audio.record_clip(), or Clip.load()"
)


class Recorder(PageWidget):
    """``recorder = Recorder()`` in a cell: press Record, speak, press Stop. The clip is in ``recorder.clip``.

    In one cell, where the front end is heard while a cell runs (JupyterLab 4.4 and ipykernel 7 or newer)::

        clip = await recorder.record(timeout_s=30)

    The sound comes to the kernel in numbered blocks as it is spoken; a block that never comes is shown as a gap. The three
    kinds of processing are off, since a clip that is measured should be what was said; what the browser really applied is
    kept with the clip.

    Args:
        microphone: ``"browser"`` (that of the machine you sit at) or ``"kernel"`` (of the machine that computes).
        device: The kernel's microphone: its number or a part of its name.
        echo_cancellation, noise_suppression, auto_gain_control: Asked of the browser.
        block_ms: How much sound one message of the page carries.
        max_s: The recording ends by itself after this long.
    """

    _esm = read("page.js", "capture.js", "recorder.js")
    _css = read("sound.css")
    KINDS: ClassVar[tuple[str, ...]] = ("here", "press", "started", "pcm", "problem", "upload", "save")
    # Read by the page: which microphone, and what it asks of the browser.
    microphone = traitlets.Unicode("browser").tag(sync=True)
    echo_cancellation = traitlets.Bool(False).tag(sync=True)
    noise_suppression = traitlets.Bool(False).tag(sync=True)
    auto_gain_control = traitlets.Bool(False).tag(sync=True)
    block_ms = traitlets.Int(40).tag(sync=True)

    def __init__(
        self,
        *,
        microphone: Literal["browser", "kernel"] = "browser",
        device: int | str | None = None,
        echo_cancellation: bool = False,
        noise_suppression: bool = False,
        auto_gain_control: bool = False,
        block_ms: int = 40,
        max_s: float = MAX_MS / 1000,
    ) -> None:
        if microphone not in ("browser", "kernel"):
            raise InputError(f"microphone is 'browser' or 'kernel', not {clipped(microphone)}")
        if not 10 <= block_ms <= 1_000:
            raise InputError(f"blocks of {block_ms} ms: take 10 to 1 000; 40 is usual")
        if not 0 < max_s <= MAX_MS / 1000:
            raise InputError(f"a recording of {max_s:g} s: take more than 0 and at most {MAX_MS / 1000:g}")
        # For the kernel's microphone alone; a browser asks its reader.
        self.device = device
        self.max_s = max_s
        # What was recorded or uploaded last.
        self.clip: Clip | None = None
        # Number of the latest recording; the page repeats it with each block.
        self._n_takes = 0
        # The recording in progress, and what its clip will say of its microphone.
        self._recording: Recording | None = None
        self._details: dict[str, Any] = {}
        # From the kernel's microphone to its recording's thread; None in it ends that. None: the browser's is used.
        self._blocks: queue.SimpleQueue[bytes | None] | None = None
        # `record(stop_at_silence_s=…)`: how much quiet ends it.
        self._stop_at_silence_ms: float | None = None
        # Stop was sent to the page, which may still be opening its microphone.
        self._stopping = False
        # `monotonic` of the page's last block.
        self._heard_at_s = 0.0
        # Pieces of a file that the page is sending.
        self._upload: list[bytes] = []
        # `record` waits for it.
        self._waiter: asyncio.Future[Clip] | None = None
        # Messages come on the main thread and on a subshell's, within one recording.
        self._guard = threading.RLock()
        super().__init__(
            microphone=microphone,
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            auto_gain_control=auto_gain_control,
            block_ms=block_ms,
        )

    def clip_or(self, name: str | None = None) -> Clip:
        """What was recorded; else the clip or the sound file of that name; else the kit's own clip.

        Raises:
            AudioFormatError: If there is no clip, and no sound file, of that name.
        """
        if self.clip is not None:
            return self.clip
        if name is None:
            return Clip.named("tell-me-a-joke")
        is_path = "/" in name or "\\" in name or Path(name).is_file()
        return Clip.load(name) if is_path else Clip.named(name)

    def in_words(self, clip: Clip) -> show.Words:
        """Say where a clip comes from, and whether it is loud enough."""
        source = {"microphone": "your recording", "file": "a file"}.get(clip.source, "synthesised speech")
        dbfs = clip.level_dbfs
        advice = "good" if -35 < dbfs < -12 else "too quiet: move closer" if dbfs <= -35 else "very loud: move away"
        prefix = "" if self.clip is not None else "Nothing was recorded. "
        level = f"{clip.duration_ms / 1000:.1f} s at {dbfs:.0f} dBFS ({advice})".replace("-", "−")
        return show.Words(f"{prefix}The first turn is **{source}**: {level}.")

    @property
    def recording(self) -> bool:
        """Between Record and the last block."""
        return self._recording is not None

    def __repr__(self) -> str:
        state = repr(self.clip) if self.clip else "recording" if self.recording else "nothing recorded yet"
        return f"<Recorder of the {self.microphone}'s microphone: {state}>"

    def static_html(self) -> str:
        """The clip so far, with a player of its first seconds: what an export shows."""
        if self.clip is None:
            return show.card(show.facts([("recorder:", "nothing recorded")]))
        # Bounded: the picture travels as base64 and is kept with the notebook, a copy at each step of the way.
        start = self.clip.pcm[: SNAPSHOT_S * RATE_HZ]
        note = f"the player of this picture holds the first {SNAPSHOT_S} s" if start.size < self.clip.n_samples else ""
        player = show.player(start.astype("<i2", copy=False).tobytes())
        return show.card(player, show.facts([("", _facts(self.clip))]), note)

    def release_devices(self) -> None:
        """End a recording that no page shows any more; what came is kept."""
        self.stop()

    async def record(self, *, timeout_s: float = 60, stop_at_silence_s: float | None = None) -> Clip:
        """Record in this cell: begins at once, ends with Stop, at silence or after `timeout_s`. Cancelling it stops, too.

        Args:
            timeout_s: The longest it may take, from the moment that the microphone is open.
            stop_at_silence_s: End once somebody has spoken (above −45 dBFS) and been quiet for so long.

        Raises:
            DeviceError: If no page shows the recorder, or the microphone cannot be had; the sentence says why.
            LocalProtocolError: If it is recording already.
        """
        if not timeout_s > 0:
            raise InputError(f"a timeout of {timeout_s:g} s leaves nothing to record")
        quiet_ms = silence_limit_ms(stop_at_silence_s)
        if self.microphone == "browser":
            await self._until_page_is_here(_HERE_S, _NO_PAGE)
        done: asyncio.Future[Clip] = asyncio.get_running_loop().create_future()
        with self._guard:
            if self._waiter is not None or self.recording:
                raise LocalProtocolError("this recorder is recording already; press Stop, or make another Recorder()")
            self._waiter, self._stop_at_silence_ms = done, quiet_ms
        try:
            self._begin()
            await asyncio.wait({done}, timeout=timeout_s)
            if not done.done():
                self.stop()
                # What Stop may take: a device that hangs, and blocks that another thread still handles.
                await asyncio.wait({done}, timeout=_GONE_S + _LATE_S)
            if done.done():
                return done.result()
            # Its stop was never confirmed: the page is closed, or still asks its reader for the microphone.
            with self._guard:
                recording = self._recording
                if recording is not None and recording.n_samples:
                    self._finish(recording)
                    assert self.clip is not None
                    return self.clip
                self._recording = None
            raise DeviceError(
                f"no sound came within {timeout_s:g} s: allow the microphone and record again, or use Clip.load()"
            )
        finally:
            with self._guard:
                self._waiter = self._stop_at_silence_ms = None
            if not done.done():
                self.stop()

    def stop(self) -> None:
        """End the recording, as the button does; the clip is there once the last block has come."""
        with self._guard:
            if self._blocks is not None:
                self._blocks.put(None)
            elif self.recording:
                # The page may still be asking its reader; `_on_started` stops it then.
                self._stopping = True
                self.send({"kind": "stop"})

    def _begin(self) -> None:
        with self._guard:
            if self.recording:
                return
            self._n_takes += 1
            self._stopping = False
            # The page has not been silent yet: its time runs from here.
            self._heard_at_s = time.monotonic()
            limit_ms = self.max_s * 1000
            if self.microphone == "browser":
                # Until the page has said which device it opened and what it applied.
                self._recording, self._details = Recording(max_ms=limit_ms), {"where": "browser"}
                self.send({"kind": "start", "take": self._n_takes})
                return
            blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            try:
                microphone = Microphone(self.device)
                microphone.start(lambda data, _now_s: blocks.put(data))
            except KitError as exc:
                self._refuse(exc)
                return
            recording = Recording(rate_hz=microphone.rate_hz, max_ms=limit_ms)
            self._recording, self._blocks, self._details = recording, blocks, kernel_details(microphone)
        # On a thread of its own, so that it goes on while a cell runs.
        arguments = (microphone, blocks, recording)
        threading.Thread(target=self._record_in_kernel, args=arguments, name="kit: recorder", daemon=True).start()
        status = f"the kernel's microphone: {microphone.device.name}"
        self.send({"kind": "state", "state": "recording", "status": status})

    def _record_in_kernel(
        self, microphone: Microphone, blocks: queue.SimpleQueue[bytes | None], recording: Recording
    ) -> None:
        peak, level_at_ms = 0.0, 0.0
        try:
            while not self._is_enough(recording) and (data := blocks.get(timeout=_GONE_S)) is not None:
                # The device's blocks come in order, on one thread: each follows the last.
                dbfs = recording.add(data, first=recording.n_samples)
                # The highest since the meter moved last, or short sounds would never show.
                peak = max(peak, 10 ** (dbfs / 20))
                if recording.ms - level_at_ms >= _LEVEL_MS:
                    self.send({"kind": "hear", "seconds": recording.ms / 1000, "peak": peak})
                    peak, level_at_ms = 0.0, recording.ms
        # A device that went away after some sound leaves a clip, which is worth more than an error.
        except queue.Empty:
            why = f"brought nothing for {_GONE_S:g} s; was it unplugged? plug it in and record again"
            with self._guard:
                if not recording.n_samples and self._recording is recording:
                    self._refuse(DeviceError(f"the microphone {microphone.device.name!r} {why}"))
        microphone.stop()
        self._finish(recording)

    def _received(self, content: Any, buffers: list[memoryview]) -> None:
        with self._guard:
            try:
                super()._received(content, buffers)
            except KitError as exc:
                self._refuse(exc)

    def _on_here(self, content: Content, buffers: list[memoryview]) -> None:
        super()._on_here(content, buffers)
        if self._recording is not None and self._blocks is None and time.monotonic() - self._heard_at_s > _LEFT_S:
            self._finish(self._recording)  # the page that recorded is gone, and this one follows it: what came is kept
        elif self.clip is not None and not self.recording:
            self._tell_clip(self.clip)  # a page that was opened again

    def _on_press(self, content: Content, _buffers: list[memoryview]) -> None:
        action = content.get("what")
        if action == "stop":
            if self._blocks is not None:  # a page ends its own microphone itself
                self.stop()
            return
        if action == "kernel":
            self.microphone = "kernel"
        self._begin()
        if action == "kernel" and not self.recording:  # it has none: the browser's may still be allowed
            self.microphone = "browser"

    def _on_started(self, content: Content, _buffers: list[memoryview]) -> None:
        # A page that was slow to open answers for a recording that is over.
        if content.get("take") != self._n_takes or self._recording is None:
            return
        # Anew: only the opened device has said its rate.
        self._recording = Recording(rate_hz=int(content["rate"]), max_ms=self.max_s * 1000)
        self._details |= {
            "device": str(content.get("label", ""))[:200],
            "rate_hz": self._recording.rate_hz,
            "asked": dict(content.get("asked") or {}),
            "applied": dict(content.get("settings") or {}),
        }
        if self._stopping:
            self.send({"kind": "stop"})

    def _on_pcm(self, content: Content, buffers: list[memoryview]) -> None:
        recording = self._recording
        if recording is None or content.get("take") != self._n_takes:
            return
        self._heard_at_s = time.monotonic()
        recording.add(buffers[0], first=int(content["first"]), seq=int(content["seq"]), last=bool(content["last"]))
        if recording.n_blocks % CONFIRM_EVERY == 0:
            self.send({"kind": "got", "take": self._n_takes, "n": recording.n_blocks})
        # The last block may come before others, on another thread: then a timer ends it with a gap.
        if recording.complete:
            self._finish(recording)
        elif content["last"]:
            threading.Timer(_LATE_S, self._finish, (recording,)).start()
        elif self._is_enough(recording) and not self._stopping:
            self.stop()

    def _is_enough(self, recording: Recording) -> bool:
        limit = self._stop_at_silence_ms
        return recording.full or (limit is not None and recording.quiet_ms >= limit)

    def _on_problem(self, content: Content, _buffers: list[memoryview]) -> None:
        self._recording = None
        settle(self._waiter, DeviceError(str(content.get("words", "the browser's microphone could not be opened"))))

    def _on_upload(self, content: Content, buffers: list[memoryview]) -> None:
        # The first piece: what an upload that was broken off left behind is forgotten.
        if content["n"] == 0:
            self._upload = []
        self._upload.append(bytes(buffers[0]))
        if len(self._upload) < content["of"]:
            return
        data, self._upload = b"".join(self._upload), []
        # Its last part alone: a name from a page must lead nowhere.
        name = Path(str(content["name"]).replace("\\", "/")).name or "upload"
        try:
            with tempfile.TemporaryDirectory(prefix="kit-upload-") as folder:
                file = Path(folder) / name[-100:]
                file.write_bytes(data)
                clip = Clip.load(file)
        except OSError as exc:
            raise AudioFormatError(f"{show.one_line(name, 80)} could not be kept: {exc.strerror}") from exc
        # The file was a copy in a temporary folder; that it was uploaded is what stays true.
        origin = replace(clip.provenance, details={**clip.provenance.details, "uploaded": True})
        self._keep(Clip(clip.pcm, provenance=origin, converted=clip.converted))

    def _on_save(self, content: Content, _buffers: list[memoryview]) -> None:
        if self.clip is None:
            return
        name = str(content.get("name", ""))
        try:
            path = self.clip.save_as(name, replace=bool(content.get("replace")))
        except AudioFormatError as exc:
            # The page offers to replace it, which no other refusal allows.
            taken_name = name if "already" in str(exc) else ""
            words = (
                f"There is a clip named {name} already: choose another name, or replace it." if taken_name else str(exc)
            )
            self.send({"kind": "saved", "ok": False, "words": words, "taken": taken_name})
        else:
            self.send({"kind": "saved", "ok": True, "words": f"saved as {path}: Clip.named({path.stem!r}) opens it"})

    def _finish(self, recording: Recording) -> None:
        """Make its clip, unless another one has begun, or it was given up."""
        with self._guard:
            if self._recording is not recording:
                return
            # Idle before the clip is made: who is told of it may begin the next recording.
            self._recording = self._blocks = None
            is_slip = 0 < recording.n_samples < _SLIP_S * recording.rate_hz
            if self.clip is not None and self._waiter is None and is_slip:
                self._tell_clip(self.clip)
                self.send({"kind": "problem", "words": "That was no more than a click: the clip before it is kept."})
                return
            try:
                self._keep(recording.clip(details=self._details))
            except AudioFormatError as exc:
                self._refuse(exc)

    def _keep(self, clip: Clip) -> None:
        self.clip = clip
        self._tell_clip(clip)
        settle(self._waiter, clip)

    def _refuse(self, error: KitError) -> None:
        self._recording = self._blocks = None
        self.send({"kind": "problem", "words": str(error)})
        settle(self._waiter, error)

    def _tell_clip(self, clip: Clip) -> None:
        pcm = clip.pcm.astype("<i2", copy=False).data.cast("B")
        for n, start in enumerate(range(0, len(pcm), _PIECE_BYTES)):
            self.send({"kind": "sound", "n": n}, buffers=[pcm[start : start + _PIECE_BYTES]])
        gaps = clip.provenance.details.get("missing_ms", [])
        self.send({"kind": "clip", "seconds": clip.duration_ms / 1000, "gaps": gaps, "facts": _facts(clip)})
        self.update_snapshot()


def _facts(clip: Clip) -> str:
    """One line of small print under the waveform."""
    details = clip.provenance.details
    loud = f"level {clip.level_dbfs:.0f} dBFS · peak {clip.peak_dbfs:.0f} dBFS".replace("-", "−")
    words = [f"{clip.duration_ms / 1000:.2f} s", loud if clip.pcm.any() else "silent: is the microphone muted?"]
    words += [show.one_line(str(details[key]), 60) for key in ("device", "file") if details.get(key)]
    applied, requested = details.get("applied"), details.get("asked") or {}
    for key, name in _PROCESSING.items():
        if isinstance(applied, dict) and key in applied:  # a file may say anything
            differs = " (not what was asked)" if bool(requested.get(key)) != bool(applied[key]) else ""
            words.append(f"{name} {'on' if applied[key] else 'off'}{differs}")
    return " · ".join([*words, *([clip.converted] if clip.converted else [])])
