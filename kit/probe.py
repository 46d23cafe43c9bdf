"""What an endpoint can do, found out by trying: one session, one short reply in text and one in speech."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from dataclasses import fields
from typing import Any

from . import show
from .connecting import connect
from .endpoint import PRICES, Endpoint
from .errors import HistoryError, KitError, ResponseTimeout, ServerError
from .history import History
from .services import ALL_ROLES, WORDS, Capabilities
from .wire.events import dict_of, int_of

_ASK: dict[str, Any] = {"content": "Say hello.", "metadata": {"kit_probe": "1"}}


class Probe:
    """What was found out about an endpoint, beside what was known before.

    Attributes:
        endpoint: Which.
        found: What it did; what was not tried, or could not be, stays ``None``.
        notes: What it said when it refused, by what it was asked for.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.found = Capabilities()
        self.notes: dict[str, str] = {}

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Capability, what was found, what was known, and a remark where the two differ."""
        rows = []
        for name in [f.name for f in fields(Capabilities) if f.name not in ("known_from", "source", "remark")]:
            values = getattr(self.found, name), getattr(self.endpoint.capabilities, name)
            words = []
            for value in values:
                if isinstance(value, tuple):  # roles
                    words.append(", ".join(value) or "none")
                else:
                    words.append(WORDS[value] if value is None or isinstance(value, bool) else str(value))
            differs = "differs" if None not in values and values[0] != values[1] else ""
            rows.append((name, words[0], words[1], self.notes.get(name, differs)))
        return rows

    def __repr__(self) -> str:
        return "\n".join(f"{name:16} {value:24} {known:24} {note}".rstrip() for name, value, known, note in self.rows)

    def _repr_html_(self) -> str:
        return show.table([[show.esc(cell) for cell in row] for row in self.rows], ["", "found", "known", ""])

    async def _try(self, name: str, attempt: Awaitable[Any]) -> Any:
        """Try something; what the server says if it refuses is a note."""
        try:
            return await attempt
        except (ServerError, HistoryError, ResponseTimeout) as exc:
            self.notes[name] = show.one_line(str(exc), 120)
            return None


async def probe(where: str | Endpoint = "standin", *, timeout_s: float = 20, **options: Any) -> Probe:
    """Find out what an endpoint can do. At a service this costs a cent or two: two replies of a few words.

    Args:
        where: As `kit.connect` takes it, with its `options`.
        timeout_s: For each thing that is tried. What is not answered by then counts as not done.

    Raises:
        ConnectError: If no session comes about.
    """
    async with connect(where, keep_audio=False, **options) as session:
        result, abilities = Probe(session.endpoint), dict[str, Any]()
        # In speech first: text in the history is what may end speech.
        with contextlib.suppress(KitError):
            response = await session.ask(**_ASK, modality="audio", timeout_s=timeout_s)
            reply_item = next((item for item in reversed(session.items) if item.role == "assistant"), None)
            if response.modality == "audio" and reply_item is not None:
                await result._try("truncates", session.truncate_item(reply_item, 100, timeout_s=timeout_s))
                abilities["truncates"] = "truncates" not in result.notes
        # Only GA's session object says a rate; elsewhere it stays unknown.
        sound = dict_of(dict_of(session.settings, "audio"), "input")
        abilities["input_hz"] = int_of(dict_of(sound, "format"), "rate")

        response = await result._try("answers_in_text", session.ask(**_ASK, modality="text", timeout_s=timeout_s))
        abilities["answers_in_text"] = response is not None and response.modality == "text"
        if response is not None:
            done = session.events.of("response.done")[-1]
            abilities["echoes_metadata"] = "kit_probe" in dict_of(dict_of(done.data, "response"), "metadata")
            # Any price does: what is asked is whether the counts can be believed.
            abilities["counts_tokens"] = next(iter(PRICES.values())).usd(response.usage or {}) is not None
            if response.modality != "text":
                result.notes["answers_in_text"] = f"asked for text, it answered in {response.modality}"

        roles, refused = [], []
        for role in ALL_ROLES:
            history = getattr(History(), role)("Please be brief.")
            # `check=False` asks the service, not the kit.
            if await result._try("seeds", session.seed(history, check=False, timeout_s=timeout_s)):
                roles.append(role)
            else:
                refused.append(f"{role}: {result.notes.get('seeds', 'not confirmed')}")
        result.notes |= {"seeds": "; ".join(refused)} if refused else {}
        # A service that renames items confirms them all the same, so what counts is whether one of the kit's ids is there.
        ids = {item.id for item in session.items}
        sent_ids = {dict_of(event.data, "item").get("id") for event in session.events.of("conversation.item.create")}
        abilities |= {"seeds": tuple(roles), "keeps_ids": bool(ids & sent_ids) if roles else None}
        item = next((item for item in session.items if item.role == "user"), None)
        if item is not None:
            await result._try("deletes", session.delete_item(item, timeout_s=timeout_s))
            abilities["deletes"] = "deletes" not in result.notes
        result.found = Capabilities(**abilities)
        return result
