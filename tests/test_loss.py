"""What is counted under loss, what it costs, and what this machine's own trouble does: nothing is invented, nothing is lost for good."""

import asyncio
import errno
import json
import opcode
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from math import sqrt
from pathlib import Path

import pytest
from hostile import Lossy, send, serving
from killed import quietly

from kit import Endpoint, Ledger, Plan, Settings, arms, tables
from kit.cli import main
from kit.endpoint import PRICES, Price
from kit.errors import ConnectError, InputError, LedgerError
from kit.standin import StandIn
from kit.trials import attempt as attempt_module
from kit.trials import runner as runner_module
from kit.trials.ledger import ADDED, TABLES, statements
from kit.trials.limits import Heartbeat
from kit.trials.plan import Analysis, worst_usd
from kit.trials.writer import Writer

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from service import TROUBLE, Service, in_plan, played

pytest_plugins = ["trial_fixtures"]
pytestmark = pytest.mark.usefixtures("unwatched")

PRICED = PRICES["gpt-realtime-2.1"]


def first_turns(ledger):
    """What the tables say of all first turns."""
    (row,) = tables.modality_df(ledger, []).to_dict("records")
    return row


def assert_the_truth_is_held(ledger, truth):
    """The estimate is within two Monte Carlo errors of the truth, or the bounds of the report hold it. Bounds without chance in them
    (none, or all, of the lost were text) do not do: where little is lost they are a point."""
    row = first_turns(ledger)
    near = abs(row["drift_rate"] - truth) <= 2 * sqrt(truth * (1 - truth) / row["first_turns"])
    assert near or row["drift_least"] <= truth <= row["drift_most"], row


# -------------------------------------------------------------------------------------------------------- what is counted


@pytest.mark.parametrize("fault", ["expire=0.3@every", "drop@p=0.5"])
async def test_sessions_that_are_cut_off_tilt_nothing_towards_text(path, fault):
    """Audio takes longer than text, so a cut takes mostly audio; and a service draws anew at every try."""
    stand_in = {"drift": "fresh:share=0.3", "pace": 8.0, "faults": [fault]}
    ledger = await quietly(Plan("1b", repeats=100, seed=3, settings=Settings(stand_in=stand_in)), path)

    assert_the_truth_is_held(ledger, 0.3)
    assert ledger.counts()["missing"] == 0


async def test_a_run_that_is_stopped_again_and_again_tilts_nothing_towards_text(path):
    plan = Plan("1b", repeats=80, seed=5, settings=Settings(stand_in={"drift": "fresh:share=0.5", "pace": 8.0}))
    running = []
    for stop_at in (10, 25, 40, 55):

        def stop(progress, stop_at=stop_at):
            if progress.decided >= stop_at:
                running[-1].cancel()

        running.append(asyncio.create_task(quietly(plan, path, progress=stop)))
        with pytest.raises(asyncio.CancelledError):
            await running[-1]
    ledger = await quietly(plan, path)

    assert_the_truth_is_held(ledger, 0.5)
    partial = ledger.rows("SELECT t.* FROM turns t JOIN attempts a USING (attempt_id) WHERE a.kind = 'interrupted'")
    assert partial and all(row["outcome"] in ("spoken", "text") and row["ended"] for row in partial)
    assert not ledger.rows("SELECT trial_id FROM attempts WHERE counts = 1 GROUP BY 1 HAVING COUNT(*) > 1")


@pytest.mark.parametrize("trouble", TROUBLE)
def test_every_reply_that_was_asked_for_is_known_or_lost_whatever_goes_wrong(trouble):
    """Against a service that keeps count itself, drawing anew at every attempt."""
    options, stops, _ = TROUBLE[trouble]
    service = Service(lambda case, arm: 0.4, **options)

    with played(in_plan(1, repeats=80), service, min(stops, 4)) as ledger:
        row = first_turns(ledger)

    assert row["first_turns"] + row["lost"] == service.n_asked >= 80
    assert row["text"] <= service.n_text <= row["text"] + row["lost"]


def test_bounds_hold_the_truth_where_loss_chooses():
    """Twenty-five estimates; benchmarks/coverage.py has a thousand of each kind."""
    service = Service(lambda case, arm: 0.3, lose=lambda is_text: 0.02 if is_text else 0.3)

    with played(in_plan(25, repeats=20), service) as ledger:
        table = tables.modality_df(ledger, "case")

    assert table["text"].sum() / table["first_turns"].sum() > 0.34  # audio is lost more often
    assert ((table["drift_least"] <= 0.3) & (table["drift_most"] >= 0.3)).sum() >= 23


def test_a_retry_arm_that_cures_nothing_is_counted_as_as_is_where_one_response_in_ten_fails():
    """Both arms meet the same luck, trial by trial; asking again after a text never helps here, and often fails."""
    service = Service(lambda case, arm: 0.5, lose=lambda is_text: 0.05, fails=0.05, breaks=0.05, paired=True)

    with played(in_plan(1, ["as_is", "delete_and_retry"], 80), service) as ledger:
        as_is, retry = tables.modality_df(ledger).to_dict("records")

    assert retry["failed"] > 2 * as_is["failed"] > 0
    for name in ("text", "audio", "first_turns", "first_response_drifted", "first_responses"):
        assert retry[name] == as_is[name]


async def test_an_attempt_that_its_runs_death_left_after_asking_is_a_censored_turn(path):
    plan = Plan("1b", repeats=3)
    with Writer(path, plan) as writer:
        run_id = writer.begin_run(at_once=1, budget_usd=None)
        ids = writer.pending(run_id, [(trial.trial_id, 1, 0.0) for trial in plan.trials])
        writer.seeded(ids[1], {"session_id": "sess_1"})
        writer.seeded(ids[2], {"session_id": "sess_2"})
        turn = {"turn": 0, "n_responses": 1, "outcome": "text", "final_modality": "text", "n_items_sent": 0}
        writer.turn(ids[2], plan.trials[2].trial_id, turn, [])
    ledger = await quietly(plan, path)

    rows = ledger.rows("SELECT attempt_id, status, kind, counts, reply_asked FROM attempts ORDER BY 1 LIMIT 3")
    assert [tuple(row)[1:] for row in rows] == [
        ("interrupted", None, 0, 0),
        ("interrupted", None, 0, 1),
        ("failed", "interrupted", 1, 1),
    ]
    censored = ledger.rows("SELECT attempt_id FROM turns WHERE outcome = 'censored'")
    assert [row[0] for row in censored] == [ids[1]]
    assert len(ledger.rows("SELECT 1 FROM attempts")) == 3 + 2  # the third is not played again


async def test_a_dead_connection_is_a_failure_and_no_silence(path, monkeypatch):
    async def talk(ws):
        await send(ws, "session.created", session={"id": "s", "model": "m"})
        async for frame in ws:
            if '"conversation.item.create"' in frame:
                item = json.loads(frame)["item"]
                await send(ws, "conversation.item.added", item=item)

    async with serving(talk) as url:
        plan = Plan("1a", repeats=1, timeout_s=0.5, settings=Settings(url, max_output_tokens=None))
        monkeypatch.setattr(attempt_module, "_PROOF_OF_LIFE_S", 0.2)
        ledger = await quietly(plan, path)

    (row,) = ledger.rows("SELECT status, kind, outcome FROM attempts JOIN turns USING (attempt_id)")
    assert tuple(row) == ("failed", "timeout", "failed")


async def test_replies_beside_the_talk_are_rows_of_no_turn_and_are_paid(path):
    class Beside(arms.Arm):
        """A reply that is asked for beside the talk."""

        async def after_seed(self, session):
            await session.respond(conversation="none", modality="text")

    settings = Settings(price=PRICED)
    ledger = await quietly(Plan("1a", Beside, 1, settings=settings, controls=0), path, budget_usd=5)

    rows = ledger.rows("SELECT turn, response, modality, cost_usd FROM responses ORDER BY turn")
    assert [tuple(row)[:3] for row in rows] == [(-1, 0, "text"), (0, 0, "audio")]
    assert ledger.spent()["usd"] == pytest.approx(sum(row["cost_usd"] for row in rows))


# ---------------------------------------------------------------------------------------------------------- what is frozen


def test_the_plan_freezes_deadline_analysis_and_the_kits_version():
    plan = Plan("1b", ["as_is", "update_again"], 2)

    changed = [
        Plan("1b", ["as_is", "update_again"], 2, deadline_s=4),
        *(
            Plan("1b", ["as_is", "update_again"], 2, analysis=analysis)
            for analysis in (
                Analysis("update_again"),
                Analysis(outcome="first_response"),
                Analysis(family="pooled"),
                Analysis(alpha=0.01),
                Analysis(margin=0.1),
                Analysis(level=0.9),
            )
        ),
    ]
    assert len({plan.hash, *(item.hash for item in changed)}) == 8
    assert plan.describe()["analysis"]["baseline"] == "as_is"
    assert plan.describe()["kit_version"]


def test_a_custom_arm_has_the_same_hash_under_another_bytecode():
    class Louder(arms.Arm):
        """Asks loudly."""

        def asks(self, so_far):
            return {"instructions": "LOUD"}

    before = Plan("1b", Louder, 1).hash
    code = Louder.asks.__code__
    # What another version of Python would have made of the same source: the same steps in other bytes.
    nop = bytes([opcode.opmap["NOP"], 0])
    Louder.asks.__code__ = code.replace(co_code=code.co_code[:2] + nop + code.co_code[2:])

    assert Louder().asks(None) == {"instructions": "LOUD"}
    assert Plan("1b", Louder, 1).hash == before


def ledger_of_schema_1(path, plan):
    """As kit 0.1 wrote it."""
    with Writer(path, plan):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP INDEX one_decides")
        for table, columns in ADDED.items():
            for column in columns:
                db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("UPDATE plan SET plan_hash = ?", (plan.hashes[1],))
        db.execute("PRAGMA user_version = 1")
        db.commit()


async def test_a_ledger_of_schema_1_is_read_and_gone_on_with(path):
    plan = Plan("1b", repeats=3)
    ledger_of_schema_1(path, plan)
    before = path.read_bytes()

    assert Ledger(path).counts()["missing"] == 3
    assert Ledger(path).rows("SELECT outcome, first_ms, ended FROM turns") == []
    assert path.read_bytes() == before
    ledger = await quietly(plan, path)

    assert ledger.counts()["completed"] == 3
    assert {row[0] for row in ledger.rows("SELECT outcome FROM turns")} == {"text"}
    names = {row["name"] for row in ledger.rows("PRAGMA table_info(turns)")}
    assert names == set(TABLES["turns"])


def test_a_ledger_that_the_first_kit_wrote_is_read_and_what_it_cannot_tell_is_not_known(path, capsys):
    """Four trials of 2026-11-22; in the last a text reply was followed by a try that was cut off."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name("ledger_of_before.sql").read_text())
    before = path.read_bytes()

    table = tables.modality_df(path).set_index("arm")
    assert table[["text", "first_turns", "lost"]].to_numpy().tolist() == [[1, 2, 0], [0, 1, 1]]
    assert table[["first_response_drifted", "first_responses"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert table[["silent", "late", "lost_voice", "lost_voice_rate"]].isna().all(axis=None)
    assert tables.flow_df(path)["asked"].isna().all() and tables.flow_df(path)["answered"].tolist() == [2, 1]
    assert "Lost after asking: 1 beside 1 answered, against 0 beside 2" in tables.compare_df(path)["sentence"][0]
    with pytest.raises(InputError, match="written before it was recorded"):
        tables.compare_df(path, outcome="lost_voice")
    assert main(["table", str(path), "--rows", "comparisons"]) == 0 == main(["table", str(path)])
    assert "delete_and_retry" in capsys.readouterr().out and path.read_bytes() == before


# ------------------------------------------------------------------------------------------------------------------ money


class Billing(Lossy):
    """A server whose replies have the usage that it is told to send."""

    def __init__(self, usage, model="m"):
        super().__init__()
        self.usage, self.model = usage, model

    async def response_create(self, ws, event):
        part = {"type": "output_text", "text": "Hi."}
        item = {"id": "item_r", "type": "message", "role": "assistant", "content": [part]}
        response = {
            "id": "resp_1",
            "status": "completed",
            "metadata": event["response"].get("metadata"),
            "output": [item],
        }
        await send(ws, "response.created", response=response | {"status": "in_progress", "output": []})
        await send(ws, "response.done", response=response | {"usage": self.usage})


GOOD = {
    "total_tokens": 30,
    "input_tokens": 10,
    "output_tokens": 20,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 0},
    "output_token_details": {"text_tokens": 20, "audio_tokens": 0},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_token_details": {"text_tokens": -(10**9), "audio_tokens": 0}},
        {"total_tokens": None, "input_tokens": None, "input_token_details": {"text_tokens": -(10**9)}},
        {"total_tokens": 10**6},
        {"output_tokens": "1e6"},
        {"total_tokens": 1e6},
        {"input_token_details": {"text_tokens": "10"}},
        {"input_token_details": {"text_tokens": 2**63}, "input_tokens": 2**63, "total_tokens": 2**63 + 20},
    ],
    ids=[
        "negative",
        "negative without totals",
        "total beyond details",
        "text",
        "float",
        "details as text",
        "beyond 64 bits",
    ],
)
async def test_usage_that_makes_no_sense_costs_the_reservation_and_stops_no_run(path, wrong):
    async with Billing(GOOD | wrong) as server:
        plan = Plan("1a", repeats=2, controls=0, settings=Settings(server.url, price=PRICED, max_output_tokens=None))
        ledger = await quietly(plan, path, budget_usd=10)

    rows = ledger.rows("SELECT status, cost_usd, reserved_usd, cost_estimated FROM attempts")
    assert [row["status"] for row in rows] == ["completed"] * 2
    assert all(row["cost_usd"] == row["reserved_usd"] > 0 and row["cost_estimated"] for row in rows)


async def test_usage_that_makes_sense_is_what_it_costs(path):
    async with Billing(GOOD) as server:
        settings = Settings(server.url, price=Price((1, 0, 10), (0, 0, 0), (0, 0)), max_output_tokens=None)
        ledger = await quietly(Plan("1a", repeats=1, controls=0, settings=settings), path, budget_usd=10)

    assert ledger.spent()["usd"] == pytest.approx((10 * 1 + 20 * 10) / 1e6)


@pytest.mark.parametrize("beside", ["transcript", "reply that nothing came of", "reply that nobody asked for"])
async def test_what_is_billed_beside_the_turns_is_paid(path, beside):
    """A transcript has a price of its own, which the kit does not know; so has a response whose end never came."""

    class Beside(Billing):
        async def response_create(self, ws, event):
            if beside == "transcript":
                await send(
                    ws, "session.updated", session={"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
                )
                await send(ws, "conversation.item.input_audio_transcription.completed", item_id="i", transcript="Hi.")
            if beside == "reply that nobody asked for":
                await send(ws, "response.created", response={"id": "resp_0", "status": "in_progress", "output": []})
                await send(
                    ws, "response.done", response={"id": "resp_0", "status": "completed", "output": [], "usage": GOOD}
                )
            if not (beside == "reply that nothing came of" and event["response"].get("conversation") == "none"):
                await super().response_create(ws, event)

    class Extra(arms.Arm):
        """A response beside the talk that is never answered."""

        async def after_seed(self, session):
            if beside == "reply that nothing came of":
                await session.send({"type": "response.create", "response": {"conversation": "none"}})

    async with Beside(GOOD) as server:
        settings = Settings(server.url, price=PRICED, max_output_tokens=None)
        ledger = await quietly(Plan("1a", Extra, 1, controls=0, settings=settings), path, budget_usd=10)

    (row,) = ledger.rows("SELECT cost_usd, reserved_usd, cost_estimated FROM attempts WHERE counts = 1")
    if beside == "reply that nobody asked for":
        assert row["cost_usd"] == pytest.approx(2 * PRICED.usd(GOOD))
    else:
        assert row["cost_usd"] == row["reserved_usd"] > 0 and row["cost_estimated"]


async def test_the_model_that_the_server_names_is_the_one_that_is_priced(path, monkeypatch):
    monkeypatch.setenv("K", "sk-test")

    class Other(Billing):
        async def _talk(self, ws):
            await send(ws, "session.created", session={"id": "s", "model": "gpt-realtime-2.1-2026-06-01"})
            async for frame in ws:
                event = json.loads(frame)
                await getattr(self, event["type"].replace(".", "_"), self._unknown)(ws, event)

    async with Other(GOOD) as server:
        cheap = Endpoint("openai", server.url, model="gpt-realtime-2.1-mini", key_env="K")
        plan = Plan("1a", repeats=1, controls=0, settings=Settings(cheap, max_output_tokens=None))
        ledger = await quietly(plan, path, budget_usd=100)

    (row,) = ledger.rows("SELECT cost_usd, priced_model FROM attempts")
    assert row["priced_model"] == "gpt-realtime-2.1"
    assert row["cost_usd"] == pytest.approx(PRICED.usd(GOOD))


async def test_a_reader_that_stays_open_leaves_the_results_in_the_file(path):
    plan, readers = Plan("1b", repeats=3), []

    def read(progress):
        if not readers:
            readers.append(Ledger(path).connect())

    ledger = await quietly(plan, path, progress=read)

    copy = path.with_name("copied-alone.sqlite")
    shutil.copy(ledger.path, copy)
    assert Ledger(copy).counts()["completed"] == 3
    readers[0].close()
    await quietly(plan, path)
    # No write-ahead log: it can be read from a folder in which nothing may be written.
    assert path.read_bytes()[18] == 1


def test_the_reservation_covers_tools_and_whatever_else_a_session_is_told():
    tools = [{"type": "function", "name": "f", "description": "x" * 200_000, "parameters": {}}]

    def worst(**more):
        return worst_usd(Plan("1a", repeats=1, controls=0, settings=Settings(price=PRICED, more=more)).trials[0])

    assert worst(tools=tools) - worst() >= 200_000 * PRICED.text[0] / 1e6
    assert worst(instructions="y" * 200_000) - worst() >= 200_000 * PRICED.text[0] / 1e6


# ------------------------------------------------------------------------------------------------------ two runners at once


async def test_two_runners_cannot_both_decide_a_trial_even_without_the_lock(path):
    plan = Plan("1b", repeats=2)
    first = Writer(path, plan)
    with first:
        old_run = first.begin_run(at_once=1, budget_usd=None)
        (attempt_id,) = first.pending(old_run, [(plan.trials[0].trial_id, 1, 0.0)])
        os.unlink(f"{path}.lock")  # it lies about after every kill, so people delete it
        ledger = await quietly(plan, path)
        with pytest.raises(LedgerError, match="newer run"):
            first.seeded(attempt_id, {})

    assert ledger.counts()["completed"] == 2
    assert not ledger.rows("SELECT trial_id FROM attempts WHERE counts = 1 GROUP BY 1 HAVING COUNT(*) > 1")
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO attempts SELECT 99, trial_id, 9, run_id, worker, status, stage, reply_asked, 1, "
                   "kind, expected, error_type, error_code, error, started_at, ended_at, session_id, model, voice, simulated, "
                   "drift_rule, connect_ms, seed_ms, n_items_sent, n_updates_sent, n_deletes_sent, n_responses, reserved_usd, "
                   "cost_usd, cost_estimated, priced_model, seconds, policy FROM attempts WHERE counts = 1 LIMIT 1")  # fmt: skip


def test_a_lock_that_is_a_link_leaves_what_it_links_to(path, tmp_path):
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("Chapter 1")
    os.symlink(thesis, f"{path}.lock")

    with pytest.raises(LedgerError, match="cannot write"), Writer(path, Plan("1b", repeats=1)):
        pass
    assert thesis.read_text() == "Chapter 1"


# ------------------------------------------------------------------------------------------------- outages, and this machine


async def test_an_outage_is_waited_out_and_uses_up_no_tries(path, monkeypatch):
    monkeypatch.setattr(runner_module, "_UNREACHABLE_S", 0.05)
    plan = Plan("1a", repeats=6, max_attempts=1, settings=Settings(stand_in={"faults": ["http-error=503@2-9"]}))

    ledger = await quietly(plan, path, at_once=2)

    assert ledger.counts()["completed"] == 6
    assert len(ledger.rows("SELECT 1 FROM attempts WHERE kind = 'transport'")) == 8
    assert {row[0] for row in ledger.rows("SELECT cost_usd FROM attempts WHERE kind = 'transport'")} == {0.0}


async def test_what_an_outage_took_is_played_by_the_next_run(path, monkeypatch):
    monkeypatch.setattr(runner_module, "_UNREACHABLE_S", 0)
    async with StandIn() as server:
        address = f"{server.url}?model=gpt-realtime"
        plan = Plan("1a", repeats=4, max_attempts=1, settings=Settings(address))
        port = server.url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(ConnectError, match="attempts in a row came to no session"):
        await quietly(plan, path, at_once=2)
    assert Ledger(path).counts()["missing"] == 4

    async with StandIn(port=int(port)):
        ledger = await quietly(plan, path)
    assert ledger.counts()["completed"] == 4


def test_of_an_earlier_run_only_what_was_lost_in_a_session_used_up_a_try(path):
    plan = Plan("1a", repeats=1)
    trial = plan.trials[0].trial_id
    with Writer(path, plan) as writer:
        run_id = writer.begin_run(at_once=1, budget_usd=None)
        ids = writer.pending(run_id, [(trial, n, 0.0) for n in (1, 2, 3)])
        for attempt_id, session in zip(ids, ({}, {}, {"session_id": "s"}), strict=True):
            lost = attempt_module.Outcome("failed", failure={"kind": "transport"}, session=session)
            writer.ended(attempt_id, trial, lost, counts=False, cost_usd=0.0, cost_estimated=False)
        _, attempts, used, _ = writer.history()

    assert (attempts, used) == ({trial: 3}, {trial: 1})


@pytest.mark.parametrize(
    "trouble",
    [
        ImportError("connecting through a SOCKS proxy requires python-socks"),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
    ids=["a library that is missing", "too many open files"],
)
async def test_this_machines_trouble_stops_the_run_and_is_no_result(path, trouble):
    class Unlucky(arms.Arm):
        """Meets this machine's trouble."""

        async def after_seed(self, session):
            raise trouble

    plan = Plan("1a", Unlucky, 3)
    with pytest.raises(type(trouble)):
        await quietly(plan, path, at_once=1)

    assert Ledger(path).counts() == {"planned": 3, "completed": 0, "failed": 0, "missing": 3}
    (row,) = Ledger(path).rows("SELECT status, kind, counts FROM attempts")
    assert tuple(row) == ("interrupted", "machine", 0)


async def test_a_ledger_that_is_locked_by_another_program_stops_the_run_in_one_sentence(path, monkeypatch):
    monkeypatch.setattr("kit.trials.writer._BUSY_S", 0.1)
    plan = Plan("1a", repeats=4)
    other = None

    def lock(progress):
        nonlocal other
        if progress.decided == 1 and other is None:
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LedgerError, match="database is locked; mend that and run it again"):
        await quietly(plan, path, at_once=1, progress=lock)
    other.close()

    assert Ledger(path).counts()["failed"] == 0
    assert (await quietly(plan, path)).counts()["completed"] == 4


@pytest.mark.parametrize("write", ["seeded", "turn"])
async def test_a_ledger_that_was_locked_for_a_moment_is_no_result_either(path, monkeypatch, write):
    monkeypatch.setattr("kit.trials.writer._BUSY_S", 0)
    original = getattr(Writer, write)

    def locked(writer, *args):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            return original(writer, *args)

    monkeypatch.setattr(Writer, write, locked)
    plan = Plan("1b+4", repeats=1)
    with pytest.raises(LedgerError, match="database is locked"):
        await quietly(plan, path)
    monkeypatch.undo()

    assert Ledger(path).counts()["failed"] == (write == "turn")  # a reply had begun: it is not played again


async def test_a_process_that_did_not_run_is_no_slow_reply(path):
    slept = False

    def sleep(progress):
        nonlocal slept
        if progress.in_flight and not slept:
            slept = True
            asyncio.get_running_loop().call_later(0.15, time.sleep, 2.5)  # as if stopped while the reply comes

    plan = Plan("1a", repeats=1, timeout_s=1.5, settings=Settings(stand_in={"faults": ["slow-start=0.3"]}))
    ledger = await quietly(plan, path, at_once=1, progress=sleep)

    (turn,) = ledger.rows("SELECT outcome, n_attempts FROM turns JOIN trial_states USING (attempt_id)")
    assert (slept, *turn) == (True, "spoken", 1)


async def test_a_heartbeat_notices_that_it_stood_still():
    async with Heartbeat() as heartbeat:
        time.sleep(0.6)  # noqa: ASYNC251  the point
        assert 0.3 < heartbeat.look() < 1.5
        await asyncio.sleep(0)
        assert heartbeat.look() < 1.5


# --------------------------------------------------------------------------------------------------------- hostile ledgers


def spoil(path, *statements):
    with closing(sqlite3.connect(path)) as db:
        for sql in statements:
            db.execute(sql)
        db.commit()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM plan",
        "UPDATE plan SET plan = 'no json'",
        "UPDATE plan SET plan = '[1, 2]'",
        'UPDATE plan SET plan = \'{"cases": 7, "settings": "x"}\'',
        "DROP TABLE attempts",
        "DROP TABLE turns",
        "UPDATE runs SET started_at = 1e300",
        "ALTER TABLE attempts RENAME COLUMN kind TO sort",
    ],
)
async def test_a_ledger_that_was_tampered_with_is_a_ledger_error_and_nothing_else(path, sql):
    plan = Plan("1b", repeats=2)
    done = await quietly(plan, path)
    spoil(done.path, sql)

    for look in (
        lambda: Ledger(path).plan,
        lambda: Ledger(path).counts(),
        lambda: Ledger(path).spent(),
        lambda: repr(Ledger(path)),
        lambda: Ledger(path)._repr_html_(),
        lambda: Ledger(path).trial(0),
        lambda: first_turns(Ledger(path)),
        lambda: Writer(path, plan).__enter__().__exit__(None, None, None),
    ):
        try:
            look()
        except LedgerError as exc:
            assert str(path) in str(exc)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER UPDATE ON attempts BEGIN DELETE FROM turns; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP VIEW trial_states; CREATE VIEW trial_states AS SELECT * FROM trials",
    ],
)
def test_a_ledger_that_does_something_by_itself_is_left_as_it_is(path, sql):
    with Writer(path, Plan("1b", repeats=1)):
        pass
    spoil(path, *sql.split("; ", 1) if sql.startswith("DROP") else (sql,))

    with pytest.raises(LedgerError, match="which no ledger has; it is left as it is"):
        Ledger(path)


def test_a_plan_that_is_far_too_long_is_not_read(path, monkeypatch):
    with Writer(path, Plan("1b", repeats=1)):
        pass
    monkeypatch.setattr("kit.trials.ledger._MAX_PLAN_CHARS", 100)

    with pytest.raises(LedgerError, match="does not say what was planned"):
        _ = Ledger(path).plan


async def test_a_plan_that_is_an_endless_view_is_refused_and_read_by_nobody(path):
    done = await quietly(Plan("1b", repeats=1), path)
    spoil(
        done.path,
        "ALTER TABLE plan RENAME TO real_plan",
        "CREATE VIEW plan AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS plan_hash, hex(zeroblob(1000000)) AS plan, 0 AS created_at, '' AS kit_version FROM n",
    )
    began = time.monotonic()

    with pytest.raises(LedgerError):
        _ = Ledger(path).plan
    assert time.monotonic() - began < 2


def test_a_copied_ledger_reads_alike(path, tmp_path):
    with Writer(path, Plan("1b", repeats=2)):
        pass
    shutil.copy(path, tmp_path / "copy.sqlite")

    assert Ledger(tmp_path / "copy.sqlite").plan_hash == Ledger(path).plan_hash
    assert statements()
