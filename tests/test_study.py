"""From plan to sentence, through real sockets: what goes in as truth comes out as estimate; and the study, rehearsed whole."""

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from kit import Plan, Settings, plots, run, stats, tables
from kit.cases import all_cases
from kit.cli import main
from kit.errors import InputError
from kit.reporting.study import ARMS, MODELS, study_plan
from kit.trials.plan import estimate


async def test_400_trials_under_the_documented_rule_give_the_reported_picture(tmp_path):
    ledger = await run(Plan(["1a", "1b", "2a", "2b"], repeats=100, seed=1), tmp_path / "a.sqlite", progress=None)

    table = tables.modality_df(ledger, by="case").set_index("case")

    assert (table["completed"] == 100).all() and table["simulated"].all()
    assert table["audio"].to_dict() == {"1a": 100, "1b": 0, "2a": 100, "2b": 0}
    assert table["text"].to_dict() == {"1a": 0, "1b": 100, "2a": 0, "2b": 100}
    assert {case.name: case.reported for case in all_cases()} == {
        name: "text" if row["text"] else "audio" for name, row in table.iterrows()
    }


async def test_twenty_plans_at_a_known_rate_agree_with_the_binomial(tmp_path):
    n, rate = 15, 0.3
    settings = Settings(stand_in={"drift": f"p={rate}"})
    ledgers = [
        await run(Plan("1b", repeats=n, seed=seed, settings=settings), tmp_path / f"{seed}.sqlite", progress=None)
        for seed in range(20)
    ]

    table = tables.modality_df(ledgers, by="plan")

    drifted = table["text"].to_numpy()
    assert list(table["first_turns"]) == [n] * 20
    assert binomtest(int(drifted.sum()), 20 * n, rate).pvalue > 0.01
    spread = ((drifted - n * rate) ** 2 / (n * rate * (1 - rate))).sum()  # neither wider nor narrower than chance
    assert 0.005 < chi2.sf(spread, 20) < 0.995
    low, high = stats.wilson_array(drifted, np.full(20, n))
    assert ((low <= rate) & (rate <= high)).sum() >= 17


async def test_a_ledger_is_counted_alike_by_its_turns_and_by_its_responses(tmp_path):
    settings = Settings(stand_in={"drift": "per-response=0.5"})
    cases = [case.then("Another one, please.") for case in all_cases()]
    ledger = await run(
        Plan(cases, ["as_is", "delete_and_retry"], 4, settings=settings, seed=2), tmp_path / "a.sqlite", progress=None
    )

    of_turns, of_responses = tables.modality_df(ledger), tables.modality_df(tables.responses_df(ledger))

    counts = [
        "first_turns",
        "text",
        "first_response_drifted",
        "turns_text",
        "responses_per_turn",
        "turns",
        "any_drifted",
    ]
    assert of_turns[counts].equals(of_responses[counts])
    # by the session's clock on both sides, but for when a turn is said to begin
    assert list(of_turns["heard_median_ms"]) == pytest.approx(
        list(of_responses["heard_median_ms"]), abs=100, nan_ok=True
    )


async def test_events_that_were_kept_become_rows(tmp_path):
    ledger = await run(Plan("1b", repeats=1), tmp_path / "a.sqlite", progress=None, keep_events=True)

    events = tables.events_df(ledger)

    assert {"session.created", "conversation.item.create", "response.create", "response.done"} <= set(events["type"])
    assert events["at_ms"].is_monotonic_increasing and set(events["direction"]) == {"client", "server"}
    assert set(events["trial_id"]) == set(tables.trials_df(ledger)["trial_id"])
    assert events["simulated"].all()


async def test_drift_by_length_is_read_from_a_plan_of_growing_histories(tmp_path):
    ledger = await run(Plan(["0 turns", "2 turns", "4 turns"], repeats=2), tmp_path / "a.sqlite", progress=None)
    table = tables.modality_df(ledger)

    ax = plots.drift_by_length(table, ax=plots.figure())

    (line,) = ax.get_lines()
    assert list(line.get_xdata()) == [1, 3, 5] and list(line.get_ydata()) == [0, 1, 1]


# The study


def test_the_study_has_the_cases_models_and_cures_and_as_many_trials_as_its_comparisons_need():
    plan = study_plan()

    tests = (len(ARMS) - 1) * 5 * len(MODELS)
    assert plan.repeats == stats.trials_needed(0.5, 0.2, comparisons=tests)
    assert [case.name for case in plan.cases] == ["1a", "1b", "2a", "2b"]
    assert all(case.turns for case in plan.cases)  # so that it can be seen whether drift stays
    assert [settings.model for settings in plan.settings] == list(MODELS)
    assert all(settings.free for settings in plan.settings) and plan.controls == 3


def test_the_study_on_a_service_is_priced_and_needs_a_budget(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    assert main(["study", "--endpoint", "openai", "--repeats", "1"]) == 2

    shown = capsys.readouterr()
    assert "about $" in shown.out and "at worst" in shown.out
    assert "this costs money: give --budget" in " ".join(shown.err.split())


def test_a_first_look_costs_a_few_dollars_and_the_whole_study_says_that_there_is_one(capsys):
    quick = study_plan("openai", quick=True)

    assert 1 < estimate(quick).usd < 4 and estimate(quick).enough_usd <= 5
    assert main(["study", "--endpoint", "openai", "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"for about ${estimate(quick).usd:.2f}: the same with --quick" in out
    assert main(["study", "--endpoint", "openai", "--quick", "--dry-run"]) == 0
    assert quick.settings[0].model in capsys.readouterr().out


def test_elsewhere_than_at_openai_the_study_asks_for_the_endpoints_own_model(capsys):
    assert [settings.where.model for settings in study_plan("xai").settings] == ["grok-voice-latest"]
    assert main(["study", "--endpoint", "xai", "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "unpriced" in out and "--budget inf" in out and "never passed" not in out


def test_a_study_of_nothing_is_refused():
    with pytest.raises(InputError, match="needs a model at least"):
        study_plan(models=[])
    with pytest.raises(InputError, match="an arm beside the baseline"):
        study_plan(arms=["as_is"])


def test_a_dry_run_says_the_plan_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(["study", "--dry-run"]) == 0

    assert "gpt-realtime-2.1" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_study_is_rehearsed_whole_and_goes_on_where_it_was(tmp_path, capsys):
    command = [
        "study",
        "--repeats",
        "1",
        "--model",
        "gpt-realtime",
        "--model",
        "gpt-realtime-2.1",
        "--quiet",
        "--out",
        str(tmp_path),
    ]

    assert main(command) == 0
    ledger = tables.trials_df(tmp_path / "study.sqlite", role=None)
    assert main(command) == 0

    assert len(ledger) == 4 * len(ARMS) * 2 + 2 * 3 * 2 and (ledger["state"] == "completed").all()
    assert len(tables.attempts_df(tmp_path / "study.sqlite")) == len(ledger)  # nothing was run twice
    out = capsys.readouterr().out
    assert "stand-in: simulated" in out and "study.html" in out
    html = (tmp_path / "study.html").read_text()
    assert "Controls as they must be." in html.replace("</strong>", "")
    for model in ("gpt-realtime", "gpt-realtime-2.1"):
        assert f"standin {model} drift=documented</h2>" in html
