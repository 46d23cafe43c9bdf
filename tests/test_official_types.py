"""The oracle of the official types objects to what is not theirs. tests/conftest.py holds every frame of the suite to it."""

import pytest
import shapes
from official import problems

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
