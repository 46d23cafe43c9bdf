"""What an endpoint can do, found out by trying: one session, one short reply in text and one in speech."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from dataclasses import fields, replace
from typing import Any

from . import show
from .connecting import connect
from .endpoint import PRICES, Endpoint
from .errors import HistoryError, KitError, ResponseTimeout, ServerError
from .history import History
from .services import ALL_ROLES, WORDS, Capabilities
from .session import Session
from .wire.events import dict_of, int_of
from .wire.records import Response


class Probe:
    """What was found out about an endpoint, beside what was known before.

    Attributes:
        endpoint: Which.
        found: What it did.
        notes: What it said when it refused, by what it was asked for.
    """

    def __init__(self, endpoint: Endpoint, capabilities: Capabilities, notes: dict[str, str]) -> None:
        self.endpoint = endpoint
        self.found = capabilities
        self.notes = notes

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Capability, what was found, what was known, and a remark where the two differ."""
        rows = []
        for name in [
            field.name for field in fields(Capabilities) if field.name not in ("known_from", "source", "remark")
        ]:
            value, row_value = getattr(self.found, name), getattr(self.endpoint.capabilities, name)
            differs = "differs" if None not in (value, row_value) and value != row_value else ""
            rows.append((name, _word(value), _word(row_value), self.notes.get(name, differs)))
        return rows

    def __repr__(self) -> str:
        return "\n".join(
            f"{name:16s} {value:24s} {row_value:24s} {note}".rstrip() for name, value, row_value, note in self.rows
        )

    def _repr_html_(self) -> str:
        return show.table([[show.esc(cell) for cell in row] for row in self.rows], ["", "found", "known", ""])


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else WORDS[value]  # type: ignore[index]


async def probe(where: str | Endpoint = "standin", *, timeout_s: float = 20, **options: Any) -> Probe:
    """Find out what an endpoint can do. At a service this costs a cent or two: two replies of a few words.

    Args:
        where: As `kit.connect` takes it, with its `options`.
        timeout_s: For each thing that is tried. What is not answered by then counts as not done.

    Raises:
        ConnectError: If no session comes about.
    """
    async with connect(where, keep_audio=False, **options) as session:
        return await _Prober(session, timeout_s).run()


class _Prober:
    def __init__(self, session: Session, timeout_s: float) -> None:
        self.session, self.timeout_s = session, timeout_s
        # What was seen so far; what was not tried, or could not be, stays ``None``.
        self.found = Capabilities()
        # What the service said where it refused, by what it was asked for.
        self.notes: dict[str, str] = {}

    async def run(self) -> Probe:
        await self._ask_for_speech()  # first: text in the history is what may end speech
        await self._ask_for_text()
        await self._seed()
        item = next((item for item in self.session.items if item.role == "user"), None)
        if item is not None:
            await self._can("deletes", self.session.delete_item(item, timeout_s=self.timeout_s))
        return Probe(self.session.endpoint, self.found, self.notes)

    async def _can(self, name: str, attempt: Awaitable[Any]) -> Any:
        """Try something; what the server says if it refuses is a note."""
        result, done = None, False
        try:
            result, done = await attempt, True
        except (ServerError, HistoryError, ResponseTimeout) as exc:
            self.notes[name] = show.one_line(str(exc), 120)
        # `seeds user` and its like are no capabilities: `_seed` sums them up.
        if hasattr(self.found, name):
            self._note(**{name: done})
        return result

    def _note(self, **capabilities: Any) -> None:
        self.found = replace(self.found, **capabilities)

    async def _seed(self) -> None:
        roles = []
        for role in ALL_ROLES:
            history = getattr(History(), role)("Please be brief.")
            # `check=False` asks the service, not the kit
            if await self._can(f"seeds {role}", self.session.seed(history, check=False, timeout_s=self.timeout_s)):
                roles.append(role)
        # A service that renames items confirms them all the same, so what counts is whether one of the kit's ids is there.
        ids = {item.id for item in self.session.items}
        sent_ids = [
            dict_of(event.data, "item").get("id") for event in self.session.events.of("conversation.item.create")
        ]
        self._note(seeds=tuple(roles), keeps_ids=bool(ids & set(sent_ids)) if roles else None)
        refused = [f"{role}: {self.notes.pop(f'seeds {role}')}" for role in ALL_ROLES if f"seeds {role}" in self.notes]
        if refused:
            self.notes["seeds"] = "; ".join(refused)

    async def _ask_for_text(self) -> None:
        response = await self._can("answers_in_text", self._respond("text"))
        if response is None:
            return
        done = self.session.events.of("response.done")[-1]
        metadata = dict_of(dict_of(done.data, "response"), "metadata")
        # Any price does: what is asked is whether the counts can be believed.
        priced = next(iter(PRICES.values())).usd(response.usage or {})
        self._note(
            answers_in_text=response.modality == "text",
            echoes_metadata="kit_probe" in metadata,
            counts_tokens=priced is not None,
        )
        if response.modality != "text":
            self.notes["answers_in_text"] = f"asked for text, it answered in {response.modality}"

    async def _ask_for_speech(self) -> None:
        with contextlib.suppress(KitError):
            response = await self._respond("audio")
            reply_item = next((item for item in reversed(self.session.items) if item.role == "assistant"), None)
            if response.modality == "audio" and reply_item is not None:
                await self._can("truncates", self.session.truncate_item(reply_item, 100, timeout_s=self.timeout_s))
        # Only GA's session object says a rate; elsewhere it stays unknown.
        sound = dict_of(dict_of(self.session.settings, "audio"), "input")
        self._note(input_hz=int_of(dict_of(sound, "format"), "rate"))

    async def _respond(self, modality: str) -> Response:
        # It comes back in `response.done`, where metadata are echoed.
        metadata = {"kit_probe": "1"}
        return await self.session.ask("Say hello.", modality=modality, metadata=metadata, timeout_s=self.timeout_s)
