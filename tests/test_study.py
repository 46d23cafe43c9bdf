"""From plan to sentence, through real sockets: what goes in as truth comes out as estimate; and the study, rehearsed whole."""

import asyncio
import random
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from service import Service, serving

from kit import Ledger, Plan, Settings, plots, run, stats, tables
from kit.cases import all_cases, histories
from kit.cli import main
from kit.endpoint import ENDS
from kit.errors import InputError
from kit.reporting import study_page
from kit.reporting.design import CUT_TOKENS, MODELS, SPENDING, Design
from kit.reporting.study import DOSES, Study, dose_plan
from kit.standin import StandIn
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


# ------------------------------------------------------------------------------------------------------------- the study

COST = {(model, cut): usd for model in MODELS for cut, usd in ((False, 0.01), (True, 0.0026))}


def usd(model, arm, cut):
    return COST[model, cut]


def truth(rate, cured=None, works=("one_user_message",)):
    return lambda model, arm, history: rate if cured is None or arm not in works else cured


def said(*outcomes):
    return lambda verdict: verdict.outcome in outcomes


def test_forty_histories_of_two_to_twenty_turns_end_with_the_user_and_pass_the_lint():
    cases = histories()

    lengths = sorted(len(case.history) - 1 for case in cases)
    assert len({case.name for case in cases}) == 40 and {"1b", "2b"} <= {case.name for case in cases}
    assert (lengths[0], lengths[-1]) == (2, 20)
    assert all(case.history.items[-1].role == "user" and not case.history.lint() for case in cases)


class Simulated:
    """What a simulation of the study came to: dollars, and verdicts, of each study."""

    def __init__(self):
        self.usd, self.verdicts = [], []

    def share(self, condition):
        """Of all verdicts in all studies, the share for which it holds."""
        verdicts = [verdict for study in self.verdicts for verdict in study]
        return sum(map(condition, verdicts)) / len(verdicts)

    def any_share(self, condition):
        """The share of studies in which it holds for some verdict."""
        return sum(any(map(condition, verdicts)) for verdicts in self.verdicts) / len(self.verdicts)


def simulate(design, truth, n_studies=200, seed=0, *, usd):
    """Run the design many times against a known truth: the chance of text by model, arm, and number of the history."""
    draw = random.Random(f"kit study {seed}")  # one for all studies: the seed alone repeats it
    out = Simulated()
    for _ in range(n_studies):
        results, spent_usd = [], 0.0
        while (stage := design.next_stage(results)) is not None:
            counts = {}
            for model, arms in stage.arms.items():
                for name in arms:
                    # All of them where all are run; else drawn anew for each arm, where `Study.plans` draws once for a stage.
                    picked = range(stage.n_histories) if stage.n_histories == design.n_histories else None
                    chosen = picked or draw.sample(range(design.n_histories), stage.n_histories)
                    k = sum(draw.random() < truth(model, name, h) for _ in range(stage.rounds) for h in chosen)
                    counts[model, name] = (k, stage.n_each)
            spent_usd += design.usd_of(stage, usd)
            results.append((stage, counts))
        out.usd.append(spent_usd)
        out.verdicts.append(design.verdicts(results))
    return out


def test_where_nothing_drifts_no_cure_is_asked_about():
    out = simulate(Design(), truth(0.0), 5, usd=usd)

    assert max(out.usd) == pytest.approx(sum((40 + 6) * 0.01 + (80 + 80) * 0.0026 for _ in MODELS))
    assert out.share(said("not asked")) == 1


@pytest.mark.parametrize(
    ("chance", "most_usd"),
    [(truth(1.0, 0.0), 20), (truth(0.5, 0.02), 30), (truth(0.2, 0.02), 40)],
    ids=["2024", "0.5", "0.2"],
)
def test_a_cure_that_works_is_found_and_one_that_does_not_is_claimed_in_one_study_in_twenty(chance, most_usd):
    out = simulate(Design(), chance, 60, usd=usd)

    worked = [v for verdicts in out.verdicts for v in verdicts if v.cure == "one_user_message"]
    assert sum(v.outcome == "cures" for v in worked) / len(worked) >= 0.9
    assert out.any_share(lambda v: v.cure != "one_user_message" and v.outcome in ("cures", "harms")) <= 0.08
    assert max(out.usd) < most_usd


def test_alpha_is_split_over_the_looks_and_a_cure_is_asked_about_no_more_once_it_is_clear():
    design = Design(("m",), ("one_user_message", "update_again"))
    first = [
        (design.next_stage([]), {("m", "as_is"): (20, 40)}),
    ]
    first.append((design.next_stage(first), {("m", "as_is"): (40, 80)}))
    look = design.next_stage(first)
    assert sum(SPENDING) == pytest.approx(1) and look.cut and look.n_each == 20
    assert look.arms == {"m": ("as_is", "one_user_message", "update_again")}

    counts = {("m", "as_is"): (15, 20), ("m", "one_user_message"): (0, 20), ("m", "update_again"): (14, 20)}
    results = [*first, (look, counts)]

    assert {v.cure: v.outcome for v in design.verdicts(results)} == {
        "one_user_message": "cures",
        "update_again": "open",
    }
    again = design.next_stage(results)
    assert again.arms == {"m": ("as_is", "update_again")}
    results.append((again, {("m", "as_is"): (15, 20), ("m", "update_again"): (15, 20)}))
    assert {v.outcome for v in design.verdicts(results)} == {"cures", "given up"}
    assert design.next_stage(results) is None


def test_the_histories_are_spread_over_three_days_in_blocks():
    design = Design(("m",), ("update_again",), days=3)

    results = []
    for k in (20, 21, 19):
        results.append((design.next_stage(results), {("m", "as_is"): (k, 40)}))

    assert [(stage.name, stage.n_each, stage.cut) for stage, _ in results] == [
        ("whole", 40, False),
        ("cut", 40, True),
        ("cut 2", 40, True),
    ]
    assert design.next_stage(results).name == "look 1"
    with pytest.raises(InputError, match="spread over 1 to 3 days, not 4"):
        Design(days=4)


def test_replies_are_cut_only_while_cutting_changes_nothing():
    design = Design(("m",), ("update_again",))
    whole = design.next_stage([])
    results = [(whole, {("m", "as_is"): (4, 40)})]
    results.append((design.next_stage(results), {("m", "as_is"): (60, 80)}))

    assert not whole.cut and results[1][0].cut
    assert design.cutting_changes(results) and not design.next_stage(results).cut


def test_the_price_is_three_figures_and_models_that_end_are_left_out_unless_asked_for(tmp_path):
    text, end = Study(tmp_path, "openai").price().split("; ")

    assert re.fullmatch(r"about \$\d+ if nothing drifts, \$\d+ if all drift as in 2024, \$\d+ at most", text)
    assert end.startswith("left out, since they end on 2027-01-20: gpt-realtime, ")
    figures = [int(figure) for figure in re.findall(r"\$(\d+)", text)]
    assert figures[0] <= 10 and figures[1] <= 20 and figures[2] <= 30 and figures == sorted(figures)
    assert not set(MODELS) & set(ENDS)
    assert "gpt-realtime ends on 2027-01-20" in Study(tmp_path, "openai", models=["gpt-realtime"]).price()


def test_the_study_on_a_service_needs_a_budget(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    assert main(["study", "--endpoint", "openai"]) == 2

    shown = capsys.readouterr()
    assert "if nothing drifts" in shown.out
    assert "this costs money: give --budget" in " ".join(shown.err.split())


def test_elsewhere_than_at_openai_the_study_asks_for_the_endpoints_own_model(capsys):
    assert main(["study", "--endpoint", "xai", "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "grok-voice-latest" in out and "unpriced" in out


def test_a_study_of_nothing_is_refused(tmp_path):
    for wrong in ({"models": []}, {"cures": []}, {"cures": ["as_is"]}):
        with pytest.raises(InputError, match="needs a model at least, and a cure beside as_is"):
            Study(tmp_path, **wrong)


def test_a_dry_run_says_the_plan_and_runs_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(["study", "--dry-run"]) == 0

    assert "gpt-realtime-2.1" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def ledgers_in(folder):
    return {path.name: Ledger(path) for path in sorted(folder.glob("*.sqlite"))}


def n_attempts(folder):
    return {name: len(ledger.rows("SELECT 1 FROM attempts")) for name, ledger in ledgers_in(folder).items()}


def test_the_study_is_rehearsed_whole_and_goes_on_where_it_was(tmp_path, capsys):
    command = ["study", "--model", "gpt-realtime-2.1", "--arm", "one_user_message", "--arm", "update_again"]
    command += ["--quiet", "--at-once", "16", "--out", str(tmp_path)]

    assert main(command) == 0
    out = " ".join(capsys.readouterr().out.split())
    attempts = n_attempts(tmp_path)
    assert (
        main(["trials", "run", str(tmp_path / "look-1.sqlite"), "--quiet"]) == 0
    )  # without a plan, and no option again

    assert attempts == {"cut.sqlite": 80 + 80, "look-1.sqlite": 60, "look-2.sqlite": 40, "whole.sqlite": 40 + 6}
    assert n_attempts(tmp_path) == attempts  # nothing was run twice
    assert "drifts less often with one_user_message: 0 of 20 text, against 20 of 20" in out
    assert "120 of 120 replies were text (100 %; 95 % over histories: 91 to 100 %), without a history 0 of 43" in out
    assert "update_again was given up after look 2" in out and "stand-in: simulated" in out
    html = (tmp_path / "study.html").read_text().replace("\u00a0", " ")
    for words in (
        "With a seeded history 1 of 1 model answered in text, in 100 % of replies; on 1 of them more often than without one.",
        "one user message: less text on gpt-realtime-2.1 (0 % instead of 100 %).",
        "Replies were cut",
        "43 of 43 sessions that were asked for text were read as text",
        "Simulated",
    ):
        assert words in html


async def test_a_block_of_another_day_waits_for_it(tmp_path):
    def study():
        return Study(tmp_path, models=["m"], cures=["update_again"], days=2)

    with serving(Service(lambda case, arm: 0.0)):
        first = await study().run(progress=None)
    assert first.due and not first.complete and "block 1 of 2 is done; the next may begin on 20" in repr(first)
    assert "Not complete" in study_page.write(first).read_text()
    again = await Study.load(tmp_path).run(progress=None)
    assert again.due == first.due and list(ledgers_in(tmp_path)) == ["whole.sqlite"]

    with closing(sqlite3.connect(tmp_path / "whole.sqlite")) as db:  # a day later
        db.execute("UPDATE attempts SET ended_at = ended_at - 86400")
        db.commit()
    with serving(Service(lambda case, arm: 0.0)):
        second = await study().run(progress=None)
    assert second.complete and not second.due and list(ledgers_in(tmp_path)) == ["cut.sqlite", "whole.sqlite"]


def test_what_is_no_study_cannot_be_gone_on_with_alone(tmp_path, capsys):
    assert main(["trials", "run", str(tmp_path / "x.sqlite")]) == 2
    assert "its plan comes first: kit trials run PLAN.py x.sqlite" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(InputError, match="is no study that can be gone on with"):
        Study.load(tmp_path)


def test_the_smaller_studies_are_one_ledger_each_and_gone_on_with(tmp_path, capsys):
    where = ["--quiet", "--model", "gpt-realtime", "--out", str(tmp_path), "--at-once", "16"]

    assert main(["study", "--persistence", *where]) == 0
    assert main(["trials", "run", str(tmp_path / "persistence.sqlite"), "--quiet"]) == 0

    assert n_attempts(tmp_path) == {"persistence.sqlite": 20}
    assert "Once a reply has come as text, does it stay text?" in (tmp_path / "persistence.html").read_text()
    (row,) = tables.modality_df(tmp_path / "persistence.sqlite").to_dict("records")
    assert (row["turns_after_text"], row["persistence_rate"]) == (80, 1.0)


def test_the_dose_study_grows_one_history_and_nothing_else():
    plan = dose_plan("openai")

    assert [len(case.history) - 1 for case in plan.cases] == list(DOSES)
    assert {settings.max_output_tokens for settings in plan.settings} == {CUT_TOKENS}
    assert estimate(plan).usd < 1.5
    assert main(["study", "--dose", "--dry-run"]) == 0


async def test_a_study_elsewhere_is_priced_and_keyed_in_the_terminal_and_keeps_no_header(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_KEY", "a-key-of-12345")
    options = ["--key-env", "MY_KEY", "--auth", "xi-api-key", "--header", "X-Route: secret-9876"]
    options += ["--price", "text=4/0.4/24 audio=32/0.4/64", "--out", str(tmp_path), "--quiet"]
    async with StandIn() as server:
        where = ["study", "--endpoint", server.url]
        assert await asyncio.to_thread(main, [*where, *options, "--dry-run"]) == 0
        assert "about $1 if nothing drifts" in capsys.readouterr().out
        assert await asyncio.to_thread(main, [*where, *options, "--budget", "0.001"]) == 1  # for not one trial

    study = Study.load(tmp_path, headers={"X-Route": "secret-9876"}, key_env="MY_KEY")
    with pytest.raises(InputError, match="key_env="):  # a file that somebody sent chooses no variable of this machine's
        Study.load(tmp_path).plans(study.design.blocks[0])
    (settings,) = study.plans(study.design.blocks[0])["whole"].settings
    assert (settings.auth, settings.key_env, settings.where.host) == ("xi-api-key", "MY_KEY", settings.where.label)
    assert settings.headers == {"X-Route": "secret-9876"} and settings.price.audio == (32, 0.4, 64)
    assert not any(b"9876" in path.read_bytes() or b"MY_KEY" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("part", [[], ["--persistence"]])
@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/?api-key=a-key-of-12345", "ws://me:a-key-of-12345@127.0.0.1:9/"])
def test_a_study_keeps_no_key_of_an_address(tmp_path, capsys, part, url):
    assert main(["study", *part, "--endpoint", url, "--model", "m", "--out", str(tmp_path), "--budget", "inf"]) == 2
    assert "holds a key: give it by key_env=" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"part": "x"}', '{"part": "dose", "where": 7}', '{"part": "dose", "access": 7}', "[" * 9_999],
)
def test_a_study_that_somebody_sent_and_that_is_none_is_one_sentence(tmp_path, capsys, text):
    for name in ("dose.json", "study.json"):
        (tmp_path / name).write_text(text)
    (tmp_path / "dose.sqlite").touch()

    for path in ("dose.sqlite", "."):
        assert main(["trials", "run", str(tmp_path / path)]) == 2
        assert capsys.readouterr().err.startswith(("kit: ", "error"))
