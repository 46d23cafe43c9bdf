"""Statistics are held to published values, to statsmodels and scipy, and above all to their coverage."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from kit import stats
from kit.errors import InputError


def exact_coverage(low, high, rates, n):
    """The chance that the interval of a binomial count holds the rate: every count weighed, none simulated."""
    rates = np.atleast_1d(rates)[:, None]
    weights = scipy_stats.binom.pmf(np.arange(n + 1), n, rates)
    return (weights * ((low <= rates) & (rates <= high))).sum(1)


# One rate


@pytest.mark.parametrize(("k", "n"), [(0, 40), (1, 7), (12, 40), (40, 40), (999, 100_000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_statsmodels(k, n, level):
    found = stats.wilson(k, n, level)

    assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, 1 - level, "wilson"), abs=1e-12)
    assert found.estimate == k / n


def test_wilson_of_newcombes_examples():
    """Newcombe (1998), Stat. Med. 17:857-872, table I, method 3."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }

    for (k, n), bounds in published.items():
        found = stats.wilson(k, n)
        assert (round(found.low, 4), round(found.high, 4)) == bounds


def test_wilson_of_no_trials_is_an_answer():
    found = stats.wilson(0, 0)

    assert (found.estimate, found.low, found.high, found.width) == (None, None, None, None)
    assert "no trials" in found.note and "no trials" in repr(found)


def test_wilson_coverage_enumerated_is_the_published_one():
    """Newcombe (1998), table II, method 3: mean 0.9521 and minimum 0.8315 over n from 5 to 100."""
    rates = (np.arange(1_000) + 0.5) / 1_000
    means, least = [], 1.0
    for n in range(5, 101):
        low, high = stats.wilson_array(np.arange(n + 1), n)
        means.append(exact_coverage(low, high, rates, n).mean())
        just_below = low[1] * (1 - 1e-12)  # where coverage dips deepest: a count of 1 is missed, only 0 is left
        least = min(least, exact_coverage(low, high, just_below, n)[0])

    assert round(float(np.mean(means)), 4) == 0.9521
    assert round(float(least), 4) == 0.8315


@pytest.mark.parametrize(
    ("n", "p", "exact"), [(20, 0.05, 0.9245), (20, 0.3, 0.9752), (40, 0.05, 0.9520), (40, 0.3, 0.9443)]
)
def test_wilson_simulated_agrees_with_enumerated(n, p, exact):
    low, high = stats.wilson_array(np.arange(n + 1), n)
    enumerated = exact_coverage(low, high, p, n)[0]
    drawn = np.random.default_rng(7).binomial(n, p, 20_000)
    simulated = np.mean((low[drawn] <= p) & (p <= high[drawn]))

    assert round(enumerated, 4) == exact
    assert abs(simulated - enumerated) <= 3 * math.sqrt(enumerated * (1 - enumerated) / 20_000)


def test_wilson_of_columns_is_wilson_of_each_row():
    k, n = np.array([0, 3, 12, 0]), np.array([10, 3, 40, 0])
    low, high = stats.wilson_array(k, n, 0.9)

    for row in range(3):
        one = stats.wilson(k[row], n[row], 0.9)
        assert (low[row], high[row]) == (one.low, one.high)
    assert np.isnan(low[3]) and np.isnan(high[3])


def test_the_missing_bound_the_rate():
    found = stats.bounds_if_missing(12, 40, 10)

    assert (found.estimate, found.level) == (0.3, 0.95)
    exact = [scipy_stats.binomtest(k, 50).proportion_ci(method="exact") for k in (12, 22)]
    assert (found.low, found.high) == pytest.approx((exact[0].low, exact[1].high), abs=1e-12)
    assert stats.bounds_if_missing(0, 0, 5).high == 1 and stats.bounds_if_missing(0, 0, 5).estimate is None
    assert stats.bounds_if_missing(0, 0, 0).low is None


@pytest.mark.parametrize("lost", [0, 1, 5, 20])
@pytest.mark.parametrize("n", [20, 60])
def test_bounds_hold_every_rate_at_their_level_or_more_whatever_was_lost(n, lost):
    """Enumerated, where the lost were text first, and where they were audio first: all between is inside."""
    text = np.arange(n + 1)
    for seen in (np.maximum(text - lost, 0), np.minimum(text, n - lost)):
        low, high = stats.bounds_if_missing_array(seen, n - lost, lost)
        assert exact_coverage(low, high, np.linspace(0.005, 0.995, 199), n).min() >= 0.95


# Turns that share trials


def sticky_turns(p, icc, *, process, plans=2_000, trials=40, seed=11):
    """Text turns and turns per trial, shape (plans, trials): trials of 1 to 8 turns whose correlation is `icc`."""
    rng = np.random.default_rng(seed)
    n = np.where(np.arange(trials) % 2, 8, rng.integers(1, 9, (plans, trials)))
    if process == "beta":
        rates = rng.beta(p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc, (plans, trials)) if icc else p
        return rng.binomial(n, rates), n
    # a turn copies its trial's draw with chance sqrt(icc), or draws for itself: two copies are what correlates
    of_trial = rng.random((plans, trials, 1)) < p
    own, copies = rng.random((2, plans, trials, 8))
    text = np.where(copies < math.sqrt(icc), of_trial, own < p)
    return (text & (np.arange(8) < n[..., None])).sum(-1), n


@pytest.mark.parametrize("process", ["beta", "copied"])
@pytest.mark.parametrize("icc", [0, 0.3, 0.9])
@pytest.mark.parametrize("p", [0.2, 0.3, 0.5])
def test_clustered_intervals_cover(p, icc, process):
    k, n = sticky_turns(p, icc, process=process)
    _, low, high = stats.clustered_array(k, n)

    assert 0.93 <= np.mean((low <= p) & (p <= high)) <= 0.97


@pytest.mark.parametrize("process", ["beta", "copied"])
@pytest.mark.parametrize("icc", [0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("p", [0.02, 0.05, 0.95])
def test_clustered_intervals_of_rare_drift_err_to_the_safe_side(p, icc, process):
    k, n = sticky_turns(p, icc, process=process)
    _, low, high = stats.clustered_array(k, n)

    assert 0.93 <= np.mean((low <= p) & (p <= high)) <= 0.99


def test_ignoring_the_trials_would_not_cover():
    k, n = sticky_turns(0.3, 0.9, process="beta")
    low, high = stats.wilson_array(k.sum(-1), n.sum(-1))

    assert np.mean((low <= 0.3) & (high >= 0.3)) < 0.7


def test_clustered_estimate_and_variance_by_hand():
    """Three trials of 4: 4, 0 and 2 text; between-trial variance 8 * 3/2 / 12^2, chance 1/48, so an effective n of 3."""
    found = stats.clustered([1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0], ["a"] * 4 + ["b"] * 4 + ["c"] * 4)
    t = scipy_stats.t.ppf(0.975, 2)
    half = t * math.sqrt(0.25 / 3 + t * t / 36) / (1 + t * t / 3)

    assert (found.estimate, found.n, found.clusters) == (0.5, 12, 3)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_clustered_takes_any_ids_in_any_order():
    text = [1, 0, 1, 1, 0, 0]
    found = stats.clustered(text, ["x", "y", "z", "x", "y", "z"])

    assert stats.clustered(text, np.array([5, 9, 7, 5, 9, 7])) == found
    assert stats.clustered(np.array(text, dtype=bool), [("a", 1), ("a", 2), ("b", 1)] * 2) == found


def test_clustered_where_all_turns_agree_counts_trials_not_turns():
    found = stats.clustered([0] * 80, [i // 8 for i in range(80)])

    assert found.high > stats.wilson(0, 10).high
    assert found.low == found.estimate == 0


def test_one_trial_gives_no_clustered_interval():
    found = stats.clustered([1, 0, 1], ["only"] * 3)

    assert found.low is None and "one trial" in found.note
    assert stats.clustered([], []).estimate is None


def test_padding_changes_no_clustered_interval():
    bare = stats.clustered_array([3, 0, 2, 1], [4, 4, 4, 2])
    padded = stats.clustered_array([[3, 0, 2, 1, 0, 0]], [[4, 4, 4, 2, 0, 0]])

    assert [x[0] for x in padded] == pytest.approx([float(x) for x in bare])


# Two rates


def test_newcombes_own_examples():
    """Newcombe (1998), Stat. Med. 17:873-890, table II, method 10."""
    published = {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (5, 56, 0, 29): (-0.0381, 0.1926),
        (0, 10, 0, 10): (-0.2775, 0.2775),
        (10, 10, 0, 10): (0.6075, 1.0000),
    }

    for counts, bounds in published.items():
        found = stats.newcombe(*counts)
        assert (round(found.low, 4), round(found.high, 4)) == bounds


def test_newcombe_is_the_square_and_add_of_two_wilsons():
    found, one, zero = stats.newcombe(12, 40, 3, 30, 0.9), stats.wilson(12, 40, 0.9), stats.wilson(3, 30, 0.9)

    assert found.estimate == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - math.hypot(0.3 - one.low, zero.high - 0.1))
    assert found.high == pytest.approx(0.2 + math.hypot(one.high - 0.3, 0.1 - zero.low))


def test_fisher_of_published_tables():
    """Fisher's tea (1935) 0.4857; his twins 0.0005367; Agresti's 8 of 10 against 1 of 6 0.03497."""
    assert stats.fisher(3, 4, 1, 4) == pytest.approx(0.485714, abs=1e-6)
    assert stats.fisher(10, 13, 2, 17) == pytest.approx(0.00053672, abs=1e-8)
    assert stats.fisher(8, 10, 1, 6) == pytest.approx(0.034965, abs=1e-6)
    assert stats.fisher(0, 0, 1, 6) is None


def test_an_empty_arm_is_compared_with_a_note():
    found = stats.compare(0, 0, 3, 10)

    assert found.p is None and found.difference.low is None and found.rate1 is None
    assert "no completed trials in the arm" in found.note and "not compared" in repr(found)


def test_holm_by_hand_and_by_statsmodels():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    p = list(np.random.default_rng(1).random(12) ** 3)
    assert stats.holm(p) == pytest.approx(tuple(multipletests(p, method="holm")[1]))


def test_holm_passes_over_what_was_not_tested():
    assert stats.holm([None, 0.02, None, 0.04]) == pytest.approx((None, 0.04, None, 0.04))
    assert stats.holm([]) == () and stats.holm([None]) == (None,)


def test_holms_family_errs_in_at_most_one_of_twenty():
    """Six arms against one shared baseline of the same rate, so the tests depend on each other; Fisher's p."""
    rng = np.random.default_rng(5)
    table = np.array([[stats.fisher(a, 40, b, 40) for b in range(41)] for a in range(41)])
    drawn = rng.binomial(40, 0.3, (2_000, 7))
    p = table[drawn[:, 1:], drawn[:, :1]]
    some_error = np.mean([min(stats.holm(row)) <= 0.05 for row in p])

    assert some_error <= 0.05


def test_holm_on_uniform_p_values_errs_at_its_level():
    p = np.random.default_rng(6).random((2_000, 8))
    some_error = np.mean([min(stats.holm(row)) <= 0.05 for row in p])

    assert some_error <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2_000)


def test_a_family_is_adjusted_together():
    rows = [stats.compare(30, 40, 3, 40), stats.compare(0, 0, 3, 40), stats.compare(10, 40, 9, 40)]
    first, empty, last = stats.adjusted(rows)

    assert (first.family, empty.family, last.family) == (2, None, 2)
    assert first.p_holm == pytest.approx(2 * first.p) and empty.p_holm is None and last.p_holm == 1


# Two rates over cases

STRATA = [(12, 40, 3, 38), (20, 30, 15, 36), (5, 40, 6, 40)]


def test_mantel_haenszel_agrees_with_its_oracles():
    found = stats.mantel_haenszel(STRATA)
    oracle = StratifiedTable([np.array([[a, m - a], [c, n - c]]) for a, m, c, n in STRATA])
    weight = np.array([m * n / (m + n) for _, m, _, n in STRATA])
    difference = np.array([a / m - c / n for a, m, c, n in STRATA])

    assert found.difference.estimate == pytest.approx((weight * difference).sum() / weight.sum())
    assert found.p == pytest.approx(oracle.test_null_odds().pvalue)
    assert [c.stratum for c in found.within] == ["stratum 0", "stratum 1", "stratum 2"]
    assert found.within[0].p == stats.fisher(12, 40, 3, 38)


def test_sato_of_one_stratum_of_equal_arms_is_the_plain_variance():
    found = stats.mantel_haenszel([(12, 40, 8, 40)])
    half = scipy_stats.norm.ppf(0.975) * math.sqrt((0.3 * 0.7 + 0.2 * 0.8) / 40)

    assert (found.difference.low, found.difference.high) == pytest.approx((0.1 - half, 0.1 + half))


def test_mantel_haenszel_is_not_fooled_by_the_mix_of_cases():
    """Both arms drift alike within each case; the sums say 64 % against 36 %."""
    found = stats.mantel_haenszel([(72, 80, 18, 20), (2, 20, 8, 80)])

    assert found.difference.estimate == pytest.approx(0) and found.p == pytest.approx(1)
    assert found.rate1 == pytest.approx(found.rate0)


def test_strata_with_an_empty_arm_are_dropped_and_counted():
    found = stats.mantel_haenszel([*STRATA, (0, 0, 3, 10), (1, 4, 0, 0)], names=list("abcde"))

    assert (found.strata, found.strata_dropped) == (3, 2)
    assert found.difference == stats.mantel_haenszel(STRATA).difference
    assert "2 of the cases" in stats.sentence(stats.adjusted([found])[0])
    assert stats.mantel_haenszel([(0, 0, 3, 10)]).p is None


@pytest.mark.parametrize(
    ("p1", "p0", "n"),
    [(0.3, 0.3, 40), (0.3, 0.1, 40), (0.05, 0.05, 40), (0.95, 0.02, 40), (0.99, 0.01, 40), (0.3, 0.3, 5)],
)
def test_pooled_intervals_cover_also_where_an_arm_hardly_varies(p1, p0, n):
    rng = np.random.default_rng(9)
    gap, hits = p1 - p0, 0
    k1, k0 = rng.binomial(n, p1, (400, 4)), rng.binomial(n, p0, (400, 4))
    for a, c in zip(k1, k0, strict=True):
        found = pooled_difference(tuple(a), tuple(c), n)
        hits += found.low - 1e-12 <= gap <= found.high + 1e-12

    assert hits / 400 >= 0.95 - 3.5 * math.sqrt(0.05 * 0.95 / 400)


def pooled_difference(k1, k0, n):
    return stats.mantel_haenszel([(a, n, c, n) for a, c in zip(k1, k0, strict=True)]).difference


def test_certain_drift_in_every_trial_is_not_called_certain():
    found = stats.mantel_haenszel([(40, 40, 0, 40)] * 4)

    assert found.difference.estimate == 1 and 0.9 < found.difference.low < 1
    assert found.p == pytest.approx(scipy_stats.chi2.sf(80**2 / (4 * 40**4 / (80**2 * 79)), 1))  # about 1e-69, not 0
    assert stats.mantel_haenszel([(0, 40, 0, 40)] * 4).p == 1


# How many trials


@pytest.mark.parametrize(("p0", "p1"), [(0.1, 0.3), (0.3, 0.5), (0.0, 0.2), (0.02, 0.95), (0.5, 0.3)])
def test_trials_needed_reaches_the_power_with_the_test_that_is_used(p0, p1):
    n = stats.trials_needed(p0, p1)
    outcomes = np.arange(n + 1)
    chance = np.outer(scipy_stats.binom.pmf(outcomes, n, p1), scipy_stats.binom.pmf(outcomes, n, p0))
    likely = np.argwhere(chance > 1e-7)
    power = sum(chance[a, b] for a, b in likely if fisher_by_hand(int(a), int(b), n) <= 0.05)

    assert power >= 0.8 - 1e-4
    assert stats.fisher_power(p1, p0, n) == pytest.approx(power, abs=1e-3)
    assert stats.fisher_power(p1, p0, n - 1) < 0.8


def fisher_by_hand(a, b, n):
    """The oracle: two-sided p straight from the hypergeometric distribution, all tables no likelier than this one."""
    support = np.arange(max(0, a + b - n), min(n, a + b) + 1)
    pmf = scipy_stats.hypergeom.pmf(support, 2 * n, a + b, n)
    return float(pmf[pmf <= pmf[support == a] * (1 + 1e-9)].sum())


def test_the_formula_for_many_trials_meets_the_enumeration():
    below, above = stats.trials_needed(0.5, 0.545), stats.trials_needed(0.5, 0.544)

    assert 1_900 < below <= 2_000 < above < 2_100


def test_more_comparisons_need_more_trials():
    assert stats.trials_needed(0.1, 0.3) < stats.trials_needed(0.1, 0.3, comparisons=6)
    assert stats.trials_needed(0.1, 0.3) < stats.trials_needed(0.1, 0.3, power=0.95)


# Looking after every trial


def chance_of_ever_missing(bounds, p, until):
    """Exact: carry the weight of every count that has not missed yet from trial to trial."""
    low, high = bounds
    alive, missed = np.zeros(until + 1), 0.0
    alive[0] = 1.0
    for n in range(1, until + 1):
        alive[1:] = alive[1:] * (1 - p) + alive[:-1] * p
        alive[0] *= 1 - p
        wrong = (low[n] > p) | (p > high[n])
        missed += alive[wrong].sum()
        alive[wrong] = 0
    return missed


def every_count(until):
    n, k = np.mgrid[0 : until + 1, 0 : until + 1]
    return np.minimum(k, n), n


def test_the_sequence_at_12_of_40():
    found = stats.confidence_sequence(12, 40)

    assert (found.low, found.high) == pytest.approx((0.11319, 0.54939), abs=1e-5)
    assert (found.level, found.n) == (0.95, 40)


def test_the_sequence_ends_where_the_mixed_likelihood_is_twenty_times_that_of_the_rate():
    found = stats.confidence_sequence(3, 25)

    for p in (found.low, found.high):
        ratio = scipy_stats.betabinom.pmf(3, 25, 0.5, 0.5) / scipy_stats.binom.pmf(3, 25, p)
        assert ratio == pytest.approx(20)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_peeking_after_every_trial_errs_in_at_most_one_run_of_twenty(p):
    bounds = stats.confidence_sequence_array(*every_count(400))
    exact = chance_of_ever_missing(bounds, p, 400)
    counts = (np.random.default_rng(3).random((2_000, 400)) < p).cumsum(1)
    n = np.arange(1, 401)
    simulated = np.mean(((bounds[0][n, counts] > p) | (bounds[1][n, counts] < p)).any(1))

    assert exact <= 0.05
    assert abs(simulated - exact) <= 3 * math.sqrt(exact * (1 - exact) / 2_000)


def test_peeking_at_wilson_would_err_in_a_third_of_runs():
    k, n = every_count(400)

    assert chance_of_ever_missing(stats.wilson_array(k, n), 0.3, 400) > 0.33


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_the_stop_rule_stops_right(p):
    """Four arms, a look after every trial: in at most 5 % of runs is any interval wrong at the stop."""
    rule = stats.StopRule(width=0.25, alpha=0.05, n_arms=4)
    low, high = stats.confidence_sequence_array(*every_count(400), rule.alpha / 4)
    counts = (np.random.default_rng(4).random((1_000, 4, 400)) < p).cumsum(-1)
    at = np.arange(1, 401), counts
    enough = (high[at] - low[at] <= rule.width).all(1)
    stop = enough.argmax(1)
    final = counts[np.arange(1_000), :, stop]
    wrong = (low[stop[:, None] + 1, final] > p) | (high[stop[:, None] + 1, final] < p)

    assert enough.any(1).all()
    assert wrong.any(1).mean() <= 0.05
    assert rule.stop([(int(k), int(stop[0]) + 1) for k in final[0]])


def test_the_stop_rule_waits_for_its_widest_arm():
    rule = stats.StopRule(width=0.2, n_arms=2)

    assert rule.enough(0, 200) and not rule.enough(10, 20)
    assert not rule.enough(0, 0) and rule.enough(200, 400)
    assert not rule.stop([(0, 200), (10, 20)]) and not rule.stop([(0, 0), (0, 200)])
    assert rule.stop([(0, 200), (200, 400)])


def test_the_stop_rule_says_how_many_trials_it_will_take():
    rule = stats.StopRule(width=0.2, n_arms=2)
    n = rule.trials_per_arm()

    assert rule.enough(n // 2, n) and not rule.enough(n // 2 - 5, n - 10)
    assert rule.trials_per_arm(0.02) < n
    with pytest.raises(FrozenInstanceError):
        rule.width = 0.3


def test_before_the_first_trial_everything_is_possible():
    found = stats.confidence_sequence(0, 0)

    assert (found.estimate, found.low, found.high) == (None, 0, 1)


# Over the turns of a trial


def test_text_after_text_is_counted_in_pairs():
    found = stats.p_text_given_text(
        [[True, True, False, True, True], [False, False], [True, None, True], [False, True, True]]
    )

    assert (found.estimate, found.n, found.clusters) == (0.75, 4, 2)


def test_nothing_after_text_is_an_answer():
    found = stats.p_text_given_text([[False, False], [False, True], []])

    assert found.estimate is None and "no turn came after" in found.note


@pytest.mark.parametrize("again", [0.5, 0.9])
def test_persistence_is_covered(again):
    """Trials as chains of 8 turns: text follows text with the chance that is looked for."""
    rng = np.random.default_rng(8)
    text = np.empty((1_000, 40, 8), dtype=bool)
    text[..., 0] = rng.random((1_000, 40)) < 0.4
    for turn in range(1, 8):
        text[..., turn] = rng.random((1_000, 40)) < np.where(text[..., turn - 1], again, 0.1)
    pairs, then = text[..., :-1].sum(-1), (text[..., :-1] & text[..., 1:]).sum(-1)
    _, low, high = stats.clustered_array(then, pairs)
    one = stats.p_text_given_text(text[0].tolist())

    assert (one.low, one.high) == pytest.approx((low[0], high[0]))
    assert 0.93 <= np.mean((low <= again) & (again <= high)) <= 0.98


def test_kaplan_meier_of_freireichs_remissions():
    """Freireich et al. (1963), the 6-MP arm: 0.857 at 6 weeks, 0.448 at 23, median 23."""
    times = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    observed = [True] * 9 + [False] * 12
    found = stats.kaplan_meier(times, observed)

    assert found.times == (6, 7, 10, 13, 16, 22, 23)
    assert found.at_risk == (21, 17, 15, 12, 11, 7, 6)
    assert found.survival == pytest.approx((0.85714, 0.80672, 0.75294, 0.69020, 0.62745, 0.53782, 0.44818), abs=1e-5)
    assert (found.low[0], found.high[0]) == pytest.approx((0.61972, 0.95155), abs=1e-5)
    assert (found.median.estimate, found.median.low, found.median.high) == (23, 13, None)


def test_kaplan_meier_agrees_with_statsmodels():
    rng = np.random.default_rng(2)
    drift, watched = rng.geometric(0.3, 120), rng.integers(1, 9, 120)
    times, observed = np.minimum(drift, watched), drift <= watched
    found, oracle = stats.kaplan_meier(times, observed), SurvfuncRight(times, observed)
    low, high = oracle.quantile_ci(0.5, method="cloglog")

    assert found.times == pytest.approx(oracle.surv_times)
    assert found.survival == pytest.approx(oracle.surv_prob)
    assert found.median.estimate == oracle.quantile(0.5)
    assert (found.median.low, found.median.high) == (low, high)


def test_kaplan_meier_where_no_trial_or_every_trial_drifted():
    none, all_ = stats.kaplan_meier([8, 8, 8], [False] * 3), stats.kaplan_meier([1, 2, 2], [True] * 3)

    assert none.times == () and none.median.estimate is None and "fewer than half" in none.median.note
    assert all_.survival[-1] == 0 and all_.low[-1] == 0 and 0 < all_.high[-1] < 1 and all_.median.estimate == 2
    assert stats.kaplan_meier([], []).note == "no trials"


def test_the_median_is_closed_where_all_drifted_at_once():
    found = stats.kaplan_meier([1] * 100, [True] * 100)

    assert (found.median.estimate, found.median.low, found.median.high) == (1, 1, 1)
    assert found.high == (stats.wilson(0, 100).high,)


def test_a_retry_arm_that_cures_nothing_is_seldom_called_a_cure_whatever_fails():
    """At 10 % failed responses: text that had begun is kept, so that a failure changes nothing. Struck out, as it was before, most
    runs claimed a cure."""
    draw = np.random.default_rng(21)
    base, arm = draw.binomial(300, 0.5, 400), draw.binomial(300, 0.5, 400)
    broken = draw.binomial(arm, 1 - 0.9**4)  # four more tries at each text reply

    def claims(k, n):
        return np.mean(
            [
                stats.compare(int(a), int(m), int(b), 300).p <= 0.05 and a / m < b / 300
                for a, m, b in zip(k, n, base, strict=True)
            ]
        )

    assert claims(arm, np.full(400, 300)) <= 0.05
    assert claims(arm - broken, 300 - broken) > 0.5


def test_the_band_after_the_first_turn_holds_the_truth_where_few_drift():
    draw, n, hazard = np.random.default_rng(22), 20, 0.05
    hits = 0
    for k in draw.binomial(n, hazard, 1_000):
        curve = stats.survival_of_counts([1], [n], [k], n) if k else None
        low, high = (curve.low[0], curve.high[0]) if curve else (stats.wilson(n, n).low, 1.0)
        hits += low <= 1 - hazard <= high
    assert hits >= 900  # 570 before, as no drift was taken for certainty


# Medians


def test_median_interval_of_the_tables_ranks():
    """Hahn and Meeker (1991), ranks for 95 %: 2 and 9 of 10, 6 and 15 of 20, 14 and 27 of 40."""
    for n, ranks in {6: (1, 6), 10: (2, 9), 20: (6, 15), 40: (14, 27)}.items():
        found = stats.median_interval(np.arange(n, 0, -1))
        assert (found.low, found.high) == ranks
        assert found.estimate == (n + 1) / 2


def test_median_interval_covers_skewed_latencies():
    drawn = np.random.default_rng(12).lognormal(6, 1, (2_000, 25))
    found = [stats.median_interval(row) for row in drawn]
    covered = np.mean([one.low <= math.exp(6) <= one.high for one in found])

    assert abs(covered - 0.9567) <= 3 * math.sqrt(0.9567 * 0.0433 / 2_000)  # 8 and 18 of 25
    assert "95.67 %" in found[0].method


def test_few_values_have_a_median_and_no_interval():
    found = stats.median_interval([300.0, 500.0, 400.0])

    assert found.estimate == 400 and found.low is None and "too few" in found.note
    assert stats.median_interval([]).estimate is None


# In words


def said(*counts, family=1, **names):
    rows = [stats.compare(*counts, **names)] + [stats.compare(20, 40, 20, 40)] * (family - 1)
    return stats.sentence(stats.adjusted(rows)[0])


def test_a_shown_difference_is_said_with_its_direction():
    assert said(30, 40, 3, 40, arm="as is", baseline="flat").startswith(
        "“as is” drifts more often than “flat”: 30 of 40 (75 %)"
    )
    assert said(3, 40, 30, 40, arm="flat", baseline="as is").startswith("“flat” drifts less often than “as is”")
    assert said(30, 40, 3, 40, stratum="1a").startswith("In 1a: ")


def test_no_difference_shown_is_not_no_difference():
    text = said(12, 40, 9, 40)

    assert text.startswith("No difference shown between “arm” and “baseline”: 12 of 40 (30 %) against 9 of 40 (22.5 %)")
    assert f"needs about {stats.trials_needed(0.225, 0.3)} trials per arm" in text


def test_a_pooled_row_needs_the_trials_that_its_own_test_needs():
    """Two of four cases at 0, two from 0.9 to 1: the unstratified formula would ask for 13 times as many."""
    fours = [(0, 40, 0, 40), (40, 40, 36, 40), (0, 40, 0, 40), (28, 40, 28, 40)]
    needed = stats.trials_needed_per_stratum([(0, 0), (0.9, 1), (0, 0), (0.7, 0.7)])
    family = stats.adjusted([stats.mantel_haenszel(fours, arm="cure", baseline="as is")] * 40)

    assert needed < 600 < stats.trials_needed(0.4, 0.425)
    assert "trials per arm in each case, about" in stats.sentence(family[0]) and "per arm in all 4" in stats.sentence(
        family[0]
    )


def test_trials_per_stratum_give_the_power_asked_for():
    rates, draw = [(0, 0), (0.7, 0.9)], np.random.default_rng(6)
    n = stats.trials_needed_per_stratum(rates)
    called = [
        stats.mantel_haenszel([(draw.binomial(n, p1), n, draw.binomial(n, p0), n) for p0, p1 in rates]).p <= 0.05
        for _ in range(600)
    ]
    assert abs(np.mean(called) - 0.8) < 0.06


def test_equivalence_is_the_interval_of_two_one_sided_tests_within_the_margin():
    near, far = stats.compare(90, 300, 91, 300), stats.compare(9, 30, 10, 30)

    assert stats.equivalence(near, 0.1).note == "equivalent" and stats.equivalence(near, 0.1).level == pytest.approx(
        0.9
    )
    assert stats.equivalence(far, 0.1).note == "not shown to be equivalent"
    said_near = stats.sentence(stats.adjusted([near])[0], margin=0.1)
    assert (
        said_near.startswith("No difference shown")
        and "Equivalent within ±10 points (two one-sided tests, 90 % interval" in said_near
    )
    pooled = stats.mantel_haenszel([(90, 300, 91, 300), (30, 300, 30, 300)])
    assert stats.equivalence(pooled, 0.1).note == "equivalent"
    with pytest.raises(InputError, match="margin"):
        stats.equivalence(near, 10)


def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent():
    draw = np.random.default_rng(8)
    called = [
        stats.equivalence(stats.compare(draw.binomial(100, 0.5), 100, draw.binomial(100, 0.4), 100), 0.1).note
        for _ in range(1_000)
    ]

    assert called.count("equivalent") <= 65


def test_edges_that_the_check_found():
    with pytest.raises(InputError, match="level is too near 1"):
        stats.wilson(3, 10, 1 - 1e-16)
    with pytest.raises(InputError, match="trial 0 must be a sequence"):
        stats.p_text_given_text([None])
    assert stats.fisher_power(1, 0, 2, 1 / 3) == 1


def test_points_have_a_tenth_at_most_and_what_follows_a_colon_is_small():
    text = said(30, 40, 26, 40, stratum="case 1a")

    assert (
        text.startswith("In case 1a: no difference shown")
        and "+10 points (95 % interval, unadjusted, −9.9 to +28.9)" in text
    )


def test_holm_decides_the_sentence_not_the_interval():
    alone, of_six = said(12, 40, 3, 40), said(12, 40, 3, 40, family=6)

    assert alone.startswith("“arm” drifts more often") and "(1 test)" in alone
    assert of_six.startswith("No difference shown") and "(6 tests)" in of_six
    assert "unadjusted interval leaves out 0; the adjusted test decides" in of_six


def test_without_the_family_nothing_is_decided():
    text = stats.sentence(stats.compare(30, 40, 3, 40))

    assert text.startswith("Not decided") and "not adjusted" in text


def test_equal_rates_are_not_called_equal():
    assert "does not show that they are" in said(10, 40, 10, 40)


def test_an_empty_arm_is_said():
    assert "cannot be compared with “baseline”: no completed trials in the arm" in said(0, 0, 3, 10)


def test_results_show_themselves_in_a_line():
    assert repr(stats.wilson(12, 40)) == "0.3 (95 % interval 0.1807 to 0.4543; n = 40, Wilson)"
    assert repr(stats.bounds_if_missing(12, 40, 10)).startswith("0.3 (95 % interval 0.1306 to 0.5875; n = 40")
    assert "Holm of 1" in repr(stats.adjusted([stats.compare(30, 40, 3, 40)])[0])
    assert "no interval" in repr(stats.median_interval([1.0]))
    assert "2 trials, 0 drifted" in repr(stats.kaplan_meier([8, 8], [False, False]))


def test_the_slow_libraries_wait_until_they_are_needed():
    code = (
        "import sys, kit.stats; kit.stats.wilson(12, 40); print({'scipy', 'statsmodels', 'pandas'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "set()"


# What cannot be


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: stats.wilson(5, 3), "5 of 3"),
        (lambda: stats.wilson(-1, 3), "-1"),
        (lambda: stats.wilson(1.5, 3), "1.5"),
        (lambda: stats.wilson(True, 3), "True"),
        (lambda: stats.wilson(float("nan"), 3), "nan"),
        (lambda: stats.wilson("4", 9), "'4'"),
        (lambda: stats.wilson(1, None), "None"),
        (lambda: stats.wilson(1, 3, level=95), "95"),
        (lambda: stats.wilson_array([1, 5], [3, 4]), "row 1.*5 of 4"),
        (lambda: stats.wilson_array([1, float("nan")], [3, 4]), "row 1.*nan of 4"),
        (lambda: stats.wilson_array([1, 2], [3, 4, 5]), r"\(2,\) and \(3,\)"),
        (lambda: stats.wilson_array(["a"], [3]), "'a'"),
        (lambda: stats.bounds_if_missing(1, 3, -2), "missing.*-2"),
        (lambda: stats.clustered([1, 0], ["a", None]), "turn 1 belongs to no trial.*None"),
        (lambda: stats.clustered([1, 0], ["a", float("nan")]), "turn 1 belongs to no trial.*nan"),
        (lambda: stats.clustered([1, 0], ["", "b"]), "turn 0 belongs to no trial"),
        (lambda: stats.clustered([1, 0], np.array([3, -1])), "turn 1 belongs to no trial.*-1"),
        (lambda: stats.clustered([1, 0], [3, -1]), "turn 1 belongs to no trial.*-1"),
        (lambda: stats.clustered([1, 0], [[], []]), "hashable"),
        (lambda: stats.clustered([1, 0], ["a"]), "2 turns and 1 ids"),
        (lambda: stats.clustered([1, 2], ["a", "b"]), "turn 1.*2"),
        (lambda: stats.clustered(["text", "audio"], ["a", "b"]), "turn 0.*text"),
        (lambda: stats.clustered([True, None], ["a", "b"]), "turn 1.*None"),
        (lambda: stats.clustered_array(3, 4), "one entry per trial"),
        (lambda: stats.clustered_array([3], [4], level=0), "level.*0"),
        (lambda: stats.newcombe(5, 3, 1, 3), "k1.*5 of 3"),
        (lambda: stats.newcombe(0, 0, 1, 3, level=2), "level.*2"),
        (lambda: stats.fisher(1, 3, 5, 3), "k0.*5 of 3"),
        (lambda: stats.compare(1, 3, 1, -3), "n0.*-3"),
        (lambda: stats.holm([0.1, 1.2]), "p value 1.*1.2"),
        (lambda: stats.holm([float("nan")]), "nan"),
        (lambda: stats.mantel_haenszel([(1, 2, 3)]), r"stratum 0.*\(1, 2, 3\)"),
        (lambda: stats.mantel_haenszel([(0, 0, 5, 3)]), "stratum 0.*5 of 3"),
        (lambda: stats.mantel_haenszel([(1, 2, 1, 2)], names=["a", "b"]), "2 for 1"),
        (lambda: stats.trials_needed(0.3, 0.3), "0.3 for both"),
        (lambda: stats.trials_needed(-0.1, 0.3), "p0.*-0.1"),
        (lambda: stats.trials_needed(10, 30), "p0.*10"),
        (lambda: stats.trials_needed(0.1, 0.3, power=80), "power.*80"),
        (lambda: stats.trials_needed(0.1, 0.3, comparisons=0), "comparisons.*0"),
        (lambda: stats.fisher_power(0.1, 0.3, 0), "n .*0"),
        (lambda: stats.confidence_sequence(5, 3), "5 of 3"),
        (lambda: stats.confidence_sequence(1, 3, alpha=5), "alpha.*5"),
        (lambda: stats.StopRule(width=20), "width.*20"),
        (lambda: stats.StopRule(width=0.2, alpha=1), "alpha.*1"),
        (lambda: stats.StopRule(width=0.2, n_arms=0), "n_arms.*0"),
        (lambda: stats.StopRule(width=0.2, n_arms=2).stop([(1, 2)]), "2 arms.*1"),
        (lambda: stats.p_text_given_text([[True], [True, "text"]]), "trial 1, turn 1.*'text'"),
        (lambda: stats.kaplan_meier([0], [True]), r"times\[0\].*0"),
        (lambda: stats.kaplan_meier([1, float("nan")], [True, True]), r"times\[1\].*nan"),
        (lambda: stats.kaplan_meier([1], [None]), r"observed\[0\].*None"),
        (lambda: stats.kaplan_meier([1, 2], [True]), "2 and 1"),
        (lambda: stats.median_interval([1.0, float("nan")]), r"values\[1\].*nan"),
        (lambda: stats.median_interval([[1.0]]), r"\(1, 1\)"),
        (lambda: stats.median_interval(["fast"]), "fast"),
        (lambda: stats.sentence(stats.compare(1, 3, 1, 3), alpha=5), "alpha.*5"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, named):
    with pytest.raises(InputError, match=named):
        call()


def test_trials_of_equal_counts_put_together_have_the_same_interval():
    k, n = [0, 0, 0, 2, 2, 4, 1, 0], [4, 4, 4, 4, 4, 4, 2, 0]

    apart = stats.clustered_counts(k, n)
    together = stats.clustered_counts([0, 2, 4, 1, 0], [4, 4, 4, 2, 0], times=[3, 2, 1, 1, 1])

    assert together == apart
