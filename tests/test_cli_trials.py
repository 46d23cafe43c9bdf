"""Many trials from a terminal, and going on with what a ledger holds."""

import signal
import subprocess
import sys

import pytest

from kit import Case, Clip, History, Ledger, Plan, Settings, arms
from kit.endpoint import PRICES
from kit.errors import LedgerError
from kit.stats import StopRule
from kit.trials.plan import plan_of
from kit.trials.writer import Writer

KIT = [sys.executable, "-m", "kit", "trials"]


def kit(*args):
    return subprocess.run([*KIT, *map(str, args)], capture_output=True, text=True, timeout=60, check=False)


def test_run_shows_plan_bar_table_and_that_it_is_simulated(tmp_path):
    path = tmp_path / "t.sqlite"
    ran = kit("run", path, "--case", "1a", "1b", "--arm", "as_is", "one_user_message", "--repeats", 3)

    rows = [line.split() for line in ran.stdout.splitlines() if line.startswith("1")]
    assert ran.returncode == 0, ran.stderr
    assert "12 trials, 12 sessions" in ran.stdout
    assert rows == [
        ["1a", "as_is", "audio", "3", "3", "0", "3", "0"],
        ["1a", "one_user_message", "–", "3", "3", "0", "3", "0"],
        ["1b", "as_is", "text", "3", "3", "0", "0", "3"],
        ["1b", "one_user_message", "–", "3", "3", "0", "3", "0"],
    ]
    assert "stand-in: simulated" in ran.stdout
    assert "12/12" in ran.stderr
    assert str(path) in ran.stdout


def test_faults_are_asked_for_like_drift_and_stay_with_the_ledger(tmp_path):
    path = tmp_path / "t.sqlite"
    ran = kit("run", path, "--case", "1a", "--repeats", 20, "--fault", "drop@p=0.5", "failed@p=0.2", "--own-process")
    resumed = kit("resume", path)

    kinds = dict(map(tuple, Ledger(path).rows("SELECT kind, COUNT(*) FROM attempts WHERE kind NOT NULL GROUP BY 1")))
    assert (ran.returncode, resumed.returncode) == (0, 0), ran.stderr + resumed.stderr
    assert set(kinds) == {"transport", "server"}
    assert "failed most often by " in ran.stdout
    assert Ledger(path).counts()["missing"] == 0


def test_interrupted_it_says_how_to_go_on_and_resume_does(tmp_path):
    path = tmp_path / "t.sqlite"
    with subprocess.Popen(
        [*KIT, "run", str(path), "--case", "1a", "--repeats", "40", "--pace", "20", "--at-once", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while "1/40" not in running.stderr.read(200):
            pass
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert f"python -m kit trials resume {path}" in out
    assert 0 < Ledger(path).counts()["missing"] < 40
    resumed = kit("resume", path, "--quiet", "--at-once", 16)

    assert resumed.returncode == 0, resumed.stderr
    assert Ledger(path).counts()["completed"] == 40


def test_plan_shows_what_it_would_take_and_runs_nothing():
    ran = kit("plan", "--endpoint", "openai", "--model", "gpt-realtime", "gpt-realtime-2.1", "--stop", "0.2")

    assert ran.returncode == 0
    assert "160 trials and 12 controls" in ran.stdout
    assert "at worst" in ran.stdout


def test_arms_lists_every_arm_with_its_source():
    out = kit("arms").stdout

    assert all(arm.name in out for arm in arms.all_arms())
    assert out.count("Source:") == len(arms.all_arms())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["plan", "--case", "9z"], "no case is called '9z'"),
        (["run", "x.sqlite", "--endpoint", "openai"], "--budget 2.50"),
        (["resume", "none.sqlite"], "there is no ledger at"),
        (["plan", "--chat", "none.json"], "none.json"),
    ],
)
def test_wrong_usage_is_one_sentence(args, says):
    ran = kit(*args)

    assert ran.returncode == 2
    assert says in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr


# ------------------------------------------------------------------------------------------------- a plan from its ledger


def rebuilt(plan, path):
    with Writer(path, plan):
        pass
    return plan_of(Ledger(path))


@pytest.mark.parametrize(
    "plan",
    [
        Plan(["1a", "2b", "8 turns", "tools", "1b+4"], arms.all_arms(), 2, seed=9),
        Plan("1b", arms.DeleteAndRetry(n=2), 5, stop=0.3, controls=1, max_attempts=5, timeout_s=7.5),
        Plan("1b", repeats=5, stop=StopRule(0.3, alpha=0.1)),
        Plan(
            "1a",
            settings=[
                Settings(price=PRICES["gpt-realtime"], stand_in={"drift": "p=0.25", "pace": 2.0}, voice="echo"),
                Settings("openai", model="gpt-realtime", turn_detection="manual", more={"speed": 1.1}),
                Settings("openai", dialect="beta", max_output_tokens="inf", turn_detection={"type": "server_vad"}),
                Settings("ws://127.0.0.1:9/v1/realtime?model=m", max_output_tokens=None, instructions="Be brief."),
            ],
        ),
    ],
    ids=["cases and arms", "options", "a stop rule", "settings"],
)
def test_a_plan_of_the_kits_own_parts_is_made_again_exactly(plan, tmp_path):
    assert rebuilt(plan, tmp_path / "t.sqlite").hash == plan.hash


class Mine(arms.Arm):
    """An arm of one's own."""


@pytest.mark.parametrize(
    "plan",
    [
        Plan(Case("mine", History().user("Hi"), "audio"), repeats=1),
        Plan(Case("1a", History().user("Hi"), "audio"), repeats=1),
        Plan("1a", Mine, 1),
        Plan(Case("1a", History().user(Clip.silence(200)), "audio"), repeats=1),
    ],
    ids=["a case", "a case of the same name", "an arm", "a clip"],
)
def test_a_plan_of_ones_own_parts_is_gone_on_with_from_its_code(plan, tmp_path):
    with pytest.raises(LedgerError, match=r"go on from the code that made it: run\(plan, path\)"):
        rebuilt(plan, tmp_path / "t.sqlite")
