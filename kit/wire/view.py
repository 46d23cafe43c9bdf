"""What can be read of a session, whether it is live or comes from a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

from ..errors import ServerError
from .conversation import Conversation
from .event_list import EventList
from .events import Event, dict_of, text_of
from .live import USD_PER_SECOND
from .live_conversation import Ask, LiveConversation, Reply
from .records import Items, Response

Fold = TypeVar("Fold", bound=Conversation | LiveConversation)


class SessionView(Generic[Fold]):
    """The read-only face of a fold and its events, whichever protocol it is of.

    Args:
        conversation: The fold that is looked at.
        events: The events that are kept, oldest first: a live list, which the owner appends to.
    """

    def __init__(self, conversation: Fold, events: Sequence[Event]) -> None:
        # It goes on while the session does: every property reads it anew.
        self._conversation: Fold = conversation
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
    def errors(self) -> list[ServerError]:
        """Every `error` event so far."""
        return list(self._conversation.errors)

    @property
    def unknown(self) -> dict[str, int]:
        """Event types that are in no reference, with how often they came."""
        return dict(self._conversation.unknown)

    @property
    def events(self) -> EventList:
        """Every event so far, both ways, as a table. Audio is left out: it is in its response or reply; fed silence is not listed."""
        return EventList(self._events, self._n_dropped)

    @property
    def _n_dropped(self) -> int:
        """How many older events are no longer kept."""
        # A log keeps all of its events; a session knows how many it let go.
        return 0


class ConversationView(SessionView[Conversation]):
    """The face of Realtime. `kit.Session` and a log's session inherit it."""

    protocol: Literal["realtime", "live"] = "realtime"

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
    def rate_limits(self) -> list[Any]:
        """The last `rate_limits.updated`, as the server sent it; empty before the first."""
        return self._conversation.rate_limits

    @property
    def n_sent(self) -> Counter[str]:
        """How many client events of each type were sent."""
        return self._conversation.n_sent


class LiveView(SessionView[LiveConversation]):
    """The face of GPT-Live. `kit.live.LiveSession` and a log's session inherit it."""

    protocol: Literal["realtime", "live"] = "live"

    @property
    def conversation(self) -> LiveConversation:
        """The fold: asks, replies, appends, delegations, seconds."""
        return self._conversation

    @property
    def replies(self) -> list[Reply]:
        """Every reply so far, silent ones included."""
        return list(self.conversation.replies)

    responses = replies  # what a reader of either protocol may ask for

    @property
    def asks(self) -> list[Ask]:
        """What the caller asked, as this side knows it."""
        return list(self.conversation.asks)

    @property
    def n_seeded(self) -> int | None:
        """How many messages of the assistant it was given; ``None`` where its start is not known."""
        fold = self.conversation
        has_started = fold.start_at_ms is not None or fold.started_at_ms is not None
        return sum(message.get("role") == "assistant" for message in fold.past) if has_started else None

    @property
    def seconds(self) -> float | None:
        """Seconds billed, as the server said last."""
        return self.conversation.seconds

    @property
    def seconds_confirmed(self) -> bool:
        """Whether `session.closed` said so."""
        return self.conversation.seconds_confirmed

    @property
    def usd(self) -> float | None:
        """What the seconds cost; the backend's tokens are billed beside them. The stand-in costs nothing."""
        if self.simulated:
            return 0.0
        return None if self.seconds is None else self.seconds * USD_PER_SECOND
