"""A session against the stand-in, over a real socket."""

import asyncio
import gc
import json

import pytest
from websockets.asyncio.server import serve

from kit import Clip, History, StandIn, cases, connect, sessions
from kit.errors import (
    EndpointError,
    HandshakeRefused,
    HistoryError,
    InputError,
    KitError,
    LocalProtocolError,
    ResponseTimeout,
    SeedRefused,
    ServerError,
    SessionClosed,
    Unreachable,
)
from kit.wire.dialect import MAX_APPEND_BYTES

both = pytest.mark.parametrize("dialect", ["ga", "beta"])


def standin(**options):
    return connect("standin", quiet=True, **options)


@pytest.fixture
async def scripted():
    """A server that says what a test tells it to, whatever it is asked."""
    servers = []

    async def start(*frames, then=None):
        async def talk(ws):
            for frame in frames:
                await ws.send(frame if isinstance(frame, str) else json.dumps(frame))
            if then is not None:
                await then(ws)
            else:
                await ws.wait_closed()

        server = await serve(talk, "127.0.0.1", 0)
        servers.append(server)
        return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


CREATED = {"type": "session.created", "event_id": "event_1", "session": {"id": "sess_1", "model": "m"}}


# ------------------------------------------------------------------------------------------------------------ the cases


@both
@pytest.mark.parametrize("name", ["1a", "1b", "2a", "2b"])
async def test_each_case_arrives_as_reported_and_stays_so(name, dialect):
    case = cases.case(name)

    async with standin(dialect=dialect) as session:
        await session.seed(case.history)
        first = await session.respond()
        second = await session.ask("One more, please.")

    assert first.modality == case.reported
    assert second.modality == "text" or case.reported == "audio"
    assert first.status == "completed" and first.simulated is True


@both
async def test_a_spoken_reply_has_sound_words_and_times(dialect):
    async with standin(dialect=dialect) as session:
        response = await session.ask("Tell me a joke.")

    assert response.audio.duration_ms > 500
    assert response.audio.level_dbfs > -40
    assert response.transcript and not response.text
    assert response.started_by == "create"
    assert 0 <= response.first_audio_ms <= response.done_ms
    assert response.usage["output_token_details"]["audio_tokens"] > 0


async def test_the_reply_to_a_clip_follows_the_clip():
    async with standin() as session:
        response = await session.ask(Clip.named("tell-me-a-joke"))

        assert [item.role for item in session.items] == ["user", "assistant"]
    assert response.modality == "audio"


async def test_audio_can_be_counted_and_not_kept():
    async with standin(keep_audio=False) as session:
        response = await session.ask("Tell me a joke.")

    assert response.modality == "audio" and response.n_audio_bytes > 48_000
    assert response.audio is None and response.transcript


async def test_a_running_stand_in_takes_a_trial_by_the_front_door_and_goes_on():
    async def modalities(server, attempt):
        async with connect(
            server, trial="t1", attempt=attempt, dialect="beta", keep_audio=False, quiet=True
        ) as session:
            response = await session.ask("Tell me a joke.")
        return session.dialect.name, session.endpoint.name, response.audio, response.modality

    async with StandIn(faults=["drop@p=0.5"], seed=3) as server:
        outcomes = [await caught(modalities(server, attempt)) for attempt in (1, 1, 2, 3, 4, 5, 6)]
        assert server.url

    assert outcomes[0] == outcomes[1]  # the same trial and attempt draw the same
    assert set(outcomes) == {("beta", "standin", None, "audio"), SessionClosed}  # another attempt draws anew


async def caught(awaitable):
    try:
        return await awaitable
    except KitError as exc:
        return type(exc)


@pytest.mark.parametrize("where", [StandIn(), 7, None, b"ws://x"])
def test_what_is_no_endpoint_is_refused_by_name(where):
    options = {"drift": "never"} if isinstance(where, StandIn) else {}
    with pytest.raises(InputError, match="is running already|takes an endpoint's name"):
        connect(where, **options)


async def test_a_text_reply_can_be_asked_for():
    async with standin() as session:
        await session.seed(cases.one_a.history)
        response = await session.respond(modality="text")

    assert response.modality == "text"
    assert response.asked == ("text",)


# -------------------------------------------------------------------------------------------------------------- seeding


@both
async def test_a_seed_is_confirmed_in_order(dialect):
    async with standin(dialect=dialect) as session:
        items = await session.seed(cases.two_b.history)

        assert [item.role for item in items] == ["user", "assistant", "user", "assistant", "user"]
        assert [item.id for item in session.items] == [item.id for item in items]


async def test_a_history_that_would_be_refused_is_not_sent():
    wrong = History.from_events(
        [{"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}]
    )

    async with standin() as session:
        with pytest.raises(HistoryError, match="item 0") as caught:
            await session.seed(wrong)

        assert session.items == [] and caught.value.findings[0].param == "item.content[0].type"


def half_wrong():
    good = History().user("one")
    bad = History.from_events(
        [{"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "2"}]}]
    )
    return good + bad + History().user("three")


@both
@pytest.mark.refusal
async def test_the_first_refused_item_is_named_with_what_was_accepted(dialect):
    async with standin(dialect=dialect) as session:
        with pytest.raises(SeedRefused) as caught:
            await session.seed(half_wrong(), check=False)

    assert caught.value.index == 1
    assert caught.value.accepted == (0, 2) and caught.value.not_accepted == (1,)
    assert caught.value.code == "invalid_value" and "Value must be" in caught.value.message
    assert caught.value.caused_by == "conversation.item.create"


@pytest.mark.refusal
async def test_after_a_refused_seed_nothing_is_asked_unless_told_so():
    async with standin() as session:
        with pytest.raises(SeedRefused):
            await session.seed(half_wrong(), check=False)

        with pytest.raises(LocalProtocolError, match="incomplete"):
            await session.respond()
        with pytest.raises(LocalProtocolError, match="incomplete"):
            await session.ask("and now?")
        assert (await session.respond(partial=True)).status == "completed"


@pytest.mark.refusal
async def test_a_mended_history_fills_the_gap_in_its_place():
    mended = History().user("one").assistant("two").user("three")

    async with standin() as session:
        with pytest.raises(SeedRefused):
            await session.seed(half_wrong(), check=False)
        await session.seed(mended)

        assert [item.text for item in session.items] == ["one", "two", "three"]
        assert (await session.respond()).status == "completed"


async def test_a_cancelled_seed_leaves_the_session_usable():
    async with standin() as session:
        seeding = asyncio.ensure_future(session.seed(cases.one_b.history))
        await asyncio.sleep(0)
        seeding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await seeding

        await session.seed(cases.one_b.history)
        assert [item.text for item in session.items] == [item.text for item in cases.one_b.history]


# -------------------------------------------------------------------------------------------------- verbs of the session


@both
async def test_an_update_returns_the_whole_session(dialect):
    async with standin(dialect=dialect) as session:
        told = await session.update(instructions="Be brief.", voice="echo", modality="text", turn_detection=None)

        assert told["instructions"] == "Be brief."
        assert told == session.settings


async def test_settings_given_to_connect_hold_from_the_start():
    async with standin(settings={"modality": "text"}) as session:
        assert (await session.ask("Tell me a joke.")).modality == "text"


@pytest.mark.refusal
async def test_a_refused_update_is_an_error_that_says_why():
    async with standin() as session:
        with pytest.raises(ServerError, match="unknown_parameter.*session.bogus"):
            await session.update(raw={"bogus": 1})


async def test_a_setting_of_the_other_dialect_is_refused_before_sending():
    async with standin() as session:
        with pytest.raises(InputError, match="ga dialect has no temperature"):
            await session.update(temperature=0.7)


@both
async def test_audio_is_appended_committed_and_answered(dialect):
    async with standin(dialect=dialect, settings={"turn_detection": None}) as session:
        await session.append_audio(Clip.named("tell-me-a-joke"))
        item = await session.commit_audio()
        response = await session.respond()

        assert item.role == "user" and item.parts[0]["type"] == "input_audio"
    assert response.modality == "audio"


async def test_a_piece_of_sound_is_within_the_limit_as_base64_too():
    async with standin(settings={"turn_detection": None}) as session:
        await session.append_audio(bytes(MAX_APPEND_BYTES))
        sizes = [int(e.data["audio"][1:].split()[0]) for e in session.events if e.type == "input_audio_buffer.append"]

    assert sum(sizes) == MAX_APPEND_BYTES and max(sizes) * 4 / 3 <= MAX_APPEND_BYTES


@pytest.mark.refusal
async def test_committing_too_little_audio_is_the_services_error():
    async with standin(settings={"turn_detection": None}) as session:
        await session.append_audio(Clip.named("tell-me-a-joke"))
        await session.clear_audio()

        with pytest.raises(ServerError, match="buffer only has 0.00ms"):
            await session.commit_audio()


async def test_a_response_can_be_cancelled():
    async with standin(pace=1.0) as session:
        await session.seed(cases.one_a.history)
        replying = asyncio.ensure_future(session.respond())
        await session.wait_for("response.output_audio.delta")

        cancelled = await session.cancel_response()

        assert cancelled is await replying
    assert cancelled.status == "cancelled" and cancelled.reason == "client_cancelled"
    assert cancelled.modality == "audio"


@pytest.mark.refusal
async def test_cancelling_nothing_is_the_services_error():
    async with standin() as session:
        with pytest.raises(ServerError, match="no active response"):
            await session.cancel_response()


@pytest.mark.refusal
async def test_a_second_response_while_one_is_made_is_refused_and_the_first_goes_on():
    async with standin(pace=1.0) as session:
        await session.seed(cases.one_a.history)
        first = asyncio.ensure_future(session.respond())
        await session.wait_for("response.created")

        with pytest.raises(ServerError, match="already has an active response"):
            await session.respond()
        await session.cancel_response()

        assert (await first).status == "cancelled"


@both
async def test_items_are_truncated_retrieved_and_deleted(dialect):
    async with standin(dialect=dialect) as session:
        response = await session.ask("Tell me a joke.")
        item = session.items[-1]

        assert (await session.retrieve_item(item))["content"][0]["audio"]
        await session.truncate_item(item, 200)
        assert item.truncated_at_ms == 200 and item.text == ""
        await session.delete_item(item)
        assert [left.role for left in session.items] == ["user"]
    assert response.transcript  # what was said stays said


@pytest.mark.refusal
async def test_an_unknown_item_is_the_services_error():
    async with standin() as session:
        with pytest.raises(ServerError, match="item_delete_invalid_item_id"):
            await session.delete_item("item_nope")


async def test_an_out_of_band_response_leaves_the_conversation_alone():
    async with standin() as session:
        response = await session.respond(conversation="none", input=cases.one_b.history, metadata={"purpose": "probe"})

        assert session.items == []
    assert response.modality == "text" and response.conversation_id is None
    assert response.metadata["purpose"] == "probe"


# --------------------------------------------------------------------------------------------------------------- events


async def test_every_event_is_kept_both_ways_and_without_audio():
    async with standin() as session:
        await session.ask(Clip.named("tell-me-a-joke"))
        events = session.events

    assert events.types[:2] == ["session.created", "conversation.item.create"]
    assert events.types[-2:] == ["response.done", "rate_limits.updated"] or events.types[-1] == "response.done"
    assert max(len(json.dumps(event.data)) for event in events) < 5_000
    assert events.of("response.output_audio.delta")[0].n_audio_bytes > 0


async def test_events_can_be_followed_as_they_come():
    async with standin() as session:
        asking = asyncio.ensure_future(session.ask("Tell me a joke."))
        seen = []
        async for event in session:
            seen.append(event.type)
            if event.type == "response.done":
                break
        await asking

    assert seen[0] == "session.created" and "response.output_audio.delta" in seen


async def test_following_ends_when_the_session_does():
    session = await standin()
    await session.close()

    assert [event.type async for event in session] == ["session.created"]


async def test_an_unknown_event_is_kept_and_counted(scripted):
    url = await scripted(CREATED, {"type": "response.hologram.delta", "event_id": "event_2"})

    async with connect(url, quiet=True) as session:
        await session.wait_for("response.hologram.delta")

        assert session.unknown == {"response.hologram.delta": 1}


# ------------------------------------------------------------------------------------------------------ when things end


async def test_a_drop_while_waiting_says_so_with_the_last_events(scripted):
    async def drop(ws):
        await ws.recv()
        await ws.close(1011, "keepalive")

    url = await scripted(CREATED, then=drop)

    async with connect(url, quiet=True) as session:
        with pytest.raises(SessionClosed, match=r"1011 \(keepalive\).*while waiting for response.done") as caught:
            await session.respond()

    assert caught.value.code == 1011
    assert [event.type for event in caught.value.tail] == ["session.created", "response.create"]


async def test_a_connection_that_breaks_is_a_closed_session(scripted):
    async def cut(ws):
        await ws.recv()
        ws.transport.abort()

    url = await scripted(CREATED, then=cut)

    async with connect(url, quiet=True) as session:
        with pytest.raises(SessionClosed, match="without a close frame") as caught:
            await session.respond()

    assert caught.value.code == 1006


async def test_using_a_closed_session_says_that_it_is_closed():
    session = await standin()
    await session.close()

    with pytest.raises(SessionClosed, match="we closed the session"):
        await session.ask("Anybody there?")


async def test_a_silent_server_times_out_with_the_last_events(scripted):
    url = await scripted(CREATED)

    async with connect(url, quiet=True) as session:
        with pytest.raises(ResponseTimeout, match="no response.done within 0.05 s"):
            await session.respond(timeout_s=0.05)


async def test_a_malformed_frame_ends_what_is_waited_for_but_not_the_session(scripted):
    from kit.errors import RemoteProtocolError

    async def babble(ws):
        await ws.recv()
        await ws.send("{not json")
        await ws.recv()
        await ws.send(json.dumps({"type": "input_audio_buffer.cleared", "event_id": "event_3"}))

    url = await scripted(CREATED, then=babble)

    async with connect(url, quiet=True) as session:
        with pytest.raises(RemoteProtocolError, match="{not json"):
            await session.respond()
        await session.clear_audio()


@pytest.mark.parametrize("told", [None, "x", [1], {}, {"id": 7}])
async def test_an_answer_that_is_no_answer_ends_nothing(scripted, told):
    async def babble(ws):
        await ws.recv()
        await ws.send(json.dumps({"type": "conversation.item.added", "item": told}))
        await ws.send(json.dumps({"type": "input_audio_buffer.committed", "item_id": "item_1"}))
        await ws.send(json.dumps({"type": "conversation.item.added", "item": {"id": "item_1", "role": "user"}}))
        await ws.recv()
        await ws.send(json.dumps({"type": "response.done", "response": told}))
        await ws.send(json.dumps({"type": "response.done", "response": {"id": "resp_1", "status": "cancelled"}}))
        await ws.wait_closed()

    async with connect(await scripted(CREATED, then=babble), quiet=True) as session:
        assert (await session.commit_audio(timeout_s=1)).id == "item_1"
        assert (await session.cancel_response(timeout_s=1)).id == "resp_1"


async def test_a_collected_session_closes_its_socket():
    session = await standin()
    link = session._link
    del session
    gc.collect()

    while link.closed is None:
        await link.arrival()
    assert link.closed.code == 1000


async def test_open_sessions_are_listed():
    async with standin() as session:
        assert session in sessions()
    assert session not in sessions()


async def test_no_task_is_left_behind():
    async with standin() as session:
        await session.ask("Tell me a joke.")

    assert asyncio.all_tasks() == {asyncio.current_task()}


# ----------------------------------------------------------------------------------------------------------- connecting


async def test_nobody_at_the_address_is_an_error_and_not_a_stand_in():
    with pytest.raises(Unreachable, match="cannot reach ws://127.0.0.1:9/v1/realtime"):
        await connect("ws://127.0.0.1:9", quiet=True)


async def test_a_server_that_takes_the_connection_and_says_nothing_times_out(scripted):
    url = await scripted()

    with pytest.raises(Unreachable, match="sent nothing within"):
        await connect(url, quiet=True, timeout_s=0.1)


@pytest.mark.refusal
async def test_a_server_that_says_no_and_stays_is_a_refusal_in_its_own_words(scripted):
    error = {"type": "invalid_request_error", "code": "no_such_voice", "message": "There is no such voice."}
    url = await scripted({"type": "error", "error": error})

    with pytest.raises(HandshakeRefused, match="There is no such voice") as refused:
        await connect(url, quiet=True, timeout_s=0.1)

    assert refused.value.code == "no_such_voice"


async def test_an_unknown_model_is_refused_with_advice():
    with pytest.raises(HandshakeRefused, match="Known models: gpt-realtime") as caught:
        await standin(model="gpt-nope")

    assert caught.value.code == "invalid_model" and caught.value.close_code == 4000


@pytest.mark.refusal
async def test_beta_where_it_is_switched_off_is_refused_with_advice():
    with pytest.raises(HandshakeRefused, match="connect with dialect='ga'") as caught:
        await standin(dialect="beta", beta_disabled=True)

    assert caught.value.code == "beta_api_shape_disabled"


async def test_a_key_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set"):
        await connect("openai", quiet=True)


async def test_a_refusal_by_http_status_keeps_its_words_and_not_the_key(monkeypatch):
    from http import HTTPStatus

    body = '{"error": {"code": "nope", "message": "Not today."}}\n'
    server = await serve(
        lambda ws: None, "127.0.0.1", 0, process_request=lambda ws, r: ws.respond(HTTPStatus.UNAUTHORIZED, body)
    )
    monkeypatch.setenv("MY_KEY", "canary-key")
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    with pytest.raises(HandshakeRefused, match="Not today. Check the key in MY_KEY") as caught:
        await connect(url, key_env="MY_KEY", quiet=True)
    server.close()

    held, seen = [caught.value], ""
    while held:
        error = held.pop()
        seen += f"{error!r} {error} {[frame.f_locals for frame in frames(error)]}"
        held += [linked for linked in (error.__cause__, error.__context__) if linked]
    assert caught.value.close_code == 401
    assert "canary-key" not in seen


def frames(error):
    tb = error.__traceback__
    while tb:
        if "/kit/" in tb.tb_frame.f_code.co_filename:
            yield tb.tb_frame
        tb = tb.tb_next


async def test_connecting_says_where_it_is_and_who_pays(capsys):
    async with connect("standin"):
        pass

    assert capsys.readouterr().out == (
        "connected to the stand-in in this process, gpt-realtime, ga (free, simulated; drift rule: documented)\n"
    )


async def test_stand_in_options_for_a_service_are_refused():
    with pytest.raises(InputError, match="drift: only the stand-in takes this"):
        connect("openai", drift="never")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: s.seed(["Tell me a joke."]), "takes a History, not .*from_events"),
        (lambda s: s.ask(3.5), "text or a Clip, not 3.5"),
        (lambda s: s.append_audio([0.1]), "takes a Clip or bytes"),
        (lambda s: s.delete_item(7), "an item or its id, not 7"),
        (lambda s: s.send({"kind": "x"}), "a mapping with a type"),
        (lambda s: s.respond(modality="video"), "'audio' or 'text', not 'video'"),
        (lambda s: s.respond(colour="red"), "no setting is called 'colour'"),
    ],
)
async def test_bad_input_is_named_and_nothing_is_sent(call, sentence):
    async with standin() as session:
        with pytest.raises(InputError, match=sentence):
            await call(session)

        assert session.events.types == ["session.created"]
