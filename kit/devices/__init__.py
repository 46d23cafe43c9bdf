"""The machine's microphone and speaker, through PortAudio, which is loaded when a device is first wanted.

::

    devices()                        # what there is, as a table
    clip = await record_clip(5)      # five seconds
    await play(clip)

This is the sound of the machine that the *kernel* runs on. Where that is another machine, the widgets use the browser's.
"""

from .microphone import Block, Microphone, kernel_details, record_clip
from .portaudio import Device, Devices, devices
from .speaker import Speaker, play
from .take import Gap, Take

__all__ = [
    "Block",
    "Device",
    "Devices",
    "Gap",
    "Microphone",
    "Speaker",
    "Take",
    "devices",
    "kernel_details",
    "play",
    "record_clip",
]
