"""A recorded session, played again."""

import asyncio
import json
import sys

import pytest

from kit import Clip, History, cases, connect
from kit.errors import InputError, ServerError, SessionClosed
from kit.eventlog import read_log

HISTORY = History().user("Tell me a joke.").assistant("Why did the scarecrow win an award? He was outstanding.")

both = pytest.mark.parametrize("dialect", ["ga", "beta"])
JOKE = "Tell me a joke."


def standin(**options):
    return connect("standin", quiet=True, **options)


def again(path, **options):
    return connect(replay=path, quiet=True, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.jsonl"


async def play(session):
    """What the notebook does."""
    await session.seed(cases.two_a.history)
    first = await session.respond()
    return first, await session.ask(JOKE)


def story(response):
    r = response
    return (r.id, r.status, r.modality, r.transcript, r.text, r.n_audio_bytes, r.usage, r.started_by, r.simulated)


@both
@pytest.mark.parametrize("audio", ["keep", "digest"])
async def test_the_same_cells_get_the_same_replies(path, dialect, audio):
    async with standin(log=path, audio=audio, dialect=dialect) as session:
        recorded = await play(session)

    async with again(path) as session:
        replayed = await play(session)

    assert [story(r) for r in replayed] == [story(r) for r in recorded]
    assert session.dialect.name == dialect and session.model == "gpt-realtime"
    assert [r.sound == s.sound for r, s in zip(replayed, recorded, strict=True)] == [audio == "keep"] * 2


async def test_a_replay_says_what_it_is_and_stays_simulated(path, capsys):
    async with standin(log=path) as session:
        await session.ask(JOKE)

    async with connect(replay=path) as session:
        response = await session.ask(JOKE)

    assert "Replay of x.jsonl" in capsys.readouterr().out
    assert session.simulated is True and "simulated" in repr(response)
    assert "at replay" in repr(session)


async def test_what_a_service_said_is_not_simulated_and_a_foreign_log_is_unknown(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[1]["event"]["session"]["simulated"]
    for origin in (False, None):
        lines[0]["simulated"] = origin
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

        async with again(path) as session:
            response = await session.ask(JOKE)

        assert session.simulated is origin and response.simulated is origin


async def test_a_frame_comes_only_after_the_client_has_sent_as_many_as_then(path):
    async with standin(log=path) as session:
        await session.seed(History().user("one"))
        await session.respond()

    async with again(path) as session:
        await session.seed(History().user("one"))
        assert session.responses == []
        await session.respond()

    assert [e.type for e in session.events.of("response.created")] == ["response.created"]


async def test_frames_sent_all_at_once_are_answered_in_the_recorded_order(path):
    async with standin(log=path) as session:
        await session.seed(History().user("one"))
        await session.respond()
        await session.seed(History().user("two"))
        await session.respond()
    sent = [e.data for e in session.events if e.direction == "client"]
    order = [e.type for e in session.events if e.direction == "server"]

    async with again(path) as session:
        for event in sent:
            await session.send(event)
        while len(session.responses) < 2 or session.responses[1].status != "completed":
            await session.wait_for("response.done")

    came = [e.type for e in session.events if e.direction == "server"]
    assert came == order[: len(came)]


async def test_times_can_be_kept(path):
    async with standin(log=path, pace=4.0, drift="never") as session:
        recorded = await session.ask(JOKE)

    async with again(path, pace=2.0) as session:
        slow = await session.ask(JOKE)
    async with again(path) as session:
        fast = await session.ask(JOKE)

    length_ms = recorded.done_ms - recorded.first_audio_ms
    assert slow.done_ms - slow.first_audio_ms >= length_ms / 2 - 5
    assert fast.done_ms < length_ms


async def test_a_client_that_says_something_else_is_told_where(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)

    async with again(path) as session:
        with pytest.raises(ServerError) as caught:
            await session.ask("Sing me a song.")

    assert caught.value.code == "replay_departed"
    assert "your frame 1 departs" in str(caught.value)
    assert "content[0].text was 'Tell me a joke.', now it is 'Sing me a song.'" in str(caught.value)


async def test_a_client_that_does_something_else_is_told_what_was_recorded(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)

    async with again(path) as session:
        with pytest.raises(
            ServerError, match=r"recorded was conversation.item.create \('Tell me a joke.'\), now came session.update"
        ):
            await session.update(instructions="Be brief.")


async def test_a_client_that_goes_on_after_the_end_is_told_so(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)

    async with again(path) as session:
        await session.ask(JOKE)
        with pytest.raises(ServerError, match="the recording ends here"):
            await session.ask(JOKE)


@pytest.mark.refusal
async def test_the_ids_of_an_error_are_todays(path):
    wrong = History.from_events(
        [{"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}]
    )

    async def refused(session):
        with pytest.raises(ServerError, match="item 0 of the history was refused"):
            await session.seed(wrong, check=False)

    async with standin(log=path) as session:
        await refused(session)
    async with again(path) as session:
        await refused(session)


@pytest.mark.parametrize("more", [True, False])
async def test_a_microphone_may_have_heard_more_or_less(path, more):
    piece, settings = Clip.silence(100), {"turn_detection": None}

    async def talk(session, n):
        for _ in range(n):
            await session.append_audio(piece)
        await session.commit_audio()
        return await session.respond()

    async with standin(log=path, settings=settings) as session:
        recorded = await talk(session, 4)
    async with again(path, settings=settings) as session:
        replayed = await talk(session, 6 if more else 2)

    assert story(replayed) == story(recorded)


async def test_each_connection_gets_a_session_of_the_file(path):
    for words in ("one", "two"):
        async with standin(log=path) as session:
            await session.ask(words)

    async with again(path, session=1) as session:
        await session.ask("two")
    with pytest.raises(InputError, match="session must be 0 to 1"):
        await again(path, session=2)


async def test_a_recorded_close_is_played_too(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)
    *lines, last = path.read_text().splitlines()
    end = json.loads(last) | {"end": {"code": 1001, "reason": "Your session hit the maximum duration of 60 minutes."}}
    path.write_text("\n".join([*lines, json.dumps(end)]) + "\n")

    async with again(path) as session:
        await session.ask(JOKE)
        with pytest.raises(SessionClosed, match="1001 .*maximum duration"):
            await session.wait_for("session.updated")


async def test_what_was_redacted_may_be_anything(path):
    async with standin(log=path) as session:
        await session.ask("my key is sk-abcdef123456")

    async with again(path) as session:
        response = await session.ask("my key is gone")

    assert response.status == "completed"


async def test_a_replay_can_itself_be_logged(path, tmp_path):
    async with standin(log=path) as session:
        await play(session)
    async with again(path, log=tmp_path / "y.jsonl") as session:
        await play(session)

    one, two = read_log(path).responses, read_log(tmp_path / "y.jsonl").responses
    assert [(r.id, r.words) for r in one] == [(r.id, r.words) for r in two]


def test_what_has_one_direction_only_cannot_be_played(path):
    path.write_text('{"type":"session.created","session":{"id":"sess_1"}}\n')

    with pytest.raises(InputError, match="needs both directions"):
        from kit.replay import Replay

        Replay(path)


def test_a_replay_takes_no_settings_of_the_stand_in(path):
    with pytest.raises(InputError, match="a replay takes pace= and session= only"):
        connect(replay=path, drift="never")


async def test_kit_serve_plays_a_log_for_any_client(path):
    async with standin(log=path) as session:
        await session.ask(JOKE)
    command = [sys.executable, "-m", "kit", "serve", "--replay", str(path), "--port", "0"]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    url = (await server.stdout.readline()).decode().strip()

    async with connect(url, quiet=True) as replayed:
        response = await replayed.ask(JOKE)
    server.terminate()
    await server.communicate()

    assert response.words == session.responses[0].words and replayed.simulated is True


@pytest.mark.parametrize("audio", ["keep", "digest"])
async def test_a_gpt_live_session_is_played_again_silence_and_voice(tmp_path, audio):
    """Where the log keeps digests, a voiced frame is a hum: silence on this track is a finding."""
    path = tmp_path / "live.jsonl"

    async def talk(**options):
        async with connect(quiet=True, pace=8, **options) as session:
            await session.seed(HISTORY)
            replies = [await session.ask("Tell me another joke."), await session.respond()]
        assert session.conversation.close_reason == "close_requested" and session.simulated and not session.errors
        return [(reply.outcome, reply.words) for reply in replies], session

    recorded, _ = await talk(protocol="live", log=path, audio=audio, live={"silence": "p=1@1"})
    played, session = await talk(replay=path)

    assert [outcome for outcome, _ in played] == ["silent", "spoken"] and played == recorded
    assert "live.jsonl" in session.replay and ("as a hum" in session.replay) == (audio == "digest")
