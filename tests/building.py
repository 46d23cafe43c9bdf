"""What several test files build: events, pieces of sound, a fold with a hand on its clock."""

import gc
import json
import time

import numpy as np
import pybase64

from kit.clip import Clip
from kit.wire.conversation import Conversation
from kit.wire.dialect import BETA_NAME
from kit.wire.events import decode


def event(kind, at_ms=0.0, **fields):
    """A server event, decoded as it would be off the wire."""
    return decode(json.dumps({"type": kind, "event_id": "event_x"} | fields), at_ms)


def b64(pcm):
    return pybase64.b64encode(pcm).decode()


def clip(ms=100, text=""):
    return Clip(np.arange(24 * ms, dtype=np.int16), text=text)


def seconds(work):
    """CPU seconds of some work, without what collecting the garbage of the whole test run takes."""
    gc.disable()
    try:
        began = time.process_time()
        work()
        return time.process_time() - began
    finally:
        gc.enable()


class Talk:
    """A fold that is fed in either spelling; every event takes a millisecond unless `at` says when it is."""

    def __init__(self, dialect="ga", **known):
        self.dialect = dialect
        self.fold = Conversation(**known)
        self.ms = 0.0

    def at(self, ms):
        self.ms = float(ms)
        return self

    def hears(self, kind, **fields):
        """A server event by GA's name, spelled in this talk's dialect."""
        wire = BETA_NAME.get(kind, kind) if self.dialect == "beta" else kind
        self.fold.receive(event(wire, self.ms, **fields))
        self.ms += 1
        return self

    def says(self, kind, **fields):
        """A client event."""
        self.fold.sent({"type": kind} | fields, self.ms)
        self.ms += 1
        return self

    @property
    def response(self):
        return self.fold.responses[-1]

    @property
    def ids(self):
        return [item.id for item in self.fold.items]

    # The frames of wire/README.md, Event orders, type and ids only

    def creates(self, response_id="resp_1", **told):
        return self.hears(
            "response.created",
            response={"id": response_id, "status": "in_progress", "output": [], "conversation_id": "conv_1"} | told,
        )

    def opens(self, item_id="item_a", kind="audio", *, response_id="resp_1", output=0, item=None):
        """The output item, its conversation item and, for a message, its content part."""
        item = {"id": item_id, "status": "in_progress"} | (
            item or {"type": "message", "role": "assistant", "content": []}
        )
        about = {"response_id": response_id, "output_index": output}
        self.hears("response.output_item.added", **about, item=item)
        self.hears("conversation.item.added", item=item)
        if item["type"] == "message":
            self.hears("response.content_part.added", **about, item_id=item_id, content_index=0, part={"type": kind})
        return self

    def delta(self, kind, delta, item_id="item_a", *, response_id="resp_1", output=0):
        about = {"response_id": response_id, "item_id": item_id, "output_index": output, "content_index": 0}
        return self.hears(f"response.output_{kind}.delta", **about, delta=delta)

    def closes(self, item_id="item_a", kind="audio", words="", *, response_id="resp_1", output=0, status="completed"):
        """The burst of ``done`` events of one message."""
        about = {"response_id": response_id, "output_index": output}
        inside = about | {"item_id": item_id, "content_index": 0}
        if kind == "audio":
            self.hears("response.output_audio.done", **inside)
            self.hears("response.output_audio_transcript.done", **inside, transcript=words)
            self.hears("response.content_part.done", **inside, part={"type": "audio", "transcript": words})
        else:
            self.hears("response.output_text.done", **inside, text=words)
            self.hears("response.content_part.done", **inside, part={"type": "text", "text": words})
        item = self.message(item_id, kind, words, status)
        if self.dialect == "ga":
            self.hears("conversation.item.done", item=item)
        return self.hears("response.output_item.done", **about, item=item)

    def message(self, item_id, kind, words, status="completed"):
        spelled = kind if self.dialect == "beta" else f"output_{kind}"
        part = {"type": spelled, ("transcript" if kind == "audio" else "text"): words}
        return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": [part]}

    def done(self, response_id="resp_1", status="completed", output=(), **told):
        return self.hears(
            "response.done", response={"id": response_id, "status": status, "output": list(output)} | told
        )
