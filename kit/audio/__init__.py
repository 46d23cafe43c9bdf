"""The machine's microphone and speaker, through PortAudio, which is loaded when a device is first needed.

::

    devices()                        # what there is, as a table
    clip = await record_clip(5)      # five seconds
    await play(clip)

This is the sound of the machine that the *kernel* runs on. Where that is another machine, the widgets use the browser's.
"""

from .live import LivePlayback, LiveVoice
from .microphone import Block, BlockQueue, Gap, Microphone, Recording, kernel_details, record_clip
from .playback import Interruption, Playback, PlaybackPosition, Sink, Truncation, play_replies
from .portaudio import Device, Devices, devices
from .speaker import Speaker, play
from .voice import Latency, Source, Voice, turn_detection

__all__ = [
    "Block", "BlockQueue", "Device", "Devices", "Gap", "Interruption", "Latency", "LivePlayback", "LiveVoice", "Microphone",
    "Playback", "PlaybackPosition", "Recording", "Sink", "Source", "Speaker", "Truncation", "Voice", "devices",
    "kernel_details", "play", "play_replies", "record_clip", "turn_detection",
]  # fmt: skip
