"""Runs last: every frame that passed a stand-in in this run was one of the official package's, and no type was left out."""

import pytest
import shapes
from official import TYPES, problems

# Not ours, by name.
OUT_OF_SCOPE = {
    # WebRTC and SIP
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "output_audio_buffer.cleared",
    "output_audio_buffer.clear",
    "input_audio_buffer.dtmf_event_received",
    # documented, never sent by OpenAI
    "conversation.created",
    # the diarizing transcriber's
    "conversation.item.input_audio_transcription.segment",
    # a session of another kind
    "transcription_session.update",
    "transcription_session.updated",
}
OUT_OF_SCOPE_GA = {"conversation.item.created"}
# GPT-Live: WebRTC and SIP, what the decisions API decides, and what a websocket's session never says
OUT_OF_SCOPE_LIVE = ("decision.event", "transport.", "session.paused", "session.resumed", "info")
MCP = ("mcp_list_tools.", "response.mcp_call")


CLEARED = {"type": "input_audio_buffer.cleared", "event_id": "event_1"}


@pytest.mark.parametrize(
    "event",
    [
        CLEARED | {"more": 1},
        {"type": "input_audio_buffer.cleared"},
        CLEARED | {"event_id": 7},
        CLEARED | {"type": "input_audio_buffer.cleansed"},
        {"type": "conversation.item.deleted", "event_id": "e", "item_id": None},
        {"type": "error", "event_id": "e", "error": {"type": "t", "message": "m", "hint": "h"}},
    ],
)
def test_the_oracle_objects(event):
    assert not problems(CLEARED, dialect="ga", direction="server")

    assert problems(event, dialect="ga", direction="server")


def test_the_tables_object_to_a_missing_key_and_to_another_order():
    order = {"type": "conversation.item.deleted", "event_id": "e", "item_id": "i"}

    assert not shapes.problems(order, "ga")
    assert shapes.problems(dict(reversed(order.items())), "ga")
    assert shapes.problems({k: v for k, v in order.items() if k != "item_id"}, "ga")


def test_every_frame_is_one_of_the_official_types(watch):
    assert not watch.record.wrong, "\n".join(f"{p}\n    {where}" for p, where in list(watch.record.wrong.items())[:20])


def test_no_official_type_was_left_out(watch):
    if not watch.whole_suite:
        pytest.skip("only a part of the suite ran")
    wanted = {
        (dialect, direction, kind)
        for (dialect, direction), kinds in TYPES.items()
        for kind in kinds
        if kind not in OUT_OF_SCOPE and not kind.startswith(MCP) and not (dialect == "ga" and kind in OUT_OF_SCOPE_GA)
        if not (dialect == "live" and kind.startswith(OUT_OF_SCOPE_LIVE))
    }
    assert not wanted - watch.record.seen
