"""The statistics of a race: exact values, error rates by simulation, invariances."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thalweg.bench import statistics

INF = math.inf
NAN = math.nan
N = 10  # the default number of replicates

# Eighths add, halve and scale without rounding, so invariances hold to the last bit.
eighths = st.integers(-400, 400).map(lambda k: k / 8)
finite_differences = st.lists(eighths, min_size=1, max_size=12)
differences = st.lists(st.one_of(eighths, st.sampled_from([INF, -INF])), min_size=1, max_size=12)
final_values = st.lists(
    st.tuples(st.one_of(eighths, st.just(NAN)), st.one_of(eighths, st.just(NAN))),
    min_size=1,
    max_size=12,
)


def normal(rng, shape):
    return rng.standard_normal(shape)


def skewed(rng, shape):
    return rng.lognormal(size=shape)


def accuracies(rng, shape):
    return rng.binomial(360, 0.97, shape) / 360


def nearly_tied(rng, shape):
    return rng.binomial(4, 0.2, shape) / 360


def sometimes_failing(rng, shape):
    return np.where(rng.random(shape) < 0.1, NAN, rng.standard_normal(shape))


def at_most(rate, trials):
    """Count exceeded with probability below 1/1000 if events come at this rate."""
    return stats.binom.ppf(0.999, trials, rate)


def at_least(rate, trials):
    """Count undercut with probability below 1/1000 if events come at this rate."""
    return stats.binom.ppf(0.001, trials, rate)


# --- exact values ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8, 10, 25])
def test_p_value_is_scipys_where_scipy_is_exact(n):
    d = np.random.default_rng(n).standard_normal(n) + 0.4
    expected = stats.wilcoxon(d, method="exact").pvalue
    assert statistics.paired_p_value(d) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_p_value_with_ties_zeros_and_failures_is_the_full_permutation_test(seed):
    rng = np.random.default_rng(seed)
    d = rng.integers(-3, 5, N).astype(float)
    d[0] = 0.0
    d[1 : 1 + seed % 4] = [INF, INF, -INF][: seed % 4]
    signed_ranks = np.sign(d) * stats.rankdata(np.abs(d))
    expected = stats.permutation_test(
        (signed_ranks,), np.sum, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert statistics.paired_p_value(d) == pytest.approx(expected, rel=1e-12)


@given(differences)
def test_p_value_is_that_of_enumerating_all_signs(d):
    ranks = stats.rankdata(np.abs(d))
    positive = ranks[np.array(d) > 0].sum()
    signed = ranks[np.array(d) != 0]
    sums = np.array([*itertools.product([0, 1], repeat=signed.size)]) @ signed
    expected = min(1.0, 2 * min(np.mean(sums <= positive), np.mean(sums >= positive)))
    assert statistics.paired_p_value(d) == pytest.approx(expected, rel=1e-12)


def test_typical_difference_and_interval_by_hand():
    d = [8.0, 1.0, 2.0, 4.0, 16.0, 32.0]
    averages = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2))
    assert statistics.typical_difference(d) == averages[10]
    assert statistics.interval(d) == (1.0, 32.0)  # only P(T = 0) = 1/64 fits into 2.5 %
    assert statistics.interval(d, 0.9) == (averages[2], averages[-3])  # P(T <= 2) = 3/64


def test_a_p_value_equal_to_alpha_is_significant():
    assert statistics.can_reach_significance(6, alpha=2 / 64)
    assert not statistics.can_reach_significance(6, alpha=1.99 / 64)
    assert statistics.interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], level=1 - 2 / 64) == (1.0, 6.0)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("seed", range(20))
def test_interval_holds_what_the_test_does_not_reject(seed, level):
    d = np.random.default_rng(seed).standard_normal(N)
    low, high = statistics.interval(d, level)
    for inside in (low + 1e-9, (low + high) / 2, high - 1e-9):
        assert statistics.paired_p_value(d - inside) > 1 - level
    for outside in (low - 1e-9, high + 1e-9):
        assert statistics.paired_p_value(d - outside) <= 1 - level


def test_holm_by_hand():
    adjusted = statistics.holm([0.01, 0.5, 0.03, 0.04, 0.9])
    np.testing.assert_allclose(adjusted, [0.05, 1.0, 0.12, 0.12, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_as_the_step_down_procedure_does(p_values):
    adjusted = statistics.holm(p_values)
    rejected = set()
    for step, i in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[i] * (len(p_values) - step) > 0.05:
            break
        rejected.add(i)
    assert set(np.flatnonzero(adjusted <= 0.05)) == rejected
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= np.minimum(1.0, len(p_values) * np.array(p_values)))


@pytest.mark.parametrize(("comparisons", "replicates"), [(1, 6), (2, 7), (6, 8), (7, 9), (25, 10)])
def test_minimum_replicates_is_sharp(comparisons, replicates):
    assert statistics.minimum_replicates(comparisons) == replicates
    baseline = np.zeros(replicates)
    contenders = {str(i): np.zeros(replicates) for i in range(comparisons - 1)}
    contenders["winner"] = np.arange(1.0, replicates + 1)
    effects = statistics.compare(baseline, contenders, better="higher")
    assert effects["winner"].verdict == "better"
    fewer = {name: values[1:] for name, values in contenders.items()}
    effects = statistics.compare(baseline[1:], fewer, better="higher")
    assert effects["winner"].verdict == "undecided"
    assert effects["winner"].detectable == INF


# --- error rates, by simulation -------------------------------------------------------------


@pytest.mark.parametrize("noise", [normal, skewed, accuracies, nearly_tied, sometimes_failing])
def test_a_method_against_itself_is_rarely_declared_different(noise):
    races = noise(np.random.default_rng(1), (400, 5, N))
    declared = 0
    for baseline, *others in races:
        contenders = {str(i): values for i, values in enumerate(others)}
        effects = statistics.compare(baseline, contenders, better="higher", margin=0.01)
        declared += any(e.verdict in ("better", "worse") for e in effects.values())
    assert declared <= at_most(0.05, len(races))


def differ_normally(rng):
    return rng.standard_normal(N)


def differ_between_skewed_runs(rng):
    return skewed(rng, N) - skewed(rng, N)


def differ_exponentially(rng):
    return rng.exponential(size=N)


def differ_with_heavy_tails(rng):
    return rng.standard_t(2, N)


def differ_in_correct_samples(rng):
    return rng.binomial(360, 0.97, N) - rng.binomial(360, 0.97, N) + 2.0


def differ_in_few_samples(rng):
    return rng.binomial(4, 0.2, N) - rng.binomial(4, 0.2, N) + 0.0


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(
    ("draw", "truth", "continuous"),
    [
        (differ_normally, 0.0, True),
        (differ_between_skewed_runs, 0.0, True),
        (differ_exponentially, stats.gamma.ppf(0.5, 2) / 2, True),
        (differ_with_heavy_tails, 0.0, True),
        (differ_in_correct_samples, 2.0, False),
        (differ_in_few_samples, 0.0, False),
    ],
)
def test_interval_covers_at_its_nominal_rate(draw, truth, continuous, level):
    rng = np.random.default_rng(2)
    intervals = [statistics.interval(draw(rng), level) for _ in range(2000)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert covered >= at_least(level, 2000)
    if continuous:  # rank sums are discrete: of 1024 the test can spend 50 or 86, not 51.2 or 102.4
        attainable = {0.95: 1 - 50 / 1024, 0.9: 1 - 86 / 1024}[level]
        assert covered <= at_most(attainable, 2000)


@pytest.mark.parametrize("noise", [normal, skewed, accuracies])
def test_a_difference_as_large_as_the_margin_is_rarely_called_equivalent(noise):
    rng = np.random.default_rng(3)
    margin = 3 * noise(rng, 10_000).std()
    races = noise(rng, (1000, 2, N))
    races[:, 1] += margin
    equivalent = sum(
        statistics.compare(b, {"c": c}, better="lower", margin=margin)["c"].verdict == "equivalent"
        for b, c in races
    )
    assert equivalent <= at_most(0.05, len(races))


@pytest.mark.parametrize("n_comparisons", [1, 4])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_power_is_the_rate_at_which_the_test_finds_the_effect(n_comparisons, power):
    rng = np.random.default_rng(4)
    observed = rng.standard_normal(N)
    observed /= observed.std(ddof=1)
    effect = statistics.detectable_difference(observed, n_comparisons, power)
    assert statistics.power_at(effect, observed, n_comparisons) == pytest.approx(power, abs=0.002)
    found = 0
    for d in rng.standard_normal((2000, N)) + effect:
        significant = n_comparisons * statistics.paired_p_value(d) <= 0.05
        found += bool(significant and statistics.typical_difference(d) > 0)
    # The reported power is itself simulated with 2000 draws, so the tolerance is twice the usual.
    assert at_least(power - 0.035, 2000) <= found <= at_most(power + 0.035, 2000)


def test_interval_of_the_speed_ratio_covers_with_misses():
    rng = np.random.default_rng(5)
    covered = 0
    for baseline, contender in 100 * rng.lognormal(sigma=0.3, size=(2000, 2, N)):
        baseline[baseline > 130] = INF  # a fifth of all runs
        contender[contender > 130] = INF
        found = statistics.speed_ratio(baseline, contender)
        covered += found.low <= 1.0 <= found.high
    assert covered >= at_least(0.95, 2000)


# --- invariances ----------------------------------------------------------------------------


@given(differences, st.randoms(use_true_random=False))
def test_order_of_replicates_does_not_matter(d, random):
    shuffled = random.sample(d, len(d))
    assert statistics.paired_p_value(shuffled) == statistics.paired_p_value(d)
    assert statistics.interval(shuffled) == statistics.interval(d)
    assert statistics.typical_difference(shuffled) == statistics.typical_difference(d)


@given(differences)
def test_negated_differences_mirror_everything(d):
    mirrored = [-x for x in d]
    low, high = statistics.interval(d)
    assert statistics.paired_p_value(mirrored) == statistics.paired_p_value(d)
    assert statistics.interval(mirrored) == (-high, -low)
    assert statistics.typical_difference(mirrored) == -statistics.typical_difference(d)


@given(finite_differences, st.sampled_from([0.25, 2.0, 1024.0]), eighths)
def test_scale_and_shift_carry_over(d, scale, shift):
    d = np.array(d)
    low, high = statistics.interval(d)
    assert statistics.interval(scale * d + shift) == (scale * low + shift, scale * high + shift)
    assert statistics.typical_difference(scale * d + shift) == (
        scale * statistics.typical_difference(d) + shift
    )
    assert statistics.paired_p_value(scale * d) == statistics.paired_p_value(d)
    np.testing.assert_allclose(
        statistics.detectable_difference(scale * d + shift),
        scale * statistics.detectable_difference(d),
    )


@given(differences)
def test_typical_difference_lies_in_the_interval_and_wider_levels_contain_it(d):
    low, high = statistics.interval(d, 0.95)
    inner_low, inner_high = statistics.interval(d, 0.9)
    assert low <= inner_low <= statistics.typical_difference(d) <= inner_high <= high


@given(final_values, st.sampled_from(["higher", "lower"]), st.sampled_from([0.0, 2.0, 50.0]))
def test_swapping_the_sides_swaps_the_verdict(pairs, better, margin):
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    there = statistics.compare(left, {"x": right}, better=better, margin=margin)["x"]
    back = statistics.compare(right, {"x": left}, better=better, margin=margin)["x"]
    opposite = {"better": "worse", "worse": "better"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)
    assert back.p_value == there.p_value


@given(final_values, eighths)
def test_a_constant_on_both_sides_and_the_metrics_sign_change_nothing(pairs, shift):
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    plain = statistics.compare(left, {"x": right}, better="higher", margin=1.0)["x"]
    shifted = statistics.compare(left + shift, {"x": right + shift}, better="higher", margin=1.0)
    negated = statistics.compare(-left, {"x": -right}, better="lower", margin=1.0)["x"]
    np.testing.assert_equal(dataclasses.astuple(shifted["x"]), dataclasses.astuple(plain))
    assert negated.verdict == plain.verdict
    assert (negated.wins, negated.losses) == (plain.wins, plain.losses)
    assert negated.difference == -plain.difference


@given(finite_differences, st.integers(0, 11), st.sampled_from([1.0, 8.0, INF]))
def test_a_larger_difference_never_lowers_the_estimate_or_the_ends(d, index, gain):
    raised = list(d)
    raised[index % len(d)] += gain
    assert statistics.typical_difference(raised) >= statistics.typical_difference(d)
    for after, before in zip(statistics.interval(raised), statistics.interval(d), strict=True):
        assert after >= before


def test_power_grows_with_effect_and_replicates_and_falls_with_comparisons():
    d = np.random.default_rng(6).standard_normal(N)
    powers = [statistics.power_at(effect, d) for effect in (0.0, 0.5, 1.0, 2.0, 9.0)]
    assert powers == sorted(powers)
    assert powers[0] < 0.05
    assert powers[-1] == 1.0
    assert statistics.power_at(-1.0, d) == powers[2]
    detectable = [statistics.detectable_difference(d, m) for m in (1, 2, 5, 10)]
    assert detectable == sorted(detectable)
    assert statistics.detectable_difference([*d, *d]) < detectable[0]


# --- the verdict ----------------------------------------------------------------------------


def test_verdicts_of_a_small_race():
    rng = np.random.default_rng(7)
    loss = 0.5 + 0.01 * rng.standard_normal(N)
    effects = statistics.compare(
        loss,
        {
            "lower": loss - 0.1 + 0.01 * rng.standard_normal(N),
            "higher": loss + 0.1 + 0.01 * rng.standard_normal(N),
            "same": loss + 0.001 * rng.standard_normal(N),
            "noisy": loss + 0.2 * rng.standard_normal(N),
        },
        better="lower",
        margin=0.01,
    )
    verdicts = {name: effect.verdict for name, effect in effects.items()}
    assert list(verdicts) == ["lower", "higher", "same", "noisy"]
    assert list(verdicts.values()) == ["better", "worse", "equivalent", "undecided"]
    assert effects["lower"].wins == N
    assert effects["lower"].p_value == 2 / 1024
    assert effects["lower"].adjusted_p_value == 8 / 1024
    assert effects["lower"].low < effects["lower"].difference < effects["lower"].high < 0
    assert effects["noisy"].detectable > 0.1


def test_an_effect_holds_the_statistics_of_its_differences():
    baseline, contender = np.random.default_rng(9).standard_normal((2, N))
    d = contender - baseline
    contenders = {"c": contender, "twin": contender}
    effect = statistics.compare(baseline, contenders, better="lower", alpha=0.1)["c"]
    assert (effect.low, effect.high) == statistics.interval(d, 0.9)
    assert effect.difference == statistics.typical_difference(d)
    assert effect.mean == pytest.approx(d.mean())
    assert effect.p_value == statistics.paired_p_value(d)
    assert effect.adjusted_p_value == min(1.0, 2 * effect.p_value)
    assert effect.detectable == statistics.detectable_difference(d, 2, alpha=0.1)
    assert (effect.wins, effect.losses) == (np.sum(d < 0), np.sum(d > 0))


def test_a_sure_difference_below_the_margin_is_equivalent():
    baseline = np.arange(N, dtype=float)
    effect = statistics.compare(baseline, {"c": baseline + 0.5}, better="higher", margin=1)["c"]
    assert effect.p_value < 0.05
    assert effect.verdict == "equivalent"


def test_identical_runs_are_equivalent_and_too_few_of_them_undecided():
    for n, verdict in ((4, "undecided"), (5, "equivalent")):  # five give a 90 % interval
        values = np.linspace(0, 1, n)
        effect = statistics.compare(values, {"c": values}, better="higher")["c"]
        assert effect.verdict == verdict
        assert effect.p_value == 1.0
        assert (effect.wins, effect.ties, effect.losses) == (0, n, 0)


def test_one_replicate_decides_nothing():
    effect = statistics.compare([1.0], {"c": [2.0]}, better="higher", margin=5.0)["c"]
    assert effect.verdict == "undecided"
    assert (effect.low, effect.high, effect.difference) == (-INF, INF, 1.0)
    assert (effect.p_value, effect.detectable) == (1.0, INF)


@pytest.mark.parametrize("failed", [NAN, INF, -INF])
@pytest.mark.parametrize(("better", "worst"), [("higher", -INF), ("lower", INF)])
def test_a_failed_run_is_worst_however_it_is_written(failed, better, worst):
    baseline = np.arange(N, dtype=float)
    contender = baseline.copy()
    contender[0] = failed
    effect = statistics.compare(baseline, {"c": contender}, better=better, margin=1.0)["c"]
    assert (effect.wins, effect.ties, effect.losses, effect.failures) == (0, N - 1, 1, 1)
    assert effect.mean == worst
    assert effect.verdict == "undecided"  # nine equal runs do not make up for a failure
    assert math.isnan(effect.detectable)


def test_failures_in_every_replicate_lose_and_shared_failures_tie():
    baseline = np.arange(N, dtype=float)
    lost = statistics.compare(baseline, {"c": np.full(N, NAN)}, better="lower")["c"]
    assert (lost.verdict, lost.difference, lost.failures) == ("worse", INF, N)
    shared = statistics.compare(np.full(N, NAN), {"c": np.full(N, INF)}, better="lower")["c"]
    assert (shared.verdict, shared.difference, shared.ties) == ("equivalent", 0.0, N)


def test_failures_of_both_sides_in_turn_forbid_equivalence():
    baseline = np.zeros(40)
    contender = np.zeros(40)
    baseline[0] = contender[1] = NAN
    effect = statistics.compare(baseline, {"c": contender}, better="higher", margin=1.0)["c"]
    assert (effect.low, effect.high) == (0.0, 0.0)
    assert math.isnan(effect.mean)
    assert effect.verdict == "undecided"


def test_one_disaster_forbids_equivalence():
    contender = np.zeros(N)
    contender[3] = -100.0
    effect = statistics.compare(np.zeros(N), {"c": contender}, better="higher", margin=1.0)["c"]
    assert effect.verdict == "undecided"


# --- times, profiles, tuning curves ---------------------------------------------------------


def test_time_to_target_censors_misses():
    assert statistics.time_to_target([10, 30, 20, INF, NAN, 101], 100) == statistics.TimeToTarget(
        reached=3, n=6, median=30.0, restricted_mean=60.0
    )
    missed = statistics.time_to_target([10, INF, INF], 100)
    assert (missed.reached, missed.median, missed.restricted_mean) == (1, INF, 70.0)


def test_speed_ratio_of_a_constant_factor():
    baseline = np.random.default_rng(8).lognormal(size=N)
    assert statistics.speed_ratio(baseline, 0.5 * baseline) == statistics.SpeedRatio(
        *(pytest.approx(0.5),) * 3
    )


def test_speed_ratio_ranks_misses_and_shared_misses_tie():
    baseline = np.full(N, 10.0)
    assert statistics.speed_ratio(baseline, np.full(N, NAN)).ratio == INF
    assert statistics.speed_ratio(np.full(N, INF), baseline).ratio == 0.0
    assert statistics.speed_ratio(np.full(N, INF), np.full(N, INF)).ratio == 1.0
    contender = np.full(N, 5.0)
    contender[0] = INF
    found = statistics.speed_ratio(baseline, contender)
    assert (found.ratio, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5), INF)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=12))
def test_swapped_sides_invert_the_speed_ratio(pairs):
    baseline, contender = zip(*pairs, strict=True)
    there = statistics.speed_ratio(baseline, contender)
    back = statistics.speed_ratio(contender, baseline)
    assert there.ratio * back.ratio == pytest.approx(1.0)
    if len(pairs) > 5:
        assert there.low * back.high == pytest.approx(1.0)


def test_performance_profile_by_hand():
    profiles = statistics.performance_profile(
        {"a": [1.0, 30.0, INF, NAN], "b": [2.0, 10.0, 50.0, INF], "c": [9.0, INF, 50.0, INF]}
    )
    assert profiles["a"].tau == (1.0, 2.0, 3.0, 4.0)
    assert profiles["a"].share == (0.25, 0.25, 0.5, 0.5)
    assert profiles["b"].share == (0.5, 0.75, 0.75, 0.75)
    assert profiles["c"].share == (0.25, 0.25, 0.25, 0.25)
    areas = [profile.area for profile in profiles.values()]
    assert areas == pytest.approx([(0.25 + 0.25 + 0.5) / 3, (0.5 + 0.75 + 0.75) / 3, 0.25])


@given(
    st.integers(1, 6).flatmap(
        lambda problems: st.lists(
            st.lists(
                st.one_of(st.integers(1, 50), st.just(INF)), min_size=problems, max_size=problems
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_area_is_the_integral_of_the_profile(rows):
    costs = {str(i): row for i, row in enumerate(rows)}
    for profile in statistics.performance_profile(costs).values():
        integral = np.dot(np.diff(profile.tau), profile.share[:-1])
        assert profile.area == pytest.approx(integral / 3, abs=1e-12)
        assert list(profile.share) == sorted(profile.share)
        assert 0.0 <= profile.area <= 1.0


def test_best_so_far_follows_the_direction_and_skips_failures():
    trials = [NAN, 3.0, INF, 1.0, -INF, 2.0, 4.0]
    np.testing.assert_equal(
        statistics.best_so_far(trials, "higher"), [-INF, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0]
    )
    np.testing.assert_equal(
        statistics.best_so_far(trials, "lower"), [INF, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0]
    )


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.paired_p_value([]), "non-empty"),
        (lambda: statistics.paired_p_value([[1.0, 2.0]]), "flat"),
        (lambda: statistics.interval([1.0, NAN]), "nan"),
        (lambda: statistics.interval([1.0], level=1.0), "level must lie"),
        (lambda: statistics.holm([0.1, 1.1]), r"\[0, 1\]"),
        (lambda: statistics.holm([NAN]), r"\[0, 1\]"),
        (lambda: statistics.can_reach_significance(0), "n must be at least 1"),
        (lambda: statistics.minimum_replicates(0), "n_comparisons must be at least 1"),
        (lambda: statistics.minimum_replicates(alpha=0.0), "alpha must lie"),
        (lambda: statistics.detectable_difference([1.0, 2.0], power=1.0), "power must lie"),
        (lambda: statistics.compare([1.0], {}, better="higher"), "contenders is empty"),
        (lambda: statistics.compare([1.0], {"c": [1.0]}, better="up"), "'higher' or 'lower'"),
        (lambda: statistics.compare([1.0], {"c": [1.0, 2.0]}, better="lower"), "c has 2 values"),
        (lambda: statistics.compare([1.0], {"c": [1.0]}, better="lower", margin=-1), "margin"),
        (lambda: statistics.compare([1.0], {"c": [1.0]}, better="lower", alpha=0.5), "alpha"),
        (lambda: statistics.time_to_target([1.0], budget=INF), "budget"),
        (lambda: statistics.time_to_target([-1.0], budget=1.0), "negative"),
        (lambda: statistics.speed_ratio([0.0], [1.0]), "positive"),
        (lambda: statistics.performance_profile({}), "at least one contender"),
        (lambda: statistics.performance_profile({"a": [1.0], "b": [1.0, 2.0]}), "per problem"),
        (lambda: statistics.performance_profile({"a": [0.0]}), "positive"),
        (lambda: statistics.performance_profile({"a": [1.0]}, r_max=1.0), "r_max"),
        (lambda: statistics.best_so_far([1.0], "up"), "'higher' or 'lower'"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
