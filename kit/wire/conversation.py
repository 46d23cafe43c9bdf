"""The fold: server events in, items, responses and errors out.

One definition of a response for everything: a live session, a recorded log, somebody else's production log. It does no
I/O and has no clock; instants are passed in. It takes both spellings, hybrids of the two, logs that begin in the middle or
break off, ids that are null, and events that it has never heard of: nothing a server says can make it fail, and a million
events cost no more apiece than ten.

What decides what:

=====================  =================================================================================================
a response's modality  content parts and deltas that arrived, by kind; never what was asked for
its first modality     its first content part, however it ends
an item's place        `conversation.item.added` (beta: `.created`) and its ``previous_item_id``; later events do not move it
who started a reply    our own `response.create` (known by the metadata that the server echoes, else by order), or turn
                       detection (it heard speech stop and no request is open)
whose error it is      ``error.event_id``, which names the client event that caused it
=====================  =================================================================================================
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from ..errors import ServerError
from .dialect import read_session
from .event_list import EventList
from .events import MAX_ERRORS, Event, dict_of, error_of, int_of, text_of
from .records import PART_KINDS, ContentPart, FunctionCall, Item, Items, Kind, Response

TAG = "kit_request"
"""Metadata key by which a response is matched to our `response.create`, where the server echoes metadata."""

_CALL_TYPES = ("function_call", "mcp_call", "mcp_approval_request")  # of an output item that uses a tool
_RECENT_DELTAS = 32  # a delta that is sent again comes soon after the first
_MAX_SENT = 4_096  # client events remembered, so that an error can be tied to its cause
_MAX_OPEN_CREATES = 64  # requests that wait for their response; a server answers one at a time, or refuses
_MAX_TYPES = 1_000  # different event types counted apart

# In the reference, and nothing for the fold to do (wire/README.md, Server events and Other servers).
_IGNORED = frozenset(
    (
        "conversation.created",
        "input_audio_buffer.cleared", "input_audio_buffer.committed", "input_audio_buffer.dtmf_event_received",
        "mcp_list_tools.in_progress", "mcp_list_tools.completed", "mcp_list_tools.failed",
        "output_audio_buffer.started", "output_audio_buffer.stopped", "output_audio_buffer.cleared",
        "ping",  # xAI, every few seconds
        "response.mcp_call.in_progress", "response.mcp_call.completed", "response.mcp_call.failed",
        "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
        "transcription_session.created", "transcription_session.updated",
        *(f"conversation.item.input_audio_transcription.{kind}" for kind in ("delta", "failed", "segment")),
    )
)  # fmt: skip


@dataclass(slots=True, eq=False)
class _Create:
    """A `response.create` that no response has answered yet."""

    event_id: str | None
    tag: str | None
    at_ms: float
    asked: tuple[str, ...] | None = None  # the modalities that it asks for itself, where it does


class Conversation:
    """One session, folded.

    Feed it every server event with `receive` and, if you have them, every client event with `sent`, in order.

    Args:
        simulated: What the caller knows of where this comes from.
        keep_audio: ``False``: a response's bytes of audio are counted and thrown away.

    Attributes:
        session: The session object as the server last sent it.
        items: In conversation order; a deleted item is gone.
        responses: In the order in which they were created, out-of-band ones included.
        errors: `error` events, each tied to the client event that caused it where the server named one. Of more than
            10,000, at least the last 10,000.
        n_errors: How many came in all.
        unknown: Types that are in no reference, with how often they came.
        simulated: True where the session object carries the stand-in's mark; else what the caller knows (``None``: nothing).
        rate_limits: The last `rate_limits.updated`.
        n_events: Server events received.
        n_sent: Client events sent, by type.
    """

    def __init__(self, *, simulated: bool | None = None, keep_audio: bool = True) -> None:
        self.keeps_audio = keep_audio
        self.session: dict[str, Any] = {}
        self.items: list[Item] = []
        self.responses: list[Response] = []
        self.errors: list[ServerError] = []
        self.n_errors = 0
        self.unknown: Counter[str] = Counter()
        self.simulated = simulated
        self.rate_limits: list[Any] = []
        self.n_events = 0
        self.n_sent: Counter[str] = Counter()

        # Items and responses that have an id. Some servers and cut logs have none: those are only in the lists above.
        self._items_by_id: dict[str, Item] = {}
        self._responses_by_id: dict[str, Response] = {}
        # Responses without an end, oldest first: where an event without a response id belongs, and what `active` looks at.
        # Dicts by identity are used as ordered sets, since a session of a log may hold a million responses.
        self._open: dict[int, Response] = {}
        self._active: dict[int, Response] = {}

        # --- what the client sent ---
        # Whether there is any: logs of server events alone need guesses that a full log does not.
        self._sees_client = False
        # Type of each recent client event by its event_id, so that an error can say what caused it.
        self._sent: OrderedDict[str, str] = OrderedDict()
        # Our `response.create` events that no response has answered, oldest first.
        self._creates: deque[_Create] = deque(maxlen=_MAX_OPEN_CREATES)
        # Whether this server has echoed our tag: from then on a response without it is somebody else's.
        self._echoes_metadata = False

        # --- where items go ---
        # Items that the client asked to have first: their ids, and how many had none.
        self._root_ids: set[str] = set()
        self._n_roots_without_id = 0
        # Whether `previous_item_id: null` means "first", as documented; servers that send null for every item are found out.
        self._null_means_first = True
        # Deleted items whose own end may still come: one may be deleted while it is being said.
        self._deleted_ids: set[str] = set()

        # --- turn detection ---
        # Whether speech was ever heard: where not, a reply cannot have been started by turn detection.
        self._heard_speech = False
        # When speech last stopped, until a response is started by it.
        self._speech_stopped_at_ms: float | None = None

        # --- deltas ---
        # Hashes of what the last deltas said, by event_id, in two generations of `_RECENT_DELTAS`: a replayed delta must not count twice.
        self._recent: dict[str, int] = {}
        self._less_recent: dict[str, int] = {}
        # False once two different deltas shared an event_id: some servers use one for all, and it then says nothing.
        self._ids_differ = True
        # The names in the last delta and the part they led to: nearly every delta names the same part as the one before.
        self._last_names: tuple[Any, ...] | None = None
        self._last_part: tuple[Response, ContentPart]

    # ------------------------------------------------------------------------------------------------------------ in

    def sent(self, event: Mapping[str, Any], at_ms: float) -> None:
        """Take note of a client event. `at_ms` of a `response.create` is where its response's times count from."""
        self._sees_client = True
        kind = str(event.get("type"))
        _count(self.n_sent, kind)
        event_id = text_of(event, "event_id")
        if event_id:
            self._sent[event_id] = kind
            if len(self._sent) > _MAX_SENT:
                self._sent.popitem(last=False)
        if kind == "response.create":
            response = dict_of(event, "response")
            tag = text_of(dict_of(response, "metadata"), TAG)
            self._creates.append(_Create(event_id, tag, at_ms, _modalities(response)))
        elif kind == "conversation.item.create" and event.get("previous_item_id") == "root":
            item_id = text_of(dict_of(event, "item"), "id")
            if item_id:
                self._root_ids.add(item_id)
            else:
                self._n_roots_without_id += 1

    def end(self, at_ms: float, *, lost: bool | None = False) -> None:
        """The session is over; of Realtime's replies time decides nothing."""

    def receive(self, event: Event) -> None:
        """Fold one server event in. Its audio, if any, moves into the response and is dropped from the event."""
        self.n_events += 1
        handle = _HANDLERS.get(event.type)
        if handle is not None:
            handle(self, event)
        elif event.type not in _IGNORED:
            _count(self.unknown, event.type)

    # ----------------------------------------------------------------------------------------------------------- out

    def item(self, item_id: str) -> Item | None:
        """Return the item with that id, if it is in the conversation."""
        return self._items_by_id.get(item_id)

    def response(self, response_id: str) -> Response | None:
        """Return the response with that id."""
        return self._responses_by_id.get(response_id)

    @property
    def active(self) -> Response | None:
        """The response that is being made for the conversation; out-of-band ones do not count."""
        return next(reversed(self._active.values()), None)

    def forget_items(self, n: int) -> None:
        """Let the oldest items go."""
        for item in self.items[:n]:
            self._items_by_id.pop(item.id or "", None)
        del self.items[:n]

    def forget_responses(self, n: int) -> list[Response]:
        """Let the oldest responses go, as far as they are over; returns them."""
        n_over = next((n for n, response in enumerate(self.responses[:n]) if id(response) in self._open), n)
        forgotten = self.responses[:n_over]
        del self.responses[:n_over]
        for response in forgotten:
            self._responses_by_id.pop(response.id or "", None)
        return forgotten

    # ------------------------------------------------------------------------------------------------ session, errors

    def _session(self, event: Event) -> None:
        session = dict_of(event.data, "session")
        if session:
            self.session = session
        if session.get("simulated"):
            self.simulated = True

    def _rate_limits(self, event: Event) -> None:
        limits = event.data.get("rate_limits")
        self.rate_limits = limits if isinstance(limits, list) else []

    def _error(self, event: Event) -> None:
        fields = dict_of(event.data, "error")
        event_id = text_of(fields, "event_id")
        error = error_of(fields, event_id, caused_by=self._sent.get(event_id or ""))
        self.n_errors += 1
        self.errors.append(error)
        if len(self.errors) >= 2 * MAX_ERRORS:
            del self.errors[:MAX_ERRORS]
        # A refused request is not answered by the next response.
        for create in self._creates:
            if event_id is not None and create.event_id == event_id:
                self._creates.remove(create)
                return
        # Where no event is named (the client gave none an id), these can only have been caused by asking for a response.
        busy = error.code == "conversation_already_has_active_response"
        if self._creates and event_id is None and (busy or (error.param or "").startswith("response.")):
            self._creates.pop()

    # ----------------------------------------------------------------------------------------------------------- items

    def _item_added(self, event: Event) -> None:
        data = dict_of(event.data, "item")
        if not data:
            return
        item_id = text_of(data, "id")
        item = self._items_by_id.get(item_id) if item_id else None
        if item is not None:
            item.data = data
            return
        item = Item(item_id, data)
        if item_id:
            self._items_by_id[item_id] = item
            self._deleted_ids.discard(item_id)
        self.items.insert(self._position(item, event.data), item)
        if data.get("role") == "assistant" or data.get("type") == "function_call":
            self._fill_from_item(data)

    def _position(self, item: Item, event: Mapping[str, Any]) -> int:
        """Where a new item goes: after its predecessor, first, or at the end."""
        previous_id = text_of(event, "previous_item_id")
        previous = self._items_by_id.get(previous_id) if previous_id else None
        if previous is not None and previous is not item:
            # From the end, where nearly every new item goes.
            for n in range(len(self.items) - 1, -1, -1):
                if self.items[n] is previous:
                    return n + 1
        elif previous_id is None and "previous_item_id" in event and self._goes_first(item):
            return 0
        return len(self.items)

    def _goes_first(self, item: Item) -> bool:
        """Decide what `previous_item_id: null` means for this item.

        The documents say "the first item". Compatible servers send null for every item: they are known by what the model is
        just saying, which is never first. Where we see what was asked for, only what was asked to be first is.
        """
        if item.status == "in_progress" and self.items:
            self._null_means_first = False
            return False
        if not self._sees_client:
            return self._null_means_first
        if self._n_roots_without_id and item.id not in self._root_ids:
            self._n_roots_without_id -= 1
            return True
        return item.id in self._root_ids

    def _item_done(self, event: Event) -> None:
        data = dict_of(event.data, "item")
        item_id = text_of(data, "id")
        if item_id in self._deleted_ids:
            return  # it was deleted while it was being said
        item = self._items_by_id.get(item_id) if item_id else self._last_item_without_id(data)
        if item is None:
            self._item_added(event)
        elif event.type == "conversation.item.done" or not item.data:
            item.data = data

    def _last_item_without_id(self, data: Mapping[str, Any]) -> Item | None:
        """The item that an event without an id completes: the last of its kind that has no id either."""
        for item in reversed(self.items[-_RECENT_DELTAS:]):
            if item.id is None and item.role == data.get("role") and item.type == data.get("type"):
                return item
        return None

    def _item_truncated(self, event: Event) -> None:
        item = self._items_by_id.get(text_of(event.data, "item_id") or "")
        end_ms = int_of(event.data, "audio_end_ms")
        if item is None or end_ms is None:
            return
        item.truncated_at_ms = end_ms
        # The server drops the whole transcript of that part with the audio after the point
        # (wire/README.md, Retrieve, delete, truncate).
        item.data = item.data | {
            "content": [{k: v for k, v in part.items() if k != "transcript"} for part in item.parts]
        }

    def _item_deleted(self, event: Event) -> None:
        item_id = text_of(event.data, "item_id") or ""
        item = self._items_by_id.pop(item_id, None)
        if item is not None:
            self.items.remove(item)
            self._deleted_ids.add(item_id)

    def _item_transcribed(self, event: Event) -> None:
        item = self._items_by_id.get(text_of(event.data, "item_id") or "")
        if item is not None:
            item.transcript = text_of(event.data, "transcript")

    def _speech_started(self, event: Event) -> None:
        self._heard_speech = True
        self._speech_stopped_at_ms = None

    def _speech_stopped(self, event: Event) -> None:
        self._heard_speech = True
        self._speech_stopped_at_ms = event.at_ms

    # ------------------------------------------------------------------------------------------------------- responses

    def _response(self, data: Mapping[str, Any]) -> Response:
        """Return the response that an event is about; it is made here if its beginning is not in the log."""
        response_id = text_of(data, "response_id")
        if response_id is None and self._open:
            return next(reversed(self._open.values()))
        if response_id in self._responses_by_id:
            return self._responses_by_id[response_id or ""]
        return self._new_response(response_id)

    def _new_response(self, response_id: str | None) -> Response:
        response = Response(response_id, simulated=self.simulated)
        self.responses.append(response)
        self._open[id(response)] = response
        if response_id is not None:
            self._responses_by_id[response_id] = response
        return response

    def _response_created(self, event: Event) -> None:
        fields = dict_of(event.data, "response")
        response_id = text_of(fields, "id")
        response = self._responses_by_id.get(response_id) if response_id else None
        if response is None:
            response = self._new_response(response_id)
        response.created_at_ms = event.at_ms
        self._describe(response, fields)
        create = self._take_create(response, fields)
        if response.asked is None:  # a server that does not echo it: what our request said, else what the session says
            response.asked = (create.asked if create else None) or _modalities(self.session)
        if create is not None:
            response.started_by = "create"
            response.started_at_ms = create.at_ms
            response.event_id = create.event_id
        elif self._speech_stopped_at_ms is not None and response.conversation_id is not None:
            response.started_by = "vad"
            response.started_at_ms = self._speech_stopped_at_ms
            self._speech_stopped_at_ms = None

    def _take_create(self, response: Response, fields: Mapping[str, Any]) -> _Create | None:
        """Take the `response.create` that this response answers off the list; ``None`` if a client's request is not its cause."""
        tag = text_of(response.metadata or {}, TAG)
        for create in self._creates:
            if tag is not None and create.tag == tag:
                self._creates.remove(create)
                self._echoes_metadata = True
                return create
        if not self._creates:
            return None
        # If this server echoes metadata, ours would be here, so turn detection asked. Some servers have the field and never
        # echo it; where no speech was ever heard, our request is the only one there can be.
        echoes = self._echoes_metadata or ("metadata" in fields and self._heard_speech)
        if echoes and self._creates[0].tag is not None:
            return None
        return self._creates.popleft()

    def _response_done(self, event: Event) -> None:
        fields = dict_of(event.data, "response")
        response = self._response({"response_id": text_of(fields, "id")})
        response.done_at_ms = event.at_ms
        self._describe(response, fields)
        if response.usage is None:
            response.usage = dict_of(event.data, "usage") or None  # xAI puts it beside the response
        output = fields.get("output")
        for index, item in enumerate(output if isinstance(output, list) else []):
            if isinstance(item, dict):
                self._fill(response, index, item)

    def _describe(self, response: Response, fields: Mapping[str, Any]) -> None:
        """Take what a response object says of the whole response."""
        response.status = text_of(fields, "status") or response.status
        details = fields.get("status_details")
        if isinstance(details, str):  # xAI sends a bare string
            response.reason = details
        elif isinstance(details, dict):
            error = dict_of(details, "error")
            response.error = error or response.error
            response.reason = (
                text_of(details, "reason") or text_of(error, "code") or text_of(error, "type") or response.reason
            )
        response.asked = _modalities(fields) or response.asked
        response.usage = dict_of(fields, "usage") or response.usage
        response.metadata = dict_of(fields, "metadata") or response.metadata
        if "conversation_id" in fields:
            response.conversation_id = text_of(fields, "conversation_id")
        elif response.conversation_id is None:
            # October 2024 had no such field: all of its responses are in the conversation.
            response.conversation_id = ""
        voice = read_session(fields, "voice")
        response.voice = voice if isinstance(voice, str) else response.voice
        response.output_format = str(
            read_session(fields, "output_format") or read_session(self.session, "output_format") or "pcm16"
        )
        if response.status not in (None, "in_progress"):
            self._open.pop(id(response), None)
        if response.status == "in_progress" and response.conversation_id is not None:
            self._active[id(response)] = response
        else:
            self._active.pop(id(response), None)

    # ----------------------------------------------------------------------------------------- what a response contains

    def _added_to(self, event: Event, kind: Kind) -> tuple[Response, ContentPart] | None:
        """Find the response and the content part that a delta adds to; ``None`` if it adds nothing."""
        get = event.data.get
        names = (kind, get("response_id"), get("item_id"), get("output_index"), get("content_index"))
        if names == self._last_names:
            return None if self._is_surplus(event, self._last_part[0]) else self._last_part
        if self._is_surplus(event, self._responses_by_id.get(text_of(event.data, "response_id") or "")):
            return None
        self._last_part = self._part(event, kind)
        self._last_names = names if names[1] is not None else None  # without a name it may be another one next time
        return self._last_part

    def _is_surplus(self, event: Event, response: Response | None) -> bool:
        """Tell whether a delta has come already, or comes after the end of its response. It is counted, and left out."""
        if response is not None and response.done_at_ms is not None:
            response.n_surplus += 1
            return True
        event_id = event.data.get("event_id")
        if type(event_id) is not str or not self._ids_differ:
            return False
        # Of sound, every 257th byte is enough. A hash: it holds no words, and is nothing for the garbage collector to look at.
        delta = event.pcm[::257] if event.pcm else text_of(event.data, "delta")
        content = hash((event.type, event.n_audio_bytes, delta))
        before = self._recent.get(event_id) or self._less_recent.get(event_id)
        if before is None:
            self._recent[event_id] = content
            if len(self._recent) >= _RECENT_DELTAS:
                self._recent, self._less_recent = {}, self._recent
            return False
        if before != content:
            self._ids_differ = False
            return False
        if response is not None:
            response.n_surplus += 1
        return True

    def _part(self, event: Event, kind: Kind) -> tuple[Response, ContentPart]:
        """Find the response and the content part that an event is about, or make them."""
        response = self._response(event.data)
        key = (_output_index(response, event.data), int_of(event.data, "content_index") or 0, kind)
        part = response.parts.get(key)
        if part is None:
            part = response.parts[key] = ContentPart(kind)
        return response, part

    def _content_part(self, event: Event) -> None:
        fields = dict_of(event.data, "part")
        kind = PART_KINDS.get(str(fields.get("type")))
        if kind is not None:
            _, part = self._part(event, kind)
            if event.type.endswith(".done"):
                part.fill(fields)
        elif "type" in fields or not event.type.endswith(".done"):  # xAI's done events have no part
            _count(self.unknown, f"{event.type} of type {str(fields.get('type'))[:40]}")

    def _text_delta(self, event: Event) -> None:
        if (target := self._added_to(event, "text")) is not None:
            response, part = target
            part.pieces.append(text_of(event.data, "delta") or "")
            if response.first_text_at_ms is None:
                response.first_text_at_ms = event.at_ms

    def _transcript_delta(self, event: Event) -> None:
        if (target := self._added_to(event, "audio")) is not None:
            response, part = target
            part.pieces.append(text_of(event.data, "delta") or "")
            if response.first_transcript_at_ms is None:
                response.first_transcript_at_ms = event.at_ms

    def _audio_delta(self, event: Event) -> None:
        target = self._added_to(event, "audio")
        pcm, event.pcm = event.pcm, None
        if target is None:
            return
        response, part = target
        if event.bad_audio:
            response.n_bad_audio += 1
        if pcm and self.keeps_audio:
            part.chunks.append(pcm)
        elif event.n_audio_bytes:  # not kept, or a log that has only their number
            part.n_not_kept += event.n_audio_bytes
        if response.first_audio_at_ms is None:
            response.first_audio_at_ms = event.at_ms

    def _text_done(self, event: Event) -> None:
        _, part = self._part(event, "text")
        part.words = text_of(event.data, "text") or part.words

    def _transcript_done(self, event: Event) -> None:
        _, part = self._part(event, "audio")
        part.words = text_of(event.data, "transcript") or part.words

    def _audio_done(self, event: Event) -> None:
        _, part = self._part(event, "audio")
        part.fill({"audio": event.data.get("delta") or event.data.get("audio")})

    def _call(self, event: Event) -> FunctionCall:
        response = self._response(event.data)
        call = response.calls_by_index.setdefault(_output_index(response, event.data), FunctionCall())
        call.item_id = text_of(event.data, "item_id") or call.item_id
        call.call_id = text_of(event.data, "call_id") or call.call_id
        return call

    def _arguments_delta(self, event: Event) -> None:
        if self._is_surplus(event, self._responses_by_id.get(text_of(event.data, "response_id") or "")):
            return
        self._call(event).pieces.append(text_of(event.data, "delta") or "")

    def _arguments_done(self, event: Event) -> None:
        call = self._call(event)
        call.arguments = text_of(event.data, "arguments") or call.arguments
        call.name = text_of(event.data, "name") or call.name

    def _output_item(self, event: Event) -> None:
        data = dict_of(event.data, "item")
        response = self._response(event.data)
        self._fill(response, _output_index(response, event.data | {"item_id": data.get("id")}), data)
        item = self._items_by_id.get(text_of(data, "id") or "")
        if item is not None and event.type.endswith(".done"):
            item.data = data  # beta has no conversation.item.done: this is where its assistant items are completed

    def _fill_from_item(self, data: Mapping[str, Any]) -> None:
        """Complete a response from a finished item where its own events are missing from the log."""
        item_id = text_of(data, "id")
        for response in reversed(self.responses[-_RECENT_DELTAS:]):
            if item_id in response.index_of:
                self._fill(response, response.index_of[item_id], data)
                return

    def _fill(self, response: Response, index: int, item: Mapping[str, Any]) -> None:
        """Take what a finished output item says: it completes what the deltas brought and never adds it a second time."""
        item_id = text_of(item, "id")
        index = _output_index(
            response, {"item_id": item_id, "output_index": response.index_of.get(item_id or "", index)}
        )
        if item.get("type") in _CALL_TYPES:
            call = response.calls_by_index.setdefault(index, FunctionCall())
            call.name = text_of(item, "name") or call.name
            call.call_id = text_of(item, "call_id") or call.call_id
            call.arguments = text_of(item, "arguments") or call.arguments
            call.status = text_of(item, "status") or call.status
            call.item_id = item_id or call.item_id
            return
        content = item.get("content")
        for n, fields in enumerate(content if isinstance(content, list) else []):
            kind = PART_KINDS.get(str(fields.get("type"))) if isinstance(fields, dict) else None
            if kind is not None:
                response.parts.setdefault((index, n, kind), ContentPart(kind)).fill(fields)


def _output_index(response: Response, data: Mapping[str, Any]) -> int:
    """The output index of the item that an event is about: as the event says, or as the item's id is known by."""
    item_id, index = text_of(data, "item_id"), int_of(data, "output_index")
    if index is None:
        index = response.index_of.get(item_id, len(response.index_of)) if item_id else 0
    if item_id:
        if item_id not in response.index_of:
            response.item_ids.append(item_id)
        response.index_of[item_id] = index
    return index


def _modalities(fields: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What a session or response object says was asked for."""
    value = read_session(fields, "modality")
    return tuple(str(word) for word in value) if isinstance(value, list) else None


def _count(counts: Counter[str], kind: str) -> None:
    """Count an event type; a server that makes up a new one each time cannot fill the memory."""
    kind = kind[:200]
    counts[kind if kind in counts or len(counts) < _MAX_TYPES else "(other types)"] += 1


_HANDLERS: dict[str, Callable[[Conversation, Event], None]] = {
    "error": Conversation._error,
    "session.created": Conversation._session,
    "session.updated": Conversation._session,
    "conversation.item.added": Conversation._item_added,
    "conversation.item.done": Conversation._item_done,
    "conversation.item.retrieved": Conversation._item_done,
    "conversation.item.truncated": Conversation._item_truncated,
    "conversation.item.deleted": Conversation._item_deleted,
    "conversation.item.input_audio_transcription.completed": Conversation._item_transcribed,
    "input_audio_buffer.speech_started": Conversation._speech_started,
    "input_audio_buffer.speech_stopped": Conversation._speech_stopped,
    "input_audio_buffer.timeout_triggered": Conversation._speech_stopped,
    "response.created": Conversation._response_created,
    "response.done": Conversation._response_done,
    "response.output_item.added": Conversation._output_item,
    "response.output_item.done": Conversation._output_item,
    "response.content_part.added": Conversation._content_part,
    "response.content_part.done": Conversation._content_part,
    "response.output_text.delta": Conversation._text_delta,
    "response.output_text.done": Conversation._text_done,
    "response.output_audio_transcript.delta": Conversation._transcript_delta,
    "response.output_audio_transcript.done": Conversation._transcript_done,
    "response.output_audio.delta": Conversation._audio_delta,
    "response.output_audio.done": Conversation._audio_done,
    "response.function_call_arguments.delta": Conversation._arguments_delta,
    "response.function_call_arguments.done": Conversation._arguments_done,
    "rate_limits.updated": Conversation._rate_limits,
}


# ----------------------------------------------------------------------------- what can be read of a session, live or logged

Fold = TypeVar("Fold", bound=Any)  # a `Conversation` or a `LiveConversation`


class SessionView(Generic[Fold]):
    """The read-only face of a fold and its events, whichever protocol it is of.

    Args:
        conversation: The fold that is looked at. It goes on while the session does: every property reads it anew.
        events: The events that are kept, oldest first: a live list, which the owner appends to.
    """

    def __init__(self, conversation: Fold, events: Sequence[Event]) -> None:
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
        session: dict[str, Any] = self._conversation.session
        return session

    @property
    def simulated(self) -> bool | None:
        """True: a stand-in answers. False: a service does. ``None``: unknown."""
        simulated: bool | None = self._conversation.simulated
        return simulated

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
        """How many older events are no longer kept: none of a log."""
        return 0


class ConversationView(SessionView[Conversation]):
    """The face of Realtime. `kit.Session` and a log's session inherit it."""

    protocol: Literal["realtime", "live"] = "realtime"

    @property
    def drift_rule(self) -> str | None:
        """The rule by which a stand-in decides when to answer in text; ``None`` for a service, which has no such field."""
        return text_of(dict_of(self._conversation.session, "simulated"), "drift")

    @property
    def items(self) -> Items:
        """The conversation's items, in its order."""
        return Items(self._conversation.items)

    @property
    def responses(self) -> list[Response]:
        """Every response so far, in the order in which they began."""
        return list(self._conversation.responses)

    @property
    def asks(self) -> list[Any]:
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
