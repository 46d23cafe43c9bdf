"""What an endpoint can do is found out by trying, and told beside what was known."""

from dataclasses import replace

import pytest
from hostile import Lossy, send

from kit import Clip, History, Plan, Settings, arms, connect
from kit.endpoint import Endpoint, endpoint
from kit.errors import HistoryError, InputError
from kit.probe import probe
from kit.services import SERVICES
from kit.standin import StandIn
from kit.trials.limits import check_budget


@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_the_stand_in_does_all_that_its_row_says(dialect):
    found = (await probe("standin", dialect=dialect, quiet=True)).found

    row = SERVICES["standin"].can
    assert (found.keeps_ids, found.echoes_metadata, found.answers_in_text) == (True, True, True)
    assert (found.deletes, found.truncates, found.counts_tokens, found.seeds) == (True, True, True, row.seeds)


class Modest(Lossy):
    """Always speaks, names items itself, echoes nothing, counts nothing, takes no assistant items, deletes nothing."""

    def __init__(self):
        super().__init__(renames=True)

    async def conversation_item_create(self, ws, event):
        if event["item"].get("role") == "assistant":
            await self._refuse(ws, event, "invalid_value", "No assistant <b>items</b>.")
        else:
            await super().conversation_item_create(ws, event)

    async def response_create(self, ws, event):
        response = {"id": f"resp_{len(self.items)}", "status": "completed"}
        await send(ws, "response.created", response=response | {"status": "in_progress"})
        delta = {"response_id": response["id"], "item_id": "i", "output_index": 0, "content_index": 0}
        await send(ws, "response.output_audio.delta", **delta, delta="AAAA")
        await send(ws, "response.done", response=response)


async def test_what_a_modest_server_cannot_do_is_found_and_said():
    async with Modest() as server:
        result = await probe(server.url, timeout_s=2, quiet=True)
    found = result.found

    assert (found.keeps_ids, found.echoes_metadata, found.answers_in_text) == (False, False, False)
    assert (found.counts_tokens, found.deletes, found.seeds) == (False, False, ("system", "user"))
    assert "asked for text, it answered in audio" in repr(result) and "assistant: " in repr(result)
    assert "<b>" not in result._repr_html_()


async def test_what_differs_from_the_known_row_is_marked():
    async with StandIn() as server:
        result = await probe(f"{server.url}?model=gpt-realtime", quiet=True)
    result.endpoint = replace(result.endpoint, name="xai")  # as if its row were known

    assert endpoint("xai", environ={}).capabilities == result.endpoint.capabilities
    assert ("answers_in_text", "yes", "no", "differs") in result.rows


async def test_a_session_heeds_what_its_endpoint_is_known_not_to_do():
    async with StandIn(journal=True) as server:
        where = Endpoint("qwen", f"{server.url}?model=gpt-realtime")
        async with connect(where, quiet=True) as session:
            with pytest.raises(HistoryError, match="takes sound at 16,000 Hz"):
                await session.seed(History().user(Clip.silence(200)))
            await session.append_audio(Clip.silence(1000))
            response = await session.ask("Hello.")
        (connection,) = server.journal.show({})["connections"]
    events = {sent["event"]["type"]: sent["event"] for sent in connection["sent"]}
    assert "metadata" not in events["response.create"]["response"] and response.status == "completed"
    assert events["input_audio_buffer.append"]["audio"].endswith(f":{2 * 16_000}")  # digest and bytes


def test_a_plan_heeds_what_its_endpoint_is_known_not_to_do(monkeypatch):
    def settings(name):
        return Settings(Endpoint(name, "wss://h.example/v1/realtime", key_env="K"))

    with pytest.raises(InputError, match="xai always speaks, so that drift to text cannot be seen"):
        Plan("1b", settings=settings("xai"))
    plan = Plan("1b", [arms.as_is, arms.one_user_message], settings=settings("glm"))
    assert [(arm, reason.split(" (")[0]) for (_, arm, _), reason in plan.skipped.items()] == [
        ("as_is", "glm takes no assistant messages")
    ]
    with pytest.raises(InputError, match="elevenlabs counts no tokens"):
        check_budget(5, [settings("elevenlabs")])
