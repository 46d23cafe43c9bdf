"""A bare websocket client for the tests of the stand-in: it sends what it is told, and reads until it has seen enough."""

import asyncio
import base64
import contextlib
import json
from urllib.parse import urlencode

import websockets.asyncio.client

BETA_HEADER = {"OpenAI-Beta": "realtime=v1"}
SKELETONS = "Why don't skeletons fight each other? They don't have the guts!"
SCARECROW = "Why did the scarecrow win an award? Because he was outstanding in his field!"


class Talk:
    """One connection. Every event that came is in `events`."""

    def __init__(self, socket, dialect):
        self.socket, self.dialect, self.events = socket, dialect, []

    async def send(self, type, **fields):
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def raw(self, frame):
        await self.socket.send(frame)

    async def next(self):
        self.events.append(json.loads(await self.socket.recv()))
        return self.events[-1]

    async def until(self, type):
        """Read up to the next event of that type (in either dialect's name for it); gives it."""
        names = {type} if isinstance(type, str) else set(type)
        async with asyncio.timeout(60):  # what never comes fails the test, and does not hold up all the others
            while (event := await self.next())["type"] not in names:
                pass
        return event

    async def rest(self):
        """Everything up to the answer to a question that is always answered: what was sent before is done with."""
        start = len(self.events)
        await self.send("input_audio_buffer.clear")
        await self.until("input_audio_buffer.cleared")
        return self.events[start:-1]

    # Things that are said often

    def text(self, role, text):
        kind = ("output_text" if self.dialect == "ga" else "text") if role == "assistant" else "input_text"
        return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}

    def user_audio(self, pcm):
        part = {"type": "input_audio", "audio": base64.b64encode(pcm).decode()}
        return {"type": "message", "role": "user", "content": [part]}

    async def add(self, item, **fields):
        await self.send("conversation.item.create", item=item, **fields)
        return await self.until(("conversation.item.done", "conversation.item.created", "error"))

    async def say(self, role, text):
        return await self.add(self.text(role, text))

    async def update(self, **session):
        kind = {"type": "realtime"} if self.dialect == "ga" else {}
        await self.send("session.update", session=kind | session)
        return await self.until(("session.updated", "error"))

    async def respond(self, **response):
        """Ask for a response and wait for its end; gives `response.done`'s response."""
        await self.send("response.create", **({"response": response} if response else {}))
        done = await self.until("response.done")
        if self.dialect == "ga":
            await self.until("rate_limits.updated")
        return done["response"]

    @property
    def types(self):
        return [event["type"] for event in self.events]


@contextlib.asynccontextmanager
async def talk(server, dialect="ga", *, model="gpt-realtime", headers=None, subprotocols=None, greet=True, **query):
    """Connect and, unless told otherwise, take `session.created`."""
    url = f"{server.url}?{urlencode({'model': model, **query} if model else query)}"
    extra = (BETA_HEADER if dialect == "beta" else {}) | (headers or {})
    async with websockets.asyncio.client.connect(
        url,
        additional_headers=extra,
        subprotocols=subprotocols,
        max_size=None,
        max_queue=None,
        compression=None,
        proxy=None,
    ) as socket:
        talk = Talk(socket, dialect)
        if greet:
            await talk.next()
        yield talk


def outline(types):
    """Types in order, each run of deltas as one word."""
    words = ["delta*" if t.startswith("response.") and t.endswith("delta") else t for t in types]
    return [w for n, w in enumerate(words) if w != "delta*" or words[n - 1 : n] != ["delta*"]]


def speech_of(events):
    """The PCM of all audio deltas among events."""
    return b"".join(
        base64.b64decode(e["delta"])
        for e in events
        if e["type"] in ("response.output_audio.delta", "response.audio.delta")
    )
