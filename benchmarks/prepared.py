"""The trial that is measured, both sides of it: what a client sends, and a server that answers with prepared bytes, the least that
a client can be measured against. ``python prepared.py`` prints its URL and serves until its standard input closes.

It answers each client frame by the type that is somewhere in it, and parses nothing but an item's id.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import sys

from websockets.asyncio.server import ServerConnection, serve

INSTRUCTIONS = "Be brief."
LINES = ("Tell me a joke.", "One.", "Another.", "Two.", "One more, please.")  # the user's and the assistant's by turns
ITEMS = [
    {
        "type": "message",
        "role": ("user", "assistant")[n % 2],
        "content": [{"type": ("input_text", "output_text")[n % 2], "text": line}],
    }
    for n, line in enumerate(LINES)
]
N_AUDIO, N_TRANSCRIPT, AUDIO_BYTES = 40, 20, 9_600
N_BYTES = N_AUDIO * AUDIO_BYTES
RESPONSE, ITEM = "resp_" + "A" * 21, "item_" + "B" * 21


def named_items() -> list[dict]:
    """The items as they are sent, each with an id."""
    return [{"id": f"item_{n}"} | item for n, item in enumerate(ITEMS)]


def event(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "event_id": "event_" + "E" * 21, **fields}, separators=(",", ":")).encode()


def reply() -> list[bytes]:
    """One spoken reply: its opening, audio and transcript deltas two to one, and its closing events."""
    rng = random.Random(0)
    at = {"response_id": RESPONSE, "item_id": ITEM, "output_index": 0, "content_index": 0}
    item = {"id": ITEM, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    words = [f" word{n}" for n in range(N_TRANSCRIPT)]
    whole = item | {"status": "completed", "content": [{"type": "output_audio", "transcript": "".join(words)}]}
    told = {"object": "realtime.response", "id": RESPONSE, "conversation_id": "conv_1", "output_modalities": ["audio"]}
    usage = {
        "total_tokens": 253,
        "input_tokens": 132,
        "output_tokens": 121,
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }
    frames = [
        event("response.created", response=told | {"status": "in_progress", "output": [], "usage": None}),
        event("response.output_item.added", response_id=RESPONSE, output_index=0, item=item),
        event("conversation.item.added", previous_item_id=None, item=item),
        event("response.content_part.added", **at, part={"type": "audio", "transcript": ""}),
    ]
    for n in range(N_AUDIO):
        if n % 2 == 0:
            frames.append(event("response.output_audio_transcript.delta", **at, delta=words[n // 2]))
        frames.append(
            event("response.output_audio.delta", **at, delta=base64.b64encode(rng.randbytes(AUDIO_BYTES)).decode())
        )
    return [
        *frames,
        event("response.output_audio.done", **at),
        event("response.output_audio_transcript.done", **at, transcript="".join(words)),
        event("response.content_part.done", **at, part={"type": "audio", "transcript": "".join(words)}),
        event("conversation.item.done", previous_item_id=None, item=whole),
        event("response.output_item.done", response_id=RESPONSE, output_index=0, item=whole),
        event("response.done", response=told | {"status": "completed", "output": [whole], "usage": usage}),
    ]


CREATED = event(
    "session.created",
    session={"type": "realtime", "id": "sess_1", "model": "gpt-realtime", "output_modalities": ["audio"]},
)
UPDATED = event(
    "session.updated",
    session={"type": "realtime", "id": "sess_1", "model": "gpt-realtime", "output_modalities": ["audio"]},
)
REPLY = reply()
ITEM_ID = re.compile(rb'"id":\s?"([^"]+)"')
ADDED = event(
    "conversation.item.added",
    previous_item_id=None,
    item={"id": "@", "type": "message", "status": "completed", "role": "user", "content": []},
)
DONE = ADDED.replace(b"item.added", b"item.done")


async def talk(ws: ServerConnection) -> None:
    await ws.send(CREATED, text=True)
    async for frame in ws:
        data = frame.encode() if isinstance(frame, str) else frame
        # a pydantic model puts its type last, so no frame is told by how it begins
        if b'"conversation.item.create"' in data:
            match = ITEM_ID.search(data)
            name = match[1] if match else b"item_1"
            await ws.send(ADDED.replace(b"@", name), text=True)
            await ws.send(DONE.replace(b"@", name), text=True)
        elif b'"response.create"' in data:
            for out in REPLY:
                await ws.send(out, text=True)
        elif b'"session.update"' in data:
            await ws.send(UPDATED, text=True)


async def main() -> None:
    async with serve(talk, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
