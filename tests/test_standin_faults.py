"""Faults by name: what the stand-in does on the wire when it is told to fail."""

import asyncio
import json
from collections import Counter

import pytest
import websockets
from talk import talk

from kit.errors import InputError
from kit.standin import StandIn
from kit.standin.drift import Draws
from kit.standin.faults import KINDS, Faults, fault


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("stall", "stall@1"),
        ("drop@3", "drop@3"),
        ("close=4001@2", "close=4001@2"),
        ("close", "close=1011@1"),
        ("slow-start=0.5@every", "slow-start=0.5@every"),
        ("drop@p=0.1", "drop@p=0.1"),
        ("close=4001@p=1", "close=4001@p=1"),
        ("http-error=429@20-27", "http-error=429@20-27"),
    ],
)
def test_a_fault_is_called_what_was_asked_for(spec, shown):
    assert str(fault(spec)) == shown


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "nope",
        "stall=2",
        "drop@0",
        "drop@x",
        "close=abc",
        "close=-1",
        "close=1005",
        "close=99",
        "http-error=200",
        "http-error=999",
        "drop@1.5",
        "drop@p=",
        "drop@p=1.1",
        "drop@p=-0.1",
        "drop@p=nan",
        "drop@q=0.1",
        "drop@5-3",
        "drop@0-3",
        3,
    ],
)
def test_no_other_fault_is_taken(spec):
    with pytest.raises(InputError):
        StandIn(faults=[spec])


def test_probabilities_of_one_thing_are_at_most_1_together():
    StandIn(faults=["drop@p=0.6", "stall@p=0.4", "lose-item@p=0.5"])

    with pytest.raises(InputError, match="the faults of one reply are 1.1 together"):
        StandIn(faults=["drop@p=0.6", "stall@p=0.5"])


MIX = ["drop@p=0.1", "stall@p=0.05", "failed@p=0.05"]


def due(trial, attempt="1", *, names=MIX, of="reply", nth=1):
    """The name of the fault that the nth occasion of an attempt at a trial has, or None."""
    faults, draws = Faults([fault(name) for name in names]), Draws(7, trial, attempt).of_attempt()
    return [getattr(faults.due(of, draws), "name", None) for _ in range(nth)][-1]


def test_each_fault_is_as_frequent_as_was_asked():
    found = Counter(due(str(n)) for n in range(20_000))

    shares = {name: count / 20_000 for name, count in found.items()}
    assert shares == pytest.approx({"drop": 0.1, "stall": 0.05, "failed": 0.05, None: 0.8}, abs=0.01)


def test_another_attempt_draws_again_and_so_does_another_reply():
    dropped = [str(n) for n in range(20_000) if due(str(n)) == "drop"]

    again = [due(trial, "2") == "drop" for trial in dropped]
    later = [due(trial, nth=2) == "drop" for trial in dropped]
    assert (sum(again) / len(dropped), sum(later) / len(dropped)) == pytest.approx((0.1, 0.1), abs=0.03)


async def test_what_goes_wrong_belongs_to_trial_and_attempt_and_not_to_the_order():
    async def failed(order):
        async with StandIn(faults=["failed@p=0.5", "http-error@p=0.3"], seed=2) as server:
            return {about: await ends(server, *about) for about in order}

    async def ends(server, trial, attempt):
        try:
            async with talk(server, trial=trial, attempt=attempt) as t:
                return (await t.respond())["status"]
        except websockets.InvalidStatus:
            return "refused"

    order = [(trial, attempt) for trial in "abcdef" for attempt in (1, 2)]
    found = await failed(order)

    assert set(found.values()) == {"completed", "failed", "refused"}
    assert await failed(order[::-1]) == found
    assert any(found[trial, 1] != found[trial, 2] for trial in "abcdef")


async def test_a_burst_has_an_end():
    async with StandIn(faults=["refuse-item@2-3"]) as server, talk(server) as t:
        answers = [(await t.say("user", word))["type"] for word in ("one", "two", "three", "four")]

    assert answers == ["conversation.item.done", "error", "error", "conversation.item.done"]


async def closed_by(fault):
    """Ask for a reply; gives the events that came and how the socket closed."""
    async with StandIn(drift="never", faults=[fault]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        t.events.clear()
        await t.send("response.create")
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                await t.next()
        return t.types, closed.value.rcvd


@pytest.mark.parametrize(("spec", "code"), [("drop", 1000), ("close=4321", 4321), ("close", 1011)])
async def test_it_closes_midway_with_a_code(spec, code):
    types, close = await closed_by(spec)

    assert close.code == code
    assert "response.output_audio.delta" in types
    assert "response.done" not in types


async def test_it_cuts_the_line_midway():
    types, close = await closed_by("cut")

    assert close is None
    assert types[0] == "response.created"


async def test_it_stalls_midway_and_the_socket_stays_open():
    async with StandIn(drift="never", faults=["stall"]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.output_audio.delta")
        rest = [event["type"] for event in await t.rest()]
        await t.send("response.cancel")
        done = await t.until("response.done")

    assert "response.done" not in rest
    assert done["response"]["status"] == "cancelled"


async def reply_with(spec, **how):
    async with StandIn(drift="never", faults=[spec]) as server, talk(server, **how) as t:
        await t.say("user", "Tell me a joke.")
        t.events.clear()
        first = await t.respond()
        await t.rest()
        seen = list(t.events)
        second = await t.respond()
        return first, seen, second


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    ("spec", "type", "code"), [("failed", "server_error", None), ("rate-limit", "tokens", "rate_limit_exceeded")]
)
async def test_a_reply_fails_without_an_error_event(dialect, spec, type, code):
    first, seen, second = await reply_with(spec, dialect=dialect)

    assert (first["status"], first["output"]) == ("failed", [])
    error = first["status_details"]["error"]
    assert (first["status_details"]["type"], error["type"], error["code"]) == ("failed", type, code)
    assert first["usage"]["total_tokens"] == 0
    assert [event["type"] for event in seen if event["type"].startswith("response.")] == [
        "response.created",
        "response.done",
    ]
    assert second["status"] == "completed"


async def test_quota_fails_the_reply_and_closes():
    types, close = await closed_by("quota")

    assert types[:2] == ["response.created", "response.done"]
    assert close.code == 1000


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_a_reply_is_filtered_midway(dialect):
    first, _, second = await reply_with("incomplete", dialect=dialect)

    assert first["status_details"] == {"type": "incomplete", "reason": "content_filter"}
    assert first["output"][0]["status"] == "incomplete"
    assert second["status"] == "completed"


async def test_a_reply_starts_late():
    loop = asyncio.get_running_loop()
    async with StandIn(drift="never", faults=["slow-start=0.2"]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        began = loop.time()
        await t.respond()

    assert loop.time() - began >= 0.2


async def test_a_reply_is_refused_with_a_server_error():
    async with StandIn(faults=["error-event@2"]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.respond()
        t.events.clear()
        await t.send("response.create", event_id="mine")
        error = (await t.until("error"))["error"]

    assert (error["type"], error["code"], error["event_id"]) == ("server_error", None, "mine")
    assert t.types == ["error"]


async def test_an_event_of_an_unknown_type_comes_midway():
    first, seen, _ = await reply_with("unknown-event")

    assert [event["type"] for event in seen].count("response.weather.delta") == 1
    assert first["status"] == "completed"


async def test_a_frame_of_more_than_3_mb_comes_midway():
    first, seen, _ = await reply_with("huge")

    assert max(len(json.dumps(event)) for event in seen) > 3_000_000
    assert first["status"] == "completed"


async def test_a_frame_that_is_not_json_comes_midway():
    async with StandIn(drift="never", faults=["malformed"]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        with pytest.raises(json.JSONDecodeError):
            await t.until("response.done")

        assert (await t.until("response.done"))["response"]["status"] == "completed"


async def test_events_come_twice():
    _, seen, _ = await reply_with("duplicate")

    ids = [event["event_id"] for event in seen]
    twice = [event["type"] for n, event in enumerate(seen) if event["event_id"] in ids[:n]]
    assert twice == ["response.output_audio.delta", "response.done"]


async def test_a_delta_comes_after_the_end():
    _, seen, _ = await reply_with("late")

    types = [event["type"] for event in seen]
    assert types.index("response.done") < len(types) - 1 - types[::-1].index("response.output_audio.delta")


async def test_an_item_is_refused():
    async with StandIn(faults=["refuse-item@2"]) as server, talk(server) as t:
        answers = [(await t.say("user", word))["type"] for word in ("one", "two", "three")]

    assert answers == ["conversation.item.done", "error", "conversation.item.done"]


async def test_an_item_is_never_confirmed():
    async with StandIn(faults=["lose-item@2"]) as server, talk(server) as t:
        await t.say("user", "one")
        await t.send("conversation.item.create", item=t.text("user", "two"))

        assert await t.rest() == []


async def test_a_handshake_is_refused_and_the_next_is_not():
    async with StandIn(faults=["refuse-handshake"]) as server:
        async with talk(server, greet=False) as t:
            assert (await t.next())["error"]["code"] == "invalid_api_key"
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await t.next()
        async with talk(server) as t:
            assert t.types == ["session.created"]

    assert closed.value.rcvd.code == 3000


async def test_an_upgrade_is_refused_with_a_status():
    async with StandIn(faults=["http-error=429@every"]) as server:
        with pytest.raises(websockets.InvalidStatus, match="429"):
            async with talk(server):
                pass


async def test_a_silent_server_never_greets():
    async with StandIn(faults=["silent"]) as server, talk(server, greet=False) as t:
        await t.send("input_audio_buffer.clear")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await t.next()


async def test_a_session_expires_early():
    async with StandIn(faults=["expire=0.05"]) as server, talk(server) as t:
        assert (await t.until("error"))["error"]["code"] == "session_expired"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_whatever_the_fault_nothing_is_left_behind(kind):
    before = asyncio.all_tasks()
    async with StandIn(faults=[kind.name]) as server:
        try:
            async with talk(server, greet=False) as t:
                await t.send("conversation.item.create", item=t.text("user", "Hello."))
                await t.send("response.create")
        except (websockets.InvalidStatus, websockets.ConnectionClosed):
            pass

    assert asyncio.all_tasks() <= before


def test_the_docs_table_is_made_of_the_list():
    from pathlib import Path

    import kit.standin

    rows = [
        f"| `{kind.name}{'' if kind.default is None else f'={kind.default:g}'}` | {kind.of} | {kind.does} | {kind.looks_like} |"
        for kind in KINDS
    ]
    table = "\n".join(["| fault | of | what happens | to the kit's client |", "|---|---|---|---|", *rows])
    assert table in (Path(kit.standin.__file__).parent / "README.md").read_text()
