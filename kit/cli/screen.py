"""What the verbs print: one badge, one way to draw a response, tables that fit, a bar that ends in a sentence, complaints."""

from __future__ import annotations

import itertools
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .. import show
from ..errors import InputError
from ..wire.live_conversation import Reply
from ..wire.records import Response

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

    from ..trials.runner import Progress as RunProgress

PIPE_WIDTH = 200  # columns where standard output is no terminal: nothing is wrapped for a file
LINE_EVERY_S = 60.0  # how often a run reports where standard error is no terminal

# Columns that are the same in every row of most tables: they go under the table, once.
CONSTANT = ("origin", "settings", "endpoint", "model", "voice", "day", "plan", "simulated")

# Errors are written for Python; here the same things are flags, and what only a cell can do is left out.
_FLAGS = (
    (r"run\(…, budget_usd=[\d.]+\), or (--budget [\d.]+) in a terminal", r"\1"),
    (r"budget_usd=float\('inf'\)", "--budget inf"),
    (r"\bbudget_usd=", "--budget "),
    (r"\bbudget_usd\b", "--budget"),
    (r", Settings\(…, price=Price\(.*?\)\)\)", " by --price of kit study or by price=Price(…) in a plan's Settings"),
    (r" with keep_events=True", " without --no-events"),
    (r"\boverwrite=True", "--overwrite"),
    (r"\brequire_key=", "--key-env"),
    (r"(?<!, )\bkey_env='…'", "--key-env NAME"),
    (r"\bkey_env is\b", "--key-env takes"),
    (r"\bauth='(\S+)'", r"--auth \1"),
    (r"\bcall_id is\b", "--call-id takes"),
    (r"connect\('openai', call_id='rtc_…'\)", "--endpoint openai --call-id rtc_…"),
    (r"connect\('\w+', model='?(…|my-deployment)'?\)", r"--model \1"),
    (r"\bdialect='ga'", "--dialect ga"),
    (r"connect\(log=…\) writes", "kit record --log writes"),
    (r"\bat_once is\b", "--at-once is"),
    (r"\bsession_s must\b", "--session-seconds must"),
    (r"\bn_each\b", "--each"),
    (r"\bp0\b", "--p0"),
    (r"\bp1\b", "--p1"),
    (r"run\(plan, path\) makes one", "kit trials run PLAN LEDGER makes one"),
    (r'Reading is fine: Ledger\("(.+?)"\)', r"Reading is fine: kit table \1"),
    (r'os\.environ\["(\w+)"\] = getpass\(\)', r"export \1=…"),
    (r"; or ask\(Clip\.load\(…\)\), or respond\(\).*", "; or say a sound file: /clip FILE"),
    (r"; (say it: Clip\.load\(.*?\)|bare samples need rate_hz and channels)", "; make a WAV file of them"),
    (r", or say Clip\.load\(.*?\)|; a history becomes one by Case\(.*?\)| \(seed\(history, check=False\).*?\)", ""),
    (r" Mend the history \(history\.lint\(\).*", ""),
)


def console(*, stderr: bool = False) -> Console:
    """Standard output or error, as wide as the terminal."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def say(words: object, style: str = "", *, stderr: bool = False) -> None:
    """Print a line; whatever a server or a file put into it does nothing to the terminal.

    A terminal's lines end between words, a path stays whole, and a file has all of it as one line.
    """
    screen, text = console(stderr=stderr), show.plain(words)
    if screen.is_terminal:
        wrap = partial(textwrap.fill, width=screen.width, break_long_words=False, break_on_hyphens=False)
        text = "\n".join(map(wrap, text.split("\n")))
    screen.print(Text(text, style=style))


def only_the_instrument(simulated: bool | None) -> str:
    """What goes after a result that is not a model's."""
    mark = show.origin_word(simulated)
    return f" – {mark}: this shows the instrument, not what a model does" if mark else ""


def complain(error: Exception | str, code: int) -> int:
    """Print one sentence on standard error, with flags where it names Python arguments; returns the exit code."""
    say(f"kit: {in_flags(error)}", stderr=True)
    return code


def in_flags(error: Exception | str) -> str:
    """The sentence of an error, with flags where it names Python arguments."""
    sentence = show.plain(error)
    for pattern, flag in _FLAGS:
        sentence = re.sub(pattern, flag, sentence)
    return sentence


def badge(modality: str | None) -> Text:
    """The coloured word and sign of a modality; never colour alone."""
    word = modality or "pending"
    return Text(f"{show.SIGNS.get(word, '…')} {word}", style=f"bold {show.COLOURS.get(word, '#7F7F7F')}")


def first_content(response: Response | Reply) -> str:
    """What came first, and when: ``audio 812 ms``."""
    if response.first_audio_ms is not None or isinstance(response, Reply):
        return f"audio {show.ms(response.first_audio_ms)}"
    return f"text {show.ms(response.first_text_ms)}"


def draw_response(response: Response | Reply, folder: Path | None = None, screen: Console | None = None) -> None:
    """Print a response in two lines, and keep its sound in the folder of ``--wav``."""
    screen = screen or console()
    line = badge(response.modality)
    line.append(f"  {show.plain(response.words)}", style="default not bold")
    screen.print(line)
    if isinstance(response, Reply):
        facts = [f"{response.outcome or 'open'} (inferred)"]
    else:
        facts = [] if response.status == "completed" else [f"{response.status} {response.reason or ''}".strip()]
    facts += [f"{response.audio.duration_ms / 1000:.1f} s of audio"] if response.audio else []
    facts += [f"first {first_content(response)}", f"done {show.ms(response.done_ms)}"]
    facts += [mark] if (mark := show.origin_word(response.simulated)) else []
    screen.print(Text(show.plain(f"   {', '.join(facts)}"), style="dim"))
    if path := keep_sound(response, folder):
        screen.print(Text(f"   saved {path}", style="dim"))


def keep_sound(response: Response | Reply, folder: Path | None) -> Path | None:
    """Write a spoken reply into the folder of ``--wav``; its absolute path, or ``None`` where there is nothing to keep."""
    if folder is None or response.audio is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"cannot make the folder {show.one_line(str(folder), 200)}: {exc.strerror or exc}") from exc
    return response.audio.save(folder / f"{show.file_name(response.id)}.wav")


class Columns:
    """A table whose rows are printed one by one, as they become known: the widths are fixed, the last column takes the rest.

    Args:
        fold: The last column goes on below where it has no room; or else it is cut.
    """

    def __init__(self, widths: Iterable[int], *, fold: bool = True) -> None:
        self._widths, self._fold, self._console = tuple(widths), fold, console()
        self._indent = sum(width + 2 for width in self._widths)

    def row(self, *cells: str | Text) -> None:
        if not self._fold:
            cells = tuple(cell if isinstance(cell, Text) else show.one_line(cell, 400) for cell in cells)
        *texts, last = (cell if isinstance(cell, Text) else Text(show.plain(cell)) for cell in cells)
        line = Text()
        for text, width in zip(texts, self._widths, strict=True):
            text.truncate(width, overflow="ellipsis", pad=True)
            line.append_text(text).append("  ")
        room = max(self._console.width - self._indent, 20)
        if self._fold:
            last = Text("\n" + " " * self._indent).join(last.wrap(self._console, room))
        else:
            last.truncate(room, overflow="ellipsis")
        line.append_text(last).rstrip()
        self._console.print(line)


def draw_table(
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    legend: Mapping[str, str] = {},
    hint: str = "--csv has them",
) -> None:
    """Print a table that fits: what is the same in every row goes below it, and columns that have no room are counted.

    Args:
        legend: What columns mean; of those that are shown it is printed below.
    """
    cells = [[show.plain(cell, 60) for cell in row] for row in rows]
    columns = {name: [row[n] for row in cells] for n, name in enumerate(names)}
    screen, notes = console(), []

    def width(name: str) -> int:
        return 2 + max(map(cell_len, (name, *columns[name])))

    for name in CONSTANT:
        if len(set(columns.get(name, ()))) == 1:
            value = columns.pop(name)[0]
            notes += [f"{name}: {value}"] if value != "–" else []
    room = screen.width + 2
    if len(cells) > 1 and sum(map(width, columns)) > room:
        # What every row says, or begins or ends with, goes below, too, rather than a column off the screen.
        for name in [name for name in columns if name in (*CONSTANT, "arm")]:
            words = [value.split(" ") for value in columns[name]]
            if name == "arm":
                notes += [f"arm: {columns.pop(name)[0]}"] if len(set(columns[name])) == 1 else []
                continue
            first, last = _shared_words(words)
            if first or last:
                notes.append(f"{name}: {' '.join([*first, '…', *last])}")
                columns[name] = [" ".join(value[len(first) : -len(last) or None]) for value in words]
    fitting: list[str] = []
    for name in columns:
        if width(name) <= room or len(fitting) < 2:  # a column without room is left out, and a narrower one may follow
            fitting.append(name)
            room -= width(name)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in fitting:
        is_number = all(re.fullmatch(r"[\d,.]+|–", value) for value in columns[name])
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for values in zip(*(columns[name] for name in fitting), strict=True):
        table.add_row(*map(Text, values))
    screen.print(table, soft_wrap=False)
    if meanings := [f"{name}: {legend[name]}" for name in fitting if name in legend]:
        notes.insert(0, "; ".join(meanings))
    for note in notes:
        say(note, "dim")
    if n_hidden := len(columns) - len(fitting):
        say(f"{n_hidden} more column{'s' * (n_hidden != 1)}: {hint}", "dim")


def _shared_words(rows: list[list[str]]) -> tuple[list[str], list[str]]:
    """The words that every row begins with, and those that every row ends with; one word at least stays in each."""
    n_most = min(map(len, rows)) - 1
    first = list(itertools.takewhile(lambda n: len({row[n] for row in rows}) == 1, range(n_most)))
    last = list(itertools.takewhile(lambda n: len({row[-1 - n] for row in rows}) == 1, range(n_most - len(first))))
    return rows[0][: len(first)], rows[0][len(rows[0]) - len(last) :]


def draw_frame(df: Frame, legend: Mapping[str, str] = {}) -> None:
    """Print a pandas frame that fits."""
    rows = df.astype("string").fillna("–").itertuples(index=False)
    draw_table([str(name) for name in df.columns], rows, legend=legend)


class Bar:
    """Shows a run on standard error: a bar in a terminal, elsewhere a line a minute; both end in a sentence."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=16),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._began_s = time.monotonic()
        self._reported_s = -LINE_EVERY_S  # when the last line was written, where there is no bar
        self._sentence = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __call__(self, progress: RunProgress) -> None:
        self._sentence = f"{progress.decided}/{progress.planned} trials: {show.plain(progress)}"
        text = f"{progress.in_flight} running, {show.plain(progress)}"
        self._bar.update(self._task, total=progress.planned, completed=progress.decided, description=text)
        now_s = time.monotonic() - self._began_s
        is_due = progress.decided and not progress.over and now_s - self._reported_s >= LINE_EVERY_S
        if self._bar.disable and is_due:
            self._reported_s = now_s
            self._console.print(Text(f"{self._sentence}; {progress.in_flight} running"))

    def __exit__(self, *_exc: object) -> None:
        self._bar.stop()
        if self._sentence:
            self._console.print(Text(f"{self._sentence}; {show.duration(time.monotonic() - self._began_s)}"))
