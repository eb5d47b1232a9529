"""Each measure of the recipe, on evidence whose truth is known: positive where the paper is right, else negative."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from known import SEEDS, Known, both, value

from privet.errors import RunError
from privet.recipes import load
from privet.recipes.claims import Grid, Where
from privet.recipes.disco import arms, design
from privet.recipes.disco import measures as m
from privet.recipes.disco.sets import DIGITS, UTKFACE
from privet.recipes.evidence import Arm, Evidence
from privet.report.runs import Runs

WEAK, STRONG = "disco:ratio=0.5", "disco:ratio=0.9"
CONTROL = {0.5: "disco:ratio=0.5,alpha=0", 0.9: "disco:ratio=0.9,alpha=0"}
RANDOM = {0.5: "random_channels:train=both", 0.9: "random_channels:ratio=0.9,train=both"}
ALONE = "adversarial:gamma=0"
TRADE = "digits/trade"


class Asked(Known):
    """Known evidence whose fresh and co-trained adversaries may differ."""

    def by(self, key: str, defense: str, goal: str, attack: str, metric: str = "accuracy") -> Arm:
        return self.arm(key, defense, attack)


def trade(
    raw: float = 0.8, weak: float = 0.6, strong: float = 0.4, random: float = 0.8, *,
    drop: float = 0.01, victims: float = 0.01, cotrained: float = 0.3, control: float = 0.7, mask: float = 0.1,
    alone: float = 0.8,
) -> Asked:  # fmt: skip
    """Attack accuracies of raw z, of DISCO at two ratios, of its control and of random pruning; `drop` is what the
    stronger one costs on task_val, `victims` what it costs the victims; `alone` is the co-trained attack on raw z."""
    values: dict[tuple[str, str, str], float] = {}
    facts: dict[tuple[str, str, str], Any] = {}
    attacks = {"none": raw, WEAK: weak, STRONG: strong, RANDOM[0.5]: random, RANDOM[0.9]: random}
    attacks |= {CONTROL[0.5]: control, CONTROL[0.9]: control, ALONE: raw}
    for defense, attack in attacks.items():
        values[TRADE, defense, "y"] = 0.95 - (victims if defense == STRONG else 0)
        values[TRADE, defense, "digit"] = attack
        values[TRADE, defense, "cotrained:server"] = alone if defense == ALONE else cotrained
        values[TRADE, defense, "mask:mlp_probe"] = mask
        facts[TRADE, defense, "task_val_accuracy"] = 0.95 - (drop if defense == STRONG else 0)
        facts[TRADE, defense, "selection"] = {"digit": {"mlp_probe": {"accuracy": attack}, "weak": {"accuracy": 0.1}}}
    values[TRADE, "floor", "digit"] = 0.1
    return Asked(values, facts)


def test_point_is_within_reach_and_chosen_on_aux() -> None:
    assert arms.chosen(cast(Evidence, trade()), TRADE, "digit") == STRONG
    assert arms.chosen(cast(Evidence, trade(drop=0.03)), TRADE, "digit") == WEAK
    assert arms.chosen(cast(Evidence, trade(weak=0.3)), TRADE, "digit") == WEAK
    free = trade(control=0.2)
    assert arms.chosen(cast(Evidence, free), TRADE, "digit") == STRONG, "the control is no operating point"
    far = trade(drop=0.3)
    far.facts[TRADE, WEAK, "task_val_accuracy"] = 0.5
    with pytest.raises(RunError, match=r"no point costs at most two points .*ratio=0\.9, costs 30\.0"):
        arms.chosen(cast(Evidence, far), TRADE, "digit")
    measure, _ = m.keeps_target(DIGITS)
    far.values[TRADE, STRONG, "y"] = 0.6
    assert measure(cast(Evidence, far), "fresh").mean < -0.2, "where none is within reach the cheapest one answers"


def test_learned_pruning_lowers_the_attack() -> None:
    both(lambda sign: (m.lowers(DIGITS), trade(raw=0.4 + 0.1 * sign)))


def test_raw_under_the_papers_own_adversary() -> None:
    """Trained beside a network that hears nothing of it; the server probe where that was not run."""
    known = trade(raw=0.8, alone=0.5)
    assert arms.raw(cast(Evidence, known), TRADE, "digit", "published").estimate().mean == pytest.approx(0.5, abs=0.01)
    assert arms.raw(cast(Evidence, known), TRADE, "digit", "fresh").estimate().mean == pytest.approx(0.8, abs=0.01)


def test_hiding_beside_pruning_alone() -> None:
    both(lambda sign: (m.hides(DIGITS), trade(control=0.4 + 0.1 * sign)))


def test_against_random_pruning_of_the_same_share() -> None:
    both(lambda sign: (m.beside_random(DIGITS), trade(random=0.4 + 0.1 * sign)))
    lonely = trade()
    for table in (lonely.values, lonely.facts):
        for name in [n for n in table if n[1] == RANDOM[0.9]]:
            del table[name]
    with pytest.raises(RunError, match="no random_channels with train=both"):
        value(m.beside_random(DIGITS), lonely)


def test_against_random_pruning_at_equal_accuracy() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        known = trade(victims=0.1, random=0.4 + 0.2 * sign, strong=0.4)
        known.values[TRADE, RANDOM[0.9], "y"] = known.values[TRADE, STRONG, "y"]
        known.values[TRADE, RANDOM[0.5], "digit"] = known.values[TRADE, WEAK, "digit"]
        return m.beats_random(DIGITS), known

    both(make)


def test_random_pruning_hides_nothing() -> None:
    both(lambda sign: (m.random_hides_nothing(DIGITS), trade(random=0.78 + 0.05 * sign)))


def test_target_within_two_points() -> None:
    both(lambda sign: (m.keeps_target(DIGITS), trade(victims=0.02 - 0.01 * sign)))


def test_the_cotrained_adversary_beside_a_fresh_one() -> None:
    both(lambda sign: (m.fooled(DIGITS), trade(cotrained=0.38 + 0.01 * sign)))


def test_the_mask_alone() -> None:
    both(lambda sign: (m.mask_is_silent(DIGITS), trade(mask=0.12 - 0.01 * sign)))


def test_variants_are_told_apart() -> None:
    key = "digits/ablations"
    changed = ("shield=false", "through=true", "hide=prior", "adversaries=3", "learn=false")
    spelled = [*(f"{WEAK},{c}" for c in changed), WEAK]
    known = cast(Evidence, Known({(key, d, "y"): 0.9 for d in spelled}))
    assert design.variant(known, key) == WEAK
    assert design.variant(known, key, shield=False) == spelled[0]
    assert design.variant(known, key, through=True) == spelled[1]
    assert design.variant(known, key, adversaries=3) == spelled[3]
    assert design.variant(known, key, learn=False) == spelled[4]
    with pytest.raises(RunError, match="no disco with"):
        design.variant(known, key, mode="soft")


def test_a_filter_that_learned_beside_one_that_did_not() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        key, values = "digits/ablations", {}
        for defense, attack in ((WEAK, 0.5), (f"{WEAK},learn=false", 0.5 + 0.1 * sign)):
            values |= {(key, defense, "y"): 0.85, (key, defense, "digit"): attack}
        return design.learning_pays(DIGITS), Known(values)

    both(make)


def test_kept_from_the_client() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        key, told = "digits/ablations", f"{WEAK},shield=false"
        values = {(key, "none", "y"): 0.95, (key, "none", "digit"): 0.8}
        for defense, attack in ((WEAK, 0.5 - 0.1 * sign), (told, 0.5)):
            values |= {(key, defense, "y"): 0.85, (key, defense, "digit"): attack}
        return design.shield(DIGITS), Known(values)

    both(make)


@pytest.mark.parametrize(
    ("measure", "other"), [(design.prunes_what_leaks, "kept_share"), (design.disentangled, "channel_use")]
)
def test_ranks_of_channels(measure: Any, other: str) -> None:
    def make(sign: float) -> tuple[Any, Known]:
        known, rising = trade(), np.arange(12.0)
        generator = np.random.default_rng(0)
        for defense in (WEAK, STRONG):
            known.facts[TRADE, defense, "fit"] = [
                {
                    "channel_use": generator.normal(0, 1, 12).tolist(), "channel_leak": rising.tolist(),
                    other: (-sign * rising + generator.normal(0, 0.1, 12)).tolist(),
                }
                for _ in SEEDS
            ]  # fmt: skip
        return measure(DIGITS), known

    both(make)


def test_leakage_that_comes_with_use_is_not_held_against_the_filter() -> None:
    """Kept channels serve, and those that serve leak: with use held fixed nothing is left."""
    known, generator = trade(), np.random.default_rng(1)
    use = np.arange(40.0)
    for defense in (WEAK, STRONG):
        known.facts[TRADE, defense, "fit"] = [
            {name: (use + generator.normal(0, 4, 40)).tolist() for name in ("kept_share", "channel_leak")}
            | {"channel_use": use.tolist()}
            for _ in SEEDS
        ]
    assert abs(value(design.prunes_what_leaks(DIGITS), known)) < 0.25


def test_dynamic_against_static() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        known, key = trade(victims=0.1), "digits/rivals"
        for defense, target, attack in (
            ("none", 0.95, 0.8),
            ("static_channels:ratio=0.9", 0.85, 0.5 if sign > 0 else 0.1),
        ):
            known.values |= {(key, defense, "y"): target, (key, defense, "digit"): attack}
        for defense in (WEAK, STRONG):
            known.facts[TRADE, defense, "fit"] = {"masks": 30, "people": 90}
        assert "30 of 90" in design.dynamic_pays(DIGITS)[1](cast(Evidence, known), "fresh")
        return design.dynamic_pays(DIGITS), known

    both(make)


def test_every_cut_must_hide() -> None:
    class Cut(Known):
        """Studies that say where they cut."""

        def runs(self, key: str) -> Any:
            found = super().runs(key)
            return SimpleNamespace(plan={**found.plan, "at": "block9"}, seeds=SEEDS, runs=found.runs)

    def make(sign: float) -> tuple[Any, Known]:
        values = {}
        for at, attack in (("cut 1", 0.5), ("cut 2", 0.7 - 0.1 * sign)):
            beside = {"none": 0.8, WEAK: attack, CONTROL[0.5]: 0.7, RANDOM[0.5]: 0.6}
            for defense, found in beside.items():
                values |= {(f"utkface/{at}", defense, "race"): found, (f"utkface/{at}", defense, "y"): 0.9}
        return design.cut_matters(UTKFACE, ("cut 1", "cut 2")), Cut(values)

    both(make)


def test_leak_and_dependence() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        values = {}
        for place, nats in enumerate(UTKFACE.thinned):
            key = f"utkface/{nats} nats"
            values |= {(key, "none", "race"): 0.8, (key, WEAK, "race"): 0.6 + 0.05 * sign * place}
            values[key, "floor", "race"] = 0.4
        return design.follows_dependence(UTKFACE), Known(values)

    both(make)


def arrays(seed: int, favored: float, constant: float) -> dict[str, np.ndarray]:
    """400 victims of two groups; the target is right for .9 of one and for .9 - `favored` of the other, and a share
    `constant` of everybody is named the first value."""
    generator = np.random.default_rng(seed)
    s, y = np.repeat([0, 1], 200), np.zeros(400, np.int64)
    wrong = generator.random(400) < np.where(s == 0, 0.1, 0.1 + favored)
    named = np.where(generator.random(400) < constant, 0, 1)
    return {
        "victim/target": y, "victim/answer": wrong.astype(np.int64), "victim/hidden/digit": s,
        "victim/groups": np.arange(400), "table/(target)/answer/accuracy": np.zeros(41),
        "posterior/digit/mlp_probe": np.eye(2)[named], "cotrained/digit/server": np.eye(2)[named],
    }  # fmt: skip


class Stored(Asked):
    """Known evidence with the arrays of its trials: `favored` of raw z and of DISCO, and the constant share."""

    def __init__(self, known: Asked, favored: tuple[float, float], constant: float) -> None:
        super().__init__(known.values, known.facts)
        self.stored = {
            (d, s): SimpleNamespace(arrays=arrays(s, favored[d != "none"], constant))
            for d in ("none", WEAK, STRONG)
            for s in SEEDS
        }

    def runs(self, key: str) -> Any:
        found = super().runs(key)
        return SimpleNamespace(
            plan=found.plan,
            seeds=SEEDS,
            runs=self.stored,
            headline=lambda *_: "mlp_probe",
            posterior=Runs.posterior,
            people=lambda goal: (400, 400),
        )


def test_spread_between_groups() -> None:
    both(lambda sign: (m.fair(DIGITS), Stored(trade(), (0.2, 0.22 - 0.18 * sign), 0.5)))


def test_spread_by_hand() -> None:
    """Two groups at 0.5 and 1 with two people each: 1/16 of variance, of which 3/16 x 1/4 are chance; one who misses a
    label counts nowhere; weights are how often each counts."""
    found = m.between_groups("a")(
        {
            "victim/target": np.array([0, 0, 1, 1, -1]), "victim/answer": np.array([0, 1, 1, 1, 0]),
            "victim/hidden/a": np.array([0, 0, 1, 1, -1]),
        },
        np.array([[1.0, 1, 1, 1, 1], [1, 0, 1, 1, 5]]),
    )  # fmt: skip
    np.testing.assert_allclose(found, [1 / 16 - 3 / 16 / 4, 0.0], atol=1e-12)


def test_chance_is_taken_off_the_spread() -> None:
    """Groups that are served alike have no spread on average, however small they are."""
    generator, found = np.random.default_rng(0), []
    for _ in range(300):
        people = {
            "victim/target": np.zeros(60, int), "victim/answer": (generator.random(60) < 0.2).astype(int),
            "victim/hidden/a": np.repeat(np.arange(6), 10),
        }  # fmt: skip
        found.append(float(m.between_groups("a")(people, np.ones((1, 60)))[0]))
    assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5
    assert np.std(found) > 0


@pytest.mark.parametrize("attacker", ["fresh", "published"])
def test_collapse(attacker: Any) -> None:
    measure, tell = m.collapses(DIGITS)
    for constant, sign in ((0.95, 1), (0.6, -1)):
        evidence = cast(Evidence, Stored(trade(), (0.1, 0.1), constant))
        assert sign * measure(evidence, attacker).mean > 0.05
        assert "of all people" in tell(evidence, attacker)


def test_recipe_hangs_together(tmp_path: Any) -> None:
    """Every claim names studies that a grid has, quick needs no folder of data, and points are not run twice."""
    recipe = load("disco")
    assert recipe.published == ("cotrained:server", "server_probe")
    for grid in ("quick", "standard", "full"):
        for exact in (False, True):
            for key, one in recipe.studies(Grid.named(grid, as_published=exact), Where(tmp_path, tmp_path)).items():
                assert len(set(one.defenses)) == len(one.defenses), key
    quick = recipe.studies(Grid.named("quick"), Where(None, tmp_path))
    assert {key.split("/")[0] for key in quick} == {"digits"}
