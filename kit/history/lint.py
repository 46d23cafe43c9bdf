"""What the service would refuse of a history, before anything is sent or paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .. import show
from ..wire.dialect import MAX_APPEND_BYTES, Dialect, Refusal, refuse_item
from .items import ASSISTANT_AUDIO, HistoryItem


@dataclass(frozen=True, slots=True)
class Finding:
    """One item that the service would refuse, and the `error` that it would send.

    Attributes:
        index: Which item, from 0.
        code, message, param: The service's own.
        advice: What to do about it.
    """

    index: int
    code: str | None
    message: str
    param: str | None
    advice: str

    def __str__(self) -> str:
        return f"item {self.index}: {self.message} {self.advice}"


class Findings(list[Finding]):
    """What `History.lint` found; empty means that the service should take every item."""

    def __init__(self, found: Iterable[Finding], d: Dialect) -> None:
        super().__init__(found)
        self.dialect = d.name

    def __repr__(self) -> str:
        if not self:
            return f"<lint ({self.dialect}): the service should take every item>"
        return "\n".join([f"<lint ({self.dialect}): {len(self)} would be refused>", *map(str, self)])

    def _repr_html_(self) -> str:
        if not self:
            return show.esc(repr(self))
        rows = [
            [str(f.index), show.esc(f.code), show.esc(f.message), show.esc(f.param), show.esc(f.advice)] for f in self
        ]
        return show.table(rows, ["item", "code", "the service's error", "param", "what to do"])


_ADVICE = {
    "invalid_value": "Use .user(), .assistant() or .system(), which spell the type for each dialect.",
    "missing_required_parameter": "Give it, or leave the item out.",
    "string_above_max_length": "Shorten the id to 32 characters.",
}


def lint(items: Iterable[HistoryItem], d: Dialect) -> Iterator[Finding]:
    seen: set[str] = set()
    calls: set[str] = set()
    for n, item in enumerate(items):
        wire = item.spelled(d)
        refusal = refuse_item(wire, d)
        if refusal is not None:
            advice = _ADVICE.get(refusal.code or "", "")
            if item.role == "assistant" and any(part.wire_type in ASSISTANT_AUDIO for part in item.parts):
                advice = "Assistant audio can be seeded in neither dialect: .with_transcripts() makes it text."
            yield _found(n, refusal, advice)
            continue
        item_id, call_id = wire.get("id"), wire.get("call_id")
        if isinstance(item_id, str) and item_id in seen:
            # The code is unverified.
            message = f"Error adding item: the item with id '{item_id}' already exists."
            yield _found(n, Refusal("item_create_duplicate_id", message), "Give each item its own id, or none.")
            continue
        if isinstance(item_id, str):
            seen.add(item_id)
        if item.type == "function_call" and call_id:
            calls.add(call_id)
        if item.type == "function_call_output" and call_id not in calls:
            # That the service checks this was reported; its words and code are unverified.
            message = f"No tool call found for function call output with call_id {call_id}."
            yield _found(n, Refusal("invalid_value", message, "item.call_id"), "Put its .function_call() before it.")
        for m, part in enumerate(item.parts):
            if part.clip is not None and part.clip.n_samples * 2 > MAX_APPEND_BYTES:
                # The limit is documented for input_audio_buffer.append; that it holds for items is unverified.
                message = f"Audio of {part.clip.n_samples * 2} bytes is over the limit of {MAX_APPEND_BYTES}."
                yield _found(n, Refusal("invalid_value", message, f"item.content[{m}].audio"), "Use a shorter clip.")


def _found(n: int, refusal: Refusal, advice: str) -> Finding:
    return Finding(n, refusal.code, refusal.message, refusal.param, advice)
