"""From lines to records: the events in anybody's log, one after the other.

::

    a file ──┬─ one JSON value, YAML, CSV (`documents`) ─────────────────────────────────┐
             └─ lines (`lines`) ─┬─ JSON ────────────────────────────────────────────────┤→ values → `_walk` → `LogRecord`
                                 └─ text (`values`), joined where an object spans lines ──┘
                                    (`joining`)

What cannot be read is never guessed: of a line that was cut, or shortened in the middle, at most its type and its ids count
(`partial`), and the line is counted as not understood with a reason (`ParseReport`).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..wire.live import CLIENT_EVENTS as LIVE_CLIENT_EVENTS
from ..wire.live import is_live
from . import advice, events, times, values
from .documents import csv_pieces, decoded, json_pieces, kind_of, yaml_pieces
from .events import CLIENT_NAMES, ENDED, MENTION, LogRecord, Origin, is_event, sender
from .joining import Group, Wrapped
from .lines import ParseReport, SplitLines, lines, open_log, without_colours

_MAX_NODES = 20_000  # of one value that is looked through for events; 50 times that of a list, which may hold many
_MAX_NESTING = 10  # wrappers round an event, strings of JSON among them
_MAX_MENTIONS = 100_000  # of events by name alone
_MAX_WORK = 20  # how often a character may be read again, where lines only seemed to be one object


def records(path: Path, report: ParseReport) -> Iterator[LogRecord]:
    """Every record of a log, in its order. The file is read as it goes: a line at a time, unless it is one value.

    Raises:
        InputError: If it cannot be read, is no log at all, or holds more than any log does.
    """
    reader = _Reader(report)
    for name, head, readline in open_log(path):
        yield from reader.file(name, head, lines(name, readline, report))
    yield from reader.end()


def records_of(stored: Iterable[bytes], report: ParseReport) -> Iterator[LogRecord]:
    """Every record in lines of JSON that are in memory."""
    reader = _Reader(report)
    for n_line, line in enumerate(stored, 1):
        report.n_lines += 1
        yield from reader.line(line, n_line)
    yield from reader.end()


class _Reader:
    """One log on its way from lines to records.

    Args:
        outer: The reader of the log in a field of which this one's lines stand.
    """

    def __init__(self, report: ParseReport, outer: _Reader | None = None) -> None:
        self.report = report
        # Pieces of lines that a container runtime cut: CRI's, and Docker's, which cuts at 16 kB.
        self._split, self._docker = SplitLines(), SplitLines()
        # An object that goes on in the next lines. Lines that turn out to be none are read again, up to a bound.
        self._group: Group | None = None
        self._wrapped = Wrapped()
        self._n_chars = self._n_chars_again = 0
        # The text that a logger wrapped in the JSON of this line: an object in it may go on in the next.
        self._inner: str | None = None
        # Events by name alone, which count where nothing better is known; and how many of each type were read, partial ones too.
        self._mentions: list[tuple[str, Origin]] = outer._mentions if outer else []
        self._n_seen: Counter[str] = outer._n_seen if outer else Counter()
        # Ids of responses and items of another API, whose later events do not say whose they are.
        self._foreign_ids: set[str] = outer._foreign_ids if outer else set()

    # ---------------------------------------------------------------------------------------------------------- kinds of file

    def file(self, name: str, head: bytes, text_lines: Iterator[bytes]) -> Iterator[LogRecord]:
        """The records of one file, or one member of a zip."""
        kind = kind_of(name, head)
        if kind == "lines":
            yield from self._lines(text_lines)
            return
        pieces_of = {"json": json_pieces, "yaml": yaml_pieces, "csv": csv_pieces}[kind]
        for value, its_lines, n_line, is_cut in pieces_of(text_lines, name, head):
            origin = Origin(n_line=n_line)
            text = without_colours(b"".join(its_lines).decode("utf-8", "replace"))
            if value is not None and values.HINT.search(text) and (is_cut or _is_damaged(value, text)):
                yield from self._of_damaged("shortened in the middle", text, origin)
                continue
            parsed = list(self._of_value(value, origin))
            yield from parsed
            if not parsed:
                yield from self._lines(its_lines, n_line)
                self.report.n_other += not its_lines

    def _lines(self, text_lines: Iterable[bytes], first: int = 1) -> Iterator[LogRecord]:
        line, n_line = b"", 0
        for n_line, line in enumerate(text_lines, first):
            yield from self.line(line.removeprefix(b"\xef\xbb\xbf") if n_line == 1 else line, n_line)
        is_open = self._group is not None or events.is_cut(line.decode("utf-8", "replace"))
        self.report.torn += is_open and not line.endswith(b"\n")
        yield from self._flush(n_line)

    # ------------------------------------------------------------------------------------------------------------------ lines

    def line(self, line: bytes, n_line: int) -> Iterator[LogRecord]:
        """The records in one line, or in the lines that it completes."""
        bare = line.strip()
        value = decoded(bare) if bare.startswith((b"{", b"[")) else None
        if value is not None:
            yield from self._texts(self._wrapped.end())
            if (parsed := self._of_json_line(value, bare, n_line)) is not None:
                yield from parsed
                return
        text = self._split.join(line.decode("utf-8", "replace").rstrip("\r\n")) if bare or self._group else None
        if text is not None:
            yield from self._text(text, Origin(n_line=n_line))

    def _of_json_line(self, value: Any, bare: bytes, n_line: int) -> Iterable[LogRecord] | None:
        """The records in a line of JSON; ``None`` if it is to be read as text, in an object that goes on in it."""
        origin = Origin(n_line=n_line)
        if b"..." in bare or "…".encode() in bare:
            text = bare.decode("utf-8", "replace")
            if values.HINT.search(text) and values.is_elided(value, text, 0, len(text)):
                return [*self._give_up(), *self._of_damaged("shortened in the middle", text, origin)]
        is_wrapped = isinstance(value, dict) and not is_event(value)
        inner = self._inner = events.text_field(value) if is_wrapped else None
        # Docker cuts a line in pieces of 16 kB: only the last ends the line.
        is_dockers = inner is not None and "log" in value and isinstance(value.get("stream"), str)
        if inner is not None and is_dockers and (self._docker.pieces or not inner.endswith("\n")):
            return self._wrapped_text(value, inner, n_line)
        n_foreign = self.report.n_foreign
        if (parsed := list(self._of_value(value, origin))) or self.report.n_foreign > n_foreign:
            return [*self._give_up(), *parsed]  # another record begins, so what was begun before never ends
        if inner is not None:
            # An object begins in the text, or it speaks of an event.
            is_open = self._group is not None or self._docker.pieces or inner.rstrip().endswith(("{", "[", "(", ","))
            if is_open or values.HINT.search(inner) is not None or "\n" in inner.strip():
                return self._wrapped_text(value, inner, n_line)
        if self._group is not None:
            return None
        words = inner if inner is not None and events.FIELD.search(inner) else bare.decode("utf-8", "replace")
        return self._without_event(words, origin)

    def _wrapped_text(self, fields: dict[str, Any], text: str, n_line: int) -> Iterator[LogRecord]:
        """The records in a line of text that a logger or a container wrapped in JSON, or in a piece of one."""
        stream = fields.get("stream")
        if "log" in fields and isinstance(stream, str):  # Docker's json-file: a piece without \n goes on
            if (joined := self._docker.add(stream, text, is_last=text.endswith("\n"))) is None:
                return
            text = joined
        key, direction = events.session_key({**fields, "log": None}), events.direction_of(fields)
        origin = Origin(times.of_fields(fields), key, direction, n_line)
        for part in text.splitlines() or [""]:
            if (line := self._split.join(part)) is not None:
                yield from self._text(line, origin)

    def _text(self, text: str, origin: Origin) -> Iterator[LogRecord]:
        """The records in a line of text. Lines whose group came to nothing are read again, each by itself."""
        self._n_chars += len(text)
        plain = without_colours(text)
        yield from self._texts(self._wrapped.join(plain, origin) if self._group is None else [(plain, origin)])

    def _texts(self, text_lines: Iterable[tuple[str, Origin]]) -> Iterator[LogRecord]:
        waiting = deque(text_lines)
        while waiting:
            line, where = waiting.popleft()
            if (group := self._group) is None:
                yield from self._one_line(line, where)
                continue
            state = group.add(line, where)
            if state == "open":
                continue
            self._group = None
            if state == "complete" and (parsed := self._of_group(group)) is not None:
                yield from parsed
                continue
            # It never was one object: the others are read for themselves.
            (first, its_origin), *again = group.lines if state == "complete" else [*group.lines, (line, where)]
            self._n_chars_again += sum(len(text) for text, _ in again)
            yield from self._without_event(first, its_origin, reason="cut off")
            waiting.extendleft(reversed(again))

    def _one_line(self, line: str, origin: Origin) -> Iterator[LogRecord]:
        if _OF_COMPLAINT.search(line):
            self.report.notes[_COMPLAINT] += 1
            return
        has_hint = values.HINT.search(line) is not None
        if not has_hint and not line.rstrip().endswith(("{", "[", "(", ",")):
            if line.strip():
                yield from self._without_event(line, origin)
            return
        parsed, begins = self._of_objects(line, origin, *values.values_in(line)) if has_hint else ([], None)
        yield from parsed
        if parsed and (begins is None or all(record.kind == "partial" for record in parsed)):
            return  # of a line that was shortened, each piece may look as if it had no end
        if self._n_chars_again <= _MAX_WORK * self._n_chars + 1_000_000:
            self._group = Group.beginning(line, begins, origin)
        if self._group is None and not parsed:
            yield from self._without_event(line, origin)

    def _of_group(self, group: Group) -> list[LogRecord] | None:
        """The records of an object that was printed over several lines; ``None`` if the lines are no object."""
        is_elided = any(values.is_centred(line) for line, _ in group.lines)
        for text in group.texts():
            if values.HINT.search(text) is None:
                self.report.n_other += 1
                return []
            if group.is_damaged:
                return list(self._of_damaged("cut off", text, group.origin))
            objects, unended = values.values_in(text)
            if not objects or objects[0].start > group.start:
                continue  # what was begun could not be read, only something in it
            if is_elided or (group.is_wrapped and any(values.has_broken_name(v.data, values.SPACE) for v in objects)):
                return list(self._of_damaged("shortened in the middle", text, group.origin))
            if parsed := self._of_objects(text, group.origin, objects, unended)[0]:
                return parsed
        return None

    def _of_objects(
        self, text: str, origin: Origin, objects: list[values.Value], unended: int | None
    ) -> tuple[list[LogRecord], int | None]:
        """The records of the objects in a text, and where one begins that does not end."""
        if not objects:
            return [], unended
        parsed: list[LogRecord] = []
        before: list[LogRecord] = []  # of the object before
        end_before, last_event = 0, -1
        prefix = text[: objects[0].start]
        at = origin.at or times.of_text(prefix)
        key = origin.key or events.session_key_in(f"{prefix[-300:]} {text[objects[-1].end :][:300]}")
        for value in objects:
            between = text[end_before : value.start]
            where = origin._replace(at=at or times.of_text(between[-300:]), key=key, hidden=value.hidden)
            end_before = value.end
            if value.is_elided:
                parsed += self._of_damaged("shortened in the middle", text[value.start : value.end], where)
                continue
            of_value = list(self._of_value(value.data, where))
            if of_value:
                last_event = value.start
                # Printed twice in one line, in words and as data: it is one event. Side by side they are two.
                if not (between.strip(" ,;") and _same(of_value, before)):
                    parsed += of_value
                    before = of_value
        if unended is not None and unended < last_event:
            unended = None  # braces in the words before it
        return parsed, unended

    def _give_up(self) -> Iterator[LogRecord]:
        """The object that was begun never ended: its first line tells what it can, the others may begin another."""
        while (group := self._group) is not None:
            self._group = None
            (first, origin), *again = group.lines
            self._n_chars_again += sum(len(line) for line, _ in again)
            yield from self._without_event(first, origin, reason="cut off")
            for line, where in again:
                yield from self._text(line, where)

    def _flush(self, n_line: int) -> Iterator[LogRecord]:
        """A file ends, with that line."""
        for line in [*self._split.unended(), *self._docker.unended()]:
            yield from self._text(line, Origin(n_line=n_line))
        yield from self._texts(self._wrapped.end())
        yield from self._give_up()

    def end(self) -> Iterator[LogRecord]:
        """The log ends: what is only known by name counts where nothing else is."""
        yield from self._flush(self.report.n_lines)
        if not self._n_seen:
            for name, origin in self._mentions:
                if name not in CLIENT_NAMES or name == "response.create":
                    self.report.n_partial += 1
                    yield origin.record("partial", {"type": name}, sender(name))
        unseen = Counter(name for name, _ in self._mentions) - self._n_seen
        if unseen:
            self.report.reasons["that only name an event"] += unseen.total()

    # --------------------------------------------------------------------------------------------------------- what is not read

    def _without_event(self, text: str, origin: Origin, *, reason: str | None = None) -> Iterator[LogRecord]:
        """A line in which no event could be read: one that is about something else, or one that is lost.

        ======================================  ======================================================================
        in it stands                            and it is
        ======================================  ======================================================================
        an event's type, or a piece of one      lost: its type and ids count, and the line with a reason
        the type of a GPT-Live event            that event, of which no more is known
        an event's name among words             kept, in case the log holds nothing better: see `end`
        none of these                           another line
        ======================================  ======================================================================
        """
        advice.look(text, self.report)
        kind = events.type_in(text)
        if kind is not None and is_live(kind):
            self.report.n_live += 1
            yield origin.record("live", {"type": kind})
        elif kind is not None:
            is_shortened = values.ELISION.search(text) is not None
            why = "cut off" if events.is_cut(text) else "shortened in the middle" if is_shortened else _UNREAD
            yield from self._of_damaged(reason or why, text, origin)
        elif values.HINT.search(text) and (names := MENTION.findall(text)):
            if len(self._mentions) < _MAX_MENTIONS:
                at = origin.at or times.of_text(text)
                self._mentions += [(name, origin._replace(at=at)) for name in names[:3]]
                if len(self.report.samples) < 2:
                    self.report.samples.append((origin.n_line, text.strip()[:100]))
        else:
            self.report.n_other += 1

    def _of_damaged(self, reason: str, text: str, origin: Origin) -> Iterator[LogRecord]:
        """Lines about an event that could not be read: what is whole in them, its type and its ids, still counts.

        Where the end of an event is lost, the next may stand in what seemed to be one object.
        """
        for n_before, part in events.split(text):
            n_line = origin.n_line + n_before
            advice.look(part, self.report)
            self.report.lose(reason, n_line, part)
            data = events.remains(part)
            kind = data.get("type", "")
            if kind:
                self.report.n_partial += 1
                self._n_seen[kind] += 1
            if data.pop("is_foreign", False) or data.get("response_id") in self._foreign_ids:
                self.report.n_foreign += 1
            elif is_live(kind):
                self.report.n_live += 1
            else:
                before = events.before(part)
                key = origin.key or events.session_key_in(before[-300:])
                where = origin._replace(key=key, n_line=n_line, hidden=frozenset())
                yield where.record("partial", data, sender(kind), times.of_text(before))

    # ------------------------------------------------------------------------------------------------------------------ values

    def _of_value(self, value: Any, origin: Origin) -> Iterator[LogRecord]:
        """The records in a value: itself, or whatever it wraps."""
        if isinstance(value, dict) and isinstance(value.get("log"), str):
            own = events.own_record(value, origin.n_line)
            if own is not None:
                yield own
                return
        budget = [_MAX_NODES if not isinstance(value, list) else 50 * _MAX_NODES]  # of parts, for all that is in it
        yield from self._walk(value, origin, 0, budget)
        if budget[0] <= 0:
            self.report.notes["an object has too many parts to be looked through"] += 1

    def _walk(self, value: Any, origin: Origin, depth: int, budget: list[int]) -> Iterator[LogRecord]:
        budget[0] -= 1
        if depth > _MAX_NESTING or budget[0] <= 0:
            return
        if is_event(value):
            yield from self._event(value, origin)
        elif isinstance(value, dict):
            if value.get("object") == "realtime.response" and value.get("status") in ENDED and "id" in value:
                yield from self._event({"type": "response.done", "response": value}, origin)
            else:
                yield from self._wrapper(value, origin, depth, budget)
        elif isinstance(value, list):
            if len(value) > 1 and all(isinstance(part, str) and part.endswith("\n") for part in value[:-1]):
                if isinstance(value[-1], str):
                    value = ["".join(value)]  # a notebook's output, line by line
            elif value and all(isinstance(part, dict) and "field" in part and "value" in part for part in value):
                # CloudWatch's Insights: [{"field": "@timestamp", "value": …}, {"field": "@message", "value": …}]
                value = [{str(part["field"]): part["value"] for part in value}]
            is_pair = len(value) == 2 and isinstance(value[0], str) and len(value[0]) < 40  # ["12:00:01", {…}]
            origin = origin._replace(at=(times.of_text(value[0]) if is_pair else None) or origin.at)
            for part in value:
                yield from self._walk(part, origin, depth + 1, budget)
        elif isinstance(value, str) and len(value) > 8 and values.HINT.search(value):
            yield from self._string(value, origin)

    def _wrapper(self, fields: dict[str, Any], origin: Origin, depth: int, budget: list[int]) -> Iterator[LogRecord]:
        """The records in an object that is none itself."""
        origin = origin._replace(
            at=times.of_fields(fields) or origin.at,
            key=events.session_key(fields) or origin.key,
            direction=events.direction_of(fields) or origin.direction,
        )
        n_bytes = fields.get("n_audio_bytes")  # the kit's own logs, and the ledger's events
        if isinstance(n_bytes, int) and isinstance(event := fields.get("event"), dict) and is_event(event):
            for record in self._event(event, origin):
                record.n_audio_bytes = n_bytes
                yield record
            return
        before: list[LogRecord] = []
        for field in fields.values():
            if isinstance(field, dict | list | str):
                parsed = list(self._walk(field, origin, depth + 1, budget))
                if parsed and not _same(parsed, before):  # in words and as data: it is one event
                    yield from parsed
                    before = parsed

    def _string(self, text: str, origin: Origin) -> Iterator[LogRecord]:
        """The records in a string: JSON, a line of text, or several."""
        is_json = text.lstrip()[:1] in "{["
        if is_json and (value := decoded(text.encode("utf-8", "surrogatepass"))) is not None:
            if values.is_elided(value, text, 0, len(text)):
                yield from self._of_damaged("shortened in the middle", text, origin)
            else:
                yield from self._of_value(value, origin)
        elif "\n" in text.strip():
            inner = _Reader(self.report, outer=self)
            for line in text.splitlines():
                yield from inner._text(line, origin)
            yield from inner._flush(origin.n_line)
        else:
            parsed, unended = self._of_objects(text, origin, *values.values_in(text))
            yield from parsed
            # An object that is open in the text of a logger's line may go on in the next; elsewhere it was cut.
            if not parsed and unended is not None and text is not self._inner and events.type_in(text):
                yield from self._of_damaged("cut off", text, origin)

    def _event(self, event: dict[str, Any], origin: Origin) -> Iterator[LogRecord]:
        kind = event["type"]
        if is_live(kind):
            self.report.n_live += 1
            yield origin.record("live", event, "client" if kind in LIVE_CLIENT_EVENTS else "server")
            return
        # Another API's: it says so, or it speaks of a response that does.
        is_foreign = events.is_foreign(event)
        if is_foreign and len(self._foreign_ids) < _MAX_MENTIONS:
            self._foreign_ids.update(events.ids(event))
        elif self._foreign_ids and "event_id" not in event:
            is_foreign |= not self._foreign_ids.isdisjoint(events.ids(event))
        if is_foreign:
            self.report.n_foreign += 1
            return
        self.report.n_events += 1
        self._n_seen[kind] += 1
        if origin.hidden:
            self.report.frameworks.add("node")  # nothing else prints less than there is without cutting the line
        at = origin.at or times.of_fields(event, inside_event=True)
        yield origin.record("event", event, sender(kind, origin.direction), at)


# Pydantic says of each type that an event might have been why it is none, and shows a piece of the event.
_OF_COMPLAINT = re.compile(r"^ {2}\S.* \[type=\w+, input_value=.*, input_type=\w+\]$")
_COMPLAINT = "lines in which pydantic complains of an event, and repeats pieces of it, are not counted"
_UNREAD = "in a notation that is not read"


def _is_damaged(value: Any, text: str) -> bool:
    """Whether something was taken out of the text of a document that parsed all the same."""
    if "\n" not in text.strip():
        return values.is_elided(value, text, 0, len(text))
    is_elided = values.ELISION.search(text) is not None and values.has_broken_name(value)
    return is_elided or any(map(values.is_centred, text.splitlines()))


def _same(parsed: list[LogRecord], before: list[LogRecord]) -> bool:
    return [(a.kind, a.data) for a in parsed] == [(b.kind, b.data) for b in before]
