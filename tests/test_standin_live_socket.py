"""GPT-Live at the stand-in over a real socket, by a client that knows nothing of the kit."""

import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from kit.standin import StandIn

SILENCE = '{"type":"session.input_audio.append","audio":"' + "A" * 6_400 + '"}'


def address(stand_in, path=""):
    return stand_in.url.replace("/realtime", f"/live/sessions{path}")


async def events_until(socket, kind, limit=400):
    events = []
    for _ in range(limit):
        events.append(json.loads(await socket.recv()))
        if events[-1]["type"] == kind:
            return events
    raise AssertionError(f"no {kind}")


async def start(socket, **session):
    await socket.send(json.dumps({"type": "session.start", "session": {"model": "gpt-live-1"} | session}))
    return (await events_until(socket, "session.started"))[-1]["session"]


async def test_every_event_of_a_client_is_answered_as_the_types_say():
    async with StandIn(live={"silence": "never"}, pace=20) as stand_in, connect(address(stand_in)) as socket:
        await start(socket, delegation={"type": "responses", "responses": {"model": "gpt-5.6-sol"}})
        for kind, fields in {
            "session.update": {"session": {}},
            "session.commentary.append": {"delegation_id": None, "content": "Say hello."},
            "session.instructions.append": {"delegation_id": None, "content": "Be brief."},
            "session.thinking.append": {"delegation_id": None, "content": "It is Friday."},
            "session.input_audio.mute": {},
            "session.input_audio.unmute": {},
            "response.item.create": {
                "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
            },
            "response.create": {},
            "decision.item.create": {"item": {"type": "message", "role": "user", "content": "Hi."}},
            "decision.item.delete": {"item_id": "item_1"},
            "decision.create": {},
        }.items():
            await socket.send(json.dumps({"type": kind, "event_id": kind} | fields))
        for _ in range(60):
            await socket.send(SILENCE)
        await socket.send(json.dumps({"type": "session.output_audio.fixture.play", "audio": "A" * 6_400}))
        for _ in range(120):
            await socket.send(SILENCE)
        came = await events_until(socket, "session.output_audio.fixture.played")
        await events_until(socket, "session.usage.updated")
        await socket.send('{"type":"session.close"}')
        came += await events_until(socket, "session.closed")
        kinds = {event["type"] for event in came}
        assert {f"session.{lane}.appended" for lane in ("commentary", "instructions", "thinking")} <= kinds
        assert {
            "session.updated",
            "decision.item.created",
            "decision.item.deleted",
            "session.input_audio.muted",
            "session.input_audio.unmuted",
            "response.event",
        } <= kinds
        await socket.wait_closed()
        assert socket.close_code == 1000


async def test_a_stored_session_can_be_forked_and_a_foreign_id_cannot():
    async with StandIn(pace=20) as stand_in:
        async with connect(address(stand_in)) as socket:
            session = await start(socket, store=True)
            await socket.send('{"type":"session.close"}')
            await events_until(socket, "session.closed")
        async with connect(address(stand_in, f"/{session['id']}/fork")) as socket:
            await socket.send('{"type":"session.start","session":{}}')
            forked = (await events_until(socket, "session.started"))[-1]["session"]
        assert forked["id"] != session["id"] and forked["model"] == "gpt-live-1" and forked["input"] == []
        with pytest.raises(InvalidStatus) as refused:
            await connect(address(stand_in, "/live_u1_unknown/fork"))
        assert refused.value.response.status_code == 404
        assert json.loads(bytes(refused.value.response.body))["error"]["code"] == "session_id_not_found"


@pytest.mark.refusal
async def test_the_wrong_door_is_named():
    async with StandIn() as stand_in:
        async with connect(f"{stand_in.url}?model=gpt-live-1") as socket:
            assert "not supported in realtime mode" in await socket.recv()
        async with connect(address(stand_in)) as socket:
            await socket.send('{"type":"session.start","session":{"model":"gpt-realtime"}}')
            assert "not supported in live mode" in await socket.recv()


async def test_the_door_takes_a_key_and_refuses_foreign_pages():
    async with StandIn(require_key="sk-right") as stand_in:
        async with connect(address(stand_in), additional_headers={"Authorization": "Bearer sk-nope"}) as socket:
            assert json.loads(await socket.recv())["error"]["code"] == "invalid_api_key"
        with pytest.raises(InvalidStatus):
            await connect(address(stand_in), additional_headers={"Origin": "https://evil.example"})
