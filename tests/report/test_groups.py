"""Groups: every figure against a case worked by hand or by scikit-learn, honest intervals, a calibrated p value."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn import metrics as reference

from privet.errors import DataError
from privet.metrics import wilson
from privet.report import chances, groups, rows
from privet.report.chances import Chance
from privet.report.crowds import Crowd, Guesses
from privet.report.groups import Analysis, analyze
from privet.report.shuffles import exchange
from privet.report.sides import Side
from studies import people, study

Ints = np.ndarray
LEAKY = {"none": {"mlp_probe": 3.0, "weak": 0.2}, "gaussian:sigma=1": {"mlp_probe": 1.0, "weak": 0.1}}


def crowd(s: Any, y: Any, units: Any = None, names: str = "abcdefgh", positive: str = "yes") -> Crowd:
    s, y = np.asarray(s, np.int64), np.asarray(y, np.int64)
    own = np.arange(len(s)) if units is None else np.asarray(units, np.int64)
    return Crowd(tuple(names[: int(s.max()) + 1]), s, y, own, positive)


def guesses(answers: Any, named: Any) -> Guesses:
    """One seed, or several as rows."""
    told = [np.atleast_2d(np.asarray(a, np.int64)) for a in (answers, named)]
    return Guesses("probe", list(told[0]), list(told[1]))


def alone(people: Crowd, told: Guesses, replicates: int = 60) -> Analysis:
    (side,) = groups.sides(people, [told], replicates)
    return analyze(side, side, "none", "s")


def compared(people: Crowd, told: Guesses, raw: Guesses, replicates: int = 60) -> Analysis:
    return analyze(*groups.sides(people, [told, raw], replicates), "defended", "s")


def quick(people: Crowd, told: Guesses, replicates: int = 100) -> Side:
    """A side without shuffles."""
    from privet.auditing.estimate import weights

    return Side(people, told, weights(people.units, replicates, seed=0), Chance())


S = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
Y = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
ANSWER = [0, 1, 1, 1, 0, 0, 1, 1, 0, 0]
NAMED = [0, 0, 0, 1, 0, 1, 1, 1, 1, 1]


def test_a_case_worked_by_hand() -> None:
    a, b = alone(crowd(S, Y), guesses(ANSWER, NAMED)).groups
    assert [g.name for g in (a, b)] == ["a", "b"]
    assert [g.people for g in (a, b)] == [4, 6]
    expected = {
        "accuracy": (3 / 4, 3 / 6),
        "tpr": (2 / 2, 1 / 3),
        "fpr": (1 / 2, 1 / 3),
        "recall": (3 / 4, 5 / 6),
        "precision": (3 / 4, 5 / 6),
        "rate": (4 / 10, 6 / 10),
        "exposure": (3 / 4 - 4 / 10, 5 / 6 - 6 / 10),
        "balanced": ((3 / 4 + 5 / 6) / 2,) * 2,
    }
    for name, values in expected.items():
        assert [getattr(g, name).mean for g in (a, b)] == pytest.approx(values), name


def test_the_summary_worked_by_hand() -> None:
    found = alone(crowd(S, Y), guesses(ANSWER, NAMED))
    assert found.worst is not None
    assert found.gap is not None
    assert found.odds is not None
    assert found.exposure is not None
    assert (found.worst.groups, found.worst.value.mean) == (("b",), pytest.approx(0.5))
    assert (found.gap.groups, found.gap.value.mean) == (("b", "a"), pytest.approx(0.25))
    assert (found.odds.of, found.odds.groups, found.odds.value.mean) == ("tpr", ("b", "a"), pytest.approx(2 / 3))
    assert (found.exposure.groups, found.exposure.value.mean) == (("a",), pytest.approx(0.35))
    assert found.confusion == ((3.0, 1.0), (1.0, 5.0))


def test_proportions_of_independent_people_have_wilsons_interval() -> None:
    a, b = alone(crowd(S, Y), guesses(ANSWER, NAMED)).groups
    cells = [(a.accuracy, 3, 4), (b.tpr, 1, 3), (a.recall, 3, 4), (b.precision, 5, 6), (a.rate, 4, 10)]
    for found, hits, n in cells:
        assert found is not None
        assert (found.low, found.high, found.n) == pytest.approx((*wilson(hits, n), n))


def made(n: int, classes: int, seed: int, seeds: int = 1, knows: float = 0.6) -> tuple[Crowd, Guesses]:
    generator = np.random.default_rng(seed)
    s, y = generator.integers(0, classes, n), generator.integers(0, 2, n)
    named = np.where(generator.random((seeds, n)) < knows, s, generator.integers(0, classes, (seeds, n)))
    answers = np.where(generator.random((seeds, n)) < 0.8, y, 1 - y)
    return crowd(s, y), guesses(answers, named)


def test_against_scikit_learn() -> None:
    people_, told = made(500, 4, seed=1)
    s, y, answers, named = people_.s, people_.y, told.answers[0], told.named[0]
    found = alone(people_, told)
    recall = reference.recall_score(s, named, average=None)
    precision = reference.precision_score(s, named, average=None)
    assert [g.recall.mean for g in found.groups if g.recall] == pytest.approx(list(recall))
    assert [g.precision.mean for g in found.groups if g.precision] == pytest.approx(list(precision))
    assert np.array(found.confusion) == pytest.approx(reference.confusion_matrix(s, named))
    for v, group in enumerate(found.groups):
        mine = s == v
        assert group.accuracy is not None
        assert group.tpr is not None
        assert group.balanced is not None
        assert group.accuracy.mean == pytest.approx(reference.accuracy_score(y[mine], answers[mine]))
        assert group.tpr.mean == pytest.approx(reference.recall_score(y[mine], answers[mine]))
        assert group.balanced.mean == pytest.approx(reference.balanced_accuracy_score(s == v, named == v))
        assert group.exposure.mean == pytest.approx(recall[v] - (named == v).mean())


def test_means_over_seeds_are_what_the_gap_is_of() -> None:
    people_, told = made(300, 3, seed=2, seeds=3)
    found = alone(people_, told)
    by_group = [np.mean([(a == people_.y)[people_.s == v].mean() for a in told.answers]) for v in range(3)]
    assert [g.accuracy.mean for g in found.groups if g.accuracy] == pytest.approx(by_group)
    assert found.gap is not None
    assert found.gap.value.mean == pytest.approx(max(by_group) - min(by_group))
    assert found.seeds == 3


@pytest.mark.parametrize("value", [0, 2])
def test_a_constant_predictor_exposes_nobody_and_is_called_collapsed(value: int) -> None:
    people_, told = made(200, 3, seed=3)
    constant = Guesses("probe", told.answers, [np.full(200, value)])
    found = compared(people_, constant, told)
    assert [g.exposure.mean for g in found.groups] == [0.0, 0.0, 0.0]
    assert [g.balanced.mean for g in found.groups if g.balanced] == [0.5, 0.5, 0.5]
    assert [g.recall.mean for g in found.groups if g.recall] == [float(v == value) for v in range(3)]
    assert (found.collapsed, found.collapsed_seeds, found.undefended_collapsed) == ("abc"[value], 1, "")
    assert found.exposure is not None
    assert found.exposure.value.mean == 0
    assert found.exposure.change.high < 0
    assert [g.precision is None for g in found.groups] == [v != value for v in range(3)]


def test_an_attack_that_is_right_about_a_large_majority_has_not_collapsed() -> None:
    s = np.repeat([0, 1], [180, 20])
    people_ = crowd(s, s)
    assert alone(people_, guesses(s, s)).collapsed == ""
    assert alone(people_, guesses(s, np.zeros(200))).collapsed == "a"
    nearly = np.where(np.arange(200) < 195, 0, 1)
    assert alone(people_, guesses(s, nearly)).collapsed == "a"


def test_a_collapse_to_a_value_that_no_victim_holds_is_seen() -> None:
    people_ = replace(crowd([0, 1] * 20, [0, 1] * 20), names=("a", "b", "c"))
    found = alone(people_, guesses(people_.y, np.full(40, 2)))
    assert found.collapsed == "c"
    assert [g.exposure.mean for g in found.groups] == [0.0, 0.0]


def test_one_seed_of_three_may_collapse() -> None:
    people_, told = made(200, 3, seed=4, seeds=3)
    fallen = Guesses("probe", told.answers, [told.named[0], np.ones(200, np.int64), told.named[2]])
    found = alone(people_, fallen)
    assert (found.collapsed, found.collapsed_seeds) == ("b", 1)


# -------------------------------------------------------------------------------------------------- intervals


def test_examples_of_one_person_are_one_person() -> None:
    """Ten equal pictures of each of 40 people carry the information of 40, not of 400."""
    generator = np.random.default_rng(5)
    s, right = np.repeat(generator.integers(0, 2, 40), 10), np.repeat(generator.random(40) < 0.6, 10)
    people_ = crowd(s, np.ones(400), np.repeat(np.arange(40), 10), positive="")
    for v, group in enumerate(alone(people_, guesses(right.astype(int), s)).groups):
        rate, n = right[s == v].mean(), int((s == v).sum()) // 10
        honest, naive = (np.subtract(*wilson(rate * size, size)[::-1]) for size in (n, 10 * n))
        assert group.accuracy is not None
        assert (group.people, group.persons) == (10 * n, n)
        assert group.accuracy.high - group.accuracy.low == pytest.approx(honest, rel=0.25)
        assert group.accuracy.high - group.accuracy.low > 2 * naive


@pytest.mark.parametrize("size", [6, 25])
def test_intervals_of_exposure_and_of_what_changed_cover_the_truth(size: int) -> None:
    """A group of `size` beside 200 others: 95 % intervals hold the true value at least 90 times in 100."""
    generator, held = np.random.default_rng(6), np.zeros((3, 250))
    recall, raw_recall, false = 0.5, 0.8, 0.1
    for trial in range(held.shape[1]):
        s = np.repeat([0, 1], [size, 200])
        luck = generator.random(len(s))
        named, raw = (np.where(luck < np.where(s == 0, r, false), 0, 1) for r in (recall, raw_recall))
        sides = [quick(crowd(s, s), guesses(named, n), 80) for n in (named, raw)]
        found = analyze(*sides).groups[0]
        share, raw_share = ((size * r + 200 * false) / (size + 200) for r in (recall, raw_recall))
        truth = recall - share
        change = truth - (raw_recall - raw_share)
        assert found.exposure_change is not None
        held[0, trial] = found.exposure.low <= truth <= found.exposure.high
        held[1, trial] = found.exposure_change.low <= change <= found.exposure_change.high
        held[2, trial] = found.exposure_change.low < found.exposure_change.high
    assert held.mean(axis=1).min() > 0.9


def test_a_group_of_five_is_told_with_an_interval_and_nothing_is_claimed_of_it() -> None:
    s = np.repeat([0, 1], [5, 195])
    y = np.arange(200) % 2
    told = guesses(y, s)
    found = compared(crowd(s, y), told, told)
    small = found.groups[0]
    for estimate in (small.accuracy, small.recall):
        assert estimate is not None
        assert (estimate.low, estimate.high) == pytest.approx(wilson(5, 5))
    assert small.accuracy_change is not None
    assert small.accuracy_change.mean == 0
    assert small.accuracy_change.high == pytest.approx(wilson(0, 5)[1])
    assert small.exposure.low < 0.6 < small.exposure.high
    assert any("Fewer than 20 people" in note and "a" in note for note in found.notes)
    assert found.gap is not None
    assert found.gap.change.low < -0.2 < 0.2 < found.gap.change.high


def test_who_is_never_named_may_still_be_exposed_where_they_are_few() -> None:
    s = np.repeat([0, 1], [5, 195])
    small, large = alone(crowd(s, s), guesses(s, np.ones(200))).groups
    assert small.exposure.mean == 0
    assert small.exposure.high == pytest.approx(wilson(0, 5)[1])
    assert large.exposure.mean == 0
    assert large.exposure.low == pytest.approx(wilson(195, 195)[0] - 1)


def test_strange_crowds_do_not_crash() -> None:
    y = [0, 1, 0, 1, 1, 0]
    lone = alone(crowd([0, 1, 1, 1, 1, 1], y), guesses(y, [0, 1, 1, 1, 0, 1]))
    assert lone.groups[0].recall is not None
    assert (lone.groups[0].recall.low, lone.groups[0].recall.high) == pytest.approx(wilson(1, 1))
    assert all(math.isfinite(v) for g in lone.groups for v in (g.exposure.low, g.exposure.high))
    one_person = alone(crowd([0, 0, 1, 1, 1, 1], y, [7, 7, 1, 2, 3, 4]), guesses(y, [0, 1, 1, 1, 0, 1]))
    assert (one_person.groups[0].people, one_person.groups[0].persons) == (2, 1)
    unlabelled = alone(crowd([0, 0, 1, 1, 1, 1], [-1, -1, 1, 0, 1, 0]), guesses(y, [0, 0, 1, 1, 1, 1]))
    assert unlabelled.groups[0].accuracy is None
    assert unlabelled.groups[0].accuracy_change is None
    assert (unlabelled.gap, unlabelled.worst, unlabelled.odds) == (None, None, None)
    assert unlabelled.exposure is not None
    with pytest.raises(DataError, match="two or more"):
        alone(crowd([0, 1], [0, 1], [3, 3]), guesses([0, 1], [0, 1]))


def test_one_class_has_nothing_to_compare() -> None:
    y = np.arange(40) % 2
    found = alone(crowd(np.zeros(40), y), guesses(y, np.zeros(40)))
    assert (found.gap, found.worst, found.odds, found.exposure, found.p_value) == (None,) * 5
    assert found.groups[0].exposure.mean == 0
    assert found.groups[0].balanced is None
    assert found.collapsed == ""
    assert "nothing to compare" in " ".join(found.notes)


def test_a_value_that_no_victim_holds_is_left_out_with_a_note() -> None:
    s, y = np.arange(60) % 2 * 2, np.arange(60) % 3 % 2
    found = alone(replace(crowd(s, y), names=("a", "b", "c", "d")), guesses(y, np.arange(60) % 4))
    assert [g.name for g in found.groups] == ["a", "c"]
    assert found.left_out == ("b", "d")
    assert "Left out, because no victim holds it: b, d." in found.notes
    assert np.array(found.confusion).sum() == 30  # half of the guesses name what nobody holds


# ---------------------------------------------------------------------------------------------------- shuffles


def test_the_p_value_is_that_of_chi_squared() -> None:
    generator = np.random.default_rng(8)
    s, wrong = generator.integers(0, 3, 900), generator.random(900)
    for base in (0.2, 0.25, 0.3):
        bad = wrong < np.where(s == 0, base, 0.2)
        table = np.array([[(bad == k)[s == v].sum() for v in range(3)] for k in (0, 1)])
        exact = chi2_contingency(table, correction=False).pvalue
        found = alone(crowd(s, np.ones(900)), guesses(1 - bad, s)).p_value
        assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 999) + 0.002)


def rejected(units: Ints, errors: Any, labels: Any, monkeypatch: pytest.MonkeyPatch, trials: int = 400) -> float:
    """Share of p values at or below 0.05; errors and labels make [N] from a generator."""
    monkeypatch.setattr(chances, "SHUFFLES", 99)
    generator, low = np.random.default_rng(9), 0
    for _ in range(trials):
        s = labels(generator)
        (found,) = chances.chances(
            crowd(s, np.ones(len(units)), units, positive=""), [guesses(1 - errors(generator, s), s)]
        )
        assert found.p_value is not None
        low += found.p_value <= 0.05
    return low / trials


def test_the_p_value_is_calibrated_on_people(monkeypatch: pytest.MonkeyPatch) -> None:
    share = rejected(np.arange(120), lambda g, s: g.random(120) < 0.2, lambda g: g.integers(0, 3, 120), monkeypatch)
    assert 0.025 <= share <= 0.08  # 0.05 with a standard error of 0.011


def test_the_p_value_is_calibrated_on_clusters_and_would_not_be_on_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty persons of six examples each, who are all right or all wrong, of one group each."""
    who = np.repeat(np.arange(40), 6)

    def labels(generator: np.random.Generator) -> Ints:
        return generator.integers(0, 2, 40)[who]

    def errors(generator: np.random.Generator, s: Ints) -> Ints:
        return (generator.random(40) < 0.3)[who]

    assert 0.02 <= rejected(who, errors, labels, monkeypatch) <= 0.085
    assert rejected(np.arange(240), errors, labels, monkeypatch) > 0.3


def test_the_p_value_is_calibrated_where_labels_differ_within_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons smile on some pictures: those with equally many pictures exchange all of their labels."""
    who = np.repeat(np.arange(50), np.tile([2, 3], 25))

    def labels(generator: np.random.Generator) -> Ints:
        return (generator.random(len(who)) < generator.random(50)[who]).astype(int)

    def errors(generator: np.random.Generator, s: Ints) -> Ints:
        return generator.random(len(who)) < generator.random(50)[who] * 0.6

    assert 0.02 <= rejected(who, errors, labels, monkeypatch) <= 0.085


def test_a_planted_dependence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def errors(generator: np.random.Generator, s: Ints) -> Ints:
        return generator.random(300) < np.where(s == 0, 0.3, 0.1)

    assert rejected(np.arange(300), errors, lambda g: g.integers(0, 3, 300), monkeypatch, 60) > 0.9


def test_luck_is_what_equal_groups_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing depends on the group, gap, odds and exposure stay below `chance` in 95 of 100 studies."""
    monkeypatch.setattr(chances, "SHUFFLES", 99)
    generator, below = np.random.default_rng(10), []
    for _ in range(150):
        s, y = generator.integers(0, 3, 150), generator.integers(0, 2, 150)
        answers = np.where(generator.random(150) < 0.8, y, 1 - y)
        found = alone(crowd(s, y), guesses(answers, generator.integers(0, 3, 150)), 10)
        figures = (found.gap, found.odds, found.exposure)
        below.append([f.value.mean <= f.chance + 1e-9 for f in figures if f is not None and f.chance is not None])
    assert np.mean(below, axis=0) == pytest.approx(0.95, abs=0.05)


def test_the_luck_of_the_odds_leaves_people_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five people of the first group have the positive answer, of the second a hundred: a gap of TPR arises by luck."""
    monkeypatch.setattr(chances, "SHUFFLES", 99)
    generator, below = np.random.default_rng(12), []
    s, y = np.repeat([0, 0, 1, 1], [95, 5, 100, 100]), np.repeat([0, 1, 0, 1], [95, 5, 100, 100])
    for _ in range(80):
        answers = np.where(generator.random(300) < 0.7, y, 1 - y)
        found = alone(crowd(s, y), guesses(answers, s), 10)
        assert found.odds is not None
        assert found.odds.chance is not None
        below.append(found.odds.value.mean <= found.odds.chance + 1e-9)
    assert np.mean(below) >= 0.88


def test_a_value_that_nobody_holds_is_no_group() -> None:
    people_ = replace(crowd([0, 2, 2], [0, 1, 1]), names=("a", "b", "c", "d"))
    assert people_.index(np.array([0, 1, 2, 3])).tolist() == [0, -1, 1, -1]


def test_whole_persons_change_places_and_the_target_stays() -> None:
    units = np.array([5, 5, 5, 1, 2, 2, 9, 8, 7])
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 2, 1])
    deal = exchange(labels, units)
    dealt = np.concatenate(list(deal.draws(200, 0)))
    assert (dealt[:, 0] == dealt[:, 1]).all()
    assert (dealt[:, 4] == dealt[:, 5]).all()
    assert len({tuple(row) for row in dealt}) > 30
    of_persons = dealt[:, [0, 3, 4, 6, 7, 8]]
    assert (np.sort(of_persons, axis=1) == np.sort([0, 1, 1, 0, 2, 1])).all()
    like = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0])
    for row in np.concatenate(list(exchange(labels, units, like).draws(50, 1))):
        assert sorted(row[[0, 3, 8]]) == [0, 1, 1]
        assert sorted(row[[4, 6, 7]]) == [0, 1, 2]


def test_labels_that_differ_within_a_person_move_together() -> None:
    units, labels = np.array([1, 1, 2, 2, 3, 3, 3]), np.array([0, 1, 1, 1, 0, 0, 1])
    deal = exchange(labels, units)
    seen = {tuple(row) for chunk in deal.draws(50, 0) for row in chunk}
    assert seen == {(0, 1, 1, 1, 0, 0, 1), (1, 1, 0, 1, 0, 0, 1)}
    assert deal.movable == pytest.approx(4 / 7)


def test_no_p_value_where_hardly_anybody_can_move() -> None:
    units, s = np.repeat(np.arange(6), [2, 3, 4, 5, 6, 7]), np.arange(27) % 2
    found = alone(crowd(s, s, units), guesses(s, s))
    assert found.p_value is None
    assert found.gap is not None
    assert found.gap.chance is None
    assert any(note.startswith("No p value") for note in found.notes)


def test_the_same_twice_and_other_generators_have_no_say() -> None:
    people_, told = made(150, 3, seed=11)
    np.random.seed(1)
    first = alone(people_, told)
    np.random.seed(2)
    assert alone(people_, told) == first


# ------------------------------------------------------------------------------------------------- whole studies


def test_a_study_has_every_attribute_under_every_defense_by_its_headline() -> None:
    plan, runs = study(people(victim=400), LEAKY)
    for run in runs.values():
        run.record["results"]["selection"]["s"]["weak"]["accuracy"] = 0.999
    results = rows.results(plan, runs)
    assert [(g.defense, g.attribute, g.attack) for g in results.groups] == [(d, "s", "weak") for d in LEAKY]
    for found in results.groups:
        head = next(r for r in results.rows if (r.defense, r.metric) == (found.defense, "accuracy") and r.headline)
        assert head.attack == found.attack
        assert head.groups == found
        right = sum(found.confusion[v][v] for v in range(3)) / found.people
        assert right == pytest.approx(head.value.mean)
        held = sum(g.accuracy.mean * g.people for g in found.groups if g.accuracy) / found.people
        assert held == pytest.approx(head.utility.mean)


def test_the_json_lines_carry_the_groups_once_and_keep_their_other_keys() -> None:
    results = rows.results(*study(people(victim=400), LEAKY))
    carrying = [r for r in results.rows if r.json()["groups"] is not None]
    assert [(r.defense, r.metric, r.headline) for r in carrying] == [(d, "accuracy", True) for d in LEAKY]
    whole = json.loads(json.dumps(carrying[1].json(), allow_nan=False))["groups"]
    assert whole["attack"] == carrying[1].attack
    assert {"name", "people", "recall", "precision", "rate", "exposure"} <= set(whole["groups"][0])
    assert set(whole["gap"]["change"]) == {"mean", "low", "high", "n"}


def test_missing_labels_are_left_out_and_counted() -> None:
    corpus = people(victim=400)
    corpus.victim.s["s"][:30] = -1
    results = rows.results(*study(corpus, LEAKY))
    assert {g.people for g in results.groups} == {370}
    assert "30 victims without this label are left out." in results.groups[0].notes


def test_an_unfinished_defense_is_compared_on_its_own_seeds() -> None:
    plan, runs = study(people(victim=400), LEAKY)
    whole = rows.results(plan, runs).groups
    del runs["gaussian:sigma=1", 1]
    part = rows.results(plan, runs).groups
    assert [g.seeds for g in part] == [2, 1]
    assert part[0] == whole[0]
    assert part[1].gap is not None
    one = [runs["none", 0].arrays[k] for k in ("victim/target", "victim/answer", "victim/hidden/s")]
    by_group = [(one[0] == one[1])[one[2] == v].mean() for v in range(3)]
    assert part[1].gap.undefended.mean == pytest.approx(max(by_group) - min(by_group))


def test_where_persons_are_what_is_hidden_examples_are_independent() -> None:
    plan, runs = study(people(victim=400), LEAKY)
    for run in runs.values():
        run.arrays["victim/groups"] = run.arrays["victim/hidden/s"].copy()
    plan["data"]["flags"] = ["hidden_is_group"]
    (found,) = [g for g in groups.analyses(rows.Runs(plan, runs)) if g.defense == "none"]
    assert found.persons == 400
    assert found.p_value is not None
    assert found.p_value < 1


def test_a_study_without_an_attack_on_attributes_has_no_groups() -> None:
    plan, runs = study(people(victim=300), LEAKY, pictures={"none": 8.0, "gaussian:sigma=1": 2.0})
    for key, run in runs.items():
        del run.record["results"]["selection"]["s"]
        runs[key] = replace(run, arrays={k: v for k, v in run.arrays.items() if "/s/" not in k})
    assert rows.results(plan, runs).groups == ()
