"""Files that are no lines: one JSON value, YAML, CSV. Each is a stream of values, or of lines where it is none after all."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ..errors import InputError
from .joining import MAX_GROUP_CHARS, MAX_GROUP_LINES
from .lines import n_parts_of
from .values import HINT, IS_GAP

MAX_WHOLE_BYTES, MAX_WHOLE_PARTS = 64 * 1024 * 1024, 8_000_000  # of a file that is one JSON value: it is read whole
MAX_YAML_BYTES, MAX_YAML_DEPTH = 16 * 1024 * 1024, 500  # of one YAML document

_ONE_VALUE = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*(?:[\[{"\]]|\Z|\n)|\{\s*\n)')  # not "[12:00:01] a line of text"
# There is one way only through blank lines: with two, a file of them would take exponential time.
_YAML = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t\r]*\n|[#%][^\n]*\n)*(?:---\s|- [\w\"']+:\s|[\w-]+:[ \t]*\n\s*- |[\w-]+: [^\n{]*\n[\w-]+:)"
)
# Each level of a block is further to the right.
_TOO_DEEP = re.compile(rf"^[ \t?:-]{{{2 * MAX_YAML_DEPTH}}}", re.MULTILINE)
_CSV = re.compile(rb'[,;\t|]"[^"\n]*\{(?:[^"\n]|"")*""')
_ROW = re.compile(r'(?:^|[,;\t|])"(?!")[^"\n]*\{\s*""')  # in a cell each quote is doubled, so this is where one begins


class Piece(NamedTuple):
    """A part of a file: a value, and the lines that it stands in.

    Attributes:
        value: ``None`` where the lines are none of the kind, and are to be read as lines.
        lines: As they are in the file.
        n_line: Of the first.
        is_cut: Whether something was cut off its lines, although it parses.
    """

    value: Any
    lines: list[bytes]
    n_line: int
    is_cut: bool = False


def kind_of(name: str, head: bytes) -> str:
    """What a file is, by its name and what it begins with: ``json`` (one value), ``yaml``, ``csv`` or ``lines``."""
    suffix = name.lower().rpartition(".")[2].removesuffix(".gz")
    if _ONE_VALUE.match(head):
        return "json"
    is_yaml = _YAML.match(head) and b"type:" in head.replace(b'"', b"") and not head.lstrip().startswith((b"{", b"["))
    if suffix in ("yaml", "yml") or is_yaml:
        return "yaml"
    return "csv" if suffix in ("csv", "tsv") or _CSV.search(head) else "lines"


def decoded(line: bytes) -> Any:
    """A JSON value; ``None`` where it is none."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


_decode = msgspec.json.Decoder().decode


def json_pieces(lines: Iterator[bytes], name: str, head: bytes) -> Iterator[Piece]:
    """The parts of one JSON value.

    Raises:
        InputError: If it is larger than can be held.
    """
    read: list[bytes] = []
    n_bytes = n_parts = 0
    for line in lines:
        read.append(line)
        n_bytes += len(line)
        n_parts += n_parts_of(line)
        if n_bytes > MAX_WHOLE_BYTES or n_parts > MAX_WHOLE_PARTS:
            raise InputError(
                f"{name} is one JSON value of more than {MAX_WHOLE_BYTES // 2**20} MiB or {MAX_WHOLE_PARTS:,} parts; "
                "make it lines: jq -c '.[]'"
            )
    value = decoded(b"".join(read).lstrip(b"\xef\xbb\xbf"))
    if value is None:
        yield Piece(None, read, 1)
        return
    for part in value if isinstance(value, list) else [value]:
        yield Piece(part, [], 1)


def yaml_pieces(lines: Iterator[bytes], name: str, head: bytes) -> Iterator[Piece]:
    """The documents of YAML, and the parts of a list in one.

    Raises:
        InputError: If one is larger than can be held.
    """
    before: Piece | None = None
    for piece in _yaml_documents(lines, name):
        # What writes a blank line after a document does so after each: else that was a line of it.
        if before is not None:
            is_blank, was_blank = (not of.lines[-1].strip() for of in (piece, before))
            yield before._replace(is_cut=before.is_cut or (was_blank and not is_blank))
            piece = piece._replace(is_cut=piece.is_cut or (is_blank and not was_blank))
        before = piece
    if before is not None:
        yield before


def _yaml_documents(lines: Iterator[bytes], name: str) -> Iterator[Piece]:
    block: list[bytes] = []
    n_bytes, first = 0, 1
    for n_line, line in enumerate(lines, 1):
        if block and (line.startswith(b"---") or (line[:2].rstrip() == b"-" == block[0][:2].rstrip())):
            yield _yaml_piece(block, first)
            block, n_bytes, first = [], 0, n_line
        if not (line.startswith(b"---") and not line[3:].strip()) and not line.startswith(b"%"):
            block.append(line)
            n_bytes += len(line)
        if n_bytes > MAX_YAML_BYTES:
            raise InputError(f"{name} has YAML of more than {MAX_YAML_BYTES // 2**20} MiB; make it JSON lines")
    if block:
        yield _yaml_piece(block, first)


def _yaml_piece(block: list[bytes], first: int) -> Piece:
    """A YAML document. Words are words: of YAML's own ideas null, true, false and numbers are taken."""
    text = b"".join(block).decode("utf-8", "replace")
    # How deep brackets nest in it, those in strings included.
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[][{}]", text))
    depths = itertools.accumulate(steps, lambda depth, step: max(0, depth + step))
    if _TOO_DEEP.search(text) or max(depths, default=0) > MAX_YAML_DEPTH:
        return Piece(None, block, first)  # libyaml would overflow the stack, and end the process
    import yaml  # most logs have no use for it

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = type("Loader", (loader_class,), {"yaml_implicit_resolvers": _RESOLVERS})(text)
    try:
        root = loader.get_single_node()
        value = loader.construct_document(root) if root is not None else None
        return Piece(value, block, first, root is not None and _is_cut(root, block))
    except (yaml.YAMLError, ValueError, LookupError, RecursionError):  # an IndexError for `!!float ""`
        return Piece(None, block, first)
    finally:
        loader.dispose()


def _is_cut(root: Any, block: list[bytes]) -> bool:
    """Whether lines of a YAML document were cut, although it parses.

    ====================================================  =========================================================
    it has                                                where that cannot be meant
    ====================================================  =========================================================
    a value that is nothing but the mark of a cut         anywhere
    no value                                              beside a tag; where what wrote it spells null out
    words without quotes                                  where what wrote it quotes every string, keys too
    a line that is blank, or has nothing but its indent   between two lines that are of no text over several lines
    or a dash
    ``...`` at its end                                    where no ``---`` begins it
    ====================================================  =========================================================
    """
    import yaml

    nodes: list[yaml.Node] = [root]
    of_text: set[int] = set()
    visited: set[int] = set()  # an alias is the node itself, again
    is_quoted = spells_null = has_null = has_words = False
    while nodes:
        node = nodes.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.end_mark.line > node.start_mark.line:
                of_text.update(range(node.start_mark.line, node.end_mark.line + 1))
            is_null, is_plain = node.tag.endswith(":null"), not node.style
            if is_plain and (IS_GAP.fullmatch(node.value) or (not node.value and not is_null)):
                return True
            spells_null |= is_null and bool(node.value)
            has_null |= is_null and not node.value
            has_words |= is_plain and node.tag.endswith(":str")
        elif isinstance(node, yaml.MappingNode):
            is_quoted |= any(key.style in ("'", '"') for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            nodes += [part for pair in node.value for part in pair]
        else:
            nodes += node.value
    last = max(n for n, line in enumerate(block) if line.strip())
    if block[last].strip() == b"..." and not block[0].startswith(b"---"):
        return True  # an end is written only where beginnings are: this is what is left of a line
    is_blank = any(
        line.strip() in (b"", b"-") and n not in of_text and (n < last or line.strip(b"\r\n"))
        for n, line in enumerate(block)
    )
    return is_blank or (has_null and (spells_null or is_quoted)) or (has_words and is_quoted)


_RESOLVERS = {
    first: [
        ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$")),
        ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$")),
        ("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$")),
        ("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]{1,30}\.[0-9]{1,30}(?:[eE][-+]?[0-9]{1,2})?$")),
    ]
    for first in ["", *"~ntf-0123456789"]
}


def csv_pieces(lines: Iterator[bytes], name: str, head: bytes) -> Iterator[Piece]:
    """The rows of a table: objects of their cells, by the names in the first row."""
    marks = Counter({mark: head.split(b"\n", 1)[0].count(mark.encode()) for mark in ",;\t|"})
    delimiter = marks.most_common(1)[0][0] if marks.total() else ","
    names: list[str] | None = None
    csv.field_size_limit(64 * 1024 * 1024)
    for n_line, texts in _csv_rows(lines):
        try:
            row, *more_rows = csv.reader(io.StringIO("".join(texts), newline=""), delimiter=delimiter)
        except (csv.Error, ValueError):
            row, more_rows = [], []
        if more_rows:  # quotes, of which some are lost, made one row of several
            for n, text in enumerate(texts):
                yield Piece(None, [text.encode("utf-8", "replace")], n_line + n)
            continue
        if names is None and row and not any("{" in cell or '"' in cell or HINT.search(cell) for cell in row):
            names = row
            continue
        cells: Any = dict(zip(names, row, strict=False)) if names and len(row) == len(names) else row
        yield Piece(cells, [text.encode("utf-8", "replace") for text in texts], n_line)


def _csv_rows(lines: Iterator[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Rows of CSV as text: lines, put together while a quoted cell is open; where it never closes, line by line."""
    row: list[str] = []
    n_chars = n_quotes = first = 0
    for n_line, line in enumerate(lines, 1):
        text = line.decode("utf-8-sig" if n_line == 1 else "utf-8", "replace")
        is_broken = len(row) >= MAX_GROUP_LINES or n_chars > MAX_GROUP_CHARS
        if n_quotes % 2 and (is_broken or _ROW.search(text)):  # the row before was cut
            yield from ((first + n, [text]) for n, text in enumerate(row))
            row, n_chars, n_quotes = [], 0, 0
        first = first if row else n_line
        row.append(text)
        n_chars += len(text)
        n_quotes += text.count('"')
        if n_quotes % 2 == 0:
            yield first, row
            row, n_chars, n_quotes = [], 0, 0
    yield from ((first + n, [text]) for n, text in enumerate(row))
