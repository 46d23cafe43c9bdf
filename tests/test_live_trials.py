"""Trials over GPT-Live: what goes in as a rule comes out as a rate; silence is an outcome; money runs by the second."""

import asyncio

import pytest
from killed import assert_every_trial_is_decided, assert_seconds_are_paid_once, killed
from killed import plan as killed_plan
from scipy.stats import binomtest

from kit import Ledger, Plan, Settings, StandIn, arms, run
from kit.endpoint import endpoint
from kit.errors import ConnectError, InputError
from kit.reporting import report
from kit.reporting.live_study import LiveStudy
from kit.trials.arms import Arm
from kit.trials.live import policy_of
from kit.trials.plan import estimate, first_ask, live_usd, worst_usd

PACE = 3.0  # at once, on a busy machine, a second of the wall must not be a deadline


async def quietly(plan, path, at_once=4):
    return await run(plan, path, at_once=at_once, progress=None)


def settings(silence, **options):
    return Settings(protocol="live", stand_in={"pace": PACE, "live": {"silence": silence} | options})


def outcomes(ledger, arm=None):
    rows = ledger.rows(
        "SELECT u.first_outcome, u.outcome FROM turns u JOIN trials t USING (trial_id) WHERE ?1 IS NULL OR t.arm = ?1",
        (arm,),
    )
    return [tuple(row) for row in rows]


async def test_a_known_rate_of_silence_comes_back(tmp_path):
    plan = Plan("1b", repeats=40, settings=settings("p=0.3@2"), timeout_s=20)
    ledger = await quietly(plan, tmp_path / "live.sqlite", at_once=10)
    silent = [last for _, last in outcomes(ledger)].count("silent")
    assert ledger.counts()["completed"] == 40 and binomtest(silent, 40, 0.3).pvalue > 0.001
    assert {last for _, last in outcomes(ledger)} <= {"silent", "spoken", "late"}  # late: where the machine was busy


async def test_arms_place_the_past_and_one_of_them_nudges(tmp_path):
    how = [
        "as_is",
        "short_tail",
        "one_user_message",
        "history_in_instructions",
        "past_by_thinking",
        "commentary_ping",
        "nudge",
        "summary_and_tail",
        "past_by_instructions",
        "line_and_ping",
        "burst",
        "unfed",
        "forked",
    ]
    plan = Plan("1b", how, repeats=1, settings=settings("p=1@2"), timeout_s=20)
    ledger = await quietly(plan, tmp_path / "live.sqlite", at_once=13)
    assert ledger.counts()["completed"] == 13
    assert outcomes(ledger, "as_is") == [("silent", "silent")] and outcomes(ledger, "nudge") == [("silent", "spoken")]
    # Nothing is heard or said while the clock stands; a fork is as silent as what it was forked from.
    assert (
        outcomes(ledger, "unfed") == outcomes(ledger, "forked") == outcomes(ledger, "burst") == [("silent", "silent")]
    )
    (fork,) = ledger.rows("SELECT a.seconds FROM attempts a JOIN trials t USING (trial_id) WHERE t.arm = 'forked'")
    assert fork["seconds"] > 10  # what was seeded is paid, too
    # The stand-in's rule sees the messages of the start: an arm that puts fewer there stays below it.
    assert outcomes(ledger, "one_user_message") == outcomes(ledger, "past_by_thinking") == [("spoken", "spoken")]
    page = report(ledger, tmp_path).path.read_text("utf-8")
    # There is no text to drift to, and the arms are the kit's own.
    assert "of 1 lost" in page and "drifts" not in page and "drift minus" not in page
    assert "not one of the kit's" not in page


async def test_a_late_voice_and_a_lost_connection_are_told_apart_from_silence(tmp_path):
    late = await quietly(
        Plan("1a", repeats=2, settings=settings("never", late_ms=5_000), timeout_s=20), tmp_path / "a.sqlite"
    )
    assert outcomes(late) == [("late", "late")] * 2
    lost = await quietly(
        Plan("1a", repeats=1, max_attempts=1, settings=settings("never", drops_after_s=3.0), timeout_s=20),
        tmp_path / "b.sqlite",
    )
    assert lost.counts()["failed"] == 1 and [last for _, last in outcomes(lost)] in ([], ["failed"])


def test_the_users_last_line_is_asked_and_not_seeded():
    case = Plan("1b").cases[0]
    seeded, ask = first_ask(case.history, keep=False)
    assert len(seeded) == len(case.history) - 1 and ask == case.history[-1].text
    assert first_ask(case.history, keep=True) == (case.history, None)


def test_an_arm_that_the_wire_cannot_carry_is_refused_by_name():
    with pytest.raises(InputError, match="delete_and_retry cannot be carried by live"):
        Plan("1b", "delete_and_retry", settings=settings("never"))
    with pytest.raises(InputError, match="nudge cannot be carried by realtime"):
        Plan("1b", "nudge")
    assert Arm.wires == {"realtime"}


def test_seconds_are_priced_and_the_worst_is_reserved():
    paid = Settings(endpoint=endpoint("openai", model="gpt-live-1.1", environ={}))
    trial = Plan("1b", arms.nudge, repeats=1, settings=paid, controls=0).trials[0]
    likely, worst = live_usd(trial, worst=False), worst_usd(trial)
    assert 0.005 < likely < 0.02 and worst == live_usd(trial, worst=True) > 2 * likely
    assert "$" in repr(Plan("1b", repeats=10, settings=paid))


def test_no_control_asks_gpt_live_for_text():
    plan = Plan("1b", repeats=3, settings=settings("never"), controls=2)
    assert [trial.role for trial in plan.trials].count("negative") == plan.n_controls == 2


async def test_a_run_that_is_killed_and_stopped_loses_nothing_and_pays_each_second_once(tmp_path):
    path = tmp_path / "live.sqlite"
    assert killed(path, 1, 9, "after", live=True)
    stopped = []

    def stop(progress):
        if progress.decided >= 2 and not stopped:
            stopped.append(running.cancel())

    running = asyncio.create_task(run(killed_plan(1, live=True), path, at_once=4, progress=stop, budget_usd=1_000))
    with pytest.raises(asyncio.CancelledError):
        await running
    ledger = await run(killed_plan(1, live=True), path, at_once=8, progress=None, budget_usd=1_000)
    assert_every_trial_is_decided(ledger)
    assert_seconds_are_paid_once(ledger)
    assert {row[0] for row in ledger.rows("SELECT policy FROM attempts WHERE status = 'completed'")} == {
        policy_of(5, 60).name
    }


async def test_a_key_that_is_refused_ends_the_run_in_the_services_words(tmp_path):
    async with StandIn(require_key="sk-right") as stand_in:
        plan = Plan("1a", repeats=9, settings=Settings(stand_in.url, protocol="live"))
        with pytest.raises(ConnectError, match="This server wants a key"):
            await quietly(plan, tmp_path / "live.sqlite", at_once=1)
        assert len(Ledger(tmp_path / "live.sqlite").rows("SELECT 1 FROM attempts")) == 1


async def test_the_study_finds_the_length_and_the_placement_and_goes_on_where_it_was_stopped(tmp_path):
    options = {"silence": "p=1@8", "pace": 4, "placements": ["short_tail", "nudge"], "doses": [2, 8], "repeats": (2, 2)}
    study = LiveStudy(tmp_path, **options)
    assert "at $0.05 a minute" in study.price() and study.price().count("$") == 4
    await study.run(progress=None)
    assert study.complete and study.worst_dose() == 8
    assert study.doses() == {("gpt-live-1.1", 2): (0, 2), ("gpt-live-1.1", 8): (2, 2)}
    assert [(v.arm, v.with_it, v.as_it_is) for v in study.placed()] == [
        ("short_tail", (0, 2), (2, 2)),
        ("nudge", (0, 2), (2, 2)),
    ]
    page = study.write().read_text()
    assert "Simulated" in page and policy_of(5, 60).name.split()[1] in page and "short tail" in page
    again = await LiveStudy(tmp_path, **options).run(progress=None)
    assert again.complete and len(again.ledgers["dose"].rows("SELECT 1 FROM attempts")) == 4


def test_a_rehearsal_says_how_long_its_stand_in_talks():
    def minutes(pace):
        return estimate(Plan("1b", repeats=8, settings=Settings(protocol="live", stand_in={"pace": pace}))).minutes

    assert minutes(1) > 0.1 and minutes(4) == pytest.approx(minutes(1) / 4)
