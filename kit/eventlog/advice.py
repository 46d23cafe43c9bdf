"""What frameworks print of themselves: signs by which they are known, and how each is made to log its events whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lines import ParseReport

RECIPES: dict[str, tuple[str, str]] = {
    "websockets": (
        r"[<>] TEXT ['\"].*\[\d+ bytes",
        "Python's websockets shortens what it logs. Start the program with\n"
        "  WEBSOCKETS_MAX_LOG_SIZE=10000000 in its environment, and in it set\n"
        "  logging.getLogger('websockets.client').setLevel(logging.DEBUG)",
    ),
    "pipecat": (
        r"\bpipecat[.:]\w",
        "pipecat does not log the events; its socket, websockets, does. Start with\n"
        "  WEBSOCKETS_MAX_LOG_SIZE=10000000 in the environment, and beside loguru set\n"
        "  logging.basicConfig(level=logging.DEBUG)",
    ),
    "livekit": (
        r"\blivekit\.(?:plugins|agents)\b|text-only response from realtime API|Text response received .*audio modality",
        "LiveKit logs its events at the level DEBUG, with\n"
        "  LK_OPENAI_DEBUG=1 in the environment\n"
        "in the record's extra fields: `python agent.py start` prints those (as JSON),\n"
        "a plain logging.Formatter does not.",
    ),
    "openai-agents": (
        r"\bRealtime(?:HistoryAdded|HistoryUpdated|RawModelEvent|AgentStartEvent|AudioEnd|ModelRawServerEvent|TurnEndedEvent)\b|\bopenai\.agents\b",
        "The Agents SDK hands on the events themselves. In `async for e in session:`\n"
        "  if e.type == 'raw_model_event' and e.data.type == 'raw_server_event':\n"
        "      print(json.dumps(e.data.data))",
    ),
    "node": (
        r"[:\[] \[(?:Object|Array)\]|(?:^|\s)(?:openai[:-](?:agents|realtime)|ws):\w|^(?:HTTP|NET|TLS|STREAM) \d+: ",
        "Node prints objects two levels deep; instead of console.log(event) write\n"
        "  console.log(JSON.stringify(event))\n"
        "The clients of OpenAI log no events themselves; tell them to:\n"
        "  rt.on('event', (event) => console.log(JSON.stringify(event)))      openai\n"
        "  session.transport.on('*', (event) => console.log(JSON.stringify(event)))\n"
        "                                                              @openai/agents",
    ),
}
"""Name of a framework → how its lines are known, and the lines that make it log what is needed: 78 columns, two of them indent."""

ANY = (
    "Log each event whole, on a line of its own:\n"
    "  print(json.dumps(event))               in Python\n"
    "  console.log(JSON.stringify(event))     in JavaScript\n"
    "or let the kit do it: connect(log='x.jsonl')."
)

# What a framework itself says of a reply that came as text. `kit log` counts these beside its own.
_SIGHTING = "LiveKit itself says that a reply came as text"
_IS_SIGHTING = re.compile(
    r"received text-only response from realtime API|Text response received .{0,200}audio modality", re.IGNORECASE
)
_SIGNS = {name: re.compile(pattern) for name, (pattern, _) in RECIPES.items()}


def look(text: str, report: ParseReport) -> None:
    """Note which framework a line is of, and whether it says itself that a reply came as text."""
    text = text[:1_000] + text[-200:] if len(text) > 1_200 else text
    if _IS_SIGHTING.search(text):
        report.sightings[_SIGHTING] += 1
    for name, sign in _SIGNS.items():
        if name not in report.frameworks and sign.search(text):
            report.frameworks.add(name)


def recipes(frameworks: set[str]) -> list[str]:
    """How to log what is needed, for each framework that a log was seen to be of."""
    named = [name for name in RECIPES if name in frameworks]
    if "pipecat" in named:
        named = [name for name in named if name != "websockets"]  # which is its socket
    return [RECIPES[name][1] for name in named] or [ANY]
