"""Where the time goes in a spoken conversation, with the kit's own part apart from everybody else's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .. import show


@dataclass(slots=True)
class Latency:
    """Durations in milliseconds, one per block or per reply, each on one clock of this machine.

    The kit's own part is `input_ms` and `output_ms`. The rest is shown beside it, never added to it.
    """

    input_ms: list[float] = field(default_factory=list)
    """Per block of the last minute: from the device's handing it over to the socket's taking it."""
    output_ms: list[float] = field(default_factory=list)
    """Per reply: from the arrival of its first sound to its being given to the speaker's queue."""
    queue_ms: list[float] = field(default_factory=list)
    """Per reply: from there to the speaker's taking it: prebuffer, and up to one of the device's periods."""
    server_ms: list[float] = field(default_factory=list)
    """Per reply: from `speech_stopped` (or our request) to its first sound: the server and the network."""
    vad_silence_ms: float | None = None
    """How long the server waits in silence before it says `speech_stopped`."""
    prebuffer_ms: float | None = None
    microphone_ms: float | None = None
    """What the microphone adds by its own word."""
    speaker_ms: float | None = None
    """What the speaker adds by its own word."""

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(what, how many, median, 95th percentile), as words."""
        measured = (
            ("kit: microphone block → socket", self.input_ms),
            ("kit: first sound arrived → speaker's queue", self.output_ms),
            ("queue → speaker took it (prebuffer, device period)", self.queue_ms),
            ("server: speech stopped → first sound", self.server_ms),
        )
        said = (
            ("server: silence it waits for (VAD)", self.vad_silence_ms),
            ("prebuffer", self.prebuffer_ms),
            ("microphone, by its own word", self.microphone_ms),
            ("speaker, by its own word", self.speaker_ms),
        )
        rows = [(name, str(len(v)), _ms(v, 50), _ms(v, 95)) for name, v in measured if v]
        return rows + [(name, "", f"{value:.0f} ms", "") for name, value in said if value is not None]

    @property
    def own_p95_ms(self) -> float | None:
        """The kit's own part, both ways together, at the 95th percentile of each."""
        if not self.input_ms or not self.output_ms:
            return None
        return float(np.percentile(self.input_ms, 95) + np.percentile(self.output_ms, 95))

    def __repr__(self) -> str:
        return (
            "\n".join(f"{name:52s} {n:>5s} {mid:>9s} {high:>9s}" for name, n, mid, high in self.rows())
            or "<no latency yet>"
        )

    def _repr_html_(self) -> str:
        return show.table(
            [[show.esc(word) for word in row] for row in self.rows()], ["where the time goes", "n", "median", "95 %"]
        )


def _ms(values: list[float], percentile: float) -> str:
    return f"{float(np.percentile(values, percentile)):.1f} ms"
