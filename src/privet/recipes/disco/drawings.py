"""The figures of the paper, drawn from the evidence."""

from __future__ import annotations

from collections.abc import Callable

from privet.recipes import frontier
from privet.recipes.claims import Figure
from privet.recipes.disco.arms import chosen
from privet.recipes.disco.measures import curves, singles
from privet.recipes.disco.sets import FIRST, SETS, Set
from privet.recipes.evidence import COTRAINED, Attacker, Evidence
from privet.recipes.reading import trade
from privet.report import by_group, groups
from privet.report.chart import Chart, Point, Series


def draw_trades(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """Figure 2: attack against target, every method that was run."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        series = []
        for key, name, points in curves(evidence, one):
            found = trade(evidence, key, points, one.hidden, attacker, name)
            pairs = sorted(((x.estimate(), y.estimate()) for x, y in found.points), key=lambda p: p[0].mean)
            series.append(Series(name, tuple(Point(x, y) for x, y in pairs)))
        others = [
            (d, trade(evidence, key, [d], one.hidden, attacker, d).points[1]) for key, d in singles(evidence, one)
        ]
        marks = tuple(Point(x.estimate(), y.estimate(), d) for d, (x, y) in others)
        series.append(Series("other baselines", marks, joined=False))
        return Chart("target error, %", f"attack error on {one.hidden}, %", tuple(series), scale=100, x_scale=100)

    return draw


def draw_frontier(one: Set) -> Callable[[Evidence, Attacker], Chart]:
    """What is kept and what is hidden, on the scale of raw z, beside a coin."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        series = []
        for key, name, points in curves(evidence, one):
            found = frontier.points(evidence, key, points, one.hidden, attacker)
            pairs = sorted(((u.estimate(), p.estimate()) for u, p in found), key=lambda pair: pair[0].mean)
            series.append(Series(name, tuple(Point(u, p) for u, p in pairs)))
        others = [
            (d, frontier.points(evidence, key, [d], one.hidden, attacker)[0]) for key, d in singles(evidence, one)
        ]
        marks = tuple(Point(u.estimate(), p.estimate(), d) for d, (u, p) in others)
        series.append(Series("other baselines", marks, joined=False))
        coin = Series("a coin", tuple(Point(p, 1 - p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)))
        return Chart("target kept, %", f"{one.hidden} hidden, %", (*series, coin), scale=100, x_scale=100)

    return draw


def draw_groups(one: Set, side: str) -> Callable[[Evidence, Attacker], str]:
    """Figure 3 at the operating point: the attack (`a`) or the target (`b`), group by group, over raw z."""

    def draw(evidence: Evidence, attacker: Attacker) -> str:
        key = f"{one.name}/trade"
        runs, point = evidence.runs(key), chosen(evidence, key, one.hidden)
        beside = {name for name, _ in runs.own(point, one.hidden)}
        published = attacker == "published" and COTRAINED in beside
        attack = COTRAINED if published else runs.headline(point, one.hidden, "accuracy")
        found = groups.analysis(runs, point, one.hidden, attack)
        raw = groups.analysis(runs, runs.reference, one.hidden, found.undefended_attack)
        pairs = list(zip(found.groups, raw.groups, strict=True))
        if side == "a":
            return by_group.attacked(pairs, one.hidden, point)
        return by_group.answered(pairs, one.hidden, one.target, point)

    return draw


FIGURES = tuple(
    Figure(f"2-{s.name}", f"Figure 2: target and attack, {s.name}", draw_trades(s), (f"{s.name}/trade",),
           "Up and to the left is better. Marks on their own are single settings; their names stand in the tooltip.")
    for s in SETS
) + tuple(
    Figure(f"frontier-{s.name}", f"Kept and hidden, {s.name}", draw_frontier(s), (f"{s.name}/trade",),
           "100 % of the target is what raw z gains over the majority; 100 % hidden is the floor, 0 % the attack on "
           "raw z. Up and to the right is better; a coin that sends raw z or nothing is the line to beat.")
    for s in SETS
) + tuple(
    Figure(f"3{side}-{s.name}", f"Figure 3{side}, {s.name}: {said}", draw_groups(s, side), (f"{s.name}/trade",), more)
    for s in FIRST for side, said, more in (
        ("a", f"whose {s.hidden} is found out", "Only what a bar reaches beyond its mark is known about that group."),
        ("b", f"how often {s.target} is right, by {s.hidden}", ""),
    )
)  # fmt: skip
