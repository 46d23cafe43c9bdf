"""What a cell can show that a reader can use. Widgets are optional: every one has a call that does the same."""

from ..plots.timeline import timeline
from .chat import Chat, VoiceChat
from .events import EventTable
from .player import Player
from .recorder import Recorder
from .trials import Trials

__all__ = ["Chat", "EventTable", "Player", "Recorder", "Trials", "VoiceChat", "timeline"]
