"""Read the objects that programs print into text: JSON, JSON in quotes, Python, JavaScript and pydantic prints, logfmt.

`PARSERS` is the list of them, each with a sample. Nothing is evaluated: JSON goes to `json`; every other notation is rewritten,
token by token, as a Python expression of constants, which `ast` parses. Depth and length are bounded first.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_DEPTH = 64  # the deepest event of the reference has about ten levels
MAX_PRINT_CHARS, MAX_PRINT_MARKS = 8 * 1024 * 1024, 200_000  # of one printed object that is not JSON
_MAX_FAILURES = 16  # places in one text at which an object seems to begin and does not
_MAX_QUOTES = 4  # JSON in a string in a string in …

QUOTED = r""""[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*'|`[^`\\]*(?:\\.[^`\\]*)*`"""
_STRING = re.compile(QUOTED, re.DOTALL)
BEGINS = re.compile(r"\{|\b[A-Z]\w*\(")
HINT = re.compile(
    r"(?:session|conversation|response|realtime|(?:in|out)put_audio_buffer|rate_limits|mcp_list_tools)\.[a-z_]"
    r"|type\W{1,12}error\b"
)
"""Stands in every text that may hold an event."""


class Unended(ValueError):
    """The text ends inside the object."""


class Value(NamedTuple):
    """An object in a text.

    Attributes:
        data: Dicts, lists and plain values.
        start, end: Where it stands.
        hidden: Paths of fields that the program did not print (``response.output``); they are not in `data`.
        is_elided: Whether characters were taken out of its middle: nothing in it can be trusted.
    """

    data: Any
    start: int
    end: int
    hidden: frozenset[str] = frozenset()
    is_elided: bool = False


def values_in(text: str, *, n_quotes: int = 0) -> tuple[list[Value], int | None]:
    """The objects in a text, in their order, and where one begins that does not end (``None``: nowhere).

    Args:
        n_quotes: In how many strings, one inside the other, the text stood.
    """
    if (value := _pairs(text)) is not None:
        return [value], None
    values: list[Value] = []
    unended: int | None = None
    at = n_failures = 0
    while n_failures < _MAX_FAILURES and (begin := BEGINS.search(text, at)) is not None:
        for parse in PARSERS:
            try:
                value = parse(text, begin.start(), n_quotes)
            except Unended:
                unended = begin.start() if unended is None else unended
                if parse is _quoted:
                    return values, unended  # what has its backslashes double is not what it looks like
                continue
            except (ValueError, RecursionError, MemoryError):
                continue
            if value is not None:
                values.append(value)
                at = max(value.end, begin.end())
                break
        else:
            n_failures += 1
            at = begin.end()
    return values, unended


# ------------------------------------------------------------------------------------------------------------- the parsers


def _json(text: str, at: int, n_quotes: int) -> Value | None:
    """``{"type": "response.done", "response": {…}}``"""
    if text[at] != "{":
        return None
    data, end = _decode_json(text, at)
    # It stood in quotes, of which one is lost: its backslashes are double.
    was_quoted = text[end : end + 1] in ("'", '"') and text[end] != text[at - 1 : at] and "\\" in text[at:end]
    return Value(data, at, end, is_elided=was_quoted or is_elided(data, text, at, end))


def _quoted(text: str, at: int, n_quotes: int) -> Value | None:
    r"""``msg="recv {\"type\":\"response.done\"}"``, ``'{"type":"it\'s"}'``, ``b'{"type":…}'``, also quoted twice."""
    if n_quotes >= _MAX_QUOTES or text[at] != "{":
        return None
    if text.startswith('{\\"', at) or text.startswith('{\\\\"', at):
        start = at - 1  # the quote before it that is not escaped itself
        while start >= 0 and not (text[start] == '"' and (start == 0 or text[start - 1] != "\\")):
            start = text.rfind('"', 0, start)
    else:
        start = at - 1 if at and text[at - 1] in "'\"" and "\\" in text else -1
    if start < 0:
        return None
    match = _STRING.match(text, start)
    if match is None:
        raise Unended("a string without an end")
    content = unescaped(match[0][1:-1], is_bytes=text[max(0, start - 1) : start] == "b")
    values, _ = values_in(content, n_quotes=n_quotes + 1)
    if not values:
        return None
    hidden = frozenset[str]().union(*(value.hidden for value in values))
    data = values[0].data if len(values) == 1 else [value.data for value in values]
    was_elided = any(value.is_elided for value in values) or is_elided(data, text, at, match.end())
    # Not as long as the program says that it is: < TEXT '{"type":…' [13000 bytes]
    if (n_bytes := _N_BYTES.match(text, match.end())) is not None:
        was_elided |= int(n_bytes[1].replace(",", "")) != len(content.encode("utf-8", "replace"))
    return Value(data, at, match.end(), hidden, was_elided)


def _doubled(text: str, at: int, n_quotes: int) -> Value | None:
    """``2025-11-26,server,"{""type"":""response.done""}"``: a cell of CSV"""
    if not text.startswith('{""', at) or not at or text[at - 1] != '"':
        return None
    match = _CELL.match(text, at - 1)
    if match is None:
        raise Unended("a cell without an end")
    content = match[1].replace('""', '"')
    data, end = _decode_json(content)
    was_elided = is_elided(data, content, 0, end) or is_elided(data, text, match.start(), match.end())
    return Value(data, at, match.end(), is_elided=was_elided)


def _print(text: str, at: int, n_quotes: int) -> Value | None:
    """``{'ok': True}``, ``{ type: 'x' }``, ``Event(type='x', response=Response(id='y'))``, ``{type=>"x"}``"""
    end = extent(text, at)
    source = text[at:end]
    reader = _Expression()
    data = reader.read(source)
    return Value(data, at, end, frozenset(reader.hidden), is_elided(data, text, at, end))


PARSERS: tuple[Callable[[str, int, int], Value | None], ...] = (_quoted, _json, _doubled, _print)
"""Tried in this order where an object may begin. Quotes first: JSON in a string may parse as it stands, with its backslashes double."""

_CELL = re.compile(r'"((?:[^"]|"")*)"(?!")')
_PAIR = re.compile(r"(?<![\w.$-])([A-Za-z_][\w.]*)=(?![=\s])")
_IS_PAIRS = re.compile(r"(?:^|\s)type=(['\"])[a-z_]+(?:\.[a-z_]+)*\1(?:\s|$)|=\"[^\"]*\{\\\"")
_PLAIN_WORD = re.compile(r"(?![\"'])(?:(-?(?:0|[1-9]\d{0,15})(?:\.\d{1,17})?)(?=[\s,]|$)|[^\s,]*)")
_MAX_PAIRS = 200
_LAST_OF = (  # how a type ends, and the field without which such an event is not whole
    ("delta", "delta"), ("text.done", "text"), ("transcript.done", "transcript"), ("arguments.done", "arguments"),
    ("audio.done", "content_index"), ("part.added part.done", "part"), ("response.created response.done", "response"),
    ("item.added item.created item.done item.create item.retrieved", "item"), ("transcription.completed", "transcript"),
    ("session.created session.updated session.update", "session"), ("conversation.created", "conversation"),
    ("rate_limits.updated", "rate_limits"), ("buffer.append", "audio"), ("error", "error"),
)  # fmt: skip
_OBJECTS = ("response", "session", "item", "part", "conversation", "rate_limits", "error")


def _pairs(text: str) -> Value | None:
    r"""``type='response.done' event_id='x' response=Response(…)``, ``ts=… level=debug msg="recv {\"type\":…}" call=17``"""
    if _IS_PAIRS.search(text) is None:
        return None
    fields: dict[str, Any] = {}
    reader = _Expression()
    at, start, is_print, was_elided = 0, None, False, False
    while len(fields) < _MAX_PAIRS and (pair := _PAIR.search(text, at)) is not None:
        between = text[at : pair.start()] if start is not None else ""
        was_elided |= ELISION.search(between) is not None
        if is_print and between.strip():
            return None  # part of a field was lost
        start = pair.start() if start is None else start
        begin = pair.end()
        is_print |= pair[1] == "type"
        if begin == len(text) or pair[1] in fields:
            return None  # cut before the value, or between two fields of one name
        try:
            if (string := _STRING.match(text, begin)) is not None:
                fields[pair[1]], at = unescaped(string[0][1:-1]), string.end()
            elif text.startswith(("{", "["), begin) or re.compile(r"[\w.]+\(").match(text, begin):
                at = extent(text, begin)
                fields[pair[1]] = reader.read(text[begin:at], pair[1])
            else:
                word = _PLAIN_WORD.match(text, begin)
                if word is None:
                    return None  # a string without an end
                number = word[0] if word[1] is None else float(word[0]) if "." in word[0] else int(word[0])
                fields[pair[1]], at = _CONSTANTS.get(word[0], number), word.end()
        except (ValueError, RecursionError, MemoryError):
            return None
    if start is None:
        return None
    if is_print:
        # No bracket closes it, so it must have what events of its type end with, and objects where they have objects.
        kind = str(fields["type"])
        last = next((name for ends, name in _LAST_OF if kind.endswith(tuple(ends.split()))), "type")
        is_whole = last in fields and not any(isinstance(fields.get(name), str) for name in _OBJECTS)
        if not is_whole or text[at:].strip(" \t\r\n\"')]}>,;"):
            return None
    was_elided |= ELISION.search(text, at) is not None or is_elided(fields, text, start, at)
    return Value(fields, start, at, frozenset(reader.hidden), was_elided)


# ---------------------------------------------------------------------------------------------------------------- strings

_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8})|(\n)|(.))", re.DOTALL
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0"}


def unescaped(text: str, *, is_bytes: bool = False) -> str:
    """Undo the backslashes of a string, of any language; of bytes, read what they spell as UTF-8."""
    if "\\" in text:
        text = _ESCAPE.sub(_character, text)
        if any("\ud800" <= c <= "\udfff" for c in text):  # two escapes make one character
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if is_bytes:
        with contextlib.suppress(UnicodeEncodeError):
            text = text.encode("latin-1").decode("utf-8", "replace")
    return text


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3] or match[4]
    if code:
        number = int(code, 16)
        return chr(number) if number <= 0x10FFFF else "\ufffd"
    return "" if match[5] else _SIMPLE.get(match[6], match[6])


# ----------------------------------------------------------------------------------------------------------------- extents

_MARKS = re.compile(rf"({QUOTED})|([\"'`])|([{{\[(])|([}}\])])", re.DOTALL)
_CLOSES = {"{": "}", "[": "]", "(": ")"}


class Scan:
    """Where the brackets of an object close, line after line.

    Attributes:
        stack: The closing brackets that are still to come.
        quote: The quote of a string that is open at the end of the last line, else "".
        n_lowest: How many brackets were open at the least, in the last line.
    """

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.quote = ""
        self.n_marks = self.n_lowest = 0

    def feed(self, text: str, at: int = 0) -> int | None:
        """Go on with more text; returns where the object ends in it, or ``None``.

        Raises:
            ValueError: If the brackets do not match, or are too many.
        """
        self.n_lowest = len(self.stack)
        if self.quote:
            end = re.compile(rf"[^{self.quote}\\]*(?:\\.[^{self.quote}\\]*)*{self.quote}", re.DOTALL).match(text, at)
            if end is None:
                return None
            at, self.quote = end.end(), ""
        for mark in _MARKS.finditer(text, at):
            if mark[1]:
                continue
            self.n_marks += 1
            if mark[2]:
                self.quote = mark[2]
                return None
            if mark[3]:
                self.stack.append(_CLOSES[mark[3]])
                if len(self.stack) > MAX_DEPTH or self.n_marks > MAX_PRINT_MARKS:
                    raise ValueError("nested too deeply")
            elif not self.stack or self.stack.pop() != mark[4]:
                raise ValueError(f"{mark[4]} closes nothing")
            elif not self.stack:
                return mark.end()
            else:
                self.n_lowest = min(self.n_lowest, len(self.stack))
        return None


def extent(text: str, at: int) -> int:
    """Where the object that begins at `at` ends.

    Raises:
        Unended: If the text ends first.
        ValueError: If it is none, or too large.
    """
    end = Scan().feed(text, at)
    if end is None:
        raise Unended("the text ends inside an object")
    if end - at > MAX_PRINT_CHARS:
        raise ValueError("a print of more characters than any event has")
    return end


# ------------------------------------------------------------------------------------------------------------------ prints

_HIDDEN = "__hidden__"
_CONSTANTS: dict[str, Any] = {
    "None": None, "null": None, "undefined": None, "nil": None, "True": True, "true": True, "False": False, "false": False,
    "nan": None, "NaN": None, "inf": None, "Infinity": None,
}  # fmt: skip


def _string(text: str) -> str:
    quote = min(text.find(q) for q in "'\"`" if q in text)
    if "\\" not in text and "\n" not in text and text[quote] != "`":
        return text[quote:]
    return repr(unescaped(text[quote + 1 : -1], is_bytes="b" in text[:quote].lower()))


# What is not Python in the prints of other programs, and the Python that says the same, or what makes it of the text.
_NOTATIONS: tuple[tuple[str, str, str | Callable[[str], str], str], ...] = (
    # name, expression, Python, a sample of what it was made for
    ("string", rf"[bBrRuU]{{0,2}}(?:{QUOTED})", _string, "'it\\'s'  `it's \"x\"`  b'caf\\xc3\\xa9'"),
    ("cut", r"\.\.\.\s*\d+ more characters?", f"+ {_HIDDEN}", "'AAAA'... 200 more characters"),
    ("more", r"\.\.\.\s*\d+ more (?:items?|properties|property|entries|entry)", _HIDDEN, "[ 1, 2, ... 98 more items ]"),
    ("prototype", r"\[Object: null prototype\]\s*(?=\{)", "", "[Object: null prototype] { type: 'x' }"),
    ("hidden", r"\[(?:Object|Array|(?:Async)?Function|Circular|Getter|Setter|class|Promise)\b[^\[\]{}\"']*\]", _HIDDEN,
     "output: [ [Object] ]"),
    ("enum", r"<[\w.]+:\s*(?=['\"\d])([^<>]*)>", lambda text: text[text.index(":") + 1 : -1], "<Status.done: 'completed'>"),
    ("object", r"<(?:Buffer|ref)\b[^<>{}]*>", _HIDDEN, "<Buffer 1f 8b>  <ref *1>"),
    ("key", r"[A-Za-z_$][\w$]*(?=\s*:(?!:))", repr, "{ type: 'x', from: 'y' }"),
    ("named", r"[A-Za-z_$][\w$]*(?:\.[\w$]+)*\s*(?:\(\d+\)\s*|\s)(?=[{\[])", "", "Object(3) {…}  Map(2) {…}  RealtimeEvent {…}"),
    ("arrow", r"=>", ":", "Map(1) { 'a' => 1 }  {\"type\"=>\"x\"}"),
    ("bigint", r"\b(\d+)n\b", lambda text: text[:-1], "12n"),
    ("zeros", r"(?<![\w.])0+(\d+)(?![\w.])", lambda text: text.lstrip("0") or "0", "007"),
)  # fmt: skip
_NOTATION = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern, *_ in _NOTATIONS), re.DOTALL)
_PYTHON = {name: python for name, _, python, _ in _NOTATIONS}


def _as_python(token: re.Match[str]) -> str:
    python = _PYTHON[str(token.lastgroup)]
    return python if isinstance(python, str) else python(token[0])


class _Expression:
    """A print as data.

    Attributes:
        hidden: Paths of the fields whose value the program did not print.
    """

    def __init__(self) -> None:
        self.hidden: set[str] = set()

    def read(self, source: str, path: str = "") -> Any:
        """The data of one printed object, which is the value of the field `path`.

        Raises:
            ValueError: If it is no object of constants.
        """
        with warnings.catch_warnings():  # of Python about the source, which nobody wrote as Python
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(_NOTATION.sub(_as_python, source).replace("\n", " ").strip(), mode="eval")
            except SyntaxError as exc:
                raise ValueError("not an object of constants") from exc
        data = self._value(tree.body, path)
        if data is _UNSEEN:
            raise ValueError("nothing of it was printed")
        return data

    def _value(self, node: ast.expr, path: str = "") -> Any:
        match node:
            case ast.Constant(value=value) if value is not ... and not isinstance(value, complex):
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            case ast.Name(id=name) if name in _CONSTANTS:
                return _CONSTANTS[name]
            case ast.Name(id=name) if name == _HIDDEN:
                return _UNSEEN
            case ast.Dict(keys=keys, values=nodes):
                names = [self._value(key) if key is not None and not _is_joined(key) else _UNSEEN for key in keys]
                return self._fields(list(zip(names, nodes, strict=True)), path)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                listed = [self._value(part, path) for part in parts]
                return _UNSEEN if any(part is _UNSEEN for part in listed) else listed
            case ast.Call(keywords=[], args=[*_, ast.Dict() as last]):  # OrderedDict({…}), defaultdict(<class …>, {…})
                return self._value(last, path)
            case ast.Call(func=ast.Attribute() | ast.Name() as func, args=args, keywords=fields):
                if isinstance(func, ast.Name) and func.id in _CONSTANTS:
                    raise ValueError("a constant is not called")
                for part in args:  # datetime(2026, 5, 1): of no use here, but no "0.5 (truncated)"
                    self._value(part)
                return self._fields([(field.arg, field.value) for field in fields], path)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)):
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left=left, op=ast.Add(), right=right):  # how Node folds a long string
                texts = self._value(left), self._value(right)
                if not isinstance(texts[0], str):
                    raise ValueError("only strings are folded")
                return texts[0] + texts[1] if isinstance(texts[1], str) else _UNSEEN
        raise ValueError(f"a {type(node).__name__} is no value")

    def _fields(self, pairs: list[tuple[Any, ast.expr]], path: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, node in pairs:
            if name is _UNSEEN or name == _HIDDEN or not isinstance(name, str | int):
                raise ValueError("a field without a name")
            if str(name) in fields:
                raise ValueError("a field that stands twice: what was between them is lost")
            inner = f"{path}.{name}" if path else str(name)
            value = self._value(node, inner)
            if value is _UNSEEN:
                self.hidden.add(inner)
            else:
                fields[str(name)] = value
        return fields


_UNSEEN = object()


def _is_joined(key: ast.expr) -> bool:
    """Whether a key is two strings side by side, which Python joins: the value of the first was cut off."""
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str) and key.end_col_offset is not None):
        return False
    n_bytes = key.end_col_offset - key.col_offset
    return n_bytes not in (len(text.encode("utf-8", "replace")) for text in (f"'{key.value}'", repr(key.value)))


# ----------------------------------------------------------------------------------------------------------------- elision

ELISION = re.compile(r"\.\.\.|…|\\u2026|\[truncated\]|<truncated>|\(truncated\)")
SPACE = re.compile(r"\s")
_GAP = re.compile(r" ?(?:\.{3,}|…|\\u2026|[\[<(]truncated[\]>)]|\[\.\.\.\])+ ?")
# After its end: the object did not end there before something was taken out.
_GOES_ON = re.compile(r"\s*(?:\}|,\s*[\"']?\w+[\"']?\s*:)")
IS_GAP = re.compile(rf"{_GAP.pattern}\s*")
_N_BYTES = re.compile(r"\s*\[(\d[\d,]*) bytes?\]")
_NAMES = ("type", "object", "status", "role", "name", "code", "param", "reason", "model")
_WORDS = frozenset(  # of an event: what people, models and programs say, or sound that somebody shortened on purpose
    {"text", "transcript", "delta", "audio", "instructions", "message", "arguments", "output", "description", "prompt",
     "image_url"}
)  # fmt: skip


def is_elided(data: Any, text: str, start: int, end: int) -> bool:
    """Whether characters were taken out of the middle of an object that parsed all the same.

    ``...`` in a key, an id or a type cannot be meant; in words it can, unless as much of the object, or of a line, stands before it as
    after it, which is how programs shorten (`websockets` keeps two thirds before and one third after).
    """
    if ELISION.search(text, start, end) is None:
        return False
    if has_broken_name(data) or _GOES_ON.match(text, end):
        return True
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    lines = text[first : last if last >= 0 else len(text)].split("\n")
    return any(map(is_centred, [text[start:end], *lines, *map(str.strip, lines)]))


def is_centred(text: str) -> bool:
    """Whether about as much stands before an elision as after it, or twice as much."""
    for gap in _GAP.finditer(text):
        head, tail = gap.start(), len(text) - gap.end()
        slack = 1 + len(gap[0]) - len(_OF_WORDS.sub("", gap[0]))
        if tail >= 15 and any(abs(head - part * tail) <= part * slack for part in (1, 2)):
            return True
    return False


_OF_WORDS = re.compile(r" |(?<=\.\.\.)\.")  # what in a mark may be of the words beside it


def has_broken_name(data: Any, mark: re.Pattern[str] = ELISION, *, in_event: bool = False) -> bool:
    """Whether a key, an id or a type in an object, or whatever else in an event is no words, holds what none can hold."""
    if isinstance(data, str):
        return in_event and mark.search(data) is not None
    if isinstance(data, list):
        return any(has_broken_name(part, mark, in_event=in_event) for part in data)
    if not isinstance(data, dict):
        return False
    kind = data.get("type")
    in_event = in_event or (mark is ELISION and isinstance(kind, str) and HINT.match(kind) is not None)
    for key, value in data.items():
        is_name = key in _NAMES or key == "id" or key.endswith("_id") or (in_event and key not in _WORDS)
        if mark.search(key) or has_broken_name(value, mark, in_event=is_name if isinstance(value, str) else in_event):
            return True
    return False


_decode_json = json.JSONDecoder().raw_decode
