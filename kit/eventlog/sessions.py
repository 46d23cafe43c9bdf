"""From records to sessions: which session a record belongs to, and the fold of each.

Sessions are told apart by what the log says of each event (a session id beside it), else by the ids in the events, else by
their order: a `session.created` begins another one. Times count from a session's first event, in milliseconds; where a log has
none, the responses have none.
"""

from __future__ import annotations

import math
import pickle
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from .. import show
from ..wire import records as wire_records
from ..wire.conversation import Conversation, ConversationView, Fold, SessionView
from ..wire.dialect import BETA_NAME, GA_NAME
from ..wire.events import AUDIO_DELTA, DIGEST, Event, dict_of, event_of, text_of
from ..wire.records import ContentPart, FunctionCall, Item, Response
from .events import LogRecord, ids
from .lines import ParseReport
from .times import Instant, of_text, wall_time
from .writing import without_audio

_TIMES = (
    "started_at_ms", "created_at_ms", "first_audio_at_ms", "first_text_at_ms", "first_transcript_at_ms", "done_at_ms",
)  # fmt: skip
MAX_EVENTS = 1_000_000  # kept of one session
# Responses and items kept as they are where only counts are asked for; older ones are packed, or let go.
_MAX_WHOLE = 5_000
_MAX_UNNAMED = 100_000  # partial events without an id, kept until it is known whether any has one
_DAY_MS = 86_400_000.0

# What a type alone says of the reply that it belongs to.
_EVIDENCE: dict[str, str] = {
    f"response.output_{name}.{end}": kind
    for name, kind in (("text", "text"), ("audio", "audio"), ("audio_transcript", "audio"))
    for end in ("delta", "done")
}
_CALLS = ("response.function_call_arguments.delta", "response.function_call_arguments.done")
_FIRST_OF = {  # the time that an event of this type sets, where it is the first
    "response.output_text.delta": "first_text_at_ms",
    "response.output_audio.delta": "first_audio_at_ms",
    "response.output_audio_transcript.delta": "first_transcript_at_ms",
}
# Of what the program did not print: what a response contains, and the words of a piece of it.
_HIDDEN_OUTPUT = re.compile(r"(?:^|\.response\.|^response\.)output(?:\.content)?$")
_HIDDEN_WORDS = re.compile(r"(?:^|\.)(?:delta|text|transcript|part)$")
_BETA_ONLY = frozenset(BETA_NAME.values()) - frozenset(BETA_NAME)

COLUMNS = ("session_id", *wire_records.COLUMNS, "turn", "at", "model", "n_seeded", "partial", "file")
"""Of the row of a response: what `kit log` prints, and what evidence bundles hold. `turn` counts from 1 in its session, `at` is when
it was asked for (ISO 8601), `n_seeded` how many assistant messages stood before the first response, `partial` whether lines of it
were lost."""


class Logged(SessionView[Fold]):
    """What every session of a log has, whichever protocol it is of. It reads like a live session that is over.

    Attributes:
        file: Where it was read.
        key: How the log tells it from others.
        header: Of a log that the kit wrote: endpoint, dialect, model, version, when it was opened.
        end: ... and how it ended: ``code`` and ``reason``; ``None`` if the log breaks off or never says.
        n_events: Events read.
        n_malformed: Frames that were no events.
        n_withheld: Frames of which a redaction hook kept nothing.
    """

    _ANSWERS = "responses"
    has_times = True

    def __init__(self, fold: Fold, file: str, key: str | None, keep_audio: bool) -> None:
        self._events: list[Event] = []
        super().__init__(fold, self._events)
        self.file, self.key, self._keep_audio = file, key, keep_audio
        self.header: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self.n_events = self.n_malformed = self.n_withheld = 0
        # Where its clock began: the first time that the log tells. Instants of another clock cannot be compared.
        self._zero: Instant | None = None
        self._latest_ms = math.nan  # on that clock

    def _since_first(self, at: Instant | None) -> float:
        """Milliseconds since the session's first time; NaN where the log does not say, or on another clock."""
        if at is None or (self._zero is not None and at.clock != self._zero.clock):
            return math.nan
        if self._zero is None:
            self._zero = at._replace(ms=0.0) if at.clock == "atms" else at
        at_ms = at.ms - self._zero.ms
        if at.clock == "day" and at_ms < self._latest_ms - _DAY_MS / 2:  # past midnight
            self._zero = self._zero._replace(ms=self._zero.ms - _DAY_MS)
            at_ms += _DAY_MS
        self._latest_ms = at_ms
        return at_ms

    @property
    def model(self) -> str | None:
        """The model, as the server or the log's header names it."""
        return super().model or text_of(self.header or {}, "model")

    @property
    def n_responses(self) -> int:
        """How many responses or replies there are."""
        return len(self._conversation.responses)

    def _note(self, record: LogRecord) -> None:
        if record.kind == "header":
            self.header = record.data
            simulated = record.data.get("simulated")
            self._conversation.simulated = simulated if isinstance(simulated, bool) else None
        elif record.kind == "end":
            self.end = record.data
        elif record.kind == "withheld":
            self.n_withheld += 1
        else:
            self.n_malformed += 1

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        name = show.one_line(self.id or self.key or "without an id", 80)
        model = show.one_line(self.model or "model unknown", 60)
        return (
            f"<{type(self).__name__} {name}, {model}, "
            f"{self.n_events} events, {self.n_responses} {self._ANSWERS}{f', {mark}' if mark else ''}>"
        )


class LoggedSession(Logged[Conversation], ConversationView):
    """One session of a log.

    Attributes:
        id: As the server named it; ``None`` if the log never says.
        n_lost: Events of it that were cut or shortened.
        has_client: Whether it has what the client sent.
        elsewhere: Ids of responses of which cut lines came here, and all others to another session.
        last_ms: When its last event was, in ms since its first; NaN where the log does not say.
    """

    columns = COLUMNS

    def __init__(self, file: str, key: str | None = None, *, keep_audio: bool = True) -> None:
        super().__init__(Conversation(), file, key, keep_audio)
        self.n_lost = 0
        self.has_client = self._spoke_beta = False
        self.last_ms = math.nan
        self.elsewhere: set[str | None] = set()
        # Whether its `session.created` was seen. Without, a conversation without messages may only have lost its beginning.
        self._begun = False
        # Ids of responses that are being made: a line that is lost meanwhile may have been about any of them.
        self._open: set[str | None] = set()
        # Ids of responses whose `response.done` told all that they contain, so that no lost line makes them partial; and of those
        # whose `response.done` hides it (Node's `[Object]`).
        self._complete: set[str | None] = set()
        self._hidden: set[str | None] = set()
        # Pieces of events that name no response. They count at the end only, and only if no other reply is known: see `finish`.
        self._unnamed: list[LogRecord] = []
        # Assistant messages before the first response, by who told of them: each is in a log of both directions twice.
        self._n_seeded = {"client": 0, "server": 0}
        self._packed: list[bytes] = []  # the oldest responses, which are over

    @property
    def responses(self) -> list[Response]:
        return list(self.iter_responses())

    def iter_responses(self) -> Iterator[Response]:
        """Every response, in the order in which they began, without all of them in memory at once."""
        for data in self._packed:
            response: Response = pickle.loads(zlib.decompressobj(zdict=_TYPICAL).decompress(data))
            self._finish(response)
            yield response
        yield from (response for response in self._conversation.responses if response.id not in self.elsewhere)

    @property
    def n_responses(self) -> int:
        return len(self._packed) + super().n_responses - len(self.elsewhere)

    @property
    def id(self) -> str | None:
        return super().id or (self.key if (self.key or "").startswith("sess_") else None)

    @property
    def busy(self) -> bool:
        """Whether a response is being made where the log stands now."""
        return bool(self._open)

    @property
    def n_seeded(self) -> int | None:
        """How many assistant messages the conversation had before its first response: 0 of a session that began fresh.

        ``None`` if its beginning is not in the log.
        """
        n = max(self._n_seeded.values())
        return n if n or self._begun else None

    @property
    def answers(self) -> list[Response]:
        """The responses that a rate counts: all of them."""
        return self.responses

    def items_before(self, n: int) -> list[dict[str, Any] | None]:
        """The conversation as it was when the `n`-th reply began, from 1, as `History.from_events` takes it; ``None`` for an item
        without words, or of a kind that no history has."""
        # Folded anew, up to that reply: the session's own fold is at its end.
        conversation = Conversation()
        for event in self.events:
            if event.direction == "client":
                conversation.sent(event.data, event.at_ms)
            else:
                conversation.receive(event)
            if len(conversation.responses) == n:
                break  # here it began, so its own items are not in the conversation yet
        return [_entry(item) for item in conversation.items]

    @property
    def dialect(self) -> Literal["ga", "beta"]:
        """In which dialect it was held: by its header, or by what only beta has."""
        has_beta = self._spoke_beta or "modalities" in self.settings or (self.header or {}).get("dialect") == "beta"
        return "beta" if has_beta else "ga"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per response (`COLUMNS`); ``None`` where the log does not say."""
        return list(self.iter_rows())

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """The rows, one at a time."""
        for turn, response in enumerate(self.iter_responses(), 1):
            instants = (response.started_at_ms, response.created_at_ms, response.done_at_ms)
            at_ms = next((at_ms for at_ms in instants if at_ms is not None), None)
            yield {
                "session_id": self.id, **wire_records.row(response), "turn": turn, "at": self.wall_time(at_ms),
                "model": self.model, "n_seeded": self.n_seeded, "partial": response.partial, "file": self.file,
            }  # fmt: skip

    @property
    def _n_dropped(self) -> int:
        return self.n_events - len(self._events)

    def wall_time(self, at_ms: float | None) -> str | None:
        """An instant of the session as ISO 8601; ``None`` where the log does not say."""
        if at_ms is None or math.isnan(at_ms) or self._zero is None:
            return None
        if self._zero.clock in ("unix", "local", "day"):
            return wall_time(self._zero._replace(ms=self._zero.ms + at_ms))
        opened = of_text(text_of(self.header or {}, "opened_at") or "")
        return wall_time(Instant(at_ms + opened.ms, opened.clock)) if opened else None

    # ---------------------------------------------------------------------------------------------------- being read

    def take(self, record: LogRecord, report: ParseReport) -> None:
        """Fold one record in."""
        if record.kind not in ("event", "partial"):
            self._note(record)
            return
        at_ms = self.last_ms = self._since_first(record.at)
        if math.isnan(at_ms) and record.at is not None:
            report.notes["events whose time is on another clock than their session's have none"] += 1
        if record.kind == "event":
            self._take_event(record, at_ms, report)
        else:
            self._take_partial(record, at_ms)

    def _take_event(self, record: LogRecord, at_ms: float, report: ParseReport) -> None:
        data, fold = record.data, self._conversation
        kind = GA_NAME.get(data["type"], data["type"])
        self.n_events += 1
        self._spoke_beta |= data["type"] in _BETA_ONLY
        if kind in ("conversation.item.create", "conversation.item.added") and not fold.responses:
            self._n_seeded[record.direction] += dict_of(data, "item").get("role") == "assistant"
        if record.direction == "client":
            self.has_client = True
            fold.sent(data, at_ms)
            if not self._keep_audio:
                return
            event = Event(str(data["type"]), without_audio(data), at_ms, "client")
        else:
            delta = data.get("delta") if kind == AUDIO_DELTA else None
            if isinstance(delta, str) and (match := DIGEST.match(delta)) is not None:
                # Audio of which the log keeps the digest only counts with its length.
                event = Event(AUDIO_DELTA, data | {"delta": ""}, at_ms, pcm=b"", n_audio_bytes=int(match[2]))
            else:
                event = event_of(data, at_ms)
            if record.n_audio_bytes and not event.pcm:
                event.n_audio_bytes = record.n_audio_bytes
            if not self._keep_audio and event.pcm:
                event.pcm = b""  # counted by its length, which the event knows
            if event.type in ("response.created", "response.done") and not isinstance(data.get("response"), dict):
                self._take_partial(record, at_ms)  # the program printed nothing of the response
                return
            self._begun |= event.type == "session.created"
            fold.receive(event)
            self._note_response(event, record)
        if self._keep_audio:
            if len(self._events) < MAX_EVENTS:
                self._events.append(event)
            return
        if event.type == "response.done":
            self._pack(report)

    def _pack(self, report: ParseReport) -> None:
        """Make the oldest responses small, and let the oldest items go."""
        fold = self._conversation
        if len(fold.items) >= 2 * _MAX_WHOLE:
            fold.forget_items(_MAX_WHOLE)
            report.notes[f"items of a session that has more than {_MAX_WHOLE:,} are not kept"] = 1
        if len(fold.responses) >= 2 * _MAX_WHOLE:
            for response in fold.forget_responses(_MAX_WHOLE):
                response.partial = self._is_partial(response)
                self._packed.append(_packed(response))
                self._complete.discard(response.id)
                self._hidden.discard(response.id)

    def _note_response(self, event: Event, record: LogRecord) -> None:
        """Take note of which responses are being made, and of whose content the log hides."""
        if not event.type.startswith("response."):
            return
        response = dict_of(event.data, "response")
        name = text_of(response, "id") or text_of(event.data, "response_id")
        if event.type == "response.created":
            self._open.add(name)
        elif event.type == "response.done":
            self._open.discard(name)
            if any(_HIDDEN_OUTPUT.search(path) for path in record.hidden):
                self._hidden.add(name)
            elif response.get("output"):
                self._complete.add(name)
        elif any(_HIDDEN_WORDS.search(path) for path in record.hidden):
            self._mark(name)

    # --------------------------------------------------------------------------------------------- events that are not whole

    def note_loss(self) -> None:
        """A line was lost that may have been about the responses that are being made."""
        self.n_lost += 1
        for name in self._open:
            self._mark(name)

    def _mark(self, name: str | None) -> Response | None:
        """Mark the response of that id as partial, without an id the last one; returns it."""
        fold = self._conversation
        response = fold.response(name) if name is not None else fold.responses[-1] if fold.responses else None
        if response is not None:
            response.partial = True
        return response

    def _take_partial(self, record: LogRecord, at_ms: float) -> None:
        """Fold in what is left of an event: of which type it was, and of which response."""
        self.n_lost += 1
        kind = GA_NAME.get(str(record.data.get("type")), str(record.data.get("type")))
        if record.direction == "client":
            self.has_client = True
            self._conversation.sent({"type": kind}, at_ms)
            return
        self._begun |= kind == "session.created"
        if not kind.startswith("response."):
            return
        own = text_of(record.data, "response_id") or text_of(dict_of(record.data, "response"), "id")
        if own is not None:
            self._fold_partial(kind, own, record.data, at_ms)
            return
        for name in self._open:
            self._mark(name)
        if len(self._unnamed) < _MAX_UNNAMED:
            self._unnamed.append(record)
            record.at = Instant(at_ms, "atms")  # on the session's clock from here on

    def _fold_partial(self, kind: str, name: str | None, data: dict[str, Any], at_ms: float) -> None:
        """Tell the fold what a type says of a response."""
        fields: dict[str, Any] = {"response_id": name}
        if kind == "response.created":
            event_type, fields = kind, {"response": {"id": name, "status": "in_progress"}}
        elif kind == "response.done":
            status = {"status": data["status"]} if "status" in data else {}
            event_type, fields = kind, {"response": {"id": name, **status}}
        elif evidence := _EVIDENCE.get(kind) or wire_records.PART_KINDS.get(str(data.get("part"))):
            event_type, fields = "response.content_part.added", fields | {"part": {"type": evidence}}
        elif kind in _CALLS:
            event_type = "response.function_call_arguments.done"
        else:
            event_type, fields = "response.output_item.added", fields | {"item": {}}
        self._conversation.receive(Event(event_type, {"type": event_type, **fields}, at_ms))
        if kind == "response.created":
            self._open.add(name)
        elif kind == "response.done":
            self._open.discard(name)
        response, first = self._mark(name), _FIRST_OF.get(kind)
        if response is not None and first is not None and getattr(response, first) is None:
            setattr(response, first, at_ms)

    def _fold_unnamed(self) -> None:
        """Fold in events of which only the types are known: a reply goes from `response.created` to `response.done`."""
        for record in self._unnamed:
            at_ms = record.at.ms if record.at else math.nan
            kind = GA_NAME.get(record.data["type"], record.data["type"])
            is_open = None in self._open
            if kind == "response.done" and not is_open:
                continue  # of a reply of which nothing else is known
            if kind != "response.created" and not is_open:
                self._fold_partial("response.created", None, {}, at_ms)
            self._fold_partial(kind, None, record.data, at_ms)

    # ------------------------------------------------------------------------------------------------------------------ end

    def finish(self, simulated: bool | None = None, *, types_alone: bool = True) -> None:
        """The log has no more of it.

        Args:
            simulated: What is known otherwise of who answered.
            types_alone: Whether events without an id may count as replies: where no other reply is known.
        """
        if self._conversation.simulated is None:
            self._conversation.simulated = simulated
        if types_alone and not self._conversation.responses:
            self._fold_unnamed()
        self._unnamed.clear()
        for response in self._conversation.responses:
            if not self._keep_audio:
                for part in response.parts.values():
                    part.n_not_kept = part.n_bytes
                    part.chunks = []
            response.partial = self._is_partial(response)
            self._finish(response)

    def _finish(self, response: Response) -> None:
        if response.status == "in_progress":
            response.status = None  # it never said how it ended
        response.simulated = self.simulated
        for name in _TIMES:
            value = getattr(response, name)
            if value is not None and math.isnan(value):
                setattr(response, name, None)

    def _is_partial(self, response: Response) -> bool:
        """Whether there may be more in a response than the log shows."""
        if response.id in self._complete:
            return False
        is_hidden = response.id in self._hidden and not response.parts and not response.calls_by_index
        return response.partial or is_hidden or (response.created_at_ms is None and self.n_lost > 0)


# A response that is over, as some 250 bytes, so that a session of a million fits into memory: pickled, and packed with what the pickles
# of all responses repeat.
_TYPICAL = pickle.dumps(
    Response(
        "resp_", "completed", asked=("audio", "text"), started_by="create", voice="marin", output_format="audio/pcm",
        usage={name: {"audio_tokens": 0, "text_tokens": 0, "cached_tokens": 0} for name in ("input_token_details", "output_tokens")},
        parts={(0, 0, "audio"): ContentPart("audio", words="")}, calls_by_index={0: FunctionCall()},
    )
)  # fmt: skip


def _packed(response: Response) -> bytes:
    packer = zlib.compressobj(1, zdict=_TYPICAL)
    try:
        data = pickle.dumps(response)
    except RecursionError:  # no service nests as deep
        response.usage = response.metadata = response.error = None
        data = pickle.dumps(response)
    return packer.compress(data) + packer.flush()


# What a client may send of an item.
_ITEM_FIELDS = ("type", "role", "name", "call_id", "arguments", "output")


def _entry(item: Item) -> dict[str, Any] | None:
    """An item as `History.from_events` takes it; ``None`` for one without words, or of a kind that no history has."""
    if item.type not in ("message", "function_call", "function_call_output") or not item.text:
        return None
    if item.transcript:  # of a user's speech: the item itself has no words
        return {"type": "message", "role": item.role, "content": [{"type": "input_text", "text": item.transcript}]}
    # Servers add fields of their own, or null for those that another kind of item has: what is seeded has what is needed.
    fields = {name: item.data[name] for name in _ITEM_FIELDS if item.data.get(name) is not None}
    parts = [{name: value for name, value in part.items() if value is not None} for part in item.parts]
    return fields | ({"content": parts} if parts else {})


_MAX_IDS = 200_000  # of responses, items and sessions
_MAX_SEARCHED = 64  # sessions at once, looked through for a free one
_OVERLAP = "sessions overlap, told apart by ids in the events alone: what names none went to the one that spoke last"


class Sorter:
    """Which session of a log a record belongs to.

    ======================================================  ====================================================================
    a record                                                goes to
    ======================================================  ====================================================================
    has a key (a session id beside the event)               the session of that key; another begins if a `session.created` in it
                                                            names another session
    has a session's own id                                  that session
    is a `session.created`                                  a new one, or the one that the client's first events began
    has the id of a response or item                        the session that had it before
    begins a response while one is being made               the latest session that is free: one makes one response at a time
    says nothing                                            the session of the record before
    ======================================================  ====================================================================
    """

    def __init__(self, file: str, report: ParseReport, *, keep_audio: bool) -> None:
        # In the order in which they begin.
        self.sessions: list[LoggedSession] = []
        self._report = report
        self._file, self._keep_audio = file, keep_audio
        # By what the log says beside the events; by the ids of responses, items and sessions in the events.
        self._by_key: dict[str, LoggedSession] = {}
        self._by_id: OrderedDict[str, LoggedSession] = OrderedDict()  # the last `_MAX_IDS`
        # Ids in what the client sent since the server's last word: if that is another session's first, they are of it.
        self._unanswered: list[str] = []
        # Of the record before: an event that names nothing goes there.
        self._latest: LoggedSession | None = None

    def take(self, record: LogRecord) -> LoggedSession | None:
        """Fold a record into its session; returns that session."""
        if record.kind == "live":
            return None
        if record.kind == "partial" and "type" not in record.data:
            for session in self.sessions:  # nothing says whose it was
                session.note_loss()
            return None
        names = ids(record.data) if record.kind in ("event", "partial") else []
        session = self._find(record, names)
        if session is not self._latest and self._latest is not None and session.key is None and session.n_events:
            self._report.notes[_OVERLAP] = 1
        for name in names:
            if name not in self._by_id:
                self._remember(name, session)
        self._unanswered = [*self._unanswered, *names][-_MAX_SEARCHED:] if record.direction == "client" else []
        self._latest = session
        session.take(record, self._report)
        return session

    def finish(self, simulated: bool | None = None) -> list[LoggedSession]:
        """End every session; returns those of which anything is known."""
        types_alone = not any(session.n_responses for session in self.sessions)
        for session in self.sessions:
            session.finish(simulated, types_alone=types_alone)
        if self._by_key and any(session.n_lost for session in self.sessions):
            self._count_once()
        return [s for s in self.sessions if s.n_events or s.header or s.n_malformed or s.n_withheld or s.n_responses]

    def _count_once(self) -> None:
        """Leave a response to one session: cut lines that had lost their key may have come to another."""
        homes: dict[str, tuple[LoggedSession, bool]] = {}
        for session in self.sessions:
            for name, is_partial in [(r.id, r.partial) for r in session.iter_responses() if r.id is not None]:
                home, was_partial = homes.setdefault(name, (session, is_partial))
                if home is not session and (is_partial or was_partial):
                    (session if is_partial else home).elsewhere.add(name)
                    homes[name] = (home, was_partial) if is_partial else (session, False)

    def _find(self, record: LogRecord, names: Iterable[str]) -> LoggedSession:
        key, data, latest = record.key, record.data, self._latest
        settings = data.get("session") if record.kind == "event" else None
        own_id = settings.get("id") if isinstance(settings, dict) and record.direction == "server" else None
        begins = data.get("type") in ("session.created", "transcription_session.created")
        # The session of the first id that is known.
        owner = next((self._by_id[name] for name in names if name in self._by_id), None)
        # What came before the server's first word (the client's first events) is of the session that it begins.
        fresh = latest if latest is not None and latest.key is None and not latest.settings else None
        if key is not None:
            return self._of_key(key, owner, fresh, own_id if begins else None)
        if isinstance(own_id, str):
            session = self._by_id.get(own_id) or fresh or (self._new(None) if begins else latest) or self._new(None)
            self._remember(own_id, session)
            return session
        if begins:
            return fresh if fresh is not None and not fresh.n_lost else self._new(None)
        if owner is not None:
            return owner
        # Lines that are cut may have lost their key.
        if latest is not None and latest.key is not None and record.kind != "partial" and not latest.n_lost:
            latest = None
        if latest is not None and latest.key is None and data.get("type") == "response.created" and latest.busy:
            # A session makes one response at a time, so this one is another session's, if one is free.
            recent = self.sessions[: -_MAX_SEARCHED - 1 : -1]
            return next((session for session in recent if session.key is None and not session.busy), latest)
        return latest or self._new(None)

    def _of_key(
        self, key: str, owner: LoggedSession | None, fresh: LoggedSession | None, new_id: object
    ) -> LoggedSession:
        """The session of a key; of lines that are cut, some have lost theirs, or a piece of it.

        Args:
            owner: The session of the first id that is known.
            new_id: Of the session that the record begins.
        """
        session = self._by_key.get(key)
        if session is None and owner is not None:
            lacks_key = owner.n_lost > 0 if owner.key is None else owner.key.startswith(key.rstrip(".…"))
            session = owner if lacks_key else None
        if session is None and fresh is not None and fresh.n_lost:
            session = fresh
        if session is None or (None not in (session.id, new_id) and session.id != new_id):
            session = self._new(key)
        session.key = session.key or key
        self._by_key[key] = session
        return session

    def _new(self, key: str | None) -> LoggedSession:
        session = LoggedSession(self._file, key, keep_audio=self._keep_audio)
        self.sessions.append(session)
        if key is None:
            for name in self._unanswered:  # the client's first events, in a log that had another session before
                self._remember(name, session)
        return session

    def _remember(self, name: str, session: LoggedSession) -> None:
        """Note whose an id is. What came long before does not come again."""
        self._by_id[name] = session
        if len(self._by_id) > _MAX_IDS:
            self._by_id.popitem(last=False)
