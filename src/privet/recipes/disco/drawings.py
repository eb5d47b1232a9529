"""The figures of the paper, drawn from the evidence."""

from __future__ import annotations

from collections.abc import Callable

from privet.recipes.claims import Figure
from privet.recipes.disco.sets import SETS, Set
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.reading import family, trade
from privet.report.chart import Chart, Point, Series

METHODS = (
    ("trade", "disco", "learned for each"), ("trade", "random_channels", "random"),
    ("rivals", "static_channels", "learned once"), ("rivals", "adversarial", "adversarial training"),
    ("rivals", "maxent", "maximum entropy"),
)  # fmt: skip


def draw_trades(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figure 2: attack against target, every method that was run."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        series = []
        for study, method, name in METHODS:
            key = f"{one.name}/{study}"
            if key in evidence.studies:
                found = trade(evidence, key, family(evidence, key, method), one.hidden, attacker, name)
                pairs = sorted(((x.estimate(), y.estimate()) for x, y in found.points), key=lambda p: p[0].mean)
                series.append(Series(name, tuple(Point(x, y) for x, y in pairs)))
        return Chart("target error, %", f"attack error on {one.hidden}, %", tuple(series), scale=100, x_scale=100)

    return draw


FIGURES = tuple(
    Figure(f"2-{s.name}", f"Figure 2: target and attack, {s.name}", draw_trades(s), (f"{s.name}/trade",),
           "Up and to the left is better. The groups of Figure 3 stand in each study's own report.")
    for s in SETS
)  # fmt: skip
