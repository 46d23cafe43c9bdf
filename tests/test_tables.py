"""Tables: rows that can be checked in the head, from ledgers written by hand."""

import json
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from written_ledger import write

from kit import Plan, run, stats, tables
from kit.errors import InputError, LedgerError
from kit.tables import frames
from kit.tables.frames import MODALITIES, counted_turns


@pytest.fixture
def ledger_of(tmp_path):
    """``ledger_of(trials)`` writes a ledger; each has a file of its own."""

    def make(trials, **about):
        return write(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite", trials, **about)

    return make


def bounds(k, n, lost):
    found = stats.bounds_if_missing(k, n, lost)
    return found.low, found.high


THREE = [("1b", "as_is", "t t"), ("1b", "as_is", "a t"), ("1b", "as_is", "a a")]


# What is counted


def test_three_trials_by_hand(ledger_of):
    (row,) = tables.modality_df(ledger_of(THREE)).to_dict("records")

    assert (row["case"], row["arm"], row["simulated"]) == ("1b", "as_is", True)
    assert (row["planned"], row["completed"], row["failed"], row["missing"]) == (3, 3, 0, 0)
    assert (row["first_turns"], row["text"], row["audio"]) == (3, 1, 2)
    assert (row["turns"], row["turns_text"], row["turns_audio"]) == (6, 3, 3)
    assert row["any_drifted"] == 2
    assert (row["turns_after_text"], row["persistence_rate"]) == (1, 1.0)
    assert row["turns_until_drift_median"] == 2
    assert (row["endpoint"], row["model"], row["day"]) == ("standin", "gpt-realtime", "2026-11-22")


def test_every_interval_is_that_of_stats(ledger_of):
    trials = [("1b", "as_is", word) for word in ["t t a", "a t t", "a a a", "t t t", "a a t", "t a !", "a a a"]]
    (row,) = tables.modality_df(ledger_of(trials)).to_dict("records")
    turns = [word.replace("!", "").split() for _, _, word in trials]
    text = [[letter == "t" for letter in trial] for trial in turns]

    first = stats.wilson(3, 7)
    pooled = stats.clustered([t for trial in text for t in trial], [n for n, trial in enumerate(text) for _ in trial])
    again = stats.p_text_given_text(text)
    until = stats.kaplan_meier([t.index(True) + 1 if any(t) else len(t) for t in text], [any(t) for t in text])

    assert (row["drift_rate"], row["drift_low"], row["drift_high"]) == pytest.approx(
        (first.estimate, first.low, first.high)
    )
    assert (row["turn_drift_low"], row["turn_drift_high"]) == pytest.approx((pooled.low, pooled.high))
    assert (row["persistence_rate"], row["persistence_low"], row["persistence_high"]) == pytest.approx(
        (again.estimate, again.low, again.high)
    )
    assert row["turns_until_drift_median"] == until.median.estimate
    assert row["any_drift_rate"] == pytest.approx(4 / 6)  # the failed trial is no completed one


def test_what_failed_or_was_never_run_stays_in_the_denominators(ledger_of):
    trials = [("1b", "as_is", "t"), ("1b", "as_is", "a"), ("1b", "as_is", "x !"), ("1b", "as_is", None)]
    (row,) = tables.modality_df(ledger_of(trials)).to_dict("records")

    assert (row["planned"], row["completed"], row["failed"], row["missing"]) == (4, 2, 1, 1)
    assert (row["first_turns"], row["turns_unanswered"]) == (2, 1)
    assert (row["drift_rate"], row["lost"]) == (0.5, 1)  # the one that was never run says nothing
    assert (row["drift_least"], row["drift_most"]) == bounds(1, 2, 1)


def test_a_first_turn_counts_though_its_trial_failed_later(ledger_of):
    (row,) = tables.modality_df(ledger_of([("1b", "as_is", "t x !"), ("1b", "as_is", "a a")])).to_dict("records")

    assert (row["completed"], row["first_turns"], row["text"], row["any_drifted"]) == (1, 2, 1, 0)


def test_what_the_user_finally_hears_decides_and_the_first_response_stands_beside_it(ledger_of):
    (row,) = tables.modality_df(
        ledger_of([("1b", "retry", "ta"), ("1b", "retry", "tt"), ("1b", "retry", "a")])
    ).to_dict("records")

    assert (row["text"], row["audio"], row["first_response_drifted"]) == (1, 2, 2)
    assert row["responses_per_turn"] == pytest.approx(5 / 3)
    assert row["heard_median_ms"] == (1_300 + 300) / 2  # 1 s later, where it took a second response


def test_mixed_function_and_empty_are_never_drift(ledger_of):
    (row,) = tables.modality_df(ledger_of([("1b", "as_is", word) for word in "mfea"])).to_dict("records")

    assert [row[name] for name in ("audio", "text", "mixed", "function", "empty")] == [1, 0, 1, 1, 1]
    assert row["drift_rate"] == 0


def test_a_reply_with_nothing_in_it_takes_no_earlier_one_back(ledger_of):
    ledger = ledger_of([("1b", "retry", "te"), ("1b", "retry", "ee")], outcomes=True)

    for source in (ledger, tables.responses_df(ledger)):
        (row,) = tables.modality_df(source).to_dict("records")
        assert (row["text"], row["empty"]) == (1, 1)


def test_past_a_turn_without_an_answer_nobody_knows_when_drift_came(ledger_of):
    curve = tables.until_drift_df(ledger_of([("1b", "as_is", "a x t"), ("1b", "as_is", "a a a")]))

    assert list(curve["at_risk"]) == [2, 2, 1, 1]
    assert list(curve["drifted"]) == [0, 0, 0, 0]
    assert list(curve["not_drifted"]) == [1, 1, 1, 1]


def test_the_curve_until_drift_is_that_of_stats(ledger_of):
    curve = tables.until_drift_df(ledger_of([("1b", "as_is", w) for w in ("t t t", "a t t", "a a a", "a !", "a a t")]))
    found = stats.kaplan_meier([1, 2, 3, 1, 3], [True, True, False, False, True])

    at = curve.set_index("after_turns")
    assert [at.loc[int(t), "not_drifted"] for t in found.times] == pytest.approx(list(found.survival))
    assert [at.loc[int(t), "low"] for t in found.times] == pytest.approx(list(found.low))
    assert [at.loc[int(t), "at_risk"] for t in found.times] == list(found.at_risk)


# Groups and origins


def test_rows_follow_the_plan_whatever_the_order_of_the_trials(ledger_of):
    ledger = ledger_of([("2b", "retry", "a"), ("1a", "as_is", "a"), ("1a", "retry", "t")])
    with closing(sqlite3.connect(ledger.path)) as db:
        plan = {"cases": [{"name": "1a"}, {"name": "2b"}], "arms": [{"name": "as_is"}, {"name": "retry"}]}
        db.execute("UPDATE plan SET plan = ?", (json.dumps(plan),))
        db.commit()

    table = tables.modality_df(ledger.path)
    assert list(zip(table["case"], table["arm"], strict=True)) == [("1a", "as_is"), ("1a", "retry"), ("2b", "retry")]


def test_what_was_simulated_is_never_pooled_with_what_was_measured(ledger_of):
    ours = ledger_of([("1b", "as_is", "t")])
    theirs = ledger_of([("1b", "as_is", "a")], simulated=0, endpoint="openai", plan_hash="beef" * 16)
    unknown = ledger_of([("1b", "as_is", "a")], simulated=None, endpoint="url", plan_hash="cafe" * 16)

    table = tables.modality_df([ours, theirs, unknown], by=[])

    assert list(table["simulated"].astype(object).where(table["simulated"].notna(), None)) == [None, False, True]
    assert list(table["planned"]) == [1, 1, 1]


def test_a_trial_that_was_never_run_on_a_service_is_not_called_simulated(ledger_of):
    trials = [("1b", "as_is", None), ("1b", "as_is", "a")]

    assert tables.modality_df(ledger_of(trials, simulated=0, endpoint="openai"))["simulated"].tolist() == [False]
    assert tables.modality_df(ledger_of([("1b", "as_is", None)], endpoint="openai"))["simulated"].isna().all()
    assert tables.modality_df(ledger_of([("1b", "as_is", None)]))["simulated"].tolist() == [True]


def test_controls_are_left_out_and_have_a_table_of_their_own(ledger_of):
    ledger = ledger_of(
        [("1b", "as_is", "a"), ("text asked", "as_is", "t", "positive"), ("no history", "as_is", "t", "negative")]
    )

    assert tables.modality_df(ledger, by=[])["planned"].tolist() == [1]
    controls = tables.controls_df(ledger).set_index("role")
    assert controls["fit"].to_dict() == {"positive": True, "negative": False}
    assert controls.loc["negative", "read"] == "text 1"


def test_several_ledgers_are_one_table(ledger_of):
    both = tables.modality_df([ledger_of(THREE), ledger_of(THREE, plan_hash="cafe" * 16)], by="plan")

    assert both["plan"].tolist() == ["feedfeedfeed", "cafecafecafe"]
    assert both["planned"].tolist() == [3, 3]


def test_an_unpriced_attempt_makes_the_sum_unknown(ledger_of):
    ledger = ledger_of(THREE)
    assert tables.modality_df(ledger)["usd"].tolist() == pytest.approx([0.03])

    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("UPDATE attempts SET cost_usd = NULL WHERE attempt_id = 1")
        db.commit()
    assert tables.modality_df(ledger)["usd"].isna().all()


def test_a_label_that_there_is_not_is_named(ledger_of):
    responses = tables.responses_df(ledger_of(THREE)).drop(columns=["plan", "role", "settings", "endpoint", "model"])

    with pytest.raises(InputError, match="'mood'; there are case"):
        tables.modality_df(responses, by="mood")


@pytest.mark.parametrize("source", [None, 3, [], {"a": 1}])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(InputError, match="a source is a ledger"):
        tables.modality_df(source)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger"):
        tables.modality_df(tmp_path / "no.sqlite")


# Frames


def test_a_frame_of_responses_gives_the_table_but_not_the_denominators(ledger_of):
    ledger = ledger_of(
        [("1b", "retry", "ta t"), ("1b", "retry", "a a"), ("1b", "as_is", "t x !"), ("1b", "as_is", None)]
    )

    whole, some = tables.modality_df(ledger), tables.modality_df(tables.responses_df(ledger))

    known = [
        name
        for name in some
        if name not in ("planned", "completed", "failed", "missing", "drift_least", "drift_most", "lost", "run_ended")
    ]
    pd.testing.assert_frame_equal(some[known], whole[known], check_dtype=False, check_categorical=False)
    assert some[["planned", "completed", "failed", "missing"]].isna().all(axis=None)
    assert some["drift_least"].isna().all()


def test_a_frame_that_was_saved_and_read_again_gives_the_same_table(ledger_of, tmp_path):
    df = tables.responses_df(ledger_of(THREE))
    df.sample(frac=1, random_state=1).to_csv(tmp_path / "responses.csv", index=False)

    saved = tables.modality_df(pd.read_csv(tmp_path / "responses.csv", dtype={"case": str}))

    fresh = tables.modality_df(df)
    pd.testing.assert_frame_equal(saved, fresh, check_dtype=False, check_categorical=False)
    assert saved["simulated"].tolist() == [True]


def test_one_row_per_grain_with_its_ids(ledger_of):
    ledger = ledger_of([("1b", "retry", "ta t"), ("1b", "retry", "a !"), ("1b", "retry", None)])

    trials, attempts, turns, responses = (
        getattr(tables, f"{name}_df")(ledger) for name in ("trials", "attempts", "turns", "responses")
    )

    assert trials["state"].tolist() == ["completed", "failed", "missing"]
    assert attempts["session_id"].tolist() == ["sess_0", "sess_1"]
    assert list(zip(turns["trial_id"].str[-1], turns["turn"], turns["modality"].astype(object).fillna("–"), strict=True)) == [
        ("0", 0, "audio"), ("0", 1, "text"), ("1", 0, "audio"), ("1", 1, "–"), ("2", 0, "–"), ("2", 1, "–")
    ]  # fmt: skip
    assert responses["response_id"].tolist() == ["resp_0_0_0", "resp_0_0_1", "resp_0_1_0", "resp_1_0_0"]
    for df in (trials, attempts, turns, responses):
        assert {"plan", "trial_id", "attempt_id", "simulated", "state"} <= set(df.columns)
        assert df["simulated"].dtype == "boolean" and df["case"].dtype == "category"


def test_a_trial_knows_when_it_drifted_and_what_it_cost(ledger_of):
    (row,) = tables.trials_df(ledger_of([("1b", "as_is", "a t")])).to_dict("records")

    assert (row["first_turn_modality"], row["drift_turn"], row["any_drift"], row["turns"]) == ("audio", 1, True, 2)
    assert (row["usd"], row["total_tokens"], row["items_sent"], row["heard_ms"]) == (0.01, 200, 3, 300.0)
    assert str(row["started_at"]) == "2026-11-22 00:00:00+00:00"


def test_words_load_on_request(ledger_of):
    ledger = ledger_of(THREE)

    assert "text" not in tables.responses_df(ledger)
    assert tables.responses_df(ledger, words=True)["text"].tolist() == ["words"] * 6


def test_events_that_were_kept_are_rows(ledger_of):
    ledger = ledger_of(THREE)
    lines = [
        {"at_ms": 1.5, "direction": "client", "event": {"type": "response.create", "event_id": "e1"}},
        {"at_ms": 9.0, "direction": "server", "event": {"type": "response.done", "response": {"id": "r1"}}},
    ]
    with closing(sqlite3.connect(ledger.path)) as db:
        jsonl = zlib.compress("\n".join(map(json.dumps, lines)).encode())
        db.execute("INSERT INTO events VALUES (1, 'trial0000', 2, ?)", (jsonl,))
        db.commit()

    events = tables.events_df(ledger, words=True)

    assert events["type"].tolist() == ["response.create", "response.done"]
    assert events["at_ms"].tolist() == [1.5, 9.0]
    assert events["response_id"].tolist()[1] == "r1" and events["trial_id"].tolist() == ["trial0000"] * 2
    assert json.loads(events["json"][0])["event_id"] == "e1"
    assert tables.events_df(ledger_of(THREE)).empty


def test_the_brief_table_is_for_reading(ledger_of):
    brief = tables.brief_df(tables.modality_df(ledger_of([("1b", "as_is", "t"), ("1b", "as_is", None)])))

    (row,) = brief.to_dict("records")
    assert (row["case"], row["trials"], row["drift"]) == ("1b", "1 of 2", "100\u00a0%\u00a0(21–100)")
    assert row["origin"] == "stand-in: simulated"
    with pytest.raises(InputError, match="takes a table of modality_df"):
        tables.brief_df(brief)


# Comparisons


def arms(*counts):
    """Trials of cases x, y, …: per case, (drifted, of) of the baseline and of the arm."""
    rows = []
    for case, (base, arm) in zip("xyz", counts, strict=False):
        for name, (k, n) in (("as_is", base), ("cure", arm)):
            rows += [(case, name, "t" if i < k else "a") for i in range(n)]
    return rows


def test_a_comparison_is_that_of_stats_within_each_case_and_pooled(ledger_of):
    df = tables.compare_df(ledger_of(arms(((8, 10), (1, 10)), ((5, 10), (4, 10)))))
    one, two, pooled = (row for _, row in df.iterrows())
    family = stats.adjusted(
        [
            stats.compare(1, 10, 8, 10),
            stats.compare(4, 10, 5, 10),
            stats.mantel_haenszel([(1, 10, 8, 10), (4, 10, 5, 10)]),
        ]
    )

    assert df["case"].tolist() == ["x", "y", "all cases"] and df["pooled"].tolist() == [False, False, True]
    for row, expected in zip((one, two, pooled), family, strict=True):
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(
            (expected.difference.estimate, expected.difference.low, expected.difference.high)
        )
        assert (row["p"], row["p_holm"], row["family"]) == pytest.approx((expected.p, expected.p_holm, 3))
    assert df["shown"].tolist() == [p <= 0.05 for p in df["p_holm"]]


def test_a_sentence_carries_the_mark_of_its_origin(ledger_of):
    trials = arms(((8, 10), (1, 10)))

    (simulated,) = tables.compare_df(ledger_of(trials))["sentence"]
    (measured,) = tables.compare_df(ledger_of(trials, simulated=0, endpoint="openai"))["sentence"]
    (unknown,) = tables.compare_df(ledger_of(trials, simulated=None, endpoint="url"))["sentence"]

    assert simulated.startswith("[stand-in: simulated] In case x: “cure” drifts less often than “as is”: 1 of 10")
    assert measured.startswith("In case x: “cure” drifts less")
    assert unknown.startswith("[origin unknown] ")


def test_simulated_and_measured_are_not_compared_with_each_other(ledger_of):
    base = ledger_of([("x", "as_is", "t"), ("x", "cure", "a")])
    other = ledger_of([("x", "as_is", "t"), ("x", "cure", "a")], simulated=0, endpoint="openai", plan_hash="beef" * 16)

    df = tables.compare_df([base, other])

    assert df["n"].tolist() == [1, 1] and set(df["simulated"]) == {True, False}


def test_the_first_response_can_be_what_is_compared(ledger_of):
    ledger = ledger_of([("x", "as_is", "t"), ("x", "cure", "ta")])

    assert tables.compare_df(ledger)["difference"].tolist() == [-1]
    assert tables.compare_df(ledger, outcome="first_response")["difference"].tolist() == [0]


def test_models_are_kept_apart_when_asked(ledger_of):
    two = [
        ledger_of(arms(((2, 3), (1, 3)), ((2, 3), (1, 3))), model=model, plan_hash=model * 8)
        for model in ("m-one-01", "m-two-02")
    ]

    df = tables.compare_df(two, over="model")

    assert df.groupby("model", observed=True)["pooled"].sum().to_dict() == {"m-one-01": 1, "m-two-02": 1}
    assert (df["family"] == 6).all()
    assert df["sentence"][0].startswith("[stand-in: simulated] m-one-01: In case x")


def test_without_the_baseline_or_anything_beside_it_there_is_a_sentence(ledger_of):
    with pytest.raises(InputError, match="no trial has the arm 'as it was' to compare with; there are as_is"):
        tables.compare_df(ledger_of(THREE), "as it was")
    with pytest.raises(InputError, match="as_is is the only arm"):
        tables.compare_df(ledger_of(THREE))


# What is counted under loss


def test_a_text_reply_stays_text_when_the_arms_next_try_fails(ledger_of):
    """Half of the trials drift, asking again never helps, and the second try often fails."""
    trials = [("1b", "as_is", word) for word in "tttttaaaaa"]
    trials += [("1b", "retry", word) for word in ["tx !"] * 3 + ["tt"] * 2 + ["a"] * 5]
    table = tables.modality_df(ledger_of(trials, outcomes=True)).set_index("arm")

    assert table["text"].to_dict() == table["first_response_drifted"].to_dict() == {"as_is": 5, "retry": 5}
    assert table["first_turns"].to_dict() == table["first_responses"].to_dict() == {"as_is": 10, "retry": 10}
    assert table["lost"].sum() == 0


def test_first_responses_count_in_a_ledger_of_before_though_the_turn_broke_off(ledger_of):
    (row,) = tables.modality_df(ledger_of([("1b", "retry", "tx !"), ("1b", "retry", "a")])).to_dict("records")

    assert (row["first_response_drifted"], row["first_responses"], row["first_turns"]) == (1, 2, 1)
    assert (row["lost"], pd.isna(row["lost_voice"])) == (1, True)


def test_lost_voice_is_text_silent_or_late(ledger_of):
    (row,) = tables.modality_df(ledger_of([("1b", "as_is", w) for w in "aatsl"], outcomes=True)).to_dict("records")

    assert (row["text"], row["silent"], row["late"], row["lost_voice"], row["first_turns"]) == (1, 1, 1, 3, 5)
    assert (row["lost_voice_low"], row["lost_voice_high"]) == (stats.wilson(3, 5).low, stats.wilson(3, 5).high)
    brief = tables.brief_df(tables.modality_df(ledger_of([("1b", "as_is", "s")], outcomes=True)))
    assert brief["lost voice"][0].startswith("100")


def test_what_was_lost_after_asking_is_in_the_bounds_and_what_never_began_is_not(ledger_of):
    trials = [("1b", "as_is", w) for w in ["t", "a", "x !", None, None]]
    (row,) = tables.modality_df(ledger_of(trials, outcomes=True)).to_dict("records")

    assert (row["planned"], row["first_turns"], row["lost"]) == (5, 2, 1)
    assert (row["drift_least"], row["drift_most"]) == bounds(1, 2, 1)


def test_an_attempt_that_was_lost_and_played_again_is_in_the_bounds(ledger_of):
    ledger = ledger_of([("1b", "as_is", "t"), ("1b", "as_is", "a")], outcomes=True)
    with closing(sqlite3.connect(ledger.path)) as db:
        columns = "trial_id, run_id, status, stage, started_at"
        db.execute(
            f"INSERT INTO attempts (attempt_id, attempt, counts, reply_asked, {columns}) SELECT 99, 2, 0, 1, trial_id, run_id, "
            "'failed', 'seeded', started_at FROM attempts WHERE attempt_id = 1"
        )
        db.commit()

    (row,) = tables.modality_df(ledger.path).to_dict("records")
    assert (row["first_turns"], row["lost"]) == (2, 1)
    assert (row["drift_least"], row["drift_most"]) == bounds(1, 2, 1)


def test_before_the_first_drift_the_band_is_that_of_a_proportion(ledger_of):
    curve = tables.until_drift_df(ledger_of([("1b", "as_is", "a a")] * 20), ["arm"])

    assert curve["not_drifted"].tolist() == [1, 1, 1] and curve["high"].tolist() == [1, 1, 1]
    assert curve["low"].tolist() == [1, stats.wilson(20, 20).low, stats.wilson(20, 20).low]


def test_after_a_stop_rule_the_interval_is_that_rules_own(ledger_of):
    ledger = ledger_of(
        [("1b", "as_is", "t")] + [("1b", "as_is", "a")] * 9,
        stop={"width": 0.2, "alpha": 0.05, "n_arms": 2},
        ended="stop rule",
    )
    (row,) = tables.modality_df(ledger).to_dict("records")
    rule = stats.StopRule(0.2, 0.05, 2).interval(1, 10)

    assert (row["drift_low"], row["drift_high"], row["level"]) == (rule.low, rule.high, rule.level)
    assert row["drift_low"] < stats.wilson(1, 10).low
    # Nothing is lost: what the missing could have done is no narrower than what is known.
    assert (row["drift_least"], row["drift_most"]) == (rule.low, rule.high)


def test_the_sentences_of_a_run_that_was_ended_by_hand_say_so(ledger_of):
    (text,) = tables.compare_df(ledger_of(arms(((8, 10), (1, 10))), ended="interrupted"))["sentence"]

    assert "ended by hand; these tests take the number of trials as fixed before" in text


# Nothing is pooled silently


def test_a_copied_ledger_changes_nothing_and_is_told(ledger_of, tmp_path):
    ledger = ledger_of(THREE)
    (tmp_path / "copy.sqlite").write_bytes(ledger.path.read_bytes())

    with pytest.warns(UserWarning, match="the same plan is in several ledgers: 3 trials"):
        table = tables.modality_df([ledger, tmp_path / "copy.sqlite"])

    pd.testing.assert_frame_equal(table, tables.modality_df(ledger))
    with pytest.warns(UserWarning, match="counted once"):
        assert len(tables.turns_df([ledger.path, tmp_path / "copy.sqlite"])) == 6


def test_of_one_plan_in_two_files_each_trial_is_taken_where_it_was_decided(ledger_of):
    first = ledger_of([("1b", "as_is", "t"), ("1b", "as_is", None)])
    second = ledger_of([("1b", "as_is", None), ("1b", "as_is", "a")])

    with pytest.warns(UserWarning, match="2 trials"):
        (row,) = tables.modality_df([first, second]).to_dict("records")
    assert (row["planned"], row["completed"], row["text"], row["audio"]) == (2, 2, 1, 1)


def test_models_are_told_apart_as_soon_as_there_are_two(ledger_of):
    one = ledger_of([("x", "as_is", "a")] * 9, model="m-one")
    other = ledger_of([("x", "cure", "t")] * 9, model="m-two", plan_hash="cafe" * 16)
    with pytest.raises(InputError, match="no case has both as_is and another arm"):
        tables.compare_df([one, other])

    both = [ledger_of(arms(((2, 3), (1, 3))), model=f"m-{n}", plan_hash=f"{n}" * 32) for n in (1, 2)]
    df = tables.compare_df(both)
    assert df["model"].tolist() == ["m-1", "m-2"] and df["n"].tolist() == [3, 3]
    by_model = tables.compare_df(tables.modality_df(both, ["model", "case", "arm"]))
    assert by_model["n"].tolist() == [3, 3]


def test_a_label_that_some_trials_lack_is_missing_in_their_rows(ledger_of):
    ledger = ledger_of([*arms(((2, 3), (1, 3))), ("x", "as_is", None), ("x", "cure", None)])
    df = tables.compare_df(ledger, within="voice")

    assert df["voice"].isna().sum() == 1 and df["n"].sum() >= 3
    assert tables.flow_df(ledger, by=["simulated"])["planned"].sum() == 8


# Controls, per setting


def controls(ledger_of, *trials):
    return tables.controls_df(ledger_of([("1b", "as_is", "a"), *trials]))


def test_a_positive_control_that_did_not_run_leaves_the_fitness_unknown(ledger_of):
    df = controls(ledger_of, ("text asked", "as_is", None, "positive"), ("no history", "as_is", "a", "negative"))

    assert tables.fit_of(df) is None and df.set_index("role")["fit"].isna()["positive"]


def test_background_drift_is_a_rate_and_condemns_only_where_all_is_text(ledger_of):
    positive = ("text asked", "as_is", "t", "positive")
    some = controls(ledger_of, positive, *[("no history", "as_is", word, "negative") for word in "taa"])
    all_ = controls(ledger_of, positive, *[("no history", "as_is", word, "negative") for word in "ttt"])

    row = some.set_index("role").loc["negative"]
    assert (row["text"], row["low"], row["high"]) == (1, stats.wilson(1, 3).low, stats.wilson(1, 3).high)
    assert tables.fit_of(some) is True and tables.fit_of(all_) is False


def test_one_settings_controls_say_nothing_of_another(ledger_of):
    trials = [("text asked", "as_is", "t", "positive"), ("no history", "as_is", "a", "negative")]
    ran = ledger_of([("1b", "as_is", "a"), *trials], model="m-one")
    not_run = ledger_of(
        [("1b", "as_is", "a"), *[(*t[:2], None, t[3]) for t in trials]], model="m-two", plan_hash="cafe" * 16
    )

    assert tables.fit_of(tables.controls_df(ran)) is True
    assert tables.fit_of(tables.controls_df([ran, not_run])) is None


# Flow, definitions, what a sentence owes


def test_the_flow_of_the_trials_per_arm(ledger_of):
    trials = [("1b", "as_is", "a"), ("1b", "as_is", "x !"), ("1b", "as_is", None), ("1b", "cure", "t")]
    flow = tables.flow_df(ledger_of(trials, outcomes=True)).set_index("arm")

    counts = ["planned", "connected", "seeded", "asked", "lost", "answered"]
    assert flow.loc["as_is", counts].tolist() == [3, 2, 2, 2, 1, 1]
    assert flow.loc["cure", counts].tolist() == [1, 1, 1, 1, 0, 1]
    assert tables.flow_df(ledger_of(trials))["asked"].isna().all()


def test_the_rate_under_each_definition(ledger_of):
    df = tables.definitions_df(ledger_of([("1b", "as_is", w) for w in "aatmsl"], outcomes=True), ["arm"])

    assert dict(zip(df["definition"], df["k"], strict=True)) == {
        "text": 1, "no voice at all": 2, "not wholly voice": 3, "lost voice": 3
    }  # fmt: skip
    assert (df["n"] == 6).all()


def test_a_sentence_says_what_was_lost_where_the_arms_differ(ledger_of):
    lossy = [("x", "as_is", "a")] * 20 + [("x", "cure", "a")] * 14 + [("x", "cure", "x !")] * 6
    (text,) = tables.compare_df(ledger_of(lossy, outcomes=True))["sentence"]
    (even,) = tables.compare_df(ledger_of(arms(((2, 9), (1, 9))), outcomes=True))["sentence"]

    assert (
        "Lost after asking: 6 beside 14 answered, against 0 beside 20; with them the bounds of the two overlap." in text
    )
    assert "Lost" not in even


def test_no_difference_shown_stands_beside_equivalence_where_a_margin_was_planned(ledger_of):
    ledger = ledger_of(arms(((30, 200), (30, 200))))
    df = tables.compare_df(ledger, margin=0.1)

    assert df["equivalent"].tolist() == [True] and "Equivalent within ±10 points" in df["sentence"][0]
    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("UPDATE plan SET plan = ?", (json.dumps({"analysis": {"margin": 0.01}}),))
        db.commit()
    assert tables.compare_df(ledger.path)["equivalent"].tolist() == [False]


def test_lost_voice_can_be_what_is_compared_where_it_is_known(ledger_of):
    trials = [("x", "as_is", "s")] * 9 + [("x", "cure", "a")] * 9

    assert tables.compare_df(ledger_of(trials, outcomes=True), outcome="lost_voice")["difference"].tolist() == [-1]
    with pytest.raises(InputError, match="lost_voice of some trials is not known"):
        tables.compare_df(ledger_of([("x", "as_is", "t"), ("x", "cure", "a")]), outcome="lost_voice")


def test_the_level_is_in_the_table_and_small_letters_are_read(ledger_of, tmp_path):
    ledger = ledger_of(THREE)
    assert tables.modality_df(ledger, level=0.5)["level"].tolist() == [0.5]
    responses = tables.responses_df(ledger)
    responses["simulated"] = "true"
    assert tables.modality_df(responses)["simulated"].tolist() == [True]


# Scale


def synthetic(n_trials, turns=4):
    draw = np.random.default_rng(3)
    n = n_trials * turns
    trial = np.repeat(np.arange(n_trials), turns)
    modality = draw.choice(5, n, p=[0.6, 0.3, 0.05, 0.03, 0.02])
    return pd.DataFrame(
        {
            "trial_id": pd.Categorical.from_codes(trial, [f"{n:016x}" for n in range(n_trials)]),
            "case": pd.Categorical.from_codes(draw.integers(0, 4, n_trials)[trial], ("1a", "1b", "2a", "2b")),
            "arm": pd.Categorical(["as_is"] * n),
            "turn": np.tile(np.arange(turns), n_trials),
            "response": np.zeros(n, np.int64),
            "modality": pd.Categorical.from_codes(modality, MODALITIES),
            "status": pd.Categorical(["completed"] * n),
            "simulated": pd.array([True] * n, dtype="boolean"),
            "first_audio_ms": np.where(modality == 0, draw.gamma(4, 100, n), np.nan),
        }
    )


def test_the_cost_is_linear_and_a_turn_takes_few_bytes():
    def seconds(responses):
        times = []
        for _ in range(5):
            begin = time.process_time()
            tables.modality_df(responses, ["case"])
            times.append(time.process_time() - begin)
        return min(times)

    small, large = synthetic(5_000), synthetic(100_000)

    assert seconds(large) < 20 * max(seconds(small), 0.002) * 2.5
    assert counted_turns(large).memory_usage(deep=True).sum() / len(large) <= 60


def test_a_number_that_is_counted_too_is_a_number_whatever_the_source(ledger_of, monkeypatch):
    monkeypatch.setitem(
        frames._COUNTED_TURNS, "calls", "(SELECT SUM(n_calls) FROM responses r WHERE r.attempt_id = u.attempt_id)"
    )
    ledger = ledger_of(THREE)
    responses = tables.responses_df(ledger).assign(calls=[0, 1, 2, 3, 4, 5])

    assert (counted_turns(responses)["calls"] > 2).tolist() == [False, False, False, True, True, True]
    assert (counted_turns(ledger)["calls"] == 0).all()


def test_importing_tables_imports_no_pandas():
    code = "import sys; import kit.tables, kit.plots; print([m for m in ('pandas', 'matplotlib', 'scipy') if m in sys.modules])"

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


async def test_a_table_in_words_says_each_row_with_its_interval_and_where_it_comes_from(tmp_path):
    ledger = await run(Plan(["1a", "1b"], repeats=3), tmp_path / "x.sqlite", progress=None)

    words = tables.in_words(tables.modality_df(ledger)).splitlines()
    compared = tables.compare_df(
        await run(Plan(["1b"], ["as_is", "one_user_message"], repeats=2), tmp_path / "y.sqlite", progress=None),
        baseline="as_is",
    )

    assert words[1] == (
        "- **case 1b, as is**: text in 3 of 3 sessions, 100 % (95 % interval 44 to 100 %); simulated by the stand-in."
    )
    assert words[0].startswith("- **case 1a, as is**: text in 0 of 3 sessions")
    assert str(compared.sentence.iloc[0]) in tables.in_words(compared)
    with pytest.raises(InputError, match="modality_df"):
        tables.in_words(compared[["case"]])
