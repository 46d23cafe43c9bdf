"""`bundle`: one zip file that shows an effect to somebody who was not there."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import plots, show, tables
from ..errors import InputError, clipped
from ..eventlog import Redactor
from ..eventlog.reading import csv_line, row
from ..eventlog.redact import Hook
from ..eventlog.writing import LineFormat, without_audio
from ..plots.timeline import timeline
from ..trials.ledger import Ledger
from ..version import __version__
from ..wire.records import Response
from .reproduction import Source, Told, reproduction, sessions_of, source_of

Effect = Callable[[Response], bool]
_SECRETS = (
    "OPENAI_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "XAI_API_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
)
_IDS = (
    "shows_effect", "session_id", "response_id", "model", "session_opened_at", "response_asked_at", "modality", "asked", "status",
    "simulated", "trial_id", "case", "arm",
)  # fmt: skip


def drifted(response: Response) -> bool:
    """A reply came as text where audio was asked for."""
    return response.modality == "text" and (response.asked is None or "audio" in response.asked)


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: The zip file, absolute.
        n_with, n_without: How many sessions are in it that show the effect, and that do not.
        reproduces: Whether a script is in it that makes it happen again.
        simulated: Whether a stand-in answered; ``None``: nobody can tell.
    """

    path: Path
    n_with: int
    n_without: int
    reproduces: bool
    simulated: bool | None

    def __repr__(self) -> str:
        mark = show.origin_word(self.simulated)
        script = "with" if self.reproduces else "without"
        return f"<Bundle {self.path}: {self.n_with} sessions with the effect, {self.n_without} without, {script} a reproduction{f', {mark}' if mark else ''}>"

    def _repr_html_(self) -> str:
        return show.esc(repr(self).strip("<>"))


def bundle(
    source: Source,
    path: str | os.PathLike[str],
    *,
    effect: Effect = drifted,
    n_each: int = 3,
    redact: Hook | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write what somebody else needs to see an effect: plan, tables, plots, logs, ids and times, versions, a reproduction.

    Nothing in it has a key, an authorization, an organisation or whole audio. What a stand-in said is marked as simulated.

    Args:
        source: A ledger whose events were kept (``run(…, keep_events=True)``), a log, a file of either, or a folder of logs.
        path: The zip file.
        effect: Which responses show it; `drifted` unless told.
        n_each: How many sessions with the effect, and as many without, have their log and picture in it.
        redact: Your own hook: takes each event, gives the one to keep, or ``None``.
        overwrite: Replace a file that is there.

    Raises:
        InputError: If no response shows the effect, there are no events, or the file exists.
    """
    target = Path(path).expanduser().absolute()
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists; choose another name, or overwrite=True")
    if not isinstance(n_each, int) or n_each < 1:
        raise InputError(f"n_each must be 1 or more, not {clipped(n_each)}")
    origin = source_of(source)
    work = _Work(effect, n_each)
    for told in sessions_of(origin):
        work.take(told)
    if not work.shown:
        kept = "" if work.n_sessions else "; a ledger has the events of its trials if it was run with keep_events=True"
        what = (effect.__doc__ or effect.__name__).strip().splitlines()[0].rstrip(".")
        raise InputError(f"none of the {work.n_responses} responses shows the effect ({what}){kept}")
    redactor = Redactor([value for name in _SECRETS if (value := os.environ.get(name))])
    script = next((text for told in work.shown if (text := work.script(told))), None)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(draft, "x", zipfile.ZIP_DEFLATED) as file:
            for name, content in _members(origin, work, script, redactor, redact):
                info = zipfile.ZipInfo(f"{target.stem}/{name}", datetime.now(UTC).timetuple()[:6])
                info.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(info, redactor(content.encode("utf-8", "replace")))
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return Bundle(target, len(work.shown), len(work.others), script is not None, work.simulated)


class _Work:
    """The sessions that go in, and a line for every response."""

    def __init__(self, effect: Effect, n_each: int) -> None:
        self.effect, self.n_each = effect, n_each
        self.shown: list[Told] = []
        self.others: list[Told] = []
        self.ids: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.origins: set[bool | None] = set()
        self.n_sessions = self.n_responses = self.n_effect = self.n_sessions_with = 0

    @property
    def simulated(self) -> bool | None:
        return next(iter(self.origins)) if len(self.origins) == 1 else None

    def take(self, told: Told) -> None:
        session = told.session
        showing = [r for r in session.responses if self.effect(r)]
        self.n_sessions += 1
        self.n_sessions_with += bool(showing)
        self.n_responses += len(session.responses)
        self.n_effect += len(showing)
        self.origins.add(session.simulated)
        chosen = self.shown if showing else self.others
        if len(chosen) < self.n_each and (showing or session.responses):
            chosen.append(told)
        for r in session.responses:
            self.rows.append(row(r, session_id=session.id, file=session.file))
            self.ids.append(
                {
                    "shows_effect": r in showing,
                    "session_id": session.id,
                    "response_id": r.id,
                    "model": session.model,
                    "session_opened_at": told.utc(0.0),
                    "response_asked_at": told.utc(r.started_at_ms if r.started_at_ms is not None else r.created_at_ms),
                    "modality": r.modality,
                    "asked": "+".join(r.asked or ()),
                    "status": r.status,
                    "simulated": {True: "true", False: "false", None: "unknown"}[r.simulated],
                    "trial_id": told.about.get("trial_id"),
                    "case": told.about.get("case_name"),
                    "arm": told.about.get("arm"),
                }
            )

    def script(self, told: Told) -> str | None:
        first = next(r for r in told.session.responses if self.effect(r))
        return reproduction(told, first, show.origin_word(told.session.simulated))


def _members(
    origin: Ledger | list[Path], work: _Work, script: str | None, redactor: Redactor, hook: Hook | None
) -> Iterator[tuple[str, str]]:
    """Name and text of every file in the bundle."""
    what = (work.effect.__doc__ or work.effect.__name__).strip().splitlines()[0]
    yield "README.md", _readme(origin, work, script, what)
    yield "versions.json", json.dumps(_versions(), indent=1)
    yield "ids.csv", _csv(_IDS, work.ids)
    yield "responses.csv", csv_line() + "".join(map(csv_line, work.rows))
    if isinstance(origin, Ledger):
        yield "plan.json", json.dumps({"plan_hash": origin.plan_hash, "plan": origin.plan}, indent=1, default=str)
        table = tables.modality_df(origin)
        yield "tables/attempts.csv", tables.attempts_df(origin).to_csv(index=False)
    else:
        table = tables.modality_df(tables.log_df(list(origin)), by=["model"])
    yield "tables/modality.csv", table.to_csv(index=False)
    if len(table):
        axes = plots.modality(table, ax=plots.figure())
        mark = show.origin_word(work.simulated)
        yield "plots/modality.svg", plots.svg(axes, alt=f"What the replies came as{f' ({mark})' if mark else ''}")
    for word, chosen in (("with", work.shown), ("without", work.others)):
        for n, told in enumerate(chosen, 1):
            name = f"{word}-{n}-{show.file_name(told.session.id or told.session.file)}"
            yield f"logs/{name}.jsonl", b"".join(_lines(told, redactor, hook)).decode()
            yield f"plots/{name}.svg", timeline(told.session).svg(standalone=True)
    if script is not None:
        yield "reproduce.py", script


def _readme(origin: Ledger | list[Path], work: _Work, script: str | None, what: str) -> str:
    simulated = work.simulated
    mark = show.origin_word(simulated)
    told = {
        True: f"**{show.SIMULATED}.** A stand-in answered, no model: this shows the instrument, not what a service does.",
        None: f"**{show.UNKNOWN_ORIGIN}.** Nothing in the material says who answered, or not the same of all of it.",
        False: "By their logs, a service answered.",
    }[simulated]
    source = "a ledger" if isinstance(origin, Ledger) else f"{len(origin)} log{'' if len(origin) == 1 else 's'}"
    lines = [
        f"# Evidence{f' ({mark})' if mark else ''}",
        "",
        f"The effect: {what}",
        "",
        told,
        "",
        f"It shows in {work.n_effect} of {work.n_responses} responses, in {work.n_sessions_with} of {work.n_sessions} sessions ({source}).",
        "",
        "| file | what it is |",
        "|---|---|",
        "| `ids.csv` | every response: ids, times (UTC), what it came as: what a vendor asks for |",
        "| `responses.csv` | every response with its words, times (ms) and tokens |",
        f"| `logs/` | every frame of {len(work.shown)} sessions that show it and {len(work.others)} that do not |",
        "| `plots/` | those sessions as pictures, and what all replies came as |",
        "| `tables/` | counts with their intervals |",
        *(["| `plan.json` | what was planned before the first trial |"] if isinstance(origin, Ledger) else []),
        *(["| `reproduce.py` | makes it happen again; needs nothing but `websockets` |"] if script else []),
        "| `versions.json` | of what it was made with |",
        "",
        "Keys, tokens, authorization headers, cookies and organisation ids were taken out. Audio is there as its SHA-256 and length.",
        "The words that were said are there: look through `logs/` and `responses.csv` before you send this to anybody.",
        "" if script else "\nThere is no script: the material does not say what the client sent.",
    ]
    return "\n".join(lines) + "\n"


def _lines(told: Told, redactor: Redactor, hook: Hook | None) -> Iterator[bytes]:
    """A session's frames in the format of the kit's own logs, without audio and without secrets."""
    session, header = told.session, told.session.header or {}
    lines = LineFormat("bundle", redactor, hook=hook)
    yield lines.header(
        endpoint=header.get("endpoint"),
        url=header.get("url"),
        model=session.model,
        dialect=header.get("dialect"),
        simulated=session.simulated,
        opened_at=told.utc(0.0),
    )
    for n, step in enumerate(told.steps, 1):
        at_ms = None if math.isnan(step.at_ms) else step.at_ms
        yield lines.frames(n, step.direction, [lines.event(without_audio(step.data))], at_ms=at_ms)
    if session.end is not None:
        yield lines.end(session.end)


def _versions() -> dict[str, Any]:
    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = {name: of(name) for name in ("websockets", "msgspec", "pandas", "numpy", "matplotlib")}
    return {
        "kit": __version__,
        "python": sys.version.split()[0],
        "system": platform.system(),
        "machine": platform.machine(),
        **packages,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
