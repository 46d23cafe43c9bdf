"""The machine's sound devices, and PortAudio's errors in words.

PortAudio is loaded when a device is first wanted, never by importing the kit: on Linux it is a system package, and
``import sounddevice`` fails with an ``OSError`` where it is missing.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .. import show
from ..errors import DeviceError, MissingExtra, clipped

Kind = Literal["input", "output"]
_CLOSE_S = 1.0  # a device that is present closes in a fraction of that
WORD: dict[Kind, str] = {"input": "microphone", "output": "speaker"}  # in the order of `sounddevice.default.device`

_INSTALL = (
    "pip install sounddevice; Debian and Ubuntu: sudo apt install libportaudio2 · Fedora: sudo dnf install portaudio · "
    "conda: conda install portaudio · macOS and Windows: pip install --force-reinstall sounddevice. In a notebook, the "
    "browser's microphone and player need none of it: widgets.Recorder(), widgets.Player()"
)


def sounddevice() -> Any:
    """Import the module. A `MissingExtra` says what to install where it or PortAudio is missing or broken."""
    try:
        import sounddevice as module
    except (ImportError, OSError) as exc:  # the package; "PortAudio library not found", "cannot load library …"
        raise MissingExtra(f"sound needs PortAudio, which is missing or broken ({exc}). {_INSTALL}") from exc
    return module


@dataclass(frozen=True, slots=True)
class Device:
    """One device, as PortAudio names it."""

    index: int
    name: str
    host: str  # the system by which it is reached: ALSA, JACK, Core Audio, WASAPI …
    n_inputs: int
    n_outputs: int
    rate_hz: int  # its native rate
    default_for: tuple[Kind, ...] = ()  # where no device is named

    @property
    def kinds(self) -> list[Kind]:
        """What it can be."""
        return [kind for kind, n in zip(WORD, (self.n_inputs, self.n_outputs), strict=True) if n]


class Devices(list[Device]):
    """Every sound device of the machine that the kernel runs on, as a table."""

    def __repr__(self) -> str:
        lines = []
        for d in self:
            default = " ← default" if d.default_for else ""
            about = f"{show.one_line(d.name)} ({d.host}, {d.rate_hz} Hz){default}"
            lines.append(f"{d.index:3d}  {_words(d.kinds):18s} {about}")
        return "\n".join(lines) or "no sound device on this machine"

    def _repr_html_(self) -> str:
        if not self:
            return show.esc(repr(self))
        cells = [(d.index, d.name, _words(d.kinds), d.host, f"{d.rate_hz} Hz", _words(d.default_for)) for d in self]
        rows = [[show.esc(cell) for cell in row] for row in cells]
        return show.table(rows, ["", "device", "can be", "through", "rate", "default"])


def _words(kinds: Iterable[Kind]) -> str:
    return " and ".join(WORD[kind] for kind in kinds)


def devices() -> Devices:
    """List every device that can record or play here."""
    sd = sounddevice()
    # One device is listed once for each system through which it is reached, so the system is named beside it.
    hosts = sd.query_hostapis()
    defaults = dict(zip(WORD, map(int, sd.default.device), strict=True))
    for kind, index in defaults.items():
        # sounddevice gives −1 where no default was set; then PortAudio's own counts. It raises where there is none.
        if index < 0:
            with contextlib.suppress(sd.PortAudioError, ValueError):
                defaults[kind] = int(sd.query_devices(kind=kind)["index"])
    table = Devices()
    for index, info in enumerate(sd.query_devices()):
        device = Device(
            index,
            str(info["name"]),
            str(hosts[info["hostapi"]]["name"]),
            int(info["max_input_channels"]),
            int(info["max_output_channels"]),
            int(info["default_samplerate"]),
            tuple(kind for kind, default in defaults.items() if default == index),
        )
        if device.kinds:
            table.append(device)
    return table


def find(device: int | str | None, kind: Kind) -> Device:
    """Find a device by its number or a part of its name; the default one for ``None``. A `DeviceError` says if there is none."""
    table = devices()
    usable = [d for d in table if kind in d.kinds]
    if not usable:
        instead = {"input": "widgets.Recorder() uses the browser's", "output": "widgets.Player() plays in the browser"}
        raise DeviceError(
            f"there is no {WORD[kind]} on the machine that Python runs on (PortAudio sees {show.counted(len(table), 'device')}, "
            f"none for {kind}); plug one in and start again (in a notebook: restart the kernel, or {instead[kind]})"
        )
    # A system with devices may have no default; then the first that fits.
    if device is None:
        return next((d for d in usable if kind in d.default_for), usable[0])
    name = device.casefold() if isinstance(device, str) else None
    matches = [d for d in usable if d.index == device or (name is not None and name in d.name.casefold())]
    # The exact name before a part of it: "USB" may be in the names of several.
    if matches:
        return next((d for d in matches if d.name == device), matches[0])
    listed = "; ".join(f"{d.index} {show.one_line(d.name, 30)}" for d in usable[:8])
    verb = "has the number" if isinstance(device, int) else "is called"
    raise DeviceError(f"no {WORD[kind]} {verb} {clipped(device)}; there are: {listed}")


class DeviceStream:
    """A device, and while it is open PortAudio's stream of it: int16, mono, at `rate_hz`, or at its own rate if it takes no other."""

    kind: ClassVar[Kind]

    def __init__(self, device: int | str | None, rate_hz: int) -> None:
        self.device: Device = find(device, self.kind)
        self.rate_hz = rate_hz
        # PortAudio's stream; None while the device is closed.
        self._stream: Any = None
        sd = sounddevice()
        check = sd.check_input_settings if self.kind == "input" else sd.check_output_settings
        try:
            check(device=self.device.index, channels=1, dtype="int16", samplerate=rate_hz)
        # Whatever the reason: if the device itself is the trouble, opening it says so in words.
        except (sd.PortAudioError, ValueError):
            self.rate_hz = self.device.rate_hz

    def _open(self, callback: Callable[..., None], block_ms: int) -> None:
        """Open it; `callback` is sounddevice's, called for each block on the device's thread. A `DeviceError` says if it cannot be."""
        sd = sounddevice()
        make = sd.RawInputStream if self.kind == "input" else sd.RawOutputStream
        options = {"samplerate": self.rate_hz, "blocksize": self.rate_hz * block_ms // 1000, "callback": callback}
        try:
            stream = make(device=self.device.index, channels=1, dtype="int16", latency="low", **options)
            stream.start()
        except sd.PortAudioError as exc:
            message = show.one_line(str(exc.args[0]) if exc.args else str(exc), 120)
            raise DeviceError(
                f"the {WORD[self.kind]} {show.one_line(self.device.name, 40)!r} ({self.device.host}) cannot be opened: {message}. "
                "Is another program using it, or was it unplugged? python -m kit voice --devices lists the devices"
            ) from exc
        self._stream = stream

    def _close(self) -> None:
        """Close it without blocking: a driver whose device vanished may never return (seen with JACK). Closing twice is fine."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        # A daemon, or a driver that hangs would keep Python from ending, too.
        options = {"ignore_errors": True}
        closing = threading.Thread(target=stream.close, kwargs=options, name="kit: closing", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if closing.is_alive() and (at_exit := getattr(sounddevice(), "_exit_handler", None)):
            atexit.unregister(at_exit)  # it would wait for the same stream

    @property
    def latency_ms(self) -> float | None:
        """What the device adds, as its driver reports it; ``None`` where it is closed or the figure cannot be true."""
        latency = 0.0 if self._stream is None else float(self._stream.latency) * 1000
        return latency if 0 < latency < 10_000 else None  # JACK's dummy card reports two days


def resampler(from_hz: int, to_hz: int) -> Any:
    """Make a resampler of a stream of int16, mono; ``None`` where there is nothing to do."""
    if from_hz == to_hz:
        return None
    import soxr

    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16")
