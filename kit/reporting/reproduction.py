"""A recorded effect as a few lines of Python that need nothing but ``websockets``."""

from __future__ import annotations

import base64
import hashlib
import os
import pprint
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .. import speech
from ..cases import all_cases
from ..errors import InputError, clipped
from ..eventlog import Log, ParseReport, log_files
from ..eventlog.parsing import records, records_of
from ..eventlog.reading import AnySession, stepped
from ..eventlog.sessions import Step
from ..files import named_path, regular_file
from ..trials.ledger import Ledger, inflate
from ..wire.conversation import TAG
from ..wire.events import DIGEST, dict_of, loudness
from ..wire.live_conversation import Reply, ReplyPolicy
from ..wire.records import Response

Source = Ledger | Log | str | os.PathLike[str]


_ATTEMPTS = """
SELECT e.attempt_id, e.trial_id, a.started_at, a.simulated, a.policy, t.case_name, t.arm, t.endpoint, COALESCE(t.asked_model, a.model) AS model
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

    session: AnySession
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
            stored, policy = records_of(lines, report), ReplyPolicy.named(attempt["policy"] or "")
            for session, steps in stepped(stored, report, str(attempt["trial_id"]), simulated=simulated, policy=policy):
                yield SessionEvidence(session, steps, dict(attempt))
    else:
        for path in source:
            report = ParseReport()
            for session, steps in stepped(records(path, report), report, path.name):
                yield SessionEvidence(session, steps)


# Foreign values come in by `!a`, `_words` or `_literal`: ASCII that cannot end the string in which it stands.
# `%s` is what the protocols differ in.
_HEAD = '''"""{title}

{about}

    pip install websockets
    {how}python reproduce.py {arguments}

Prints what each reply came as; the exit code is 0 if the last reply of any session %s
"""

import asyncio
import json
import os
import sys
%s
from websockets.asyncio.client import connect

URL = sys.argv[1] if len(sys.argv) > 1 else {url!a}
if not URL:
    sys.exit("which server? python reproduce.py wss://HOST/PATH [TIMES]")
TIMES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
HEADERS = {headers!a}
if URL.startswith("wss://") and os.environ.get({key_env!a}):
    HEADERS[{key_header!a}] = {key_prefix!a} + os.environ[{key_env!a}]
%s
# What the client sent, in order; a reply is waited for after each %s.
EVENTS = {events}


'''
_SCRIPT = (
    _HEAD % ("came as {modality}.", "", 'URL += "" if "?" in URL else {query!a}', "response.create")
    + """\
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
        first = json.loads(await ws.recv())
        print(first["type"], first.get("session", {{}}).get("id"), first.get("error", ""))
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
"""
)


def reproduction(evidence: SessionEvidence, response: Response | Reply, origin: str) -> str | None:
    """A script that does what the client did up to this response; ``None`` where the log does not say what it did."""
    session, header = evidence.session, evidence.session.header or {}
    endpoint = str(header.get("endpoint") or evidence.attempt.get("endpoint") or "openai")
    model = session.model or evidence.attempt.get("model") or _MODELS[session.protocol]
    script, title, path, events_of = _SCRIPTS[session.protocol]
    events, missing = events_of(evidence, response)
    if not events:
        return None
    # The address is never that of the log: whoever runs the script sends a key there.
    host = {"openai": "wss://api.openai.com", "xai": "wss://api.x.ai", "standin": "ws://127.0.0.1:8765"}.get(endpoint)
    azure = endpoint == "azure"
    key_env = {"azure": "AZURE_OPENAI_API_KEY", "xai": "XAI_API_KEY"}.get(endpoint, "OPENAI_API_KEY")
    about = f"Session {session.id}, response {response.id}, model {model}{f' ({origin})' if origin else ''}."
    if missing:
        about += f"\n{missing} pieces of audio were not kept in the log; silence of the same length stands for them."
    if endpoint == "standin":
        about += "\nIt was recorded at a stand-in: python -m kit serve starts one there."
    # Nothing named: the service's default is audio.
    return script.format(
        title=_words(title.format(response=response, asked="+".join(response.asked or ("audio",)))),
        about=_words(about),
        how="" if endpoint == "standin" else f"{key_env}=... ",
        arguments="[URL] [TIMES]" if host else "URL [TIMES]",
        url=f"{host}{path.format(urlencode({'model': model}))}" if host else "",
        query=f"?{urlencode({'model': model})}",
        headers={"OpenAI-Beta": "realtime=v1"} if session.dialect == "beta" and endpoint != "xai" else {},
        key_env=key_env,
        key_header="api-key" if azure else "Authorization",
        key_prefix="" if azure else "Bearer ",
        outcome=response.outcome or "nothing",
        modality=response.modality or "nothing",
        policy=response.policy,
        events=_literal(events),
    )


def _words(text: str) -> str:
    """Foreign text for a docstring: nothing in it can end the string, or read otherwise than it is."""
    # Everything but plain letters, digits and a few signs, so no quote, backslash or brace: `r"""x` becomes `r???x`.
    return re.sub(r"[^A-Za-z0-9 _.,:;+()/\n-]", "?", text)


def _sent_before(evidence: SessionEvidence, response: Response | Reply) -> tuple[list[dict[str, Any]], int]:
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
            events.append(_bare(step.data))
    return [], 0


_FRAME_BYTES = 4_800  # of the kit's feeder: 100 ms of PCM
_ONSET_MS = 300  # of sound before its first loud frame


def _said_before(evidence: SessionEvidence, response: Response | Reply) -> tuple[list[dict[str, Any]], int]:
    """What a client of GPT-Live sent up to the ask of this reply, each question as one ``clip`` where it ends; empty for a fork,
    whose past is in no log."""
    owed = getattr(response, "ask", None)
    asks = [ask for ask in evidence.session.asks if owed is not None and ask.at_ms <= owed.at_ms]
    steps = [step for step in evidence.steps if step.direction == "client" and owed and step.at_ms <= owed.at_ms]
    fed = [step for step in steps if step.data["type"] == "session.input_audio.append"]
    # What answered a delegation answered that session's.
    timed = [
        (step.at_ms, _bare(step.data))
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


# The same over GPT-Live: sound goes in all the time, since it is the session's clock, and no event ends a reply.
_LIVE_SCRIPT = (
    _HEAD
    % (
        "was {outcome}. A third\nargument is a WAV (24 kHz, mono, 16 bits) that is asked in the place of the questions here.",
        "import array\nimport base64\nimport time\nimport wave\n",
        """\
WAV = wave.open(sys.argv[3]).readframes(1 << 24) if len(sys.argv) > 3 else b""
DEADLINE_S, WINDOW_S, QUIET_S = {policy.deadline_ms} / 1000, {policy.window_ms} / 1000, {policy.quiet_ms} / 1000
FLOOR = {policy.voiced_floor}  # the largest sample of a frame in which nobody speaks""",
        "clip and each commentary",
    )
    + """\
async def session():
    queue, words, voice, last = [], [], [], None
    async with connect(URL, additional_headers=HEADERS, max_size=None) as ws:
        await ws.send(json.dumps(EVENTS[0]))
        started = json.loads(await ws.recv())
        print(started["type"], started.get("session", {{}}).get("id"), started.get("error", ""))
        idle = {{"audio/pcmu": b"\\xff", "audio/pcma": b"\\xd5"}}.get(FORMAT.get("type"), b"\\0") * (FORMAT.get("rate", 24000) // 10)
        idle *= 2 if idle[:1] == b"\\0" else 1

        async def feed():
            due = time.monotonic()
            while True:
                audio = queue.pop(0) if queue else base64.b64encode(idle).decode()
                await ws.send(json.dumps({{"type": "session.input_audio.append", "audio": audio}}))
                due += 0.1
                await asyncio.sleep(max(0, due - time.monotonic()))

        async def listen():
            async for frame in ws:
                event = json.loads(frame)
                if event["type"] == "session.output_audio.delta":
                    data = base64.b64decode(event["delta"])
                    loud = max(map(abs, array.array("h", data)), default=0) > FLOOR if idle[:1] == b"\\0" else data.strip(idle[:1])
                    if loud:
                        voice.append(time.monotonic())
                elif event["type"] == "session.output_transcript.delta":
                    words.append(event["delta"])
                elif event["type"] == "error":
                    print("  error:", event["error"]["message"])

        async def reply():
            asked = time.monotonic()
            voice.clear(), words.clear()
            while time.monotonic() < (voice[-1] + QUIET_S if voice else asked + WINDOW_S):
                await asyncio.sleep(0.05)
            after = voice[0] - asked if voice else None
            outcome = "silent" if after is None else "spoken" if after <= DEADLINE_S else "late"
            print(f"  {{outcome}}{{f' after {{after:.2f}} s' if voice else ''}}: {{ascii(''.join(words).strip()[:80])}}")
            return outcome

        tasks = [asyncio.create_task(feed()), asyncio.create_task(listen())]
        await asyncio.sleep(1)  # the track begins and settles
        for event in EVENTS[1:]:
            if event["type"] == "clip":
                sound = [base64.b64encode(WAV[n : n + 4800].ljust(4800, b"\\0")).decode() for n in range(0, len(WAV), 4800)]
                queue += sound or event["audio"]
                while queue:
                    await asyncio.sleep(0.01)
                last = await reply()
            else:
                await ws.send(json.dumps(event))
                if event["type"] == "session.commentary.append":
                    last = await reply()
        await ws.send('{{"type": "session.close"}}')
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=5)
    return last


FORMAT = EVENTS[0]["session"].get("audio", {{}}).get("format", {{}})
last = [asyncio.run(session()) for _ in range(TIMES)]
print(f"{{last.count({outcome!a})}} of {{TIMES}} last replies were {outcome}")
sys.exit(0 if {outcome!a} in last else 1)
"""
)
_MODELS = {"realtime": "gpt-realtime", "live": "gpt-live-1.1"}
# By protocol: the script, its title, the address, and what the client sent.
_SCRIPTS = {
    "realtime": (
        _SCRIPT,
        "A reply came as {response.modality} where {asked} was asked for.",
        "/v1/realtime?{}",
        _sent_before,
    ),
    "live": (_LIVE_SCRIPT, "The reply to a question was {response.outcome}.", "/v1/live/sessions", _said_before),
}
