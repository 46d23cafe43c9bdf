"""The machine's sound devices, and PortAudio's troubles in words.

PortAudio is loaded when a device is first wanted, never by importing the kit: on Linux it is a system package, and
``import sounddevice`` fails with an ``OSError`` where it is missing.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .. import show
from ..errors import DeviceError, MissingExtra, clipped

Kind = Literal["input", "output"]
_CLOSE_S = 1.0  # a device that is there closes in a fraction of that
WORD = {"input": "microphone", "output": "speaker"}

_INSTALL = (
    "Debian and Ubuntu: sudo apt install libportaudio2 · Fedora: sudo dnf install portaudio · conda: conda install "
    "portaudio · macOS and Windows: pip install --force-reinstall sounddevice. In a notebook, the browser's microphone "
    "and player need none of it: widgets.Recorder(), widgets.Player()"
)


def sounddevice() -> Any:
    """The module.

    Raises:
        MissingExtra: If it or PortAudio is missing or broken.
    """
    try:
        import sounddevice as module
    except ImportError as exc:
        raise MissingExtra(f"the package sounddevice is not installed; pip install sounddevice ({exc})") from exc
    except OSError as exc:  # "PortAudio library not found", "cannot load library …"
        raise MissingExtra(
            f"this machine's sound needs PortAudio, which is missing or broken ({exc}). {_INSTALL}"
        ) from exc
    return module


@dataclass(frozen=True, slots=True)
class Device:
    """One device, as PortAudio names it."""

    index: int
    name: str
    host: str
    """By which system it is reached: ALSA, JACK, Core Audio, WASAPI …"""
    n_inputs: int
    n_outputs: int
    rate_hz: int
    """The rate it runs at by itself."""
    default_for: tuple[Kind, ...] = ()


class Devices(list[Device]):
    """Every sound device of the machine that the kernel runs on, as a table."""

    def __repr__(self) -> str:
        lines = [
            f"{d.index:3d}  {_use(d):18s} {show.one_line(d.name)} ({d.host}, {d.rate_hz} Hz)"
            f"{' ← default' if d.default_for else ''}"
            for d in self
        ]
        return "\n".join(lines) or "no sound device on this machine"

    def _repr_html_(self) -> str:
        if not self:
            return show.esc(repr(self))
        rows = [
            [
                str(d.index),
                show.esc(d.name),
                show.esc(_use(d)),
                show.esc(d.host),
                f"{d.rate_hz:,} Hz".replace(",", " "),
                show.esc(" and ".join(WORD[kind] for kind in d.default_for)),
            ]
            for d in self
        ]
        return show.table(rows, ["", "device", "can be", "through", "rate", "default"])


def _use(device: Device) -> str:
    return " and ".join(word for word, n in (("microphone", device.n_inputs), ("speaker", device.n_outputs)) if n)


def devices() -> Devices:
    """Every device that can record or play here.

    Raises:
        MissingExtra: If PortAudio is missing.
    """
    sd = sounddevice()
    hosts = sd.query_hostapis()
    first = [int(index) for index in sd.default.device]
    found = Devices()
    for index, told in enumerate(sd.query_devices()):
        kinds: tuple[tuple[Kind, int], ...] = (("input", 0), ("output", 1))
        default_for = tuple(kind for kind, n in kinds if _default(sd, kind, first[n]) == index)
        device = Device(
            index,
            str(told["name"]),
            str(hosts[told["hostapi"]]["name"]),
            int(told["max_input_channels"]),
            int(told["max_output_channels"]),
            int(told["default_samplerate"]),
            default_for,
        )
        if device.n_inputs or device.n_outputs:
            found.append(device)
    return found


def _default(sd: Any, kind: Kind, first: int) -> int:
    if first >= 0:
        return first
    try:
        return int(sd.query_devices(kind=kind)["index"])
    except (sd.PortAudioError, ValueError):
        return -1


def find(wanted: int | str | None, kind: Kind) -> Device:
    """The device that is meant: by number, by a part of its name, or the default one.

    Raises:
        MissingExtra: If PortAudio is missing.
        DeviceError: If there is none such.
    """
    there = devices()
    fit = [d for d in there if (d.n_inputs if kind == "input" else d.n_outputs)]
    if not fit:
        other = "widgets.Recorder() uses the browser's" if kind == "input" else "widgets.Player() plays in the browser"
        seen = f"{len(there)} device{'s' * (len(there) != 1)}"
        raise DeviceError(
            f"the machine that Python runs on has no {WORD[kind]} (PortAudio sees {seen}, none for {kind}); plug one in "
            f"and start again (in a notebook: restart the kernel, or {other})"
        )
    if wanted is None:
        return next((d for d in fit if kind in d.default_for), fit[0])
    hits = [d for d in fit if d.index == wanted or (isinstance(wanted, str) and wanted.casefold() in d.name.casefold())]
    exact = [d for d in hits if d.name == wanted]
    if hits:
        return (exact or hits)[0]
    listed = "; ".join(f"{d.index} {show.one_line(d.name, 30)}" for d in fit[:8])
    said = "has the number" if isinstance(wanted, int) else "is called"
    raise DeviceError(f"no {WORD[kind]} {said} {clipped(wanted)}; there are: {listed}")


@contextlib.contextmanager
def in_words(device: Device, kind: Kind) -> Iterator[None]:
    """PortAudio's errors as one sentence."""
    try:
        yield
    except Exception as exc:
        if type(exc).__name__ != "PortAudioError":
            raise
        told = str(exc.args[0]) if exc.args else str(exc)
        raise DeviceError(
            f"the {WORD[kind]} {show.one_line(device.name, 40)!r} ({device.host}) cannot be opened: {show.one_line(told, 120)}. "
            "Is another program using it, or was it unplugged? python -m kit voice --devices lists what there is"
        ) from exc


def rate_for(device: Device, kind: Kind, rate_hz: int) -> int:
    """`rate_hz` where the device takes it, else the device's own rate: the kit resamples."""
    sd = sounddevice()
    check = sd.check_input_settings if kind == "input" else sd.check_output_settings
    try:
        check(device=device.index, channels=1, dtype="int16", samplerate=rate_hz)
    except (sd.PortAudioError, ValueError):
        return device.rate_hz
    return rate_hz


def close(stream: Any) -> None:
    """Close a stream, also one whose device is gone: its driver may then never return (JACK's does not), so nobody waits for it."""
    closing = threading.Thread(target=stream.close, kwargs={"ignore_errors": True}, name="kit: closing", daemon=True)
    closing.start()
    closing.join(_CLOSE_S)
    if closing.is_alive() and (at_exit := getattr(sounddevice(), "_exit_handler", None)):
        atexit.unregister(at_exit)  # it would wait for the same stream


def latency_ms(stream: Any) -> float | None:
    """What the device adds, by its own word; ``None`` where it is closed or says nothing believable."""
    told_ms = 0.0 if stream is None else float(stream.latency) * 1000
    return told_ms if 0 < told_ms < 10_000 else None  # JACK's dummy card says two days
