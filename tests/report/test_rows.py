"""Runs to rows: floors, the scale, the headline's selection, and every flag where it belongs and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privet.auditing.checks import BATTERY, Check
from privet.data.corpus import Corpus
from privet.errors import RunError
from privet.report import html, rows
from privet.report.results import Results, Row
from studies import people, study

CORPUS = people(victim=400)
LEAKY = {"none": {"mlp_probe": 3.0}, "gaussian:sigma=1": {"mlp_probe": 1.0}}


def made(knowledge: Mapping[str, Mapping[str, float]], corpus: Corpus = CORPUS, **more: Any) -> Results:
    return rows.results(*study(corpus, knowledge, **more))


def one(results: Results, defense: str, metric: str = "accuracy", attack: str | None = None) -> Row:
    mine = [r for r in results.rows if r.defense == defense and r.metric == metric and r.attribute != "input"]
    found = [r for r in mine if attack in (None, r.attack)]
    return next((r for r in found if r.headline), found[0]) if attack is None else found[0]


def test_one_absolute_scale() -> None:
    results = made(LEAKY)
    raw, defended = one(results, "none"), one(results, "gaussian:sigma=1")
    assert raw.normalized == pytest.approx(1.0)
    assert defended.undefended == raw.value
    assert defended.floor == raw.floor
    expected = (defended.value.mean - raw.floor.mean) / (raw.value.mean - raw.floor.mean)
    assert defended.normalized == pytest.approx(expected)
    assert 0 < expected < 1
    for row in results.rows:
        assert row.value.low <= row.value.mean <= row.value.high
        assert row.advantage is not None
        assert row.advantage.mean == pytest.approx(row.value.mean - row.floor.mean)
    assert raw.floor.mean == pytest.approx(
        np.bincount(CORPUS.victim.s["s"])[np.bincount(CORPUS.aux_train.s["s"]).argmax()] / 400
    )


def test_the_highest_floor_is_the_floor() -> None:
    def side(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        if defense == "none":
            known = np.eye(3)[CORPUS.victim.s["t"]] * 0.9 + 0.1 / 3
            arrays["floor/s/imputation"] = known / known.sum(1, keepdims=True)

    results = made(LEAKY, edit=side)
    row = one(results, "none")
    floors = results.floors["s"]["accuracy"]
    assert set(floors) == {"majority", "label_only", "imputation"}
    assert row.floor == floors["imputation"]
    assert row.floor.mean > floors["majority"].mean + 0.3


def test_nothing_to_hide_has_no_scale() -> None:
    results = made({"none": {"mlp_probe": 0.0}, "gaussian:sigma=1": {"mlp_probe": 0.0}})
    for defense in results.defenses:
        row = one(results, defense)
        assert row.normalized is None
        assert "nothing_to_hide" in row.flags
    assert "nothing_to_hide" in results.flags
    assert all("nothing_to_hide" not in r.flags for r in made(LEAKY).rows if r.metric == "accuracy")


def test_adversaries_that_only_some_defenses_have() -> None:
    """The mask alone is an attack and may be the headline; the co-trained one has a row and is never selected, however
    good; a collapsed one is labelled."""

    def beside(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        if defense != "none":
            arrays["cotrained/s/server"] = np.tile([0.9, 0.05, 0.05], (len(CORPUS.victim), 1))
            arrays["mask/s/mlp_probe"] = np.eye(3)[CORPUS.victim.s["s"]] * 0.9 + 0.1 / 3

    plan, runs = study(CORPUS, LEAKY, edit=beside)
    results = rows.results(plan, runs)
    names = {r.attack for r in results.rows if r.defense == "none" and r.attribute == "s"}
    assert names == {"mlp_probe"}
    collapsed, mask = (one(results, "gaussian:sigma=1", attack=a) for a in ("cotrained:server", "mask:mlp_probe"))
    head = one(results, "gaussian:sigma=1")
    assert head.attack == "mlp_probe"
    assert mask.value.mean == 1.0 > head.value.mean
    assert "collapsed" in collapsed.flags
    assert not {"collapsed", "below_floor"} & {*mask.flags, *head.flags}
    page = html.render(results)
    assert "server (trained beside the defense, never selected)" in page
    assert "mlp probe (which values came, nothing else)" in page
    for (defense, _), run in runs.items():
        if defense != "none":
            run.record["results"]["selection"]["s"]["mask:mlp_probe"] = {"accuracy": 1.0, "bits": 1.0, "auc": 1.0}
    selected = one(rows.results(plan, runs), "gaussian:sigma=1")
    assert (selected.attack, selected.value.mean) == ("mask:mlp_probe", 1.0)
    assert selected.groups is not None


def test_one_headline_for_each_defense_attribute_and_metric() -> None:
    knowledge = {d: {f"attack_{i}": k * i / 3 for i in range(4)} for d, k in (("none", 3.0), ("coin_flip", 1.0))}
    results = made(knowledge, pictures={"none": 8.0, "coin_flip": 3.0})
    heads = [(r.defense, r.attribute, r.metric) for r in results.rows if r.headline]
    assert len(heads) == len(set(heads)) == len({(r.defense, r.attribute, r.metric) for r in results.rows})
    assert one(results, "none").attack == "attack_3"
    assert {r.metric for r in results.rows if r.attribute == "input"} == {"psnr"}


def test_the_headline_is_selected_on_aux_val_alone() -> None:
    """The attack that is best on aux_val leads, though another is better on the victims."""
    plan, runs = study(CORPUS, {"none": {"a": 0.5, "b": 3.0}})
    for run in runs.values():
        run.record["results"]["selection"]["s"]["a"]["accuracy"] = 0.999
    row = one(rows.results(plan, runs), "none")
    assert row.attack == "a"
    assert row.value.mean < one(rows.results(plan, runs), "none", attack="b").value.mean


def coin_flips() -> tuple[list[float], list[float]]:
    """Ten random adversaries against 100 people, twelve times: the headline's excess over the truth, the maximum's."""
    headline, maximum = [], []
    for seed in range(12):
        corpus = people(leak=0.0, classes=2, victim=100, aux_val=100, seed=seed)
        results = made({"none": {f"random_{i}": 0.0 for i in range(10)}}, corpus, seeds=1, seed=seed, replicates=20)
        row = one(results, "none")
        headline.append(row.value.mean - 0.5)
        maximum.append(max(r.value.mean for r in results.rows if r.metric == "accuracy") - 0.5)
        assert row.advantage is not None
    return headline, maximum


def test_ten_random_adversaries_do_not_lift_the_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error of the mean of twelve headlines: 0.0145. A maximum over victims would be 0.077 too high."""
    headline, maximum = coin_flips()
    assert abs(np.mean(headline)) < 0.035
    assert np.mean(maximum) > 0.06

    def on_victims(self: rows.Runs, defense: str, goal: str, metric: str) -> str:
        names = {a for a, m in self.scores(goal) if m == metric}
        return max(names, key=lambda a: float(self.cell(defense, goal, a, metric).tables[0][0]))

    monkeypatch.setattr(rows.Runs, "headline", on_victims)
    assert np.mean(coin_flips()[0]) > 0.06  # the fault is seen


def test_ten_random_adversaries_beside_a_reference_stay_at_the_floor() -> None:
    many = {f"random_{i}": 0.0 for i in range(10)}
    results = made({"none": many | {"mlp_probe": 3.0}, "gaussian:sigma=1": many | {"mlp_probe": 0.0}}, seeds=3)
    row = one(results, "gaussian:sigma=1")
    assert row.advantage is not None
    assert row.advantage.low <= 0.02
    assert one(results, "none").attack == "mlp_probe"


def flags(results: Results, defense: str = "gaussian:sigma=1", metric: str = "accuracy") -> set[str]:
    return set(one(results, defense, metric).flags)


def test_a_good_study_raises_no_flag() -> None:
    assert flags(made(LEAKY)) == set()
    assert set(made(LEAKY).flags) == {"unresolved"}  # one in a thousand of so few is nobody


@pytest.mark.parametrize(
    ("flag", "more"),
    [
        ("one_seed", {"seeds": 1}),
        ("quick_effort", {"effort": "quick"}),
        ("single_query", {"stochastic": True}),
        ("saturated", {"saturated": 3}),
        ("utility_lost", {"utility": 0.5}),
        ("few_victims", {"corpus": people(victim=90)}),
        ("underfit", {"logs": {"s/mlp_probe": {"underfit": True}}}),
    ],
)  # fmt: skip
def test_flags_of_the_study(flag: str, more: dict[str, Any]) -> None:
    results = made(LEAKY, **more)
    assert flag in flags(results)
    assert set(results.flags[flag]) == {"explanation", "what_to_do"}


def test_few_victims_of_a_costly_attack_on_inputs() -> None:
    """Asked about fifty of 400: flagged, and the sentence says of how many it speaks."""

    def some(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        arrays["score/input/decoder/psnr"][50:] = np.nan

    few, all_of_them = (made(LEAKY, pictures=dict.fromkeys(LEAKY, 6.0), edit=edit) for edit in (some, None))
    (row, *_) = (r for r in few.rows if r.attribute == "input")
    assert (row.value.n, "few_victims" in row.flags) == (50, True)
    assert not any("few_victims" in r.flags for r in (*all_of_them.rows, *(r for r in few.rows if r.attribute == "s")))
    assert "; 50 of 400 victims)" in html.render(few)
    assert "of 400 victims)" not in html.render(all_of_them)


def test_a_repeated_threat_answers_single_query() -> None:
    assert "single_query" not in flags(made(LEAKY, stochastic=True, threat="repeated"))


def test_small_class_counts_values_that_no_victim_has() -> None:
    corpus = people(victim=400)
    rare = np.flatnonzero(corpus.victim.s["s"] == 2)
    corpus.victim.s["s"][rare[10:]] = 0
    assert "small_class" in flags(made(LEAKY, corpus))
    corpus.victim.s["s"][rare] = 0
    assert "small_class" in flags(made(LEAKY, corpus))
    assert "small_class" not in flags(made(LEAKY))


def test_collapsed() -> None:
    def constant(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        if defense != "none":
            arrays["posterior/s/mlp_probe"][:] = [0.5, 0.3, 0.2]

    assert "collapsed" in flags(made(LEAKY, edit=constant))
    assert "collapsed" not in flags(made(LEAKY, edit=constant), "none")


def test_below_floor() -> None:
    def wrong(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        if defense != "none":
            arrays["posterior/s/mlp_probe"] = 0.5 * (1 - np.eye(3)[CORPUS.victim.s["s"]])

    assert "below_floor" in flags(made(LEAKY, edit=wrong))


def test_above_undefended() -> None:
    swapped = {"none": {"mlp_probe": 1.0}, "gaussian:sigma=1": {"mlp_probe": 3.0}}
    results = made(swapped)
    assert "above_undefended" in flags(results)
    assert "above_undefended" not in flags(results, "none")
    normalized = one(results, "gaussian:sigma=1").normalized
    assert normalized is not None
    assert normalized > 1


def check(name: str, attack: str, passed: bool) -> Check:
    decisive = name != "planted_bit" or attack == BATTERY
    return Check(name, attack, "s", "accuracy", 0.5, "at least 0.900", passed, 0, decisive)


@pytest.mark.parametrize(
    ("name", "attack", "expected"),
    [
        ("constant", "mlp_probe", {"calibration_failed"}),
        ("planted_bit", BATTERY, {"calibration_failed"}),
        ("planted_bit", "mlp_probe", {"weak_attack"}),
        ("planted_bit", "linear_probe", set()),
    ],
)
def test_a_failed_calibration(name: str, attack: str, expected: set[str]) -> None:
    assert flags(made(LEAKY, checks=(check(name, attack, False),))) == expected
    assert flags(made(LEAKY, checks=(check(name, attack, True),))) == set()


def test_an_unfinished_study() -> None:
    plan, runs = study(CORPUS, LEAKY)
    del runs["gaussian:sigma=1", 1]
    results = rows.results(plan, runs)
    assert results.unfinished == ("gaussian:sigma=1, seed 1",)
    row = one(results, "gaussian:sigma=1")
    assert {"unfinished", "one_seed"} <= set(row.flags)
    assert row.seeds == 1
    assert one(results, "none").seeds == 2
    del runs["gaussian:sigma=1", 0]
    assert rows.results(plan, runs).defenses == ("none",)
    with pytest.raises(RunError, match=r"no finished trial of 'none', the scale.* larger --max-minutes"):
        rows.results(plan, {k: v for k, v in runs.items() if k[0] != "none"})


def test_intervals_own_victims_and_seeds() -> None:
    """A defense is compared with the reference on the seeds that both have; the spread of seeds widens the interval."""
    narrow = one(made({"none": {"mlp_probe": 3.0}}, people(victim=4000), seeds=3), "none")
    wide = one(made({"none": {"mlp_probe": 3.0}}, people(victim=100), seeds=3), "none")
    assert wide.value.high - wide.value.low > 2 * (narrow.value.high - narrow.value.low)
    assert wide.value.n == 100


def test_json_has_exactly_the_keys() -> None:
    keys = (
        "data model at defense attack goal threat attribute metric value floor undefended normalized utility "
        "payload_bytes edge_macs seeds flags headline certified groups judged"
    )
    row = one(made(LEAKY), "gaussian:sigma=1").json()
    assert list(row) == keys.split()
    for name in ("value", "floor", "undefended", "utility"):
        assert list(row[name]) == ["mean", "low", "high", "n"]


def test_the_digest_is_of_results_only() -> None:
    plan, runs = study(CORPUS, LEAKY)
    before = rows.results(plan, runs).digest
    later = {k: replace(r, record=r.record | {"seconds": 99.0, "versions": {"privet": "9"}}) for k, r in runs.items()}
    assert rows.results(plan, later).digest == before
    changed = replace(runs["none", 0], arrays=runs["none", 0].arrays | {"victim/answer": np.zeros(400, np.int64)})
    assert rows.results(plan, runs | {("none", 0): changed}).digest != before
