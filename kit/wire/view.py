"""What can be read of a session, whether it is live or comes from a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..errors import ServerError
from .conversation import Conversation
from .event_list import EventList
from .events import Event, dict_of, text_of
from .live_conversation import Ask
from .records import Items, Response


class ConversationView:
    """The read-only face of a `Conversation` and its events. `kit.Session` and a log's session inherit it.

    Args:
        conversation: The fold that is looked at.
        events: The events that are kept, oldest first: a live list, which the owner appends to.
    """

    def __init__(self, conversation: Conversation, events: Sequence[Event]) -> None:
        # It goes on while the session does: every property reads it anew.
        self._conversation = conversation
        self._events = events

    @property
    def id(self) -> str | None:
        """The session's id, as the server named it."""
        return text_of(self._conversation.session, "id")

    @property
    def model(self) -> str | None:
        """The model, as the server names it."""
        return text_of(self._conversation.session, "model")

    @property
    def settings(self) -> dict[str, Any]:
        """The session object, as the server last sent it."""
        return self._conversation.session

    @property
    def simulated(self) -> bool | None:
        """True: a stand-in answers. False: a service does. ``None``: unknown."""
        return self._conversation.simulated

    @property
    def drift_rule(self) -> str | None:
        """The rule by which a stand-in decides when to answer in text; ``None`` for a service."""
        # Only a stand-in's session object has this field.
        return text_of(dict_of(self._conversation.session, "simulated"), "drift")

    @property
    def items(self) -> Items:
        """The conversation's items, in its order."""
        return Items(self._conversation.items)

    @property
    def responses(self) -> list[Response]:
        """Every response so far, in the order in which they began."""
        # A copy: the fold's own list grows while a caller goes through it.
        return list(self._conversation.responses)

    @property
    def asks(self) -> list[Ask]:
        """None: when the user spoke, the server says (`input_audio_buffer.speech_started`)."""
        return []

    @property
    def errors(self) -> list[ServerError]:
        """Every `error` event so far."""
        return list(self._conversation.errors)

    @property
    def unknown(self) -> dict[str, int]:
        """Event types that are in no reference, with how often they came."""
        return dict(self._conversation.unknown)

    @property
    def rate_limits(self) -> list[Any]:
        """The last `rate_limits.updated`, as the server sent it; empty before the first."""
        return self._conversation.rate_limits

    @property
    def n_sent(self) -> Counter[str]:
        """How many client events of each type were sent."""
        return self._conversation.n_sent

    @property
    def events(self) -> EventList:
        """Every event so far, both ways, as a table. Audio is left out: it is in its response."""
        return EventList(self._events, self._n_dropped)

    @property
    def _n_dropped(self) -> int:
        """How many older events are no longer kept."""
        # A log keeps all of its events; a session knows how many it let go.
        return 0
