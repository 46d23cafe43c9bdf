"""How things show themselves: one palette, one badge, one player, and escaping in one place.

Everything that reaches HTML goes through `esc` (text) or is made here of numbers. Colours follow the reader's
JupyterLab theme where they can and stand on both a white and a dark page where they cannot.
"""

from __future__ import annotations

import base64
import contextlib
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

# One colour per modality, everywhere: badges, tables, plots, terminal. Okabe and Ito's palette, made to be told apart
# with any kind of colour vision (https://jfly.uni-koeln.de/color/), and a red for what failed; each also carries its word
# and sign, never colour alone.
COLOURS = {
    "audio": "#0072B2",
    "text": "#D55E00",
    "mixed": "#CC79A7",
    "function": "#009E73",
    "empty": "#7F7F7F",
    "failed": "#B2182B",
}
SIGNS = {"audio": "♪", "text": "¶", "mixed": "♪¶", "function": "ƒ", "empty": "∅", "failed": "✕"}

_GROUNDS = {"text": "#C24E00", "function": "#007A59", "empty": "#6E6E6E"}
"""Darker where white on the colour itself is too faint to read: 4.8, 5.4 and 5.1 to 1."""

SIMULATED = "stand-in: simulated"  # what every picture, table and report of a stand-in's session carries

UNKNOWN_ORIGIN = "origin unknown"  # what it carries when nothing says whether a model answered

NO_MATH = 'class="mathjax_ignore tex2jax_ignore"'
"""On every outer element: or "between $5 and $10" is typeset as a formula, by MathJax 3 (JupyterLab) and 2 (nbconvert)."""

_JOINERS = "\u200c\u200d"  # format characters that spell words (Persian) and pictures (families), and reorder nothing
_UNSEEN = ("Cc", "Cf", "Cs")  # control, format (bidi overrides among them), lone surrogates
_IN_FILE_NAMES = frozenset(string.ascii_letters + string.digits + "_-")
_FORMULA = ("=", "+", "-", "@", "\t")  # what a spreadsheet takes for the start of a formula
_REDRAW_S = 0.2  # from one picture to the next, of what is drawn while it arrives
_MAX_SHOWN_CHARS = 2_000  # of any one text in a cell; the object itself keeps all of it


def plain(text: object, limit: int = _MAX_SHOWN_CHARS) -> str:
    """Foreign text for a terminal or a page: what could move the cursor or reorder what is read is shown as a code point.

    Control and bidirectional-override characters become ``‹U+202E›``; what goes past `limit` characters is cut, and the cut
    is named.
    """
    raw, harmless = str(text), "\n\t" + _JOINERS
    chars = (c if c in harmless or unicodedata.category(c) not in _UNSEEN else f"‹U+{ord(c):04X}›" for c in raw[:limit])
    return "".join(chars) + (f" … ({len(raw) - limit:,} more characters)" if len(raw) > limit else "")


def file_name(name: str | None) -> str:
    """A foreign name as one of a file that stays in its folder, whatever a server or a log calls its things."""
    return "".join(c if c in _IN_FILE_NAMES else "_" for c in name or "")[:48].strip("_") or "unnamed"


def esc(text: object, limit: int = _MAX_SHOWN_CHARS) -> str:
    """Foreign text as HTML that shows it and does nothing else: `plain`, with markup escaped."""
    from html import escape  # loads a table of entities that a session that shows nothing has no use for

    return escape(plain(text, limit), quote=True)


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def csv_cell(value: object) -> object:
    """A cell for a CSV file that a spreadsheet may open: text that it would run as a formula begins with an apostrophe.

    Line breaks inside a cell become spaces: a lone carriage return would break the row for every reader. Other control characters,
    which would move the cursor of a terminal, are left out. (https://owasp.org/www-community/attacks/CSV_Injection)
    """
    if not isinstance(value, str):
        return value
    text = " ".join(value.splitlines()) if "\n" in value or "\r" in value else value
    # Half a surrogate pair cannot be written to a file of UTF-8.
    text = _CONTROL.sub("", text).encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_of(df: Any) -> str:
    """A pandas frame as CSV with the cells of `csv_cell`."""
    safe = df.copy(deep=False)  # the caller's frame stays as it is
    for name in safe.columns:
        if safe[name].dtype.kind == "O":  # text; numbers and dates cannot be formulas
            safe[name] = safe[name].astype(object).map(csv_cell, na_action="ignore")
    return str(safe.to_csv(index=False))


def badge(modality: str | None) -> str:
    """The coloured word for a modality; ``None`` is a reply that has not shown what it is yet."""
    word, sign, ground, ink = badge_style(modality)
    style = f"background:{ground};color:{ink};border-radius:4px;padding:1px 7px;font-weight:600;white-space:nowrap"
    return f'<span style="{style}">{sign} {esc(word)}</span>'


def outline(modality: str | None) -> str:
    """The word for a modality that was asked for or reported: an outline, since only what *arrived* is a measurement."""
    word, sign, ground, _ = badge_style(modality)
    style = f"border:1.5px solid {ground};border-radius:4px;padding:0 6px;white-space:nowrap"
    return f'<span style="{style}">{sign} {esc(word)}</span>'


def no_sound() -> str:
    """What stands where a player would: an empty track."""
    return (
        '<div role="img" aria-label="no audio arrived" style="height:28px;max-width:300px;box-sizing:border-box;border:1px dashed '
        'currentColor;border-radius:14px;padding:0 12px;font-size:12px;line-height:26px;opacity:.8">no audio: 0 bytes</div>'
    )


def badge_style(modality: str | None) -> tuple[str, str, str, str]:
    """(word, sign, ground, ink) of a modality's badge: 4.5:1 or more, as WCAG AA asks of text."""
    word = modality or "pending"
    ground = _GROUNDS.get(word) or COLOURS.get(word, "#6E6E6E")
    return word, SIGNS.get(word, "…"), ground, "#111" if word == "mixed" else "#fff"


def origin(simulated: bool | None) -> str:
    """The mark for where something came from: nothing only where a real service is known to have answered."""
    style = "border:1px dashed currentColor;border-radius:4px;padding:0 6px;opacity:.75;white-space:nowrap"
    word = origin_word(simulated)
    return f'<span style="{style}">{esc(word)}</span>' if word else ""


def origin_word(simulated: bool | None) -> str:
    """`origin` for a terminal and a one-line repr."""
    return {True: SIMULATED, None: UNKNOWN_ORIGIN, False: ""}[simulated]


def ms(value: float | None) -> str:
    """A duration in milliseconds as people read it."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def duration(seconds: float) -> str:
    """A length of time as people read it."""
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(rows: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    """A table of cells that are HTML already (pass text through `esc`)."""
    style = "text-align:left;vertical-align:top;padding:2px 10px 2px 0;white-space:pre-wrap"
    top = "".join(f'<th style="overflow-wrap:normal;{style}">{esc(word)}</th>' for word in head)

    def cell(html: str) -> str:
        # On a phone words have room, and the table scrolls; else they would stand one below the other.
        room = ";overflow-wrap:normal" if html.startswith("<") else f";min-width:min(15em,{len(html)}ch)"
        return f'<td style="{style}{room}">{html}</td>'

    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    start = f'<table {NO_MATH} style="border-collapse:collapse">'
    return f"{start}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def card(*parts: str, edge: str = "var(--jp-border-color1,#888)") -> str:
    """A quiet frame round what belongs together; its edge may carry a colour."""
    inner = "".join(f'<div style="margin:3px 0">{part}</div>' for part in parts if part)
    return f'<div {NO_MATH} style="border-left:3px solid {edge};padding:2px 0 2px 12px;margin:4px 0;overflow-wrap:anywhere">{inner}</div>'


def link(path: Path) -> str:
    """A link to a file that JupyterLab opens, too: relative to the notebook's folder, since it opens no ``file://``."""
    inside = path.is_relative_to(folder := Path.cwd())
    url = quote(path.relative_to(folder).as_posix()) if inside else path.as_uri()
    return f'<a href="{esc(url)}">{esc(path.relative_to(folder) if inside else path)}</a>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Small print: ``name value · name value``."""
    return f'<span {NO_MATH} style="opacity:.8">' + " · ".join(f"{esc(k)} {esc(v)}" for k, v in pairs) + "</span>"


def wav_bytes(pcm: bytes, rate_hz: int) -> bytes:
    """Mono 16-bit little-endian PCM with a WAV header round it."""
    import io
    import wave

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return out.getvalue()


def player(pcm: bytes, rate_hz: int = 24_000) -> str:
    """An ``<audio>`` element that carries its own sound: nothing is fetched, and it still plays after export."""
    return sound(wav_bytes(pcm, rate_hz))


def sound(file: bytes, media_type: str = "audio/wav") -> str:
    """The same for the bytes of a sound file, of a kind that browsers play."""
    data = base64.b64encode(file).decode("ascii")
    return (
        '<audio controls preload="metadata" style="height:32px;max-width:100%;vertical-align:middle" '
        f'src="data:{media_type};base64,{data}"></audio>'
    )


def one_line(text: str | None, limit: int = 60) -> str:
    """Text for a one-line repr: whitespace folded, what is invisible left out, cut with an ellipsis."""
    text = text or ""
    head = text[: 50 * limit]  # a server may send a hundred megabytes of it
    words = "".join(c for c in " ".join(head.split()) if unicodedata.category(c) not in _UNSEEN)
    return words if len(words) <= limit and len(head) == len(text) else f"{words[: limit - 1]}…"


def units(text: str) -> str:
    """The text with each number on the line of its unit."""
    return re.sub(r"(?<=\d) (?=(?:ms|s|dBFS|kHz)\b|%)", "\u00a0", text)


class Words(str):
    """Text that a notebook shows as Markdown: the conclusion of a cell, computed by a method and not by the cell."""

    def _repr_markdown_(self) -> str:
        # Escaped dollars would be typeset once Markdown has unescaped them.
        return f"<div {NO_MATH}>\n\n{units(self).replace('$', '&#36;')}\n\n</div>"


@contextlib.contextmanager
def while_it_arrives(html: Callable[[], str | None]) -> Iterator[None]:
    """Draw something in the running cell of a notebook, anew while it arrives; it is taken away at the end, when the cell
    shows the result itself. Outside of a notebook nothing happens.

    Args:
        html: Called on the running loop for what there is to show; ``None``: nothing yet.
    """
    if not in_a_cell():
        yield
        return
    import asyncio

    from IPython.display import HTML, display

    loop = asyncio.get_running_loop()
    # IPython's handle, once there is something to show; and the loop's of the next drawing.
    output: Any = None
    timer: Any = None

    def draw() -> None:
        nonlocal output, timer
        picture = html()
        if picture is not None and output is None:
            output = display(HTML(picture), display_id=True)  # type: ignore[no-untyped-call]
        elif picture is not None:
            output.update(HTML(picture))  # type: ignore[no-untyped-call]
        timer = loop.call_later(_REDRAW_S, draw)

    timer = loop.call_later(2 * _REDRAW_S, draw)  # a shorter wait shows nothing
    try:
        yield
    finally:
        timer.cancel()
        if output is not None:
            # IPython cannot take an output back, so it becomes an empty one.
            output.update({"text/html": ""}, raw=True)


def in_a_cell() -> bool:
    """Whether what runs was started by a notebook's cell: a widget's button, say, has no output of its own to draw in."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return False
    # Of the message that the kernel answers now: a button's is none that runs a cell.
    header = (shell.get_parent() or {}).get("header", {})
    return bool(header.get("msg_type") == "execute_request")


def counted(count: int, word: str, words: str = "") -> str:
    """A number and what it counts: ``1 reply``, ``2 replies``."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"
