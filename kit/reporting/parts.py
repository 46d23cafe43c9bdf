"""Small pieces of HTML that the sections are made of. Arguments named ``html`` or ``cells`` are HTML already."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import plots, show
from ..tables.modality import points

if TYPE_CHECKING:
    from ..tables.columns import Frame

MOST_DOWNLOAD = 8_000_000  # bytes of CSV that go into the page; more belongs beside it


def figure(draw: Callable[..., Any], frame: Frame, prefix: str, alt: str) -> str:
    """A plot as inline SVG that follows the page's theme."""
    drawn = draw(frame, ax=plots.figure())
    return f"<figure>{plots.svg(drawn, themed=True, alt=alt, prefix=prefix)}</figure>"


def grid(names: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], *, wide: Sequence[int] = ()) -> str:
    """A table; a row is its cells and whether a group begins with it. Columns in `wide` may wrap."""
    head = "".join(f"<th>{show.esc(name)}</th>" for name in names)
    body = "".join(
        f"<tr{' class=new' if new else ''}>"
        + "".join(f"<td{' class=wide' if at in wide else ''}>{cell}</td>" for at, cell in enumerate(cells))
        + "</tr>"
        for cells, new in rows
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; a value is HTML."""
    return "<dl>" + "".join(f"<dt>{show.esc(name)}</dt><dd>{html}</dd>" for name, html in pairs) + "</dl>"


def sentence_list(said: Iterable[tuple[str, bool]]) -> str:
    """Sentences; those that show something stand out."""
    items = "".join(f"<li{' class=shown' if shown else ''}>{show.esc(text)}</li>" for text, shown in said)
    return f"<ul class='said'>{items}</ul>" if items else ""


def verdict(kind: str, word: str, text: str) -> str:
    """A box that is read first."""
    return f"<div class='verdict {kind}'><strong>{show.esc(word)}.</strong> {show.esc(text)}</div>"


def bar(rate: float, low: float, high: float) -> str:
    """A rate as a bar, its interval as a line across it."""
    if rate != rate:
        return "<span class='bar none'></span>"
    return f"<span class='bar'><i style='width:{100 * rate:.2f}%'></i><b style='left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%'></b></span>"


def download(frame: Frame, name: str, words: str) -> str:
    """A link that saves a table from the page itself."""
    text = frame.to_csv(index=False).encode("utf-8")
    if len(text) > MOST_DOWNLOAD:
        return f"{show.esc(words)}: too large for a page ({len(text) / 1e6:.0f} MB); python -m kit table LEDGER --csv has it"
    data = base64.b64encode(text).decode("ascii")
    return f'<a download="{show.esc(name)}" href="data:text/csv;base64,{data}">{show.esc(words)}</a>'


def when(at: Any) -> str:
    """An instant in UTC, to the second; a number is Unix seconds."""
    if at is None or at != at:
        return "–"
    if isinstance(at, int | float):
        at = datetime.fromtimestamp(at, UTC)
    return str(at.strftime("%Y-%m-%d %H:%M:%S"))


def sorted_words(df: Frame, name: str) -> list[str]:
    """The different words of a column, in the plan's order."""
    present = set(df[name].dropna().astype(str))
    order: Iterable[Any] = df[name].cat.categories if hasattr(df[name], "cat") else df[name].dropna().unique()
    return [str(word) for word in order if str(word) in present]


def said(word: object) -> str:
    return str(word).replace("_", " ")


def counted(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def options(options: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in (options or {}).items()) or "–"


def rated(row: Any, name: str) -> str:
    """A rate of `modality_df` in percent, its interval in brackets."""
    rate, low, high = (row[f"{name}_{end}"] for end in ("rate", "low", "high"))
    if rate != rate:
        return "–"
    return f"{points(rate)} %" + (f" ({points(low)}–{points(high)})" if low == low else "")


def number(value: Any) -> float | None:
    return None if value != value else float(value)


def flag(value: Any) -> bool | None:
    return bool(value) if value is True or value is False or str(value) in ("True", "False") else None


def origin(value: Any) -> str:
    return show.esc(show.origin_word(flag(value)) or "measured")
