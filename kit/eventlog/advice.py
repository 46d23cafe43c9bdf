"""What frameworks print of themselves: signs by which they are known, and how each is made to log its events whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lines import ParseReport

RECIPES: dict[str, tuple[str, str]] = {
    "websockets": (
        r"[<>] TEXT ['\"].*\[\d+ bytes",
        "Python's websockets shortens what it logs. Start the program with WEBSOCKETS_MAX_LOG_SIZE=10000000, and set\n"
        "logging.getLogger('websockets.client').setLevel(logging.DEBUG).",
    ),
    "pipecat": (
        r"\bpipecat[.:]",
        "pipecat does not log the events. Its socket is websockets': start it with WEBSOCKETS_MAX_LOG_SIZE=10000000, and set\n"
        "logging.basicConfig(level=logging.DEBUG) beside loguru.",
    ),
    "livekit": (
        r"\blivekit\.(?:plugins|agents)\b|text-only response from realtime API|Text response received .*audio modality",
        "LiveKit logs its events with LK_OPENAI_DEBUG=1 in the environment and the level DEBUG; they are in the record's extra\n"
        "fields, so print those too: `python agent.py start` does (as JSON), a plain logging.Formatter does not.",
    ),
    "openai-agents": (
        r"\bRealtime(?:HistoryAdded|HistoryUpdated|RawModelEvent|AgentStartEvent|AudioEnd|ModelRawServerEvent|TurnEndedEvent)\b|\bopenai\.agents\b",
        "The Agents SDK hands on the events themselves: for e in session: if e.type == 'raw_model_event' and\n"
        "e.data.type == 'raw_server_event': print(json.dumps(e.data.data)).",
    ),
    "node": (
        r"\[Object\]|\[Array\]|\bopenai[:-](?:agents|realtime)\b|\bws:(?!//)|^(?:HTTP|NET|TLS|STREAM) \d+: ",
        "Node prints objects two levels deep: log console.log(JSON.stringify(event)) instead of console.log(event); the clients of\n"
        "OpenAI log no events themselves: rt.on('event', (event) => console.log(JSON.stringify(event))).",
    ),
}
"""Name of a framework → how its lines are known, and the lines that make it log what is needed."""

ANY = (
    "Log each event whole, on a line of its own: print(json.dumps(event)) in Python, console.log(JSON.stringify(event)) in\n"
    "JavaScript; or let the kit do it: connect(log='x.jsonl')."
)

# What a framework itself says of a reply that came as text. `kit log` counts these beside its own.
_SIGHTINGS = {
    "LiveKit itself says that a reply came as text": re.compile(
        r"received text-only response from realtime API|Text response received .{0,200}audio modality", re.IGNORECASE
    ),
}
_SIGNS = {name: re.compile(pattern) for name, (pattern, _) in RECIPES.items()}


def look(text: str, report: ParseReport) -> None:
    """Note which framework a line is of, and whether it says itself that a reply came as text."""
    text = text[:1_000] + text[-200:] if len(text) > 1_200 else text
    for sighting, pattern in _SIGHTINGS.items():
        if pattern.search(text):
            report.sightings[sighting] += 1
    for name, sign in _SIGNS.items():
        if name not in report.frameworks and sign.search(text):
            report.frameworks.add(name)


def recipes(frameworks: set[str]) -> list[str]:
    """How to log what is needed, for each framework that a log was seen to be of."""
    return [RECIPES[name][1] for name in RECIPES if name in frameworks] or [ANY]
