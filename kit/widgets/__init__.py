"""What a cell can show that a reader can use. Widgets are optional: every one has a call that does the same."""

from ..timelines import timeline
from .chat import Chat
from .events import EventTable
from .recorder import Recorder

__all__ = ["Chat", "EventTable", "Recorder", "timeline"]
