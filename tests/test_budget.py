"""Money, and stopping early: what is spent and reserved, and when enough is known."""

import asyncio

import pytest
from killed import quietly

from kit import Plan, Settings, run
from kit.endpoint import PRICES
from kit.errors import InputError
from kit.trials.limits import Budget, FirstTurn, StopMonitor
from kit.trials.plan import estimate

pytest_plugins = ["trial_fixtures"]
pytestmark = pytest.mark.usefixtures("unwatched")

PRICED = PRICES["gpt-realtime-2.1"]


# ---------------------------------------------------------------------------------------------------------- money


def test_a_service_is_not_run_without_a_budget_or_with_one_that_cannot_be_kept():
    async def asked(budget_usd, **settings):
        return await run(
            Plan("1a", repeats=1, settings=Settings(**settings)), "/nowhere/x.sqlite", budget_usd=budget_usd
        )

    for budget_usd, settings, says in (
        (None, {"endpoint": "openai"}, "costs money: say how much it may"),
        (5, {"endpoint": "openai", "model": "gpt-realtime-99"}, "no price for openai gpt-realtime-99"),
        (-1, {}, "not -1"),
        ("5", {}, "not '5'"),
    ):
        with pytest.raises(InputError) as caught:
            asyncio.run(asked(budget_usd, **settings))
        assert says in str(caught.value)


async def test_spent_and_reserved_never_pass_the_cap_and_what_was_not_run_is_said(path):
    plan = Plan(["1a", "1b"], repeats=100, settings=Settings(price=PRICED, max_output_tokens=400), controls=0)
    most = []

    def watch(progress):
        most.append(progress.spent_usd + progress.reserved_usd)

    ledger = await quietly(plan, path, budget_usd=0.5, progress=watch)

    money, counts = ledger.spent(), ledger.counts()
    assert 0.4 < max(most) <= 0.5
    assert 0.4 < money["usd"] <= 0.5
    assert counts["missing"] == 200 - counts["completed"] > 50
    assert ledger.last_run["ended"] == "budget"
    assert "budget: $0." in repr(ledger)


async def test_more_money_goes_on_where_less_ended(path):
    plan = Plan("1b", repeats=20, settings=Settings(price=PRICED, max_output_tokens=400), controls=0)
    first = await quietly(plan, path, budget_usd=0.05)
    began = first.counts()["completed"]
    second = await quietly(plan, path, budget_usd=5)

    assert 0 < began < 20
    assert second.counts()["completed"] == 20
    assert len(second.rows("SELECT 1 FROM attempts")) == 20


async def test_the_budget_that_is_called_enough_lets_a_plan_end(path):
    settings = Settings(price=PRICED, stand_in={"drift": "never"})
    plan = Plan(["1a", "1b", "2a", "2b"], repeats=15, settings=settings, controls=1)
    told = estimate(plan)

    ledger = await quietly(plan, path, budget_usd=told.enough_usd, at_once=8)

    assert ledger.last_run["ended"] == "complete"
    assert told.usd < told.enough_usd < told.worst_usd


async def test_an_attempt_without_usage_costs_its_reservation(trouble, path):
    plan = Plan("1a", repeats=2, settings=Settings(price=PRICED), controls=0)
    trouble({plan.trials[0].trial_id: "drop"})
    ledger = await quietly(plan, path, budget_usd=5, at_once=1)

    lost, paid = ledger.rows("SELECT cost_usd, reserved_usd, cost_estimated FROM attempts ORDER BY attempt_id")
    assert (lost["cost_usd"], lost["cost_estimated"]) == (lost["reserved_usd"], 1)
    assert paid["cost_usd"] < paid["reserved_usd"]
    assert paid["cost_estimated"] == 0
    assert "of it estimated" in repr(ledger)


async def test_a_budget_waits_for_what_is_in_flight():
    budget = Budget(1.0)
    first = await budget.reserve(0.8)
    waiting = asyncio.create_task(budget.reserve(0.8))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.settle(0.1)

    async with await waiting:
        pass  # nobody says what it cost: all of it
    assert budget.spent_usd == pytest.approx(0.9)
    assert await budget.reserve(0.2) is None


# ------------------------------------------------------------------------------------------------------- stopping early


async def test_a_stop_rule_ends_the_run_when_every_rate_is_known_well_enough(path):
    plan = Plan(["1a", "1b"], repeats=400, stop=0.3, seed=2)
    ledger = await quietly(plan, path)

    counts = ledger.counts()
    assert ledger.last_run["ended"] == "stop rule"
    assert 30 < counts["completed"] < 200
    assert counts["missing"] == 800 - counts["completed"]


def test_the_stop_rule_sees_only_the_decided_beginning_of_the_planned_order():
    plan = Plan("1b", repeats=40, stop=0.5)
    monitor = StopMonitor(plan, {})
    for trial in plan.trials[1:]:
        monitor.decided(trial, FirstTurn.of("text", "text"))

    assert monitor.counts() == {plan.trials[0].cell: (0, 0)}
    assert not monitor.enough()
    monitor.decided(plan.trials[0], FirstTurn.of("failed", None))
    assert monitor.counts() == {plan.trials[0].cell: (39, 39)}
    assert monitor.enough()


def test_the_stop_rule_waits_for_its_widest_cell():
    plan = Plan(["1a", "1b"], repeats=400, stop=0.2, seed=3)
    monitor = StopMonitor(plan, {})
    for n, trial in enumerate(plan.trials):  # 1a: all audio, soon known; 1b: half text
        text = trial.case.name == "1b" and n % 2 == 0
        monitor.decided(trial, FirstTurn.of("text" if text else "spoken", "text" if text else "audio"))
        if monitor.enough():
            break

    rule, counts = plan.stop, {cell[0]: pair for cell, pair in monitor.counts().items()}
    assert rule.enough(*counts["1a"]) and rule.enough(*counts["1b"])
    k, n = counts["1a"]
    assert k == 0 and rule.enough(0, n // 2)  # 1a alone would have ended the run long before
