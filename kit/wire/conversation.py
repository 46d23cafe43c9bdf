"""The fold: server events in, items, responses and errors out.

One definition of a response for everything: a live session, a recorded log, somebody else's production log. It does no
I/O and has no clock; instants are passed in. It takes both spellings, hybrids of the two, logs that begin in the middle or
break off, ids that are null, and events that it has never heard of: nothing a server says can make it fail.

What decides what:

=====================  =================================================================================================
a response's modality  content parts and deltas that arrived, by kind; never what was asked for
an item's place        `conversation.item.added` (beta: `.created`) and its ``previous_item_id``; later events do not move it
who started a reply    our own `response.create` (told by the metadata that the server echoes, else by order), or turn
                       detection (it heard speech stop and nobody asked)
whose error it is      ``error.event_id``, which names the client event that caused it
=====================  =================================================================================================
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ServerError
from .dialect import read_session
from .events import Event, dict_of, int_of, modalities_of, text_of
from .records import PART_KINDS, ContentPart, FunctionCall, Item, Response

TAG = "kit_request"
"""Metadata key by which a response is matched to our `response.create`, where the server echoes metadata."""

_RECENT_DELTAS = 32  # a delta that is sent again comes soon after the first
_MAX_SENT = 4_096  # client events remembered, so that an error can be tied to its cause

# Of the reference, and nothing for the fold to do.
_NOTED = frozenset(
    {
        "conversation.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "input_audio_buffer.dtmf_event_received",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "mcp_list_tools.in_progress",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "transcription_session.created",
        "transcription_session.updated",
    }
)


@dataclass(slots=True)
class _Create:
    """A `response.create` that no response has answered yet."""

    event_id: str | None
    tag: str | None
    at_ms: float


class Conversation:
    """One session, folded.

    Feed it every server event with `receive` and, if you have them, every client event with `sent`, in order.

    Args:
        simulated: What the caller knows of where this comes from.
        keep_audio: ``False``: a response's bytes of audio are counted and thrown away.

    Attributes:
        session: The session object as the server last told it.
        items: In conversation order; a deleted item is gone.
        responses: In the order in which they were created, out-of-band ones included.
        errors: Every `error` event, each tied to the client event that caused it where the server named one.
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
        self.unknown: Counter[str] = Counter()
        self.simulated = simulated
        self.rate_limits: list[Any] = []
        self.n_events = 0
        self.n_sent: Counter[str] = Counter()
        self._items_by_id: dict[str, Item] = {}
        self._responses_by_id: dict[str, Response] = {}
        self._sent: OrderedDict[str, str] = OrderedDict()
        self._sees_client = False
        self._root_ids: set[str] = set()
        self._n_roots_without_id = 0
        self._null_means_first = True
        self._deleted_ids: set[str] = set()
        self._echoes_metadata = False
        self._heard_speech = False
        self._creates: deque[_Create] = deque()
        self._speech_stopped_at_ms: float | None = None
        self._recent: dict[str, tuple[Any, ...]] = {}
        self._less_recent: dict[str, tuple[Any, ...]] = {}
        self._ids_differ = True
        self._last_names: tuple[Any, ...] | None = None
        self._last_part: tuple[Response, ContentPart]

    # ------------------------------------------------------------------------------------------------------------ in

    def sent(self, event: Mapping[str, Any], at_ms: float) -> None:
        """Take note of a client event. `at_ms` of a `response.create` is where its response's times count from."""
        self._sees_client = True
        kind = str(event.get("type"))
        self.n_sent[kind] += 1
        event_id = text_of(event, "event_id")
        if event_id:
            self._sent[event_id] = kind
            if len(self._sent) > _MAX_SENT:
                self._sent.popitem(last=False)
        if kind == "response.create":
            tag = text_of(dict_of(dict_of(event, "response"), "metadata"), TAG)
            self._creates.append(_Create(event_id, tag, at_ms))
        elif kind == "conversation.item.create" and event.get("previous_item_id") == "root":
            item_id = text_of(dict_of(event, "item"), "id")
            if item_id:
                self._root_ids.add(item_id)
            else:
                self._n_roots_without_id += 1

    def receive(self, event: Event) -> None:
        """Fold one server event in. Its audio, if any, moves into the response and is dropped from the event."""
        self.n_events += 1
        handle = _HANDLERS.get(event.type)
        if handle is not None:
            handle(self, event)
        elif event.type not in _NOTED:
            self.unknown[event.type] += 1

    def _is_surplus(self, event: Event, response: Response | None) -> bool:
        """Whether this delta has come already, or comes after its response is over: nobody said it twice, or later."""
        if response is not None and response.done_at_ms is not None:
            response.n_surplus += 1
            return True
        event_id = event.data.get("event_id")
        if type(event_id) is not str or not self._ids_differ:
            return False
        # Of sound, every 257th byte will do, and keeps nothing of it.
        said = (event.type, event.n_audio_bytes, event.pcm[::257] if event.pcm else event.data.get("delta"))
        before = self._recent.get(event_id) or self._less_recent.get(event_id)
        if before is None:
            self._recent[event_id] = said
            if len(self._recent) >= _RECENT_DELTAS:
                self._recent, self._less_recent = {}, self._recent
            return False
        if before != said:
            self._ids_differ = False  # some servers give every event the same id: it then tells nothing
            return False
        if response is not None:
            response.n_surplus += 1
        return True

    # ----------------------------------------------------------------------------------------------------------- out

    def item(self, item_id: str) -> Item | None:
        """The item with that id, if it is in the conversation."""
        return self._items_by_id.get(item_id)

    def response(self, response_id: str) -> Response | None:
        """The response with that id."""
        return self._responses_by_id.get(response_id)

    @property
    def active(self) -> Response | None:
        """The response that is being made for the conversation; out-of-band ones do not count."""
        for response in reversed(self.responses):
            if response.status == "in_progress" and response.conversation_id is not None:
                return response
        return None

    # ------------------------------------------------------------------------------------------------ session, errors

    def _noted(self, event: Event) -> None:
        return

    def _session(self, event: Event) -> None:
        session = dict_of(event.data, "session")
        if session:
            self.session = session
        if session.get("simulated"):
            self.simulated = True

    def _limits(self, event: Event) -> None:
        limits = event.data.get("rate_limits")
        self.rate_limits = limits if isinstance(limits, list) else []

    def _error(self, event: Event) -> None:
        told = dict_of(event.data, "error")
        event_id = text_of(told, "event_id")
        cause = self._sent.get(event_id) if event_id else None
        self.errors.append(
            ServerError(
                type=text_of(told, "type"),
                code=text_of(told, "code"),
                message=text_of(told, "message") or "",
                param=text_of(told, "param"),
                event_id=event_id,
                caused_by=cause,
            )
        )
        for create in self._creates:
            if event_id is not None and create.event_id == event_id:
                self._creates.remove(create)
                break
        else:
            # Where no event is named (the client gave none an id), these can only have been caused by asking.
            busy = text_of(told, "code") == "conversation_already_has_active_response"
            if self._creates and event_id is None and (busy or (text_of(told, "param") or "").startswith("response.")):
                self._creates.pop()

    # ----------------------------------------------------------------------------------------------------------- items

    def _item_added(self, event: Event) -> None:
        told = dict_of(event.data, "item")
        if not told:
            return
        item_id = text_of(told, "id")
        known = self._items_by_id.get(item_id) if item_id else None
        if known is not None:
            known.data = told
            return
        item = Item(item_id, told)
        if item_id:
            self._items_by_id[item_id] = item
            self._deleted_ids.discard(item_id)
        previous = text_of(event.data, "previous_item_id")
        before = self._items_by_id.get(previous) if previous else None
        if before is not None and before in self.items:
            self.items.insert(self.items.index(before) + 1, item)
        elif previous is None and "previous_item_id" in event.data and self._goes_first(item):
            self.items.insert(0, item)
        else:
            self.items.append(item)
        if told.get("role") == "assistant" or told.get("type") == "function_call":
            self._fill_from_item(told)

    def _goes_first(self, item: Item) -> bool:
        # Officially null means "the first item". Compatible servers send null for every item: they are known by what the
        # model is just saying, which is never first. Where we see what was asked for, only what was asked to be first is.
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
        told = dict_of(event.data, "item")
        item_id = text_of(told, "id")
        known = self._items_by_id.get(item_id) if item_id else self._latest_without_id(told)
        if item_id in self._deleted_ids:
            return  # it was deleted while it was being said
        if known is None:
            self._item_added(event)
        elif event.type == "conversation.item.done" or not known.data:
            known.data = told

    def _latest_without_id(self, told: Mapping[str, Any]) -> Item | None:
        """The item that an event without an id completes."""
        for item in reversed(self.items):
            if item.id is None and item.role == told.get("role") and item.type == told.get("type"):
                return item
        return None

    def _item_truncated(self, event: Event) -> None:
        item = self._items_by_id.get(text_of(event.data, "item_id") or "")
        cut = event.data.get("audio_end_ms")
        if item is None or not isinstance(cut, int):
            return
        item.truncated_at_ms = cut
        # The server drops the whole transcript of that part with the audio after the point.
        item.data = item.data | {
            "content": [{k: v for k, v in part.items() if k != "transcript"} for part in item.parts]
        }

    def _item_deleted(self, event: Event) -> None:
        item_id = text_of(event.data, "item_id") or ""
        item = self._items_by_id.pop(item_id, None)
        if item is not None:
            self.items.remove(item)
            self._deleted_ids.add(item_id)

    def _transcribed(self, event: Event) -> None:
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
        """The response that an event is about; made here if its beginning was never seen."""
        response_id = text_of(data, "response_id")
        if response_id is None:
            for response in reversed(self.responses):
                if response.status in (None, "in_progress"):
                    return response
        elif response_id in self._responses_by_id:
            return self._responses_by_id[response_id]
        return self._new_response(response_id)

    def _new_response(self, response_id: str | None) -> Response:
        response = Response(response_id, simulated=self.simulated)
        self.responses.append(response)
        if response_id is not None:
            self._responses_by_id[response_id] = response
        return response

    def _response_created(self, event: Event) -> None:
        told = dict_of(event.data, "response")
        response_id = text_of(told, "id")
        response = self._responses_by_id.get(response_id) if response_id else None
        if response is None:
            response = self._new_response(response_id)
        response.created_at_ms = event.at_ms
        self._describe(response, told)
        if response.asked is None:
            response.asked = modalities_of(self.session)
        create = self._answered(response, told)
        if create is not None:
            response.started_by = "create"
            response.started_at_ms = create.at_ms
            response.event_id = create.event_id
        elif self._speech_stopped_at_ms is not None and response.conversation_id is not None:
            response.started_by = "vad"
            response.started_at_ms = self._speech_stopped_at_ms
            self._speech_stopped_at_ms = None

    def _answered(self, response: Response, told: Mapping[str, Any]) -> _Create | None:
        """Which of our `response.create` events this response answers; it is taken off the list."""
        tag = text_of(response.metadata or {}, TAG)
        for create in self._creates:
            if tag is not None and create.tag == tag:
                self._creates.remove(create)
                self._echoes_metadata = True
                return create
        if not self._creates:
            return None
        # Ours would be here if this server echoes metadata, so somebody else asked: turn detection. Some servers have the
        # field and never echo; where no speech was ever heard, nobody else can have asked.
        echoes = self._echoes_metadata or ("metadata" in told and self._heard_speech)
        if echoes and self._creates[0].tag is not None:
            return None
        return self._creates.popleft()

    def _response_done(self, event: Event) -> None:
        told = dict_of(event.data, "response")
        response_id = text_of(told, "id")
        response = self._response({"response_id": response_id})
        response.done_at_ms = event.at_ms
        self._describe(response, told)
        if response.usage is None:
            response.usage = dict_of(event.data, "usage") or None  # xAI puts it beside the response
        output = told.get("output")
        for index, item in enumerate(output if isinstance(output, list) else []):
            if isinstance(item, dict):
                self._fill(response, index, item)

    def _describe(self, response: Response, told: Mapping[str, Any]) -> None:
        response.status = text_of(told, "status") or response.status
        details = told.get("status_details")
        if isinstance(details, str):  # xAI sends a bare string
            response.reason = details
        elif isinstance(details, dict):
            error = dict_of(details, "error")
            response.error = error or response.error
            response.reason = (
                text_of(details, "reason") or text_of(error, "code") or text_of(error, "type") or response.reason
            )
        response.asked = modalities_of(told) or response.asked
        response.usage = dict_of(told, "usage") or response.usage
        response.metadata = dict_of(told, "metadata") or response.metadata
        if "conversation_id" in told:
            response.conversation_id = text_of(told, "conversation_id")
        elif response.conversation_id is None:
            response.conversation_id = ""  # October 2024 did not say; what is not said is in the conversation
        voice = read_session(told, "voice")
        response.voice = voice if isinstance(voice, str) else response.voice
        response.output_format = (
            read_session(told, "output_format") or read_session(self.session, "output_format") or "pcm16"
        )

    # ----------------------------------------------------------------------------------------- what a response contains

    def _added_to(self, event: Event, kind: Literal["audio", "text"]) -> tuple[Response, ContentPart] | None:
        """The response and the content part that a delta adds to; ``None`` if it adds nothing."""
        get = event.data.get
        # A reply's deltas all name the same part, so where it was found last time it is found again.
        names = (kind, get("response_id"), get("item_id"), get("output_index"), get("content_index"))
        if names == self._last_names:
            return None if self._is_surplus(event, self._last_part[0]) else self._last_part
        if self._is_surplus(event, self._responses_by_id.get(text_of(event.data, "response_id") or "")):
            return None
        self._last_part = self._part(event, kind)
        self._last_names = names if names[1] is not None else None  # without a name it may be another one next time
        return self._last_part

    def _part(self, event: Event, kind: Literal["audio", "text"]) -> tuple[Response, ContentPart]:
        """The response and the content part that an event is about."""
        response = self._response(event.data)
        key = (_place(response, event.data), int_of(event.data, "content_index"), kind)
        part = response.parts.get(key)
        if part is None:
            part = response.parts[key] = ContentPart(kind)
        return response, part

    def _content_part(self, event: Event) -> None:
        told = dict_of(event.data, "part")
        kind = PART_KINDS.get(str(told.get("type")))
        if kind is None:
            self.unknown[f"{event.type} of type {str(told.get('type'))[:40]}"] += 1
            return
        _, part = self._part(event, kind)
        if event.type.endswith(".done"):
            part.fill(told)

    def _text_delta(self, event: Event) -> None:
        if (found := self._added_to(event, "text")) is None:
            return
        response, part = found
        part.pieces.append(text_of(event.data, "delta") or "")
        if response.first_text_at_ms is None:
            response.first_text_at_ms = event.at_ms

    def _transcript_delta(self, event: Event) -> None:
        if (found := self._added_to(event, "audio")) is None:
            return
        response, part = found
        part.pieces.append(text_of(event.data, "delta") or "")
        if response.first_transcript_at_ms is None:
            response.first_transcript_at_ms = event.at_ms

    def _audio_delta(self, event: Event) -> None:
        found = self._added_to(event, "audio")
        pcm, event.pcm = event.pcm, None
        if found is None:
            return
        response, part = found
        if event.bad_audio:
            response.n_bad_audio += 1
        if pcm and self.keeps_audio:
            part.chunks.append(pcm)
        elif event.n_audio_bytes:  # not kept, or a log told only how many there were
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
        call = response.calls_by_index.setdefault(_place(response, event.data), FunctionCall())
        call.item_id = text_of(event.data, "item_id") or call.item_id
        call.call_id = text_of(event.data, "call_id") or call.call_id
        return call

    def _arguments_delta(self, event: Event) -> None:
        if self._is_surplus(event, self._responses_by_id.get(text_of(event.data, "response_id") or "")):
            return
        self._call(event).arguments += text_of(event.data, "delta") or ""

    def _arguments_done(self, event: Event) -> None:
        call = self._call(event)
        call.arguments = text_of(event.data, "arguments") or call.arguments
        call.name = text_of(event.data, "name") or call.name

    def _output_item(self, event: Event) -> None:
        told = dict_of(event.data, "item")
        response = self._response(event.data)
        self._fill(response, _place(response, event.data | {"item_id": told.get("id")}), told)
        item = self._items_by_id.get(text_of(told, "id") or "")
        if item is not None and event.type.endswith(".done"):
            item.data = told  # beta has no conversation.item.done: this is where its assistant items are completed

    def _fill_from_item(self, told: Mapping[str, Any]) -> None:
        """A finished item of a response whose own events are missing from the log."""
        item_id = text_of(told, "id")
        for response in reversed(self.responses):
            if item_id in response.index_of:
                self._fill(response, response.index_of[item_id], told)
                return

    def _fill(self, response: Response, index: int, item: Mapping[str, Any]) -> None:
        """Take what an output item says, whole: it completes what the deltas brought and never adds a second time."""
        item_id = text_of(item, "id")
        index = _place(response, {"item_id": item_id, "output_index": response.index_of.get(item_id or "", index)})
        if item.get("type") == "function_call":
            call = response.calls_by_index.setdefault(index, FunctionCall())
            call.name = text_of(item, "name") or call.name
            call.call_id = text_of(item, "call_id") or call.call_id
            call.arguments = text_of(item, "arguments") or call.arguments
            call.status = text_of(item, "status") or call.status
            call.item_id = item_id or call.item_id
            return
        content = item.get("content")
        for n, told in enumerate(content if isinstance(content, list) else []):
            kind = PART_KINDS.get(str(told.get("type"))) if isinstance(told, dict) else None
            if kind is not None:
                part = response.parts.setdefault((index, n, kind), ContentPart(kind))
                part.fill(told)


def _place(response: Response, data: Mapping[str, Any]) -> int:
    """The output index of the item that an event is about, as it says or as it is known by the item's id."""
    item_id, told = text_of(data, "item_id"), data.get("output_index")
    if not isinstance(told, int):
        told = response.index_of.get(item_id, len(response.index_of)) if item_id else 0
    if item_id:
        if item_id not in response.index_of:
            response.item_ids.append(item_id)
        response.index_of[item_id] = told
    return told


_HANDLERS: dict[str, Callable[[Conversation, Event], None]] = {
    "error": Conversation._error,
    "session.created": Conversation._session,
    "session.updated": Conversation._session,
    "conversation.item.added": Conversation._item_added,
    "conversation.item.done": Conversation._item_done,
    "conversation.item.retrieved": Conversation._item_done,
    "conversation.item.truncated": Conversation._item_truncated,
    "conversation.item.deleted": Conversation._item_deleted,
    "conversation.item.input_audio_transcription.completed": Conversation._transcribed,
    "input_audio_buffer.speech_started": Conversation._speech_started,
    "input_audio_buffer.speech_stopped": Conversation._speech_stopped,
    "input_audio_buffer.timeout_triggered": Conversation._speech_stopped,
    "input_audio_buffer.committed": Conversation._noted,
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
    "rate_limits.updated": Conversation._limits,
}
