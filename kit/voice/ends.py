"""What a conversation needs of a microphone and of a speaker, wherever they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ..devices import Block


class Source(Protocol):
    """A microphone: `kit.devices.Microphone`, or the browser's."""

    n_dropped: int

    def __aiter__(self) -> AsyncIterator[Block]: ...


class Sink(Protocol):
    """A speaker: `kit.devices.Speaker`, or the browser's. Samples are int16 at 24 kHz, counted from the first ever given."""

    @property
    def n_written(self) -> int:
        """Samples given and not dropped by `stop`."""

    @property
    def n_heard(self) -> int:
        """Samples that have come out of the converter; silence does not count."""

    @property
    def playing(self) -> bool:
        """Something is waiting to be heard."""

    @property
    def n_underruns(self) -> int:
        """How often the sound stopped because its next samples had not come."""

    @property
    def delays_ms(self) -> list[float]:
        """Per reply, from the giving of its first sample to the device's taking it."""

    def write(self, pcm: bytes) -> None:
        """Add to what is to be heard."""

    def end(self) -> None:
        """Nothing more is to come for now."""

    async def stop(self) -> int:
        """Fall silent at once; the samples heard in all."""
