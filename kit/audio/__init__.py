"""The machine's microphone and speaker, through PortAudio, which is loaded when a device is first wanted.

::

    devices()                        # what there is, as a table
    clip = await record_clip(5)      # five seconds
    await play(clip)

This is the sound of the machine that the *kernel* runs on. Where that is another machine, the widgets use the browser's.
"""

from __future__ import annotations

from ..connecting import ApartSession, apart
from .microphone import Block, Gap, Microphone, Take, kernel_details, record_clip
from .playback import Floor, Interruption, Playback, Sink, Source, Truncation, play_replies, turn_detection
from .portaudio import Device, Devices, devices
from .speaker import Speaker, play
from .voice import Latency, Voice

__all__ = [
    "ApartSession",
    "Block",
    "Device",
    "Devices",
    "Floor",
    "Gap",
    "Interruption",
    "Latency",
    "Microphone",
    "Playback",
    "Sink",
    "Source",
    "Speaker",
    "Take",
    "Truncation",
    "Voice",
    "apart",
    "devices",
    "kernel_details",
    "play",
    "play_replies",
    "record_clip",
    "turn_detection",
]


# Voice to voice: replies heard while they arrive, interruptions, and where the time goes.
