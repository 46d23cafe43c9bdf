"""A recorded effect as a few lines of Python that need nothing but ``websockets``."""

from __future__ import annotations

import base64
import hashlib
import os
import pprint
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import speech
from ..cases import all_cases
from ..errors import InputError, clipped
from ..eventlog import Log, ParseReport, log_files
from ..eventlog.parsing import records, records_of
from ..eventlog.reading import RecordedSession, stepped
from ..files import named_path, regular_file
from ..replay import without_marks
from ..trials.ledger import Ledger, inflate
from ..wire.events import DIGEST, dict_of, loudness
from ..wire.live_conversation import Reply, ReplyPolicy
from ..wire.records import Response

Source = Ledger | Log | str | os.PathLike[str]


_ATTEMPTS = """
SELECT e.attempt_id, e.trial_id, a.started_at, a.simulated, a.policy, t.case_name, t.arm, t.endpoint, COALESCE(t.asked_model, a.model) AS model
FROM events e JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id WHERE a.counts = 1 AND t.role = 'measure'
ORDER BY a.attempt_id
"""


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


def reproduction(evidence: RecordedSession, response: Response | Reply, origin: str) -> str | None:
    """A script that does what the client did up to this response; ``None`` where the log does not say what it did."""
    session, header = evidence.session, evidence.session.header or {}
    endpoint = str(header.get("endpoint") or evidence.attempt.get("endpoint") or "openai")
    template, title, path, usual_model = _SCRIPTS[session.protocol]
    model = session.model or evidence.attempt.get("model") or usual_model
    events, missing = (_said_before if session.protocol == "live" else _sent_before)(evidence, response)
    if not events:
        return None
    host, key_env, key_header = _HOSTS.get(endpoint, (None, *_OPENAI[1:]))
    about = f"Session {session.id}, response {response.id}, model {model}{f' ({origin})' if origin else ''}."
    if missing:
        about += f"\n{missing} pieces of audio were not kept in the log; silence of the same length stands for them."
    if endpoint == "standin":
        about += "\nIt was recorded at a stand-in: python -m kit serve starts one there."
    query = urlencode({"model": model})
    return text_of(
        template,
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
        events=_literal(events),
    )


def text_of(template: str, **values: Any) -> str:
    """A file of a bundle by its template. Nothing is escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined)
    environment.filters["ascii"] = ascii
    return environment.get_template(template).render(values)


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


# What can be said to another session; sound goes in as clips.
_SAID = tuple(
    f"session.{name}"
    for name in ("start", "update", "instructions", "thinking", "commentary", "input_audio.mute", "input_audio.unmute")
)


_MAX_SOUND_BYTES = 32 << 20  # of one script, 11 minutes: forged digests must not fill the memory


def _with_sound(events: list[dict[str, Any]], clips: Iterable[bytes]) -> tuple[list[dict[str, Any]], int]:
    """Put audio in the place of digests: sound that the kit has, or else silence of that length; returns how many of those."""
    sounds = {hashlib.sha256(pcm).hexdigest(): pcm for pcm in clips}
    missing, n_bytes_left = 0, _MAX_SOUND_BYTES

    def sounding(value: Any) -> Any:
        nonlocal missing, n_bytes_left
        if isinstance(value, str) and (match := DIGEST.match(value)):
            pcm = sounds.get(match[1])
            missing += pcm is None and loudness(value) != 0
            pcm = bytes(min(int(match[2]), n_bytes_left)) if pcm is None else pcm[:n_bytes_left]
            n_bytes_left -= len(pcm)
            return base64.b64encode(pcm).decode()
        if isinstance(value, dict):
            return {key: sounding(field) for key, field in value.items()}
        return [sounding(entry) for entry in value] if isinstance(value, list) else value

    return [sounding(event) for event in events], missing


def _literal(events: list[dict[str, Any]]) -> str:
    """Python that means these events: ASCII only, so that nothing in it reads otherwise than it runs."""
    lines = [pprint.pformat(event, width=112, sort_dicts=False) for event in events]
    text = "[\n    " + ",\n    ".join(line.replace("\n", "\n    ") for line in lines) + ",\n]"
    return "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in text)
