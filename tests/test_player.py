"""Playing in the page: the browser's speaker as the kernel sees it, the player, and the voice chat in real Chromium."""

import asyncio

import numpy as np
import pytest

from kit import History, connect
from kit.clip import Clip
from kit.connecting import in_thread
from kit.errors import DeviceError, LocalProtocolError
from kit.widgets import Chat, VoiceChat
from kit.widgets.page import BrowserMicrophone, BrowserSpeaker


class Page:
    """Stands for the page: keeps what it is sent, and says how far it has played."""

    def __init__(self, played_ms=0.0):
        self.said, self.played = [], 0
        self.speaker = None
        self.play_ms = played_ms

    def send(self, content, buffers=None):
        self.said.append(content["kind"])
        if content["kind"] == "stop":
            played = int(self.play_ms * 24)
            self.speaker.report(
                {"played": played, "heard": played - 240, "underruns": 0, "peak": 0, "stopped": content["id"]}
            )


def browser_speaker(**options):
    page = Page(**options)
    page.speaker = BrowserSpeaker(page.send)
    page.speaker.page_opened()
    return page, page.speaker


async def test_stopping_asks_the_page_what_was_heard():
    _page, speaker = browser_speaker(played_ms=500)
    speaker.write(bytes(48_000))
    heard = await speaker.stop()

    assert heard == 500 * 24 - 240  # what the device still held was not
    assert not speaker.playing and speaker.n_written == 500 * 24


async def test_a_page_that_is_gone_stops_nobody(monkeypatch):
    monkeypatch.setattr("kit.widgets.page._STOP_S", 0.01)
    speaker = BrowserSpeaker(lambda content, buffers=None: None)
    speaker.write(bytes(4_800))
    speaker.report({"played": 1_200, "heard": 1_000, "underruns": 0, "peak": 0})

    assert await speaker.stop() == 1_000 and not speaker.playing


async def test_a_page_that_was_opened_again_counts_from_where_the_last_one_was():
    _page, speaker = browser_speaker()
    speaker.write(bytes(4_800))
    speaker.page_opened()
    speaker.write(bytes(4_800))
    speaker.report({"played": 1_200, "heard": 1_000, "underruns": 0, "peak": 0})

    assert speaker.n_heard == 2_400 + 1_000


async def test_what_is_written_before_the_page_is_drawn_is_heard_when_it_is():
    page = Page()
    speaker = BrowserSpeaker(page.send)
    speaker.write(bytes(4_800))
    speaker.end()
    before = list(page.said)
    speaker.page_opened()

    assert before == [] and page.said == ["sound", "end"]


async def test_a_microphone_in_the_page_is_heard_from_any_thread():
    microphone = BrowserMicrophone(asyncio.get_running_loop())
    await asyncio.to_thread(microphone.take, b"\1\0", 0)
    await asyncio.to_thread(microphone.take, b"\2\0", 1)
    heard = []
    async for block in microphone:
        heard.append(block.pcm)
        if len(heard) == 2:
            microphone.close()

    assert heard == [b"\1\0", b"\2\0"] and microphone.n_dropped == 0


async def test_a_voice_chat_that_has_no_microphone_says_so():
    async with connect(quiet=True) as session:
        chat = VoiceChat(session)
        chat._received({"kind": "here"}, [])
        starting = asyncio.ensure_future(chat.start())
        await asyncio.sleep(0)
        chat._received({"kind": "problem", "words": "The browser finds no microphone."}, [])

        with pytest.raises(DeviceError, match="no microphone"):
            await starting
        assert "idle" in repr(chat)


async def talking(session):
    """A voice chat whose page is there and has its microphone open."""
    chat = VoiceChat(session)
    chat._received({"kind": "here"}, [])
    starting = asyncio.ensure_future(chat.start())
    await asyncio.sleep(0)
    chat._received({"kind": "opened"}, [])
    await starting
    return chat


async def test_a_talk_whose_session_is_closed_says_so_and_so_does_the_next_start():
    async with connect(quiet=True) as session:
        chat = await talking(session)
        talk = chat._running
    await asyncio.wait({talk})

    assert "idle" in repr(chat) and "connect again" in chat._problem
    with pytest.raises(LocalProtocolError, match="connect again"):
        await chat.start()


@pytest.mark.parametrize("left", [True, False])
async def test_a_talk_ends_in_words_when_its_page_is_opened_again_and_a_second_page_does_not_end_it(left):
    async with connect(quiet=True) as session:
        chat = await talking(session)
        chat._received({"kind": "pcm", "first": 0}, [bytes(1_920)])
        await asyncio.sleep(0)
        chat._microphone.heard_at_s -= 60 * left
        talk = chat._running
        chat._received({"kind": "here"}, [])
        await asyncio.wait({talk}, timeout=None if left else 0)

        assert talk.done() is left and (chat._running is None) is left
        assert ("opened again" in (chat._problem or "")) is left
        await chat.stop()


async def test_a_chat_whose_thread_ended_with_its_session_says_so_and_still_shows_what_was_said():
    session = await in_thread(connect(quiet=True))
    chat = VoiceChat(session)
    await chat.ask("hello")
    loop = session.loop
    await session.close()
    while not loop.is_closed():  # noqa: ASYNC110  another thread's end
        await asyncio.sleep(0.01)
    sent = []
    chat.send = lambda content, buffers=None: sent.append(content)

    with pytest.raises(LocalProtocolError, match="connect again"):
        await chat.start()
    chat._received({"kind": "here"}, [])
    chat._received({"kind": "press", "what": "start"}, [])

    assert [len(m["changed"]) for m in sent if m["kind"] == "turns"] == [2]
    assert "connect again" in sent[-1]["problem"] and sent[-1]["word"] == "ended"


async def test_what_is_typed_is_asked_in_its_order_and_as_it_was_typed():
    async with connect(quiet=True) as session:
        chat = Chat(session)
        for n in range(3):
            chat._received({"kind": "say", "text": f"Turn number {n}."}, [])
        waiting = [turn["note"] for turn in chat.turns()]
        while len(session.responses) < 3 or session.responses[-1].status == "in_progress":  # noqa: ASYNC110
            await asyncio.sleep(0)

        assert [i.text for i in session.items if i.role == "user"] == [f"Turn number {n}." for n in range(3)]
        assert waiting == []  # nothing ran yet

    assert "number 2" in chat.static_html()


async def test_what_was_not_heard_of_a_reply_is_known_to_the_page():
    from kit.widgets.chat import _n_heard_chars

    text = "one two three four"
    assert _n_heard_chars(text, None, 1_000) == _n_heard_chars(text, 1_000, 1_000) == len(text)
    assert text[: _n_heard_chars(text, 500, 1_000)] == "one two three"
    assert _n_heard_chars(text, 0, 1_000) == 3


async def test_what_was_said_is_shown_and_foreign_text_does_nothing():
    async with connect(quiet=True) as session:
        await session.seed(History().user("<script>alert(1)</script>").assistant("<img src=x onerror=alert(1)>"))
        await session.ask("hello", modality="text")
        html = VoiceChat(session).static_html()

    assert "&lt;script&gt;" in html and "<script" not in html and "<img" not in html
    assert "simulated" in html


async def test_a_session_in_a_thread_is_awaited_as_ever_and_goes_on_while_this_thread_blocks():
    import threading
    import time

    async with await in_thread(connect(quiet=True, pace=1.0)) as session:
        said = threading.Event()
        asyncio.run_coroutine_threadsafe(_noting(session, said), session.loop)
        time.sleep(0.05)  # noqa: ASYNC251  a cell that blocks
        assert said.wait(20)

        assert session.responses[0].modality == "audio"
        assert (await session.ask("One more, please.")).modality in ("audio", "text")
        assert session.loop is not asyncio.get_running_loop()
    for thread in threading.enumerate():
        if thread.name == "kit: session":  # it ends with the session
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


async def _noting(session, said):
    await session.ask("Tell me a joke.")
    said.set()


# ------------------------------------------------------------------------------------------------------- in real Chromium

try:
    from browser import CHROMIUM, jupyter_lab, outside, shoot
    from sound_in_chromium import in_kernel, microphone_file, notebook, run
except ImportError:
    CHROMIUM = None
browser = pytest.mark.skipif(CHROMIUM is None, reason="playwright or Chromium is not installed")

SETUP = """import asyncio, json, time
from kit import Clip, connect
from kit.audio import play_replies
from kit.connecting import in_thread
from kit.widgets import Player, VoiceChat
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("player")


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    with jupyter_lab(root, tmp_path_factory.mktemp("home")) as running:
        yield running


@browser
@pytest.mark.browser
def test_a_clip_is_heard_in_the_page_to_its_last_sample_without_a_gap(lab, root):
    cells = [SETUP + "player = Player()\nplayer", "heard_ms = await player.play(Clip.named('tell-me-a-joke'))"]
    with notebook(lab, root, *cells) as page:
        run(page)
        told = in_kernel(page, "print(json.dumps([heard_ms, player.n_heard, player.n_written, player.n_underruns]))")
        shoot(page, "player")

        assert told[0] == pytest.approx(Clip.named("tell-me-a-joke").duration_ms)
        assert told[1] == told[2] and told[3] == 0
        assert outside(page.requested) == [] and page.problems == []


@browser
@pytest.mark.browser
def test_a_reply_is_heard_while_it_arrives_and_stop_tells_the_server_what_was(lab, root):
    cells = [
        SETUP
        + "session = await connect(quiet=True, pace=1.5, replies=['I can count for you. One, two, three, four, five, six, seven, eight.'])\nplayer = Player(session)\nplayer",
        "response = await session.ask('Tell me a joke.')\narrived = player.n_heard",
    ]
    with notebook(lab, root, *cells) as page:
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_function(
            "() => { const b = document.querySelector('.kit-player button'); return b && !b.disabled && parseFloat(document.querySelector('.kit-player .kit-time').textContent.split(':')[1]) > 0.5; }",
            timeout=90_000,
        )
        page.locator(".kit-player button").first.click()
        page.get_by_text("the server knows").wait_for(timeout=20_000)
        shoot(page, "player-stopped")
        told = in_kernel(
            page,
            "i = session.items[-1]\nprint(json.dumps([i.truncated_at_ms, session.responses[0].audio.duration_ms, player.n_heard / 24, len(session.errors)]))",
        )

    cut, length, heard, errors = told
    assert 0 < cut < length and errors == 0
    assert abs(cut - heard) < 100


@browser
@pytest.mark.browser
@pytest.mark.parametrize("blocking", [False, True])
def test_a_spoken_conversation_in_the_page_with_an_interruption(lab, root, tmp_path, blocking):
    joke = Clip.named("tell-me-a-joke").pcm / 32_768
    quiet = np.zeros(24_000)
    said = np.concatenate([*[quiet] * 3, joke, *[quiet] * 4, joke, *[quiet] * 12])
    busy = (
        "while len(session.responses) < 2 or session.responses[-1].status != 'completed': time.sleep(0.1)"
        if blocking
        else "1"
    )
    cells = [
        SETUP
        + "session = await in_thread(connect(quiet=True, pace=1.25, replies=['I can count for you. One, two, three, four, five, six, seven, eight.'], settings={'transcription': {'model': 'whisper-1'}}))\nchat = VoiceChat(session, echo_cancellation=False)\nchat",
        "await chat.start()",
        busy,
    ]
    with notebook(lab, root, *cells, args=microphone_file(tmp_path / "mic.wav", said, 24_000)) as page:
        page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.locator(".kit-chat .kit-warn").first.wait_for(timeout=90_000)  # "cut off after …"
        page.wait_for_function("() => document.querySelectorAll('.kit-turn').length >= 4", timeout=60_000)
        if not blocking:
            shoot(page, "voicechat")
        told = in_kernel(
            page,
            "while session.responses[-1].status == 'in_progress': time.sleep(0.1)\nprint(json.dumps([[r.modality for r in session.responses], [i.truncated_at_ms for i in session.items], [i.text for i in session.items if i.role == 'user'], len(session.errors), chat.voice.dropped]))",
        )
        page.locator(".kit-chat .kit-main").click()
        page.locator(".kit-chat[data-state='idle']").wait_for(timeout=15_000)

    modalities, cuts, users, errors, dropped = told
    assert modalities == ["audio", "audio"] and errors == 0
    assert cuts[1] > 0 and dropped["input"] == 0
    assert "joke" in users[0].lower()
