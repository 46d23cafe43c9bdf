"""A recorded effect as a few lines of Python that need nothing but ``websockets``."""

from __future__ import annotations

import base64
import os
import pprint
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..cases import all_cases
from ..errors import InputError, clipped
from ..eventlog import Log, LoggedSession, ParseReport, log_files
from ..eventlog.parsing import records, records_of
from ..eventlog.sessions import Step, stepped
from ..eventlog.writing import DIGEST, digest
from ..files import named_path, regular_file
from ..trials.ledger import Ledger, inflate
from ..wire.conversation import TAG
from ..wire.records import Response

Source = Ledger | Log | str | os.PathLike[str]


_ATTEMPTS = """
SELECT e.attempt_id, e.trial_id, a.started_at, a.simulated, t.case_name, t.arm, t.endpoint, COALESCE(t.asked_model, a.model) AS model
FROM events e JOIN attempts a USING (attempt_id) JOIN trials t ON t.trial_id = a.trial_id WHERE a.counts = 1 AND t.role = 'measure'
ORDER BY a.attempt_id
"""


@dataclass(frozen=True, slots=True)
class SessionEvidence:
    """One recorded session.

    Attributes:
        session: Its responses, folded from the steps.
        steps: Its frames, in order.
        attempt: What a ledger says of it; empty for a log.
    """

    session: LoggedSession
    steps: list[Step]
    attempt: dict[str, Any] = field(default_factory=dict)

    def utc(self, at_ms: float | None) -> str | None:
        """An instant of the session's clock in UTC, ISO 8601 with milliseconds; ``None`` where the start is not known."""
        # A ledger knows when its attempt began; a log says it in its header.
        opened = self.attempt.get("started_at")
        if not isinstance(opened, int | float):
            try:
                opened = datetime.fromisoformat(str((self.session.header or {}).get("opened_at"))).timestamp()
            except ValueError:
                return None
        if at_ms is None:
            return None
        try:
            return datetime.fromtimestamp(opened + at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        except (OverflowError, ValueError, OSError):  # a year that no calendar has
            return None


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


def sessions_of(source: Ledger | list[Path]) -> Iterator[SessionEvidence]:
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
            report = ParseReport()
            stored = records_of(lines, report)
            for session, steps in stepped(stored, report, str(attempt["trial_id"]), simulated=simulated):
                yield SessionEvidence(session, steps, dict(attempt))
    else:
        for path in source:
            report = ParseReport()
            for session, steps in stepped(records(path, report), report, path.name):
                yield SessionEvidence(session, steps)


# Foreign values come in by `!a`, `_words` or `_literal`: ASCII that cannot end the string in which it stands.
_SCRIPT = '''"""{title}

{about}

    pip install websockets
    {how}python reproduce.py {arguments}

Prints what each reply came as; the exit code is 0 if the last reply of any session came as {modality}.
"""

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect

URL = sys.argv[1] if len(sys.argv) > 1 else {url!a}
if not URL:
    sys.exit("which server? python reproduce.py wss://HOST/PATH [TIMES]")
TIMES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
HEADERS = {headers!a}
if URL.startswith("wss://") and os.environ.get({key_env!a}):
    HEADERS[{key_header!a}] = {key_prefix!a} + os.environ[{key_env!a}]

# What the client sent, in order; a reply is waited for after each response.create.
EVENTS = {events}


async def reply(ws):
    kinds, words = set(), ""
    async for frame in ws:
        event = json.loads(frame)
        if event["type"] == "error":
            print("  error:", event["error"]["message"])
        elif event["type"] == "response.content_part.added":
            kinds.add(event["part"]["type"])
        elif event["type"] == "response.done":
            for item in event["response"]["output"]:
                for part in item.get("content") or []:
                    words += part.get("text") or part.get("transcript") or ""
            kind = " and ".join(sorted(kinds)) or "nothing"
            print(f"  {{event['response']['id']}} {{event['response']['status']}}: {{kind}}: {{ascii(words[:80])}}")
            return kind


async def session():
    last = None
    async with connect(URL, additional_headers=HEADERS, max_size=None) as ws:
        print("session", json.loads(await ws.recv()).get("session", {{}}).get("id"))
        for event in EVENTS:
            await ws.send(json.dumps(event))
            if event["type"] == "response.create":
                last = await reply(ws)
        if EVENTS[-1]["type"] != "response.create":  # turn detection answered
            last = await reply(ws)
    return last


last = [asyncio.run(session()) for _ in range(TIMES)]
print(f"{{last.count({modality!a})}} of {{TIMES}} last replies came as {modality}")
sys.exit(0 if {modality!a} in last else 1)
'''


def reproduction(evidence: SessionEvidence, response: Response, origin: str) -> str | None:
    """A script that does what the client did up to this response; ``None`` where the log does not say what it did."""
    events = _sent_before(evidence, response)
    if not events:
        return None
    header = evidence.session.header or {}
    endpoint = str(header.get("endpoint") or evidence.attempt.get("endpoint") or "openai")
    model = evidence.session.model or evidence.attempt.get("model") or "gpt-realtime"
    # A log of another program names no dialect; beta's sessions have `modalities` (wire/README.md, "Session fields").
    beta = header.get("dialect") == "beta" or "modalities" in evidence.session.settings
    # The address is never that of the log: whoever runs the script sends a key there.
    host = {"openai": "wss://api.openai.com", "xai": "wss://api.x.ai", "standin": "ws://127.0.0.1:8765"}.get(endpoint)
    url = f"{host}/v1/realtime?{urlencode({'model': model})}" if host else ""
    azure = endpoint == "azure"
    key_env = {"azure": "AZURE_OPENAI_API_KEY", "xai": "XAI_API_KEY"}.get(endpoint, "OPENAI_API_KEY")
    # A log of the kit holds digests in the place of audio.
    events, missing = _with_sound(events)
    about = f"Session {evidence.session.id}, response {response.id}, model {model}{f' ({origin})' if origin else ''}."
    if missing:
        about += f"\n{missing} pieces of audio were not kept in the log; silence of the same length stands for them."
    if endpoint == "standin":
        about += "\nIt was recorded at a stand-in: python -m kit serve starts one there."
    # Nothing named: the service's default is audio.
    modalities = "+".join(response.asked or ("audio",))
    return _SCRIPT.format(
        title=_words(f"A reply came as {response.modality} where {modalities} was asked for."),
        about=_words(about),
        how="" if endpoint == "standin" else f"{key_env}=... ",
        arguments="[URL] [TIMES]" if url else "URL [TIMES]",
        url=url,
        headers={"OpenAI-Beta": "realtime=v1"} if beta and endpoint != "xai" else {},
        key_env=key_env,
        key_header="api-key" if azure else "Authorization",
        key_prefix="" if azure else "Bearer ",
        modality=response.modality or "nothing",
        events=_literal(events),
    )


def _words(text: str) -> str:
    """Foreign text for a docstring: nothing in it can end the string, or read otherwise than it is."""
    # Everything but plain letters, digits and a few signs, so no quote, backslash or brace: `r"""x` becomes `r???x`.
    return re.sub(r"[^A-Za-z0-9 _.,:;+()/\n-]", "?", text)


def _sent_before(evidence: SessionEvidence, response: Response) -> list[dict[str, Any]]:
    """What the client sent before this response was created, without the kit's own marks; empty where the log does not say."""
    events: list[dict[str, Any]] = []
    for step in evidence.steps:
        created = step.data.get("response")
        if (
            step.data.get("type") == "response.created"
            and isinstance(created, dict)
            and created.get("id") == response.id
        ):
            return events
        if step.direction == "client":
            events.append(_bare(step.data))
    return []


def _bare(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event without its id and without the tag by which the kit finds its response again."""
    bare = {key: value for key, value in event.items() if key != "event_id"}
    response = bare.get("response")
    if isinstance(response, dict) and isinstance(response.get("metadata"), dict) and TAG in response["metadata"]:
        metadata = {key: value for key, value in response["metadata"].items() if key != TAG}
        options = {key: value for key, value in response.items() if key != "metadata"}
        # The user's own metadata stay; an empty field would be more than was sent.
        options |= {"metadata": metadata} if metadata else {}
        bare = {key: value for key, value in bare.items() if key != "response"} | (
            {"response": options} if options else {}
        )
    return bare


def _with_sound(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Put audio in the place of digests: a clip that the kit has, or else silence of that length; returns how many of those."""
    # By digest: the sound of the kit's own cases can be put back as it was.
    clips = {
        digest(part.clip.to_bytes()): part.clip.to_bytes()
        for case in all_cases()
        for item in case.history
        for part in item.parts
        if part.clip
    }
    missing = 0

    def sounding(value: Any) -> Any:
        nonlocal missing
        if isinstance(value, str) and (match := DIGEST.match(value)):
            pcm = clips.get(value)
            # Silence of the digest's length, at most 15 MiB: a forged one must not fill the memory.
            missing += pcm is None
            return base64.b64encode(pcm if pcm is not None else bytes(min(int(match[2]), 15 << 20))).decode()
        if isinstance(value, dict):
            return {key: sounding(field) for key, field in value.items()}
        return [sounding(entry) for entry in value] if isinstance(value, list) else value

    return [sounding(event) for event in events], missing


def _literal(events: list[dict[str, Any]]) -> str:
    """Python that means these events: ASCII only, so that nothing in it reads otherwise than it runs."""
    lines = [pprint.pformat(event, width=112, sort_dicts=False) for event in events]
    text = "[\n    " + ",\n    ".join(line.replace("\n", "\n    ") for line in lines) + ",\n]"
    return "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in text)
