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
from privet.recipes.disco import measures as m
from privet.recipes.disco.sets import DIGITS, UTKFACE
from privet.recipes.evidence import Arm, Evidence

WEAK, STRONG = "disco:ratio=0.5", "disco:ratio=0.9"
RANDOM = {0.5: "random_channels", 0.9: "random_channels:ratio=0.9"}
TRADE = "digits/trade"


class Asked(Known):
    """Known evidence whose fresh and co-trained adversaries may differ."""

    def by(self, key: str, defense: str, goal: str, attack: str, metric: str = "accuracy") -> Arm:
        return self.arm(key, defense, attack)


def trade(
    raw: float = 0.8, weak: float = 0.6, strong: float = 0.4, random: float = 0.8, *,
    drop: float = 0.01, victims: float = 0.01, cotrained: float = 0.3,
) -> Asked:  # fmt: skip
    """Attack accuracies of raw z, of DISCO at two ratios and of random pruning; `drop` is what the stronger one costs
    on task_val, `victims` what it costs the victims."""
    values: dict[tuple[str, str, str], float] = {}
    facts: dict[tuple[str, str, str], Any] = {}
    arms = {"none": raw, WEAK: weak, STRONG: strong, RANDOM[0.5]: random, RANDOM[0.9]: random}
    for defense, attack in arms.items():
        values[TRADE, defense, "y"] = 0.95 - (victims if defense == STRONG else 0)
        values[TRADE, defense, "digit"] = attack
        values[TRADE, defense, "cotrained:server"] = cotrained
        facts[TRADE, defense, "task_val_accuracy"] = 0.95 - (drop if defense == STRONG else 0)
        facts[TRADE, defense, "selection"] = {"digit": {"mlp_probe": {"accuracy": attack}, "weak": {"accuracy": 0.1}}}
    values[TRADE, "floor", "digit"] = 0.1
    return Asked(values, facts)


def test_point_is_within_reach_and_chosen_on_aux() -> None:
    evidence = cast(Evidence, trade())
    assert m.chosen(evidence, TRADE, "digit", "disco") == STRONG
    evidence = cast(Evidence, trade(drop=0.03))
    assert m.chosen(evidence, TRADE, "digit", "disco") == WEAK
    evidence = cast(Evidence, trade(weak=0.3))
    assert m.chosen(evidence, TRADE, "digit", "disco") == WEAK
    far = trade(drop=0.3)
    far.facts[TRADE, WEAK, "task_val_accuracy"] = 0.5
    assert m.chosen(cast(Evidence, far), TRADE, "digit", "disco") == STRONG, "the cheapest where none is within reach"
    with pytest.raises(RunError, match="no maxent"):
        m.chosen(evidence, TRADE, "digit", "maxent")


def test_learned_pruning_lowers_the_attack() -> None:
    both(lambda sign: (m.lowers(DIGITS), trade(raw=0.4 + 0.1 * sign)))


def test_against_random_pruning_of_the_same_share() -> None:
    both(lambda sign: (m.beside_random(DIGITS), trade(random=0.4 + 0.1 * sign)))
    lonely = trade()
    for name in ("y", "digit"):
        del lonely.values[TRADE, RANDOM[0.9], name]
    del lonely.values[TRADE, RANDOM[0.9], "cotrained:server"]
    for name in ("task_val_accuracy", "selection"):
        del lonely.facts[TRADE, RANDOM[0.9], name]
    with pytest.raises(RunError, match=r"no random_channels that removes 0\.9"):
        value(m.beside_random(DIGITS), lonely)


def test_random_pruning_hides_nothing() -> None:
    both(lambda sign: (m.random_hides_nothing(DIGITS), trade(random=0.78 + 0.05 * sign)))


def test_target_within_two_points() -> None:
    both(lambda sign: (m.keeps_target(DIGITS), trade(victims=0.02 - 0.01 * sign)))


def test_a_fresh_adversary_beside_the_cotrained_one() -> None:
    both(lambda sign: (m.fooled(DIGITS), trade(cotrained=0.4 - 0.1 * sign)))


def test_variants_are_told_apart() -> None:
    key = "digits/ablations"
    spelled = [WEAK, f"{WEAK},shield=false", f"{WEAK},hide=prior", f"{WEAK},adversaries=3"]
    known = cast(Evidence, Known({(key, d, "y"): 0.9 for d in spelled}))
    assert m.variant(known, key) == WEAK
    assert m.variant(known, key, shield=False) == spelled[1]
    assert m.variant(known, key, adversaries=3) == spelled[3]
    with pytest.raises(RunError, match="no disco with"):
        m.variant(known, key, mode="soft")


def test_kept_from_the_client() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        key, told = "digits/ablations", f"{WEAK},shield=false"
        values = {(key, "none", "y"): 0.95, (key, "none", "digit"): 0.8}
        for defense, attack in ((WEAK, 0.5 - 0.1 * sign), (told, 0.5)):
            values |= {(key, defense, "y"): 0.85, (key, defense, "digit"): attack}
        return m.shield(DIGITS), Known(values)

    both(make)


@pytest.mark.parametrize(("measure", "other"), [(m.prunes_what_leaks, "kept_share"), (m.disentangled, "channel_use")])
def test_ranks_of_channels(measure: Any, other: str) -> None:
    def make(sign: float) -> tuple[Any, Known]:
        known, rising = trade(), np.arange(8.0)
        generator = np.random.default_rng(0)
        for defense in (WEAK, STRONG):
            known.facts[TRADE, defense, "fit"] = [
                {other: (-sign * rising + generator.normal(0, 0.1, 8)).tolist(), "channel_leak": rising.tolist()}
                for _ in SEEDS
            ]
        return measure(DIGITS), known

    both(make)


def test_dynamic_against_static() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        known, key = trade(victims=0.1), "digits/rivals"
        for defense, target, attack in (
            ("none", 0.95, 0.8),
            ("static_channels:ratio=0.9", 0.85, 0.5 if sign > 0 else 0.1),
        ):
            known.values |= {(key, defense, "y"): target, (key, defense, "digit"): attack}
        return m.dynamic_pays(DIGITS), known

    both(make)


def test_every_cut_must_hide() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        values = {}
        for at, attack in (("block1", 0.5), ("block2", 0.8 - 0.1 * sign)):
            values |= {(f"utkface/{at}", "none", "race"): 0.8, (f"utkface/{at}", WEAK, "race"): attack}
        return m.cut_matters(UTKFACE, ("block1", "block2")), Known(values)

    both(make)


def test_leak_and_dependence() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        values = {}
        for place, nats in enumerate(UTKFACE.thinned):
            key = f"utkface/{nats} nats"
            values |= {(key, "none", "race"): 0.8, (key, WEAK, "race"): 0.6 + 0.05 * sign * place}
            values[key, "floor", "race"] = 0.4
        return m.follows_dependence(UTKFACE), Known(values)

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
            people=lambda goal: (400, 400),
        )


def test_gap_between_groups() -> None:
    both(lambda sign: (m.fair(DIGITS), Stored(trade(), (0.2, 0.22 - 0.15 * sign), 0.5)))


def test_gap_by_hand() -> None:
    found = m.between_groups("a")(
        {
            "victim/target": np.array([0, 0, 1, 1, 1, -1]), "victim/answer": np.array([0, 1, 1, 1, 0, 0]),
            "victim/hidden/a": np.array([0, 0, 1, 1, 2, -1]),
        },
        np.array([[1.0, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 5], [2, 1, 1, 1, 0, 0]]),
    )  # fmt: skip
    np.testing.assert_allclose(found, [1.0, 0.0, 1 - 2 / 3])


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
