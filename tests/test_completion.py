"""Tab completes on what a cell ends on: jedi, which JupyterLab's kernel uses by default, reads every object's attributes."""

import jedi
import pytest

from kit import Clip, Plan, cases, connect
from kit.widgets import Chat, EventTable, Recorder
from kit.wire.live_conversation import Reply, ReplyPolicy


@pytest.fixture(autouse=True)
def cache_of_its_own(monkeypatch, tmp_path_factory):
    # Kernels of other tests write jedi's cache in the home folder at the same time, and it is read without a lock.
    monkeypatch.setattr(jedi.settings, "cache_directory", str(tmp_path_factory.getbasetemp() / "jedi"))


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("response", "modality"),
        ("response", "audio"),
        ("session", "respond"),
        ("items", "append"),
        ("item", "text"),
        ("events", "of"),
        ("history", "assistant"),
        ("clip", "pcm"),
        ("case", "history"),
        ("plan", "arms"),
        ("chat", "ask"),
        ("table", "rows"),
        ("recorder", "clip"),
        ("live", "ask"),
        ("reply", "outcome"),
    ],
)
async def test_tab_completes_on(name, attribute):
    async with connect(quiet=True) as session, connect(protocol="live", quiet=True) as live:
        response = await session.ask("Tell me a joke.")
        values = {
            "session": session,
            "response": response,
            "items": session.items,
            "item": session.items[0],
            "events": session.events,
            "history": cases.one_b.history,
            "case": cases.one_b,
            "clip": Clip.named("tell-me-a-joke"),
            "plan": Plan(["1a"], repeats=1),
            "chat": Chat(session),
            "table": EventTable(session),
            "recorder": Recorder(),
            "live": live,
            "reply": Reply("reply_1", None, ReplyPolicy()),
        }

        names = {word.name for word in jedi.Interpreter(f"{name}.", [values]).complete(1, len(name) + 1)}

        assert attribute in names
