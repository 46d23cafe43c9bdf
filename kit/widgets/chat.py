"""A box to go on by typing, or with a clip: every reply shows its modality as it arrives."""

from __future__ import annotations

import asyncio
from typing import Any

import ipywidgets

from .. import show
from ..clip import Clip, clips_dir
from ..errors import KitError
from ..session import Session


class Chat(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets ships no types
    """``Chat(session)`` as a cell's last line: type a turn, or choose a clip, and see and hear the reply.

    It uses the session that the cells use, so what is said here is in `session.items` and `session.responses`. Without a
    front end, ``await chat.ask("…")`` does what the button does.

    Args:
        session: An open session.
    """

    def __init__(self, session: Session, **kwargs: Any) -> None:
        self.session = session
        # A front end's message may be handled on a thread of its own (ipykernel 7); the session lives on this loop.
        self._loop = asyncio.get_running_loop()
        self._box = ipywidgets.Text(placeholder="Say something, then press Enter", layout={"width": "26em"})
        self._send = ipywidgets.Button(description="Send", button_style="primary", layout={"width": "5em"})
        self._clips = ipywidgets.Dropdown(options=["… or say a clip", *_clip_names()], layout={"width": "13em"})
        self._log = ipywidgets.VBox([])
        self._status = ipywidgets.HTML(show.facts([("", "the reply appears here, with what it arrived as")]))
        # The front end's own message for Enter. (`on_submit` is deprecated; its replacement would also send on leaving the box.)
        self._box.on_msg(lambda _box, told, _buffers: self._typed() if told.get("event") == "submit" else None)
        self._send.on_click(lambda _button: self._typed())
        self._clips.observe(self._chosen, names="value")
        super().__init__([self._log, ipywidgets.HBox([self._box, self._send, self._clips]), self._status], **kwargs)

    async def ask(self, content: str | Clip) -> None:
        """Ask, and show both sides. An error is shown, not raised: the box stays usable."""
        self._busy(True)
        said = show.esc(content) if isinstance(content, str) else content._repr_html_()
        self._show(f"<b>you</b> {said}")
        try:
            response = await self.session.ask(content)
        except KitError as exc:
            self._show(f'<span style="color:#D55E00"><b>{show.esc(type(exc).__name__)}</b> {show.esc(exc)}</span>')
        else:
            self._show(response._repr_html_())
        finally:
            self._busy(False)

    def _typed(self) -> None:
        text = self._box.value.strip()
        if text:
            self._box.value = ""
            self._run(text)

    def _chosen(self, change: dict[str, Any]) -> None:
        if change["new"] in _clip_names():
            self._clips.value = self._clips.options[0]
            self._run(Clip.named(change["new"]))

    def _run(self, content: str | Clip) -> None:
        asyncio.run_coroutine_threadsafe(self.ask(content), self._loop)

    def _show(self, html: str) -> None:
        self._log.children = (*self._log.children, ipywidgets.HTML(html))

    def _busy(self, busy: bool) -> None:
        for control in (self._box, self._send, self._clips):
            control.disabled = busy
        self._status.value = show.facts([("", "waiting for the reply …")]) if busy else ""


def _clip_names() -> list[str]:
    folder = clips_dir()
    return sorted(path.stem for path in folder.glob("*") if path.suffix in (".wav", ".flac", ".ogg"))
