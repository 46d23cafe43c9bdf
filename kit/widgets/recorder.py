"""A recorder: speak, stop, look at the waveform, listen, keep it. The browser's microphone, or the kernel's."""

from __future__ import annotations

import asyncio
import math
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from .. import show
from ..audio import Microphone, Recording, kernel_details
from ..audio.microphone import silence_limit_ms
from ..clip import MAX_MS, Clip, Provenance
from ..errors import AudioFormatError, DeviceError, InputError, KitError, LocalProtocolError, clipped
from .page import css, esm, heard_while_a_cell_blocks

# The kernel's microphone behind the recorder's face.


_GONE_S = 3.0  # a microphone that brings nothing for so long is gone
_TELL_MS = 60  # how often the face hears how loud it is


class KernelRecording:
    """One recording, on a thread of its own, so that it goes on while a cell runs.

    Args:
        device: The microphone's number or a part of its name.
        max_ms: It ends by itself after so long.
        enough: Asked after every block: may it end?
        tell: Called with (milliseconds so far, highest peak since it was last called, 0 to 1).
        over: Called once, on that thread, when it is over; with an error if the device went away and nothing was heard.

    Raises:
        MissingExtra, DeviceError: See `Microphone`.
    """

    def __init__(
        self,
        device: int | str | None,
        *,
        max_ms: float,
        enough: Callable[[Recording], bool],
        tell: Callable[[float, float], None],
        over: Callable[[Recording, DeviceError | None], None],
    ) -> None:
        self.microphone = Microphone(device)
        self.take = Recording(rate_hz=self.microphone.rate_hz, max_ms=max_ms)
        self._enough, self._tell, self._over = enough, tell, over
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Open the microphone and begin."""
        self.microphone.start(lambda data, _now: self._blocks.put(data))
        threading.Thread(target=self._run, name="kit: recorder", daemon=True).start()

    def stop(self) -> None:
        """End it; `over` is called when what has come is in the take."""
        self._blocks.put(None)

    def _run(self) -> None:
        peak, told_at_ms, gone = 0.0, 0.0, False
        while not self._enough(self.take):
            try:
                data = self._blocks.get(timeout=_GONE_S)
            except queue.Empty:
                gone = True
                break
            if data is None:
                break
            dbfs = self.take.add(data, first=self.take.n_samples)
            peak = max(peak, 10 ** (dbfs / 20) if math.isfinite(dbfs) else 0.0)
            if self.take.ms - told_at_ms >= _TELL_MS:
                self._tell(self.take.ms, peak)
                peak, told_at_ms = 0.0, self.take.ms
        self.microphone.stop()
        name = self.microphone.device.name
        nothing = gone and not self.take.n_samples
        words = (
            f"the microphone {name!r} brought nothing for {_GONE_S:g} s; was it unplugged? plug it in and record again"
        )
        self._over(self.take, DeviceError(words) if nothing else None)


_PIECE_BYTES = 1 << 20  # of one message: what a notebook server passes on without a thought
_CONFIRM_EVERY = 50  # blocks
_LATE_S = 1.0  # how long blocks that another thread still handles may come after the last one
_HERE_S = 10.0  # how long a page may take to show the recorder
_LEFT_S = 1.0  # a page that records and brings nothing for so long has been left or opened again


class Recorder(anywidget.AnyWidget):
    """``recorder = Recorder()`` in a cell: press Record, speak, press Stop. The clip is in ``recorder.clip``.

    In one cell, where the front end is heard while a cell runs (JupyterLab 4.4 and ipykernel 7 or newer)::

        clip = await recorder.record(timeout_s=30)

    The sound comes to the kernel in numbered blocks as it is spoken; a block that never comes is shown as a gap. The three
    kinds of processing are off, since a clip that is measured should be what was said; what the browser really applied is
    kept with the clip.

    Args:
        microphone: ``"browser"`` (that of the machine you sit at) or ``"kernel"`` (of the machine that computes).
        device: The kernel's microphone: its number or a part of its name.
        echo_cancellation: Asked of the browser: ``echoCancellation``.
        noise_suppression: Asked of the browser: ``noiseSuppression``.
        auto_gain_control: Asked of the browser: ``autoGainControl``.
        block_ms: How much sound one message carries.
        max_s: The recording ends by itself after so long.
    """

    _esm = esm("capture", "recorder")
    _css = css()
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
        self.device = device
        self.max_s = max_s
        self._clip: Clip | None = None
        self._n_takes = 0
        self._recording: Recording | None = None
        self._details: dict[str, Any] = {}
        self._kernel: KernelRecording | None = None
        self._stop_at_silence_ms: float | None = None
        self._asked_to_stop = False
        self._told_at_s = 0.0
        self._upload: list[bytes] = []
        self._is_here = threading.Event()
        self._shown = False
        self._waiter: Callable[[Clip | Exception], None] | None = None
        self._guard = threading.RLock()  # messages come on the main thread and on a subshell's, within one recording
        super().__init__(
            microphone=microphone,
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            auto_gain_control=auto_gain_control,
            block_ms=block_ms,
        )
        self.on_msg(self._heard)
        heard_while_a_cell_blocks(self)

    # ----------------------------------------------------------------------------------------------------- what it holds

    @property
    def clip(self) -> Clip | None:
        """What was recorded or uploaded last; ``None`` before that."""
        return self._clip

    @property
    def recording(self) -> bool:
        """Between Record and the last block."""
        return self._recording is not None

    def __repr__(self) -> str:
        held = repr(self._clip) if self._clip else "recording" if self.recording else "nothing recorded yet"
        return f"<Recorder of the {self.microphone}'s microphone: {held}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._shown = True
        return super()._repr_mimebundle_(**kwargs)

    # ----------------------------------------------------------------------------------------------------------- recording

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
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Clip] = loop.create_future()

        def settle(outcome: Clip | Exception) -> None:
            if done.done():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        if self.microphone == "browser":
            await self._shown_somewhere()
        with self._guard:
            if self._waiter is not None or self.recording:
                raise LocalProtocolError("this recorder is recording already; press Stop, or make another Recorder()")
            self._waiter = lambda outcome: _soon(loop, settle, outcome)
            self._stop_at_silence_ms = quiet_ms
        try:
            self._begin()
            try:
                async with asyncio.timeout(timeout_s):
                    return await asyncio.shield(done)
            except TimeoutError:
                self.stop()
            try:
                async with asyncio.timeout(_GONE_S + _LATE_S):
                    return await asyncio.shield(done)
            except TimeoutError:
                return self._what_there_is(timeout_s)
        finally:
            with self._guard:
                self._waiter, self._stop_at_silence_ms = None, None
            if not done.done():
                self.stop()

    def _what_there_is(self, timeout_s: float) -> Clip:
        """Nobody confirmed the stop: the page is closed, or the question whether it may use the microphone is open."""
        with self._guard:
            take = self._recording
            if take is not None and take.n_samples:
                self._finish()
                assert self._clip is not None
                return self._clip
            self._recording = None
        raise DeviceError(
            f"no sound came within {timeout_s:g} s: the browser may still be asking whether this page may use the "
            "microphone. Allow it and record again, or open a file with Clip.load()"
        )

    async def _shown_somewhere(self) -> None:
        if self._is_here.is_set():
            return
        if not self._shown:
            _display(self)
        deadline = time.monotonic() + _HERE_S
        while not self._is_here.is_set():
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"no page answered within {_HERE_S:g} s. In one cell this needs JupyterLab 4.4 and ipykernel 7 or newer; "
                    "elsewhere show the recorder in one cell, press Record and Stop, and use recorder.clip in the next. "
                    "Without a browser: kit.audio.record_clip(), or Clip.load()"
                )
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End the recording, as the button does; the clip is there once the last block has come."""
        with self._guard:
            if self._kernel is not None:
                self._kernel.stop()
            elif self.recording:
                self._asked_to_stop = True
                self.send({"kind": "stop"})

    def _begin(self) -> None:
        with self._guard:
            if self.recording:
                return
            self._n_takes += 1
            self._asked_to_stop = False
            self._told_at_s = time.monotonic()
            self._details = {"where": "browser"}
            if self.microphone == "kernel":
                self._begin_in_kernel()
            else:
                self._recording = Recording(max_ms=self.max_s * 1000)
                self.send({"kind": "start", "take": self._n_takes})

    def _begin_in_kernel(self) -> None:
        try:
            self._kernel = kernel = KernelRecording(
                self.device, max_ms=self.max_s * 1000, enough=self._enough, tell=self._hear, over=self._over
            )
            kernel.start()
        except KitError as exc:
            self._refuse(exc)
            return
        self._recording = kernel.take
        self._details = kernel_details(kernel.microphone)
        self.send(
            {
                "kind": "state",
                "state": "recording",
                "status": f"the kernel's microphone: {kernel.microphone.device.name}",
            }
        )

    def _hear(self, ms: float, peak: float) -> None:
        self.send({"kind": "hear", "seconds": ms / 1000, "peak": peak})

    def _over(self, take: Recording, problem: DeviceError | None) -> None:
        with self._guard:
            if self._recording is not take:
                return
            if problem is None:
                self._finish()
            else:
                self._refuse(problem)

    # ------------------------------------------------------------------------------------------- what the front end says

    def _heard(self, _widget: object, told: Mapping[str, Any], buffers: list[memoryview]) -> None:
        handle = {
            "here": self._on_here,
            "press": self._on_press,
            "started": self._on_started,
            "pcm": self._on_pcm,
            "problem": self._on_problem,
            "upload": self._on_upload,
            "save": self._on_save,
        }.get(str(told.get("kind")))
        if handle is None:
            return
        with self._guard:
            try:
                handle(told, buffers)
            except KitError as exc:
                self._refuse(exc)

    def _on_here(self, _told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        self._is_here.set()
        if self._recording is not None and self._kernel is None and time.monotonic() - self._told_at_s > _LEFT_S:
            self._finish()  # the page that recorded is gone, and this one follows it: what came is kept
        elif self._clip is not None and not self.recording:
            self._tell_clip(self._clip)  # a page that was opened again

    def _on_press(self, told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        if told.get("what") == "stop":
            if self._kernel is not None:
                self._kernel.stop()
            return
        other = told.get("what") == "kernel"
        if other:
            self.microphone = "kernel"
        self._begin()
        if other and not self.recording:  # it has none: the browser's may still be allowed
            self.microphone = "browser"

    def _on_started(self, told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        if told.get("take") != self._n_takes or self._recording is None:
            return
        self._recording = Recording(rate_hz=int(told["rate"]), max_ms=self.max_s * 1000)
        self._details |= {
            "device": str(told.get("label", ""))[:200],
            "rate_hz": int(told["rate"]),
            "asked": dict(told.get("asked") or {}),
            "applied": dict(told.get("settings") or {}),
        }
        if self._asked_to_stop:
            self.send({"kind": "stop"})

    def _on_pcm(self, told: Mapping[str, Any], buffers: list[memoryview]) -> None:
        take = self._recording
        if take is None or told.get("take") != self._n_takes:
            return
        self._told_at_s = time.monotonic()
        take.add(buffers[0], first=int(told["first"]), seq=int(told["seq"]), last=bool(told["last"]))
        if take.n_blocks % _CONFIRM_EVERY == 0:
            self.send({"kind": "got", "take": self._n_takes, "n": take.n_blocks})
        if take.complete:
            self._finish()
        elif told["last"]:
            threading.Timer(_LATE_S, self._finish_late, (take,)).start()
        elif self._enough(take) and not self._asked_to_stop:
            self.stop()

    def _enough(self, take: Recording) -> bool:
        limit = self._stop_at_silence_ms
        return take.full or (limit is not None and take.quiet_ms >= limit)

    def _on_problem(self, told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        self._recording = None
        self._settle(DeviceError(str(told.get("words", "the browser's microphone could not be opened"))))

    def _on_upload(self, told: Mapping[str, Any], buffers: list[memoryview]) -> None:
        if told["n"] == 0:
            self._upload = []
        self._upload.append(bytes(buffers[0]))
        if len(self._upload) < told["of"]:
            return
        data, self._upload = b"".join(self._upload), []
        name = Path(str(told["name"]).replace("\\", "/")).name or "upload"
        try:
            with tempfile.TemporaryDirectory(prefix="kit-upload-") as folder:
                file = Path(folder) / name[-100:]
                file.write_bytes(data)
                clip = Clip.load(file)
        except OSError as exc:
            raise AudioFormatError(f"{show.one_line(name, 80)} could not be kept: {exc.strerror}") from exc
        known = clip.provenance
        origin = Provenance(known.kind, known.text, known.when, {**known.details, "uploaded": True})
        self._keep(Clip(clip.pcm, provenance=origin, converted=clip.converted))

    def _on_save(self, told: Mapping[str, Any], _buffers: list[memoryview]) -> None:
        if self._clip is None:
            return
        name, again = str(told.get("name", "")), bool(told.get("replace"))
        try:
            path = self._clip.save_as(name, replace=again)
        except AudioFormatError as exc:
            taken = name if "already" in str(exc) else ""
            words = (
                f"{exc}" if not taken else f"There is a clip named {name} already: choose another name, or replace it."
            )
            self.send({"kind": "saved", "ok": False, "words": words, "taken": taken})
        else:
            self.send({"kind": "saved", "ok": True, "words": f"saved as {path}: Clip.named({path.stem!r}) opens it"})

    # --------------------------------------------------------------------------------------------------------- the outcome

    def _finish_late(self, take: Recording) -> None:
        with self._guard:
            if self._recording is take:
                self._finish()

    def _finish(self) -> None:
        take, self._recording, self._kernel = self._recording, None, None
        assert take is not None
        try:
            self._keep(take.clip(details=self._details))
        except AudioFormatError as exc:
            self._refuse(exc)

    def _keep(self, clip: Clip) -> None:
        self._clip = clip
        self._tell_clip(clip)
        self._settle(clip)

    def _refuse(self, error: KitError) -> None:
        self._recording = self._kernel = None
        self.send({"kind": "problem", "words": str(error)})
        self._settle(error)

    def _settle(self, outcome: Clip | Exception) -> None:
        if self._waiter is not None:
            self._waiter(outcome)

    def _tell_clip(self, clip: Clip) -> None:
        pcm = clip.pcm.astype("<i2", copy=False).data.cast("B")
        for n, start in enumerate(range(0, len(pcm), _PIECE_BYTES)):
            self.send({"kind": "sound", "n": n}, buffers=[pcm[start : start + _PIECE_BYTES]])
        seconds = clip.duration_ms / 1000
        gaps = clip.provenance.details.get("missing_ms", [])
        self.send({"kind": "clip", "seconds": seconds, "gaps": gaps, "facts": _facts(clip)})


def _facts(clip: Clip) -> str:
    """One line of small print under the waveform."""
    details = clip.provenance.details
    loud = f"level {clip.level_dbfs:.0f} dBFS · peak {clip.peak_dbfs:.0f} dBFS".replace("-", "−")
    words = [f"{clip.duration_ms / 1000:.2f} s", loud if clip.pcm.any() else "silent: is the microphone muted?"]
    words += [show.one_line(str(details[key]), 60) for key in ("device", "file") if details.get(key)]
    applied = details.get("applied")
    if isinstance(applied, dict):
        names = {
            "echoCancellation": "echo cancellation",
            "noiseSuppression": "noise suppression",
            "autoGainControl": "gain control",
        }
        asked = details.get("asked") or {}
        for key, name in names.items():
            if key in applied:
                other = " (not what was asked)" if bool(asked.get(key)) != bool(applied[key]) else ""
                words.append(f"{name} {'on' if applied[key] else 'off'}{other}")
    return " · ".join([*words, *([clip.converted] if clip.converted else [])])


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], told: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, told)


def _display(widget: object) -> None:
    try:
        from IPython.display import display
    except ImportError:  # a plain script: nothing to show it in
        return
    display(widget)  # type: ignore[no-untyped-call]
