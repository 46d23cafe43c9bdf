"""Many trials from a terminal: a plan is a Python file, and running it again goes on."""

import io
import signal
import subprocess
import sys

import pytest
from written_ledger import write

from kit import Ledger, arms
from kit.cli import main

KIT = [sys.executable, "-m", "kit"]


def kit(*args, **options):
    return subprocess.run([*KIT, *map(str, args)], capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.fixture
def plan(tmp_path):
    """``plan(arguments)``: a file that defines ``plan = Plan(arguments)``, and the ledger beside it."""

    def write(arguments, before=""):
        file = tmp_path / "plan.py"
        file.write_text(f"from kit import Case, History, Plan, Settings, arms\n{before}\nplan = Plan({arguments})\n")
        return file, tmp_path / "t.sqlite"

    return write


def test_run_shows_plan_bar_table_and_that_it_is_simulated(plan):
    file, ledger = plan("['1a', '1b'], ['as_is', 'one_user_message'], 3")
    ran = kit("trials", "run", file, ledger)

    rows = [line.split() for line in ran.stdout.splitlines() if line.startswith("1")]
    assert ran.returncode == 0, ran.stderr
    assert "12 trials, 3 of each" in ran.stdout
    assert rows == [
        ["1a", "as_is", "audio", "3", "3", "0", "3", "0"],
        ["1a", "one_user_message", "–", "3", "3", "0", "3", "0"],
        ["1b", "as_is", "text", "3", "3", "0", "0", "3"],
        ["1b", "one_user_message", "–", "3", "3", "0", "3", "0"],
    ]
    assert "stand-in: simulated" in ran.stdout
    assert str(ledger) in ran.stdout


def test_a_redirected_run_has_no_bar_and_ends_in_a_sentence(plan):
    ran = kit("trials", "run", *plan("'1a', repeats=4"))

    assert "\r" not in ran.stderr and "━" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("4/4 trials: ♪ audio 4, simulated; ")


def test_faults_are_asked_for_in_the_plan_and_stay_with_the_ledger(plan):
    settings = "Settings(stand_in={'faults': ['drop@p=0.5', 'failed@p=0.2']})"
    file, ledger = plan(f"'1a', repeats=20, settings={settings}")
    ran = kit("trials", "run", file, ledger)
    again = kit("trials", "run", file, ledger)

    kinds = dict(map(tuple, Ledger(ledger).rows("SELECT kind, COUNT(*) FROM attempts WHERE kind NOT NULL GROUP BY 1")))
    assert (ran.returncode, again.returncode) == (0, 0), ran.stderr + again.stderr
    assert set(kinds) == {"transport", "server"}
    assert "failed most often by " in ran.stdout
    assert Ledger(ledger).counts()["missing"] == 0


def test_interrupted_it_says_how_to_go_on_and_the_same_command_does(plan):
    file, ledger = plan("'1a', repeats=40, settings=Settings(stand_in={'pace': 20.0})")
    with subprocess.Popen(
        [*KIT, "trials", "run", str(file), str(ledger), "--at-once", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while "/40" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert f"stopped; to go on: kit trials run {file} {ledger}" in out
    assert "/40 trials: " in err.splitlines()[-1]
    assert 0 < Ledger(ledger).counts()["missing"] < 40
    again = kit("trials", "run", file, ledger, "--quiet", "--at-once", 16)

    assert again.returncode == 0, again.stderr
    n = Ledger(ledger).counts()
    assert n["missing"] == 0 and n["failed"] <= 2  # a reply that had begun when it was stopped is not asked for again


def test_plan_shows_what_it_would_take_in_four_boxes_and_runs_nothing(plan):
    models = "[Settings('openai', model=m) for m in ('gpt-realtime', 'gpt-realtime-2.1')]"
    file, ledger = plan(f"['1a', '1b', '2a', '2b'], settings={models}, stop=0.2")
    ran = kit("trials", "plan", file)

    assert ran.returncode == 0
    assert "160 trials and 12 controls" in ran.stdout
    for box in ("expected", "is enough", "at worst", "min, 8 at once"):
        assert box in ran.stdout
    assert not ledger.exists()


def test_a_plan_is_paid_for_only_with_a_budget(plan):
    ran = kit("trials", "run", *plan("'1a', settings=Settings('openai')"), stdin=subprocess.DEVNULL)

    assert ran.returncode == 2
    assert "give --budget" in " ".join(ran.stderr.split())


def test_a_plan_of_ones_own_cases_and_arms_is_a_file_like_any_other(plan):
    mine = "class Mine(arms.Arm):\n    'Mine.'\n"
    file, ledger = plan("Case('mine', History().user('Hi'), 'audio'), Mine, 1", mine)

    assert kit("trials", "run", file, ledger, "--quiet").returncode == 0
    assert kit("trials", "run", file, ledger, "--quiet").returncode == 0
    assert not (file.parent / "__pycache__").exists()


def test_arms_lists_every_arm_with_its_source():
    out = kit("trials", "arms").stdout

    assert all(arm.name in out for arm in arms.all_arms())
    assert out.count("Source:") == len(arms.all_arms())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("from kit import Plan\nplan = Plan('9z')", "no case is called '9z'"),
        ("x = 1", "defines no plan; it should say plan = Plan(…)"),
        ("x = 1\nplan = nothing", "plan.py, line 2: NameError: name 'nothing' is not defined"),
        ("plan = (", "plan.py, line 1: SyntaxError"),
        ("class E(Exception):\n  __str__ = None\nraise E", "plan.py, line 3: kit_plan.E: <exception str() failed>"),
        (
            "from kit import Plan\nplan = Plan('1a', repeats=10**9)",
            "1,000,000,000 trials, and at most 1,000,000 are run",
        ),
    ],
    ids=["unknown case", "no plan", "error", "syntax", "an error without words", "too many trials"],
)
def test_a_plan_that_is_none_is_one_sentence(tmp_path, capsys, source, sentence):
    (tmp_path / "plan.py").write_text(source)

    assert main(["trials", "plan", str(tmp_path / "plan.py")]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["plan", "none.py"], "there is no file"),
        (["run", __file__.replace("test_cli_trials.py", "../README.md"), "x.sqlite"], "the plan comes first"),
        (["run", "x.py"], "name a ledger, too: kit trials run x.py runs/x.sqlite"),
    ],
)
def test_wrong_usage_is_one_sentence(args, sentence):
    ran = kit("trials", *args)

    assert ran.returncode == 2
    assert sentence in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr


def test_a_table_at_a_terminal_holds_nothing_that_reorders_it(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    write(tmp_path / "l.sqlite", [("\u202eb1", "as_is", "t")])
    monkeypatch.setattr(sys, "stdout", Terminal())

    assert main(["table", str(tmp_path / "l.sqlite"), "--csv"]) == 0
    assert "‹U+202E›b1" in sys.stdout.getvalue() and "\u202e" not in sys.stdout.getvalue()
