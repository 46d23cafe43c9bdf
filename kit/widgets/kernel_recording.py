"""The kernel's microphone behind the recorder's face."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable

from ..devices import Microphone, Take
from ..errors import DeviceError

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
        enough: Callable[[Take], bool],
        tell: Callable[[float, float], None],
        over: Callable[[Take, DeviceError | None], None],
    ) -> None:
        self.microphone = Microphone(device)
        self.take = Take(rate_hz=self.microphone.rate_hz, max_ms=max_ms)
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
