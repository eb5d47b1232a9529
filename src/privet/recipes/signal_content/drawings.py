"""The figures of the paper, drawn from the evidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privet.recipes.claims import Figure
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.signal_content.reading import (
    adversarial_trade,
    bounded,
    kept_points,
    pruning_trade,
    strongest,
    svd_trade,
)
from privet.recipes.signal_content.sets import CELEBA, CUTS, DIGITS, FC1, FREE, ONE, SETS, UTKFACE, Set
from privet.report.chart import Chart, Point, Series


def draw_content(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 2: the cumulative content of each data set, trained and untrained, mean over seeds."""
    series = []
    for one in SETS[:-1]:
        key = f"{one.name}/{FC1}"
        if key in evidence.studies:
            found = evidence.fact(key, "none", "content")
            for kind in ("trained", "untrained"):
                sums = np.mean([[layer["cumulative"] for layer in content[kind]] for content in found], axis=0)
                points = tuple(Point(i + 1.0, float(v)) for i, v in enumerate(sums))
                series.append(Series(f"{one.name}, {kind}", points))
    return Chart("layer", "cumulative log signal content", tuple(series))


def draw_depth(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figure 3 on one data set and its first attribute."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        series = []
        chosen: dict[str, Callable[[str], str]] = {
            "raw z": lambda key: "none",
            "distortion-free": lambda key: FREE,
            "at most a point of target": lambda key: bounded(evidence, key),
        }
        for name, choose in chosen.items():
            points = [
                Point(float(CUTS[cut]), evidence.attack(k, choose(k), one.hidden[0], attacker).estimate(), choose(k))
                for cut in one.cuts
                for k in [f"{one.name}/{cut}"]
            ]
            series.append(Series(name, tuple(points)))
        floor = evidence.floor(f"{one.name}/{FC1}", one.hidden[0]).estimate().mean
        return Chart("split layer", f"attack accuracy on {one.hidden[0]}, %", tuple(series), (("floor", floor),), 100)

    return draw


def draw_kept(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figure 4: errors against the number of coefficients."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        key = f"{one.name}/{FC1}"
        points = kept_points(evidence, key)
        kept = [float(evidence.fact(key, d, "fit")[0]["kept"]) for d in points]
        target = [evidence.utility(key, d).error().estimate() for d in points]
        attack = [evidence.attack(key, d, one.hidden[0], attacker).error().estimate() for d in points]
        series = (
            Series("target error", tuple(map(Point, kept, target))),
            Series(f"attack error, {one.hidden[0]}", tuple(map(Point, kept, attack))),
        )
        return Chart("coefficients kept m'", "error, %", series, scale=100, log_x=True)

    return draw


def draw_trades(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figures 5 and 6: attack error against target error."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        hidden = one.hidden[0]
        made = [svd_trade(evidence, one, hidden, attacker), pruning_trade(evidence, one, hidden, attacker)]
        if f"{one.name}/plain" in evidence.studies:
            made.append(adversarial_trade(evidence, one, hidden, attacker))
        series = []
        for t in made:
            pairs = sorted(((x.estimate(), y.estimate()) for x, y in t.points), key=lambda p: p[0].mean)
            series.append(Series(t.name, tuple(Point(x, y) for x, y in pairs)))
        return Chart("target error, %", f"attack error on {hidden}, %", tuple(series), scale=100, x_scale=100)

    return draw


def draw_attributes(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figure 7: the attack on each attribute."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        plain, trained = f"{one.name}/plain", f"{one.name}/{FC1}"
        arms = (
            ("raw z", trained, "none"),
            ("one coefficient", trained, ONE),
            (f"adversarial training on {one.hidden[0]}", plain, strongest(evidence, plain)),
        )
        series = [
            Series(
                name,
                tuple(
                    Point(float(i), evidence.attack(key, d, h, attacker).estimate(), h)
                    for i, h in enumerate(one.hidden)
                ),
                joined=False,
            )
            for name, key, d in arms
        ]
        ticks = tuple((float(i), h.replace("_", " ")) for i, h in enumerate(one.hidden))
        return Chart("hidden attribute", "attack accuracy, %", tuple(series), scale=100, ticks=ticks)

    return draw


FIGURES = (
    Figure("2", "Figure 2: cumulative signal content", draw_content, (), "It falls for untrained networks, too."),
    *(
        Figure(f"3-{s.name}", f"Figure 3: the attack by split layer, {s.name}", draw_depth(s),
               tuple(f"{s.name}/{c}" for c in s.cuts))
        for s in SETS
    ),
    *(
        Figure(f"4-{s.name}", f"Figure 4: how much is kept, {s.name}", draw_kept(s), (f"{s.name}/{FC1}",))
        for s in (DIGITS, UTKFACE)
    ),
    *(
        Figure(f"5-{s.name}", f"Figures 5 and 6: the trade-off against its rivals, {s.name}", draw_trades(s),
               (f"{s.name}/{FC1}", f"{s.name}/plain"))
        for s in SETS
    ),
    *(
        Figure(f"7-{s.name}", f"Figure 7: attributes nobody named, {s.name}", draw_attributes(s),
               (f"{s.name}/{FC1}", f"{s.name}/plain"))
        for s in (UTKFACE, CELEBA)
    ),
)  # fmt: skip
