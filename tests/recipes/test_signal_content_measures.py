"""Each measure of the recipe, on evidence whose truth is known: positive where the paper is right, else negative."""

from __future__ import annotations

from typing import Any, cast

import pytest
from known import SEEDS, Known, both, value

from privet.errors import RunError
from privet.recipes import reading
from privet.recipes.evidence import Evidence
from privet.recipes.signal_content import measures as m
from privet.recipes.signal_content.reading import pruning_trade
from privet.recipes.signal_content.sets import CUTS, DIGITS, FC1, FC2, FREE, ONE, PLAINLY, UTKFACE

FOUR = "signal_content:keep=4,order=singular"


def at(cuts: tuple[str, ...], **arms: Any) -> dict[tuple[str, str, str], float]:
    return {(f"digits/{c}", d, g): v for c in cuts for (d, g), v in arms["arms"].items()}


def test_content_against_the_untrained_control() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        content = [
            {"trained": [{"cumulative": -2.0 - sign + 0.01 * s}], "untrained": [{"cumulative": -2.0}]} for s in SEEDS
        ]
        key = f"digits/{FC1}"
        return m.content_kept(DIGITS), Known({(key, "none", "y"): 0.9}, {(key, "none", "content"): content})

    both(make)


def test_depth() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        return m.deeper(DIGITS, "digit"), Known(
            {(f"digits/{c}", "none", "digit"): 0.8 - sign * 0.1 * i for i, c in enumerate(DIGITS.cuts)}
        )

    both(make)


def test_free_against_raw_at_every_split() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        values = at(DIGITS.cuts, arms={("none", "digit"): 0.8, (FREE, "digit"): 0.7})
        values["digits/fc1", FREE, "digit"] = 0.8 - sign * 0.1  # one split decides
        return m.free_lowers(DIGITS, "digit"), Known(values)

    both(make)


def bounded_case(drop: float, victims: float, attack: float) -> Known:
    """task_val loses `drop` with four kept, the victims lose `victims`, and the attack on it is `attack`."""
    values, facts = {}, {}
    for key in (f"digits/{c}" for c in DIGITS.cuts):
        for defense, loss, leak, val in (
            (FOUR, victims, attack, drop),
            (FREE, 0.0, 0.8, 0.0),
            ("none", 0.0, 0.85, 0.0),
        ):
            values[key, defense, "y"] = 0.95 - loss
            values[key, defense, "digit"] = leak
            facts[key, defense, "task_val_accuracy"] = 0.95 - val
    return Known(values, facts)


def test_bounded_is_held_against_the_whole_content() -> None:
    measure = m.bounded_lowers(DIGITS, "digit", DIGITS.cuts)
    assert value(measure, bounded_case(0.005, 0.005, 0.6)) > 0.1
    assert value(measure, bounded_case(0.005, 0.005, 0.9)) < -0.05
    assert value(measure, bounded_case(0.05, 0.05, 0.3)) == 0, "nothing smaller keeps the target: nothing is lowered"


def test_the_point_is_held_to_on_the_victims() -> None:
    measure = m.keeps_target(DIGITS, DIGITS.cuts)
    assert value(measure, bounded_case(0.005, 0.001, 0.6)) > 0.005
    assert value(measure, bounded_case(0.005, 0.045, 0.6)) < -0.03, "chosen on task_val, lost on the victims"


@pytest.mark.parametrize("hidden", [None, "digit"])
def test_more_kept_more_known(hidden: str | None) -> None:
    goal = hidden or "y"
    for last, sign in ((0.9, 1), (0.5, -1)):
        values = {(f"digits/{FC1}", d, goal): v for d, v in ((ONE, 0.6), (FOUR, 0.7), (FREE, last))}
        assert sign * value(m.rises(DIGITS, hidden), Known(values)) > 0.005


def test_communication_and_work() -> None:
    def known(sent: int, extra: int) -> Known:
        facts: dict[tuple[str, str, str], Any] = {}
        for key in (f"digits/{c}" for c in DIGITS.cuts):
            fit = {"raw_values": 100, "first_layer_macs": 1000, "kept": 5, "outputs": 10, "values": sent}
            facts |= {(key, FOUR, "fit"): fit, (key, FOUR, "payload_bytes"): 16 + 2 * sent}
            facts |= {(key, FOUR, "edge_macs"): 5000 + extra, (key, "none", "edge_macs"): 5000}
        return Known({}, facts)

    assert value(m.fewer_values(DIGITS, DIGITS.cuts), known(50, 500)) == pytest.approx(0.5)
    assert value(m.fewer_values(DIGITS, DIGITS.cuts), known(200, 500)) == pytest.approx(-1), "expanding: twice z"
    assert value(m.macs_exact(DIGITS), known(50, 500)) > 0
    assert value(m.macs_exact(DIGITS), known(50, 700)) < -0.1


def test_trades_at_equal_target_error() -> None:
    def make(sign: float) -> tuple[Any, Known]:
        key, values = f"digits/{FC1}", {}
        for defense, utility, ours in (("none", 0.95, 0.9), (ONE, 0.85, 0.4 if sign > 0 else 0.8), (FREE, 0.95, 0.9)):
            values[key, defense, "y"], values[key, defense, "digit"] = utility, ours
        values[key, "feature_l1:keep=1", "y"], values[key, "feature_l1:keep=1", "digit"] = 0.85, 0.6
        return m.beats(DIGITS, "digit", pruning_trade), Known(values)

    both(make)


def test_rivals_are_ranked() -> None:
    for which, method in enumerate(("supervised_noise", "information_bottleneck")):

        def make(sign: float, which: int = which, method: str = method) -> tuple[Any, Known]:
            values = {("digits/plain", "none", "y"): 0.95, ("digits/plain", "none", "digit"): 0.9}
            for name, leak in ((f"{method}:gamma=1", 0.6), ("adversarial:gamma=1", 0.6 - sign * 0.2)):
                values["digits/plain", name, "y"], values["digits/plain", name, "digit"] = 0.85, leak
            return m.ranked(DIGITS, which), Known(values)

        both(make)


def test_one_coefficient_and_adversarial_training() -> None:
    key, plain, rival = f"utkface/{FC1}", "utkface/plain", "adversarial:gamma=1"

    def make(sign: float) -> tuple[Any, Known]:
        return m.one_coefficient(UTKFACE, "race"), Known(
            {(key, "none", "race"): 0.7, (key, ONE, "race"): 0.7 - sign * 0.2}
        )

    both(make)

    def own(sign: float) -> tuple[Any, Known]:
        return m.adversarial_on(UTKFACE, "race", True), Known(
            {(plain, "none", "race"): 0.7, (plain, rival, "race"): 0.7 - sign * 0.2}
        )

    both(own)

    def other(sign: float) -> tuple[Any, Known]:
        return m.adversarial_on(UTKFACE, "age_group", False), Known(
            {(plain, rival, "age_group"): 0.5, (key, ONE, "age_group"): 0.5 - sign * 0.1}
        )

    both(other)

    def target(sign: float) -> tuple[Any, Known]:
        return m.better_target(UTKFACE), Known({(key, ONE, "y"): 0.9 + sign * 0.05, (plain, rival, "y"): 0.9})

    both(target)

    def exposed(sign: float) -> tuple[Any, Known]:
        return m.stays_exposed(UTKFACE, "race"), Known(
            {(key, ONE, "race"): 0.6 + sign * 0.1, (key, "floor", "race"): 0.6}
        )

    both(exposed)


@pytest.mark.parametrize("hidden", [None, "digit"])
def test_the_relaxation(hidden: str | None) -> None:
    def make(sign: float) -> tuple[Any, Known]:
        better = 0.7 + sign * 0.1 if hidden is None else 0.7 - sign * 0.1
        goal = hidden or "y"
        return m.relaxed(DIGITS, hidden), Known(
            {("digits/plain", "autoencoder:keep=4", goal): 0.7, ("digits/plain", "signal_content:keep=4", goal): better}
        )

    both(make)


def test_shape_against_as_many_epochs_of_plain_training() -> None:
    key, control = f"digits/{FC1}", f"digits/{PLAINLY}"

    def logs(correlation: float, share: float) -> list[dict[str, Any]]:
        more = {"share_of_zeros": 0.5, "correlation_energy_by_chance": 0.01}
        names = {"correlation_energy": correlation, "share_near_gaussian": share}
        return [{"after": {n: v + 0.001 * s for n, v in names.items()} | more} for s in SEEDS]

    def make(sign: float) -> tuple[Any, Known]:
        facts = {(control, "none", "training"): logs(0.2, 0.2), (key, "none", "training"): logs(0.2 - sign * 0.1, 0.2)}
        return m.shaped(DIGITS, "correlation_energy"), Known(
            {(key, "none", "y"): 0.9, (control, "none", "y"): 0.9}, facts
        )

    both(make)

    def gauss(sign: float) -> tuple[Any, Known]:
        return m.gaussian(DIGITS), Known(
            {(key, "none", "y"): 0.9}, {(key, "none", "training"): logs(0, 0.5 + sign * 0.2)}
        )

    both(gauss)


def test_ablations() -> None:
    key, arm = f"digits/{FC1}", "digits/no removal"

    def target(sign: float) -> tuple[Any, Known]:
        return m.ablated(DIGITS, "no removal", None), Known({(key, ONE, "y"): 0.9, (arm, ONE, "y"): 0.9 - sign * 0.1})

    def attack(sign: float) -> tuple[Any, Known]:
        return m.ablated(DIGITS, "no removal", "digit"), Known(
            {(key, ONE, "digit"): 0.5, (arm, ONE, "digit"): 0.5 + sign * 0.1}
        )

    both(target)
    both(attack)


def test_distortion_free_is_one_linear_map() -> None:
    def known(free: float, split: float, layer: float) -> Known:
        arms = {"signal_content:keep=free": free, "linear_split": split, "one_more_layer": layer}
        return Known({("digits/plain", d, "digit"): v for d, v in arms.items()})

    assert value(m.alike(DIGITS, "digit"), known(0.8, 0.801, 0.7)) > 0.01
    assert value(m.alike(DIGITS, "digit"), known(0.8, 0.7, 0.7)) < -0.05
    assert value(m.alike(DIGITS, "digit"), known(0.7, 0.8, 0.7)) < -0.05
    assert value(m.layer_hides(DIGITS, "digit"), known(0.8, 0.8, 0.7)) > 0.05
    assert value(m.layer_hides(DIGITS, "digit"), known(0.7, 0.7, 0.8)) < -0.05


def test_one_seed_has_no_interval_and_seeds_are_not_mixed_up() -> None:
    key = f"digits/{FC1}"
    known = Known({(key, "none", "y"): 0.9})
    with pytest.raises(RunError, match="one seed has no interval"):
        reading.constant({0: 1.0}, "content", known.utility(key, "none"))

    class Late(Known):
        def runs(self, key: str) -> Any:
            found = super().runs(key)
            found.runs = {("none", 1): None, ("none", 2): None}
            return found

    late = Late({(key, "none", "y"): 0.9}, {(key, "none", "content"): ["second", "third"]})
    assert reading.by_seed(cast(Evidence, late), key, "none", "content") == {1: "second", 2: "third"}


def test_cuts_are_the_papers() -> None:
    assert list(CUTS.values()) == [2, 3, 4, 5]
    assert (CUTS[FC1], CUTS[FC2]) == (4, 5)
