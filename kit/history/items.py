"""What a history is made of: items and their parts, spelled for a dialect when they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pybase64

from ..errors import HistoryError, clipped
from ..wire.dialect import Dialect, spell_part

if TYPE_CHECKING:
    from ..clip import Clip

ASSISTANT_AUDIO = ("audio", "output_audio")  # what a server's own dump calls it


@dataclass(frozen=True, slots=True)
class Part:
    """One content part: text or a clip, spelled as its role and dialect want it.

    `wire_type` is ``None`` but for a part that was imported with a type that is wrong for its role in both dialects (or
    that the kit does not build, such as ``input_image``): that type is kept, so that `History.lint` can name it.
    """

    text: str | None = None
    clip: Clip | None = None
    wire_type: str | None = None
    extra: tuple[tuple[str, Any], ...] = ()
    """Fields beside the payload, as they came (``transcript``, ``image_url``, ``detail``)."""

    def spelled(self, role: str, d: Dialect) -> dict[str, Any]:
        out: dict[str, Any] = {"type": self.wire_type or spell_part("audio" if self.clip else "text", role, d)}
        if self.text is not None:
            out["text"] = self.text
        if self.clip is not None:
            out["audio"] = pybase64.b64encode(self.clip.to_bytes()).decode("ascii")
        return out | dict(self.extra)


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One item: a message (``role`` and ``parts``), a function call or its output (``fields``)."""

    type: str
    role: str | None = None
    parts: tuple[Part, ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()
    """Everything else, as it goes over the wire: ``id``, ``call_id``, ``name``, ``arguments``, ``output``, …"""

    def spelled(self, d: Dialect) -> dict[str, Any]:
        """The item as it goes over the wire."""
        out: dict[str, Any] = {"type": self.type} | dict(self.fields)
        if self.role is not None:
            out["role"] = self.role
        if self.type == "message":
            out["content"] = [part.spelled(self.role or "", d) for part in self.parts]
        return out

    def get(self, name: str) -> Any:
        """A field by its wire name; ``None`` if it has none such."""
        return dict(self.fields).get(name)

    @property
    def text(self) -> str:
        """What it says, in words."""
        if self.type == "function_call":
            return f"{self.get('name')}({self.get('arguments')})"
        if self.type == "function_call_output":
            return str(self.get("output"))
        said = (
            part.text or dict(part.extra).get("transcript") or (part.clip.text if part.clip else "")
            for part in self.parts
        )
        return " ".join(str(words) for words in said if words)


def words(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise HistoryError(f"{what} must be text, not {clipped(value)}")
    return whole(value, what)


def whole(text: str, what: str) -> str:
    """Text that can be sent: JSON's escapes can say half of a surrogate pair, UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise HistoryError(
            f"{what} holds half of a character (a lone surrogate) at position {exc.start}: {clipped(text)}; "
            "read it as UTF-8, or take that character out"
        ) from exc
    return text


def part_of(role: str, content: object) -> Part:
    if isinstance(content, str):
        return Part(whole(content, f"a {role} turn"))
    from ..clip import Clip  # with numpy, which a session of text has no use for

    if not isinstance(content, Clip):
        hint = "; open a sound file with Clip.load()" if role == "user" else ""
        raise HistoryError(
            f"a {role} turn is text{' or a Clip' if role == 'user' else ''}, not {clipped(content)}{hint}"
        )
    if role != "user":
        raise HistoryError(
            f"the API takes no {role} audio from a client, in neither dialect; give the turn's transcript"
        )
    return Part(clip=content)
