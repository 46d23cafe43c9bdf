"""`bundle`: one zip file that shows an effect to somebody who was not there, with a script that makes it happen again."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import platform
import pprint
import re
import sys
import zipfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .. import plots, show, speech, tables
from ..cases import all_cases
from ..errors import InputError, clipped
from ..eventlog import COLUMNS, Log, ParseReport, Redactor, log_files
from ..eventlog.live import LIVE_COLUMNS
from ..eventlog.parsing import records, records_of
from ..eventlog.reading import RecordedSession, csv_line, stepped
from ..eventlog.redact import Hook
from ..eventlog.writing import LineFormat, without_audio
from ..files import named_path, regular_file, writable_path
from ..plots.timeline import timeline
from ..replay import with_texts, without_marks
from ..trials.ledger import Ledger, inflate
from ..version import __version__
from ..wire.events import DIGEST, dict_of, loudness
from ..wire.live_conversation import Reply, ReplyPolicy
from ..wire.records import Response
from .pieces import render, written_by_a_run

Source = Ledger | Log | str | os.PathLike[str]
Effect = Callable[[Any], bool]
"""Of a `Response`, or a `Reply` of GPT-Live: both have ``modality``, ``outcome``, ``words``, times, and what was asked for."""
# Variables whose values are taken out wherever they stand: a server may repeat a key in an error.
_SECRETS = (
    "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "XAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID",
)  # fmt: skip
_ATTEMPTS = """
SELECT e.attempt_id, e.trial_id, a.started_at, a.simulated, a.policy, t.case_name, t.arm, t.endpoint,
  COALESCE(t.asked_model, a.model) AS model
FROM events e JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id
WHERE a.counts = 1 AND t.role = 'measure' ORDER BY a.attempt_id
"""
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
        sessions = f"{self.n_with} sessions with the effect, {self.n_without} without"
        script = "with" if self.reproduces else "without"
        return f"<Bundle {self.path}: {sessions}, {script} a reproduction{f', {mark}' if mark else ''}>"

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
        sentence = f"none of the {work.n_responses} responses shows the effect ({work.title.rstrip('.')})"
        if isinstance(origin, Ledger) and not work.n_sessions:
            # The ledger knows its responses without their events: say that it is the events that are lacking.
            (counts,) = origin.rows("SELECT COUNT(*) AS n, SUM(modality = 'text') AS text FROM responses")
            sentence = (
                f"{origin.path} has {counts['n']:,} responses, {counts['text'] or 0:,} of them text, but no events to show: a "
                "bundle needs a ledger that was run with keep_events=True"
            )
        raise InputError(sentence)
    # Over the finished files, too (`writestr` below): names, tables and pictures may hold a secret as well as frames.
    redactor = Redactor([value for name in _SECRETS if (value := os.environ.get(name))])
    # The first session whose log says what the client sent: one script is enough.
    script = next((text for evidence in work.showing if (text := reproduction(evidence, effect))), None)
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


def source_of(source: Source) -> Ledger | list[Path]:
    """A ledger, or the files of logs.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(source, Ledger):
        return source
    if isinstance(source, Log):
        return [source.path]
    if isinstance(source, str | os.PathLike):
        path = named_path(source)
        if path.is_file():
            with regular_file(path) as file:
                # By its first bytes and not by its name: https://www.sqlite.org/fileformat.html, "Magic Header String".
                if file.read(16) == b"SQLite format 3\0":
                    return Ledger(path)
        return log_files(path)
    raise InputError(f"evidence is made of a ledger or a log, not {clipped(source)}")


def sessions_of(source: Ledger | list[Path]) -> Iterator[RecordedSession]:
    """Read the sessions one at a time; of a ledger those whose events were kept, and only the attempts that count.

    Raises:
        LedgerError: If the events of an attempt cannot be unpacked, or to more than any session has.
    """
    if isinstance(source, Ledger):
        for attempt in source.rows(_ATTEMPTS):
            (events,) = source.rows("SELECT jsonl FROM events WHERE attempt_id = ?", (attempt["attempt_id"],))
            # One attempt at a time: the events of a whole run may not fit into memory.
            lines = inflate(events["jsonl"], f"attempt {attempt['attempt_id']} in {source.path}").splitlines()
            simulated = None if attempt["simulated"] is None else bool(attempt["simulated"])
            policy = ReplyPolicy.named(attempt["policy"] or "")
            name, stored = str(attempt["trial_id"]), records_of(lines, ParseReport())
            yield from stepped(stored, name, simulated=simulated, policy=policy, attempt=dict(attempt))
    else:
        for path in source:
            yield from stepped(records(path, ParseReport()), path.name)


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


def _members(
    origin: Ledger | list[Path], work: _Selection, script: str | None, redactor: Redactor, hook: Hook | None
) -> Iterator[tuple[str, str]]:
    """Name and text of every file in the bundle."""
    is_ledger, mark = isinstance(origin, Ledger), show.origin_word(work.simulated)
    source = "a ledger" if isinstance(origin, Ledger) else show.counted(len(origin), "log")
    facts: dict[str, Any] = {"of_realtime": COLUMNS in work.rows, "of_live": LIVE_COLUMNS in work.rows, "SHOW": show}
    facts |= {"work": work, "script": script, "source": source, "mark": mark, "is_ledger": is_ledger}
    yield "README.md", render("bundle.jinja", is_page=False, **facts)
    machine = {"python": sys.version.split()[0], "system": platform.system(), "machine": platform.machine()}
    packages = {name: version(name) for name in ("websockets", "msgspec", "pandas", "numpy", "matplotlib")}
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    yield "versions.json", json.dumps({"kit": __version__, **machine, **packages, "made_at": made_at}, indent=1)
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


def _lines(evidence: RecordedSession, redactor: Redactor, hook: Hook | None) -> Iterator[bytes]:
    """A session's frames in the format of the kit's own logs, without audio and without secrets."""
    session, header = evidence.session, evidence.session.header or {}
    lines = LineFormat("bundle", redactor, hook=hook)
    facts = {"endpoint": header.get("endpoint"), "url": header.get("url"), "model": session.model}
    facts |= {"dialect": session.dialect, "simulated": session.simulated, "opened_at": evidence.utc(0.0)}
    yield lines.header(**facts)
    for n, step in enumerate(evidence.steps, 1):
        # Neither NaN nor infinity is JSON: a line without a time has none.
        at_ms = step.at_ms if math.isfinite(step.at_ms) else None
        yield lines.frames(n, step.direction, [lines.event(without_audio(step.data))], at_ms=at_ms)
    if session.end is not None:
        yield lines.last(session.end)


# ------------------------------------------------------------------------------------------------------------- the script

# By protocol: the template, its title, the address, and the model where nobody names one.
_SCRIPTS = {
    "realtime": (
        "reproduce.jinja",
        "A reply came as {0.modality} where {1} was asked for.",
        "/v1/realtime?{}",
        "gpt-realtime",
    ),
    "live": ("reproduce_live.jinja", "The reply to a question was {0.outcome}.", "/v1/live/sessions", "gpt-live-1.1"),
}
# By endpoint: its host, the variable and the header of its key. The address is never that of the log: whoever runs the script sends
# a key there.
_OPENAI = ("wss://api.openai.com", "OPENAI_API_KEY", "Authorization")
_HOSTS = {
    "openai": _OPENAI,
    "xai": ("wss://api.x.ai", "XAI_API_KEY", "Authorization"),
    "standin": ("ws://127.0.0.1:8765", *_OPENAI[1:]),
    "azure": (None, "AZURE_OPENAI_API_KEY", "api-key"),
}


def reproduction(evidence: RecordedSession, effect: Effect) -> str | None:
    """A script that needs nothing but ``websockets`` and does what the client did up to the first response that shows the effect;
    ``None`` where the log does not say what it did."""
    response = next(response for response in evidence.session.responses if effect(response))
    session, header = evidence.session, evidence.session.header or {}
    endpoint = str(header.get("endpoint") or evidence.attempt.get("endpoint") or "openai")
    template, title, path, usual_model = _SCRIPTS[session.protocol]
    model = session.model or evidence.attempt.get("model") or usual_model
    events, missing = (_said_before if session.protocol == "live" else _sent_before)(evidence, response)
    if not events:
        return None
    host, key_env, key_header = _HOSTS.get(endpoint, (None, *_OPENAI[1:]))
    origin = show.origin_word(session.simulated)
    about = f"Session {session.id}, response {response.id}, model {model}{f' ({origin})' if origin else ''}."
    if missing:
        about += f"\n{missing} pieces of audio were not kept in the log; silence of the same length stands for them."
    if endpoint == "standin":
        about += "\nIt was recorded at a stand-in: python -m kit serve starts one there."
    query = urlencode({"model": model})
    # Python that means these events: ASCII only, so that nothing in it reads otherwise than it runs.
    lines = [pprint.pformat(event, width=112, sort_dicts=False).replace("\n", "\n    ") for event in events]
    literal = "[\n    " + ",\n    ".join(lines) + ",\n]"
    return render(
        template,
        is_page=False,
        # Nothing named: the service's default is audio.
        title=_words(title.format(response, "+".join(response.asked or ("audio",)))),
        about=_words(about),
        how="" if endpoint == "standin" else f"{key_env}=... ",
        arguments="[URL] [TIMES]" if host else "URL [TIMES]",
        url=f"{host}{path.format(query)}" if host else "",
        query=f"?{query}",
        headers={"OpenAI-Beta": "realtime=v1"} if session.dialect == "beta" and endpoint != "xai" else {},
        key_env=key_env,
        key_header=key_header,
        key_prefix="Bearer " if key_header == "Authorization" else "",
        outcome=response.outcome or "nothing",
        modality=response.modality or "nothing",
        policy=response.policy,
        events="".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in literal),
    )


def _words(text: str) -> str:
    """Foreign text for a docstring: nothing in it can end the string, or read otherwise than it is."""
    # Everything but plain letters, digits and a few signs, so no quote, backslash or brace: `r"""x` becomes `r???x`.
    return re.sub(r"[^A-Za-z0-9 _.,:;+()/\n-]", "?", text)


def _sent_before(evidence: RecordedSession, response: Response | Reply) -> tuple[list[dict[str, Any]], int]:
    """What the client sent before this response was created, without the kit's own marks, and how many pieces of sound are
    missing in it; empty where the log does not say."""
    events: list[dict[str, Any]] = []
    for step in evidence.steps:
        created = step.data.get("response")
        if (
            step.data.get("type") == "response.created"
            and isinstance(created, dict)
            and created.get("id") == response.id
        ):
            # The sound of the kit's own cases can be put back as it was.
            items = [item for case in all_cases() for item in case.history]
            return _with_sound(events, [part.clip.to_bytes() for item in items for part in item.parts if part.clip])
        if step.direction == "client":
            events.append(without_marks(step.data))
    return [], 0


_FRAME_BYTES = 4_800  # of the kit's feeder: 100 ms of PCM
_ONSET_MS = 300  # of sound before its first loud frame
_MAX_SOUND_BYTES = 32 << 20  # of one script, 11 minutes: forged digests must not fill the memory
# What can be said to another session; sound goes in as clips.
_SAID = tuple(
    f"session.{name}"
    for name in ("start", "update", "instructions", "thinking", "commentary", "input_audio.mute", "input_audio.unmute")
)


def _said_before(evidence: RecordedSession, response: Response | Reply) -> tuple[list[dict[str, Any]], int]:
    """What a client of GPT-Live sent up to the ask of this reply, each question as one ``clip`` where it ends; empty for a fork,
    whose past is in no log."""
    owed = getattr(response, "ask", None)
    asks = [ask for ask in evidence.session.asks if owed is not None and ask.at_ms <= owed.at_ms]
    steps = [step for step in evidence.steps if step.direction == "client" and owed and step.at_ms <= owed.at_ms]
    fed = [step for step in steps if step.data["type"] == "session.input_audio.append"]
    # What answered a delegation answered that session's.
    timed = [
        (step.at_ms, without_marks(step.data))
        for step in steps
        if step.data["type"].startswith(_SAID) and step.data.get("delegation_id") is None
    ]
    instants = [step.at_ms for step in fed]
    for ask in asks:
        if ask.by != "commentary":
            began_at_ms = ask.at_ms if ask.began_at_ms is None else ask.began_at_ms
            frames = fed[bisect_left(instants, began_at_ms - _ONSET_MS) : bisect_right(instants, ask.at_ms)]
            timed.append((ask.at_ms, {"type": "clip", "audio": [step.data.get("audio") for step in frames]}))
    events = [event for _, event in sorted(timed, key=itemgetter(0))]
    start = next((n for n, event in enumerate(events) if event["type"] == "session.start"), None)
    if start is None or "model" not in dict_of(events[start], "session"):
        return [], 0
    lines = [clip.to_bytes() for line in speech.repertoire("user") if (clip := speech.recorded(line.text))]
    frames_of = [
        line[n : n + _FRAME_BYTES].ljust(_FRAME_BYTES, b"\0")
        for line in lines
        for n in range(0, len(line), _FRAME_BYTES)
    ]
    return _with_sound(events[start:], frames_of)


def _with_sound(events: list[dict[str, Any]], clips: Iterable[bytes]) -> tuple[list[dict[str, Any]], int]:
    """Put audio in the place of digests: sound that the kit has, or else silence of that length; returns how many of those."""
    sounds = {hashlib.sha256(pcm).hexdigest(): pcm for pcm in clips}
    missing, n_bytes_left = 0, _MAX_SOUND_BYTES

    def sounding(text: str) -> str:
        nonlocal missing, n_bytes_left
        if (match := DIGEST.match(text)) is None:
            return text
        pcm = sounds.get(match[1])
        missing += pcm is None and loudness(text) != 0
        pcm = bytes(min(int(match[2]), n_bytes_left)) if pcm is None else pcm[:n_bytes_left]
        n_bytes_left -= len(pcm)
        return base64.b64encode(pcm).decode()

    return with_texts(events, sounding), missing
