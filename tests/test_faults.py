"""Whatever goes wrong at the other end, the kit's client says what, in a bounded time, and leaves nothing behind.

One row per fault of `kit.standin.faults`: what a user sees. (What the stand-in does on the wire is in test_standin_faults.py.)
"""

import asyncio
import subprocess
import sys
import textwrap

import pytest

from kit import History, connect
from kit.errors import (
    HandshakeRefused,
    RemoteProtocolError,
    ResponseTimeout,
    SeedRefused,
    ServerError,
    SessionClosed,
    Unreachable,
)
from kit.standin import StandIn
from kit.standin.faults import KINDS

BOUND_S = 30  # of everything here, on a machine with a hundred other things to do
SHORT_S = 0.3  # where waiting in vain is the point
HISTORY = History().user("Tell me a joke.")


async def play(fault):
    """Connect, seed, respond, respond again, with that fault; gives the session and the replies."""
    vain = {"silent": "connect", "lose-item": "seed", "stall": "respond", "slow-start=9": "respond"}.get(fault)
    wait_s = {step: SHORT_S if step == vain else BOUND_S for step in ("connect", "seed", "respond")}
    async with connect(faults=[fault], drift="never", quiet=True, timeout_s=wait_s["connect"]) as session:
        await session.seed(HISTORY, timeout_s=wait_s["seed"])
        first = await session.respond(timeout_s=wait_s["respond"])
        second = None if session.closed else await session.respond(timeout_s=BOUND_S)
        return session, first, second


RAISES = [
    ("stall", ResponseTimeout, lambda e: e.tail[-1].type == "response.output_audio.delta"),
    ("slow-start=9", ResponseTimeout, lambda e: e.tail[-1].type == "response.create"),
    ("drop", SessionClosed, lambda e: e.code == 1000 and e.tail),
    ("cut", SessionClosed, lambda e: e.code == 1006 and e.tail),
    ("close", SessionClosed, lambda e: e.code == 1011),
    ("close=4444", SessionClosed, lambda e: e.code == 4444),
    ("error-event", ServerError, lambda e: e.type == "server_error" and e.caused_by == "response.create"),
    ("malformed", RemoteProtocolError, lambda e: e.head.startswith('{"type":"response.output_audio.delta"')),
    ("refuse-item", SeedRefused, lambda e: e.index == 0 and e.accepted == ()),
    ("lose-item", ResponseTimeout, None),
    ("refuse-handshake", HandshakeRefused, lambda e: e.close_code == 3000 and e.code == "invalid_api_key"),
    ("http-error", HandshakeRefused, lambda e: e.close_code == 503),
    ("http-error=429", HandshakeRefused, lambda e: e.close_code == 429),
    ("silent", Unreachable, None),
]


@pytest.mark.parametrize(("fault", "error", "says"), RAISES, ids=[fault for fault, *_ in RAISES])
async def test_it_ends_with_the_right_exception(fault, error, says):
    before = asyncio.all_tasks()

    async with asyncio.timeout(BOUND_S):
        with pytest.raises(error) as raised:
            await play(fault)

    assert type(raised.value) is error
    assert says is None or says(raised.value)
    assert asyncio.all_tasks() <= before


SAYS = [
    ("failed", "failed", "server_error"),
    ("rate-limit", "failed", "rate_limit_exceeded"),
    ("incomplete", "incomplete", "content_filter"),
    ("slow-start=0.1", "completed", None),
    ("unknown-event", "completed", None),
    ("huge", "completed", None),
    ("duplicate", "completed", None),
    ("late", "completed", None),
]


@pytest.mark.parametrize(("fault", "status", "reason"), SAYS, ids=lambda v: str(v))
async def test_the_reply_says_so_and_the_session_goes_on(fault, status, reason):
    before = asyncio.all_tasks()

    async with asyncio.timeout(BOUND_S):
        _, first, second = await play(fault)

    assert first.status == status
    assert reason is None or reason in str(first.reason)
    assert (second.status, second.modality) == ("completed", "audio")
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("fault", ["duplicate", "late"])
async def test_nothing_is_heard_twice_or_after_the_end(fault):
    async with asyncio.timeout(BOUND_S):
        _, first, _ = await play(fault)
        async with connect(drift="never", quiet=True, replies=[first.transcript]) as session:
            await session.seed(HISTORY)
            plain = await session.respond()

    assert first.transcript == plain.transcript
    assert first.audio == plain.audio


async def test_an_unknown_event_is_counted():
    session, _, _ = await play("unknown-event")

    assert session.unknown == {"response.weather.delta": 1}


async def test_quota_is_a_failed_reply_and_then_a_closed_session():
    async with asyncio.timeout(BOUND_S):
        async with connect(faults=["quota"], quiet=True) as session:
            await session.seed(HISTORY)
            failed = await session.respond()
            with pytest.raises(SessionClosed):
                await session.respond()

    assert (failed.status, "insufficient_quota" in str(failed.reason)) == ("failed", True)


async def test_a_session_that_expires_says_so():
    async with asyncio.timeout(BOUND_S):
        async with connect(faults=["expire=0.1"], quiet=True) as session:
            with pytest.raises(SessionClosed) as closed:
                await session.wait_for("response.created", timeout_s=BOUND_S)

    assert closed.value.code == 1001
    assert "maximum duration" in closed.value.reason


async def test_a_stand_in_elsewhere_fails_the_same_way():
    async with StandIn(faults=["drop"], drift="never") as server, connect(server.url, quiet=True) as session:
        await session.seed(HISTORY)
        with pytest.raises(SessionClosed):
            await session.respond(timeout_s=BOUND_S)


def test_every_fault_has_a_row():
    tested = {fault.partition("=")[0].partition("@")[0] for fault, *_ in [*RAISES, *SAYS]} | {"expire", "quota"}

    assert {kind.name for kind in KINDS} <= tested


@pytest.mark.parametrize("fault", ["stall", "cut", "drop", "malformed", "silent", "expire=0.05"])
def test_a_program_that_meets_it_ends_without_a_warning(fault):
    program = f"""
        import asyncio
        from kit import History, connect
        from kit.errors import KitError

        async def main():
            try:
                async with connect(faults=[{fault!r}], drift="never", quiet=True, timeout_s=2) as session:
                    await session.seed(History().user("Tell me a joke."))
                    await session.respond(timeout_s=2)
                    await session.wait_for("response.created", timeout_s=2)
            except KitError as exc:
                print(type(exc).__name__)

        asyncio.run(main(), debug=True)
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout.strip() in {"ResponseTimeout", "SessionClosed", "RemoteProtocolError", "Unreachable"}
    assert "Warning" not in done.stderr
    assert "never retrieved" not in done.stderr
