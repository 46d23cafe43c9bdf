"""Voice to voice: replies heard while they arrive, interruptions, and where the time goes."""

from .apart import ApartSession, apart
from .ends import Sink, Source
from .floor import Floor, Interruption, Truncation
from .latency import Latency
from .loop import Voice
from .playback import Playback, play_replies, turn_detection

__all__ = [
    "ApartSession",
    "Floor",
    "Interruption",
    "Latency",
    "Playback",
    "Sink",
    "Source",
    "Truncation",
    "Voice",
    "apart",
    "play_replies",
    "turn_detection",
]
