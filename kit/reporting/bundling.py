"""`bundle`: one zip file that shows an effect to somebody who was not there."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import plots, show, tables
from ..errors import InputError, clipped
from ..eventlog import COLUMNS, Redactor
from ..eventlog.live import LIVE_COLUMNS
from ..eventlog.reading import RecordedSession, csv_line
from ..eventlog.redact import Hook
from ..eventlog.writing import LineFormat, without_audio
from ..files import writable_path
from ..plots.timeline import timeline
from ..trials.ledger import Ledger
from ..version import __version__
from ..wire.live_conversation import Reply
from ..wire.records import Response
from .pieces import written_by_a_run
from .reproduction import Source, reproduction, sessions_of, source_of, text_of

Effect = Callable[[Any], bool]
"""Of a `Response`, or a `Reply` of GPT-Live: both have ``modality``, ``outcome``, ``words``, times, and what was asked for."""
# Variables whose values are taken out wherever they stand: a server may repeat a key in an error.
_SECRETS = (
    "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "XAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID",
)  # fmt: skip
_TABLES = {COLUMNS: "responses.csv", LIVE_COLUMNS: "replies.csv"}


def drifted(response: Response | Reply) -> bool:
    """A reply came as text where audio was asked for; or, of GPT-Live, which has no text, silent or late."""
    return response.lost_voice


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: The zip file, absolute.
        n_with, n_without: How many sessions are in it that show the effect, and that do not.
        reproduces: Whether a script is in it that makes it happen again.
        simulated: Whether a stand-in answered; ``None``: unknown.
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
        script = "a script that makes it happen again" if self.reproduces else "no script that makes it happen again"
        logs = f"logs of {self.n_with} sessions with the effect and {self.n_without} without"
        return show.card(
            f"<b>bundle</b> {show.link(self.path)} {show.origin(self.simulated)}",
            show.facts([("in it:", logs), ("", script)]),
        )


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
        redact: Your own hook: takes each event and returns the one to keep, or ``None``.
        overwrite: Replace a file that is there.

    Raises:
        InputError: If no response shows the effect, there are no events, or the file exists.
    """
    target = writable_path(path)
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists; choose another name, or overwrite=True")
    if not isinstance(n_each, int) or n_each < 1:
        raise InputError(f"n_each must be 1 or more, not {clipped(n_each)}")
    origin = source_of(source)
    work = _Selection(effect, n_each)
    for evidence in sessions_of(origin):
        work.take(evidence)
    if not work.showing:
        raise InputError(_nothing_shows(origin, work))
    # Over the finished files, too (`writestr` below): names, tables and pictures may hold a secret as well as frames.
    redactor = Redactor([value for name in _SECRETS if (value := os.environ.get(name))])
    # The first session whose log says what the client sent: one script is enough.
    script = next((text for evidence in work.showing if (text := work.script(evidence))), None)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that putting it in place is one step; the number, since two kernels may write.
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
    return Bundle(target, len(work.showing), len(work.others), script is not None, work.simulated)


class _Selection:
    """The sessions whose logs go into a bundle, and a line for every response of all of them."""

    def __init__(self, effect: Effect, n_each: int) -> None:
        # Which responses show it, and the most sessions of each kind whose logs are kept.
        self.effect, self.n_each = effect, n_each
        self.showing: list[RecordedSession] = []  # sessions with the effect, at most `n_each`
        self.others: list[RecordedSession] = []  # as many without it
        self.ids: list[dict[str, Any]] = []  # of ids.csv
        # By columns, which differ between the protocols: of responses.csv, or of replies.csv.
        self.rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        # What each session says of who answered; more than one: nothing is said of the whole.
        self.origins: set[bool | None] = set()
        # Of all that was read, not only of what is kept: the README says how frequent it is.
        self.n_sessions = self.n_responses = self.n_effect = self.n_sessions_with = 0

    @property
    def title(self) -> str:
        """The effect in words: the first line of its docstring."""
        return (self.effect.__doc__ or self.effect.__name__).strip().splitlines()[0]

    @property
    def simulated(self) -> bool | None:
        return next(iter(self.origins)) if len(self.origins) == 1 else None

    def take(self, evidence: RecordedSession) -> None:
        session = evidence.session
        showing = [response for response in session.responses if self.effect(response)]
        self.n_sessions += 1
        self.n_sessions_with += bool(showing)
        self.n_responses += len(session.responses)
        self.n_effect += len(showing)
        self.origins.add(session.simulated)
        chosen = self.showing if showing else self.others
        # The first of each kind, in order: nobody has picked the most striking ones.
        if len(chosen) < self.n_each and session.responses:
            chosen.append(evidence)
        self.rows.setdefault(session.columns, []).extend(session.rows)
        for response in session.responses:
            # When it was asked for; where turn detection asked, when the server made it.
            asked_at_ms = response.started_at_ms if response.started_at_ms is not None else response.created_at_ms
            self.ids.append({  # what a vendor looks for first is first
                "shows_effect": str(response in showing), "session_id": session.id, "response_id": response.id, "model": session.model,
                "session_opened_at": evidence.utc(0.0), "response_asked_at": evidence.utc(asked_at_ms),
                "modality": response.modality, "outcome": response.outcome, "asked": "+".join(response.asked or ()),
                "status": response.status, "simulated": response.simulated,
                "trial_id": evidence.attempt.get("trial_id"), "case": evidence.attempt.get("case_name"),
                "arm": evidence.attempt.get("arm"),
            })  # fmt: skip

    def script(self, evidence: RecordedSession) -> str | None:
        first = next(response for response in evidence.session.responses if self.effect(response))
        return reproduction(evidence, first, show.origin_word(evidence.session.simulated))


def _nothing_shows(origin: Ledger | list[Path], work: _Selection) -> str:
    """Why there is nothing to bundle."""
    sentence = f"none of the {work.n_responses} responses shows the effect ({work.title.rstrip('.')})"
    if work.n_sessions or not isinstance(origin, Ledger):
        return sentence
    # The ledger knows its responses without their events: say that it is the events that are lacking.
    (counts,) = origin.rows("SELECT COUNT(*) AS n, SUM(modality = 'text') AS text FROM responses")
    return (
        f"{origin.path} has {counts['n']:,} responses, {counts['text'] or 0:,} of them text, but no events to show: a bundle needs "
        "a ledger that was run with keep_events=True"
    )


def _members(
    origin: Ledger | list[Path], work: _Selection, script: str | None, redactor: Redactor, hook: Hook | None
) -> Iterator[tuple[str, str]]:
    """Name and text of every file in the bundle."""
    yield "README.md", _readme(origin, work, script)
    yield "versions.json", json.dumps(_versions(), indent=1)
    yield "ids.csv", "".join([csv_line(columns=work.ids[0]), *(csv_line(row, columns=row) for row in work.ids)])
    for columns, rows in work.rows.items():
        lines = (csv_line(row, columns=columns) for row in rows)
        yield _TABLES[columns], csv_line(columns=columns) + "".join(lines)
    if isinstance(origin, Ledger):
        # Read whole inside: a generator must not be suspended within this, or it would take the reader's errors for the
        # ledger's.
        with written_by_a_run(origin):
            plan = json.dumps({"plan_hash": origin.plan_hash, "plan": origin.plan}, indent=1, default=str)
            table, attempts = tables.modality_df(origin), show.csv_of(tables.attempts_df(origin))
        yield "plan.json", plan
        yield "tables/attempts.csv", attempts
    else:
        table = tables.modality_df(tables.log_df(list(origin)), by=["model"])
    yield "tables/modality.csv", show.csv_of(table)
    mark = show.origin_word(work.simulated)
    # Where silence and lateness are known of a log, it is GPT-Live's, which has no text to count.
    timed = table["lost_voice"].notna() if LIVE_COLUMNS in work.rows else table["lost_voice"].isna() & False
    for outcome, name, rows_of in (("text", "modality", table[~timed]), ("lost_voice", "lost-voice", table[timed])):
        if len(rows_of):
            axes = plots.modality(rows_of.reset_index(drop=True), outcome=outcome, ax=plots.figure())
            yield f"plots/{name}.svg", plots.svg(axes, alt=f"What the replies came as{f' ({mark})' if mark else ''}")
    for word, chosen in (("with", work.showing), ("without", work.others)):
        for n, evidence in enumerate(chosen, 1):
            name = f"{word}-{n}-{show.file_name(evidence.session.id or evidence.session.file)}"
            yield f"logs/{name}.jsonl", b"".join(_lines(evidence, redactor, hook)).decode()
            yield f"plots/{name}.svg", timeline(evidence.session).svg(standalone=True)
    if script is not None:
        yield "reproduce.py", script


def _readme(origin: Ledger | list[Path], work: _Selection, script: str | None) -> str:
    source = "a ledger" if isinstance(origin, Ledger) else show.counted(len(origin), "log")
    mark = show.origin_word(work.simulated)
    of_realtime, of_live = (columns in work.rows for columns in (COLUMNS, LIVE_COLUMNS))
    facts = {"is_ledger": isinstance(origin, Ledger), "of_realtime": of_realtime, "of_live": of_live, "SHOW": show}
    return text_of("bundle.jinja", work=work, script=script, source=source, mark=mark, **facts)


def _lines(evidence: RecordedSession, redactor: Redactor, hook: Hook | None) -> Iterator[bytes]:
    """A session's frames in the format of the kit's own logs, without audio and without secrets."""
    session, header = evidence.session, evidence.session.header or {}
    lines = LineFormat("bundle", redactor, hook=hook)
    facts = {"endpoint": header.get("endpoint"), "url": header.get("url"), "model": session.model}
    facts |= {"dialect": session.dialect, "simulated": session.simulated, "opened_at": evidence.utc(0.0)}
    yield lines.header(**facts)
    for n, step in enumerate(evidence.steps, 1):
        # NaN is no JSON: a line without a time has none.
        at_ms = None if math.isnan(step.at_ms) else step.at_ms
        yield lines.frames(n, step.direction, [lines.event(without_audio(step.data))], at_ms=at_ms)
    if session.end is not None:
        yield lines.last(session.end)


def _versions() -> dict[str, Any]:
    packages = {name: version(name) for name in ("websockets", "msgspec", "pandas", "numpy", "matplotlib")}
    machine = {"python": sys.version.split()[0], "system": platform.system(), "machine": platform.machine()}
    return {"kit": __version__, **machine, **packages, "made_at": datetime.now(UTC).isoformat(timespec="seconds")}
