"""The drawings of a plan: what layers and channels leak, what is paid for it, both strategies, and the channels."""

from __future__ import annotations

from privet.planner.choosing import Candidate
from privet.planner.plan import Plan
from privet.planner.statement import counted
from privet.planner.table import Cell
from privet.report import chart
from privet.report.chart import Chart, Point, Series


def figures(plan: Plan, cells: list[Cell]) -> list[tuple[str, str, str]]:
    """Title, drawing and caption of each figure."""
    layers = {c.layer for c in cells}
    fewer = "Fewer channels leak less." if len(layers) == 1 else "Deeper layers and fewer channels leak less."
    drawn = [("What layers and channels leak", _leak(plan, cells), fewer)]
    if all(c.accuracy == c.accuracy for c in cells):
        drawn.append(
            ("What is paid for it", _trade(cells), "Left leaks less; high is more useful. Points of a line are depths.")
        )
    if any(one.gain is not None for one in plan.compared):
        told = "By the tables, not verified; the section Strategies says how much of the difference is noise."
        drawn.append(("What each strategy would give at each limit", _strategies(plan), told))
    if any(worth > 0 for worth in plan.scores.get("fisher", [])):
        drawn.append(
            ("Which channels", _channels(plan), "Of those that say much of the task and draw little, some at random.")
        )
    return [(name, chart.svg(made, name), told) for name, made, told in drawn]


def named(choice: Candidate) -> str:
    """Layer and channels of a choice."""
    return f"layer {choice.layer}, {counted(choice.depth, 'channel')}"


def _leak(plan: Plan, cells: list[Cell]) -> Chart:
    def line(depth: int) -> Series:
        told = counted(depth, "channel")
        return Series(told, tuple(Point(c.layer, c.psnr, told) for c in cells if c.depth == depth))

    levels = (("limit", plan.limits.psnr),) if plan.limits.psnr is not None else ()
    depths = sorted({c.depth for c in cells})
    return Chart("layers on the device", "privacy loss, dB", tuple(map(line, depths)), levels)


def _trade(cells: list[Cell]) -> Chart:
    def line(layer: int) -> Series:
        points = (Point(c.psnr, c.accuracy, counted(c.depth, "channel")) for c in cells if c.layer == layer)
        return Series(f"layer {layer}", tuple(points))

    layers = sorted({c.layer for c in cells})
    return Chart("privacy loss, dB", "accuracy, %", tuple(map(line, layers)), scale=100)


def _strategies(plan: Plan) -> Chart:
    def line(name: str, picks: list[Candidate | None]) -> Series:
        both = zip(plan.compared, picks, strict=True)
        points = (Point(one.limit, c.accuracy, named(c)) for one, c in both if c and c.accuracy == c.accuracy)
        return Series(name, tuple(points))

    lines = (
        line("the paper's", [one.paper for one in plan.compared]),
        line("Pareto", [one.pareto for one in plan.compared]),
    )
    return Chart("limit, dB", "accuracy by the tables, %", lines, scale=100)


def _channels(plan: Plan) -> Chart:
    def dots(name: str, released: bool) -> Series:
        points = (Point(p, j, f"channel {i}") for i, p, j in alive if (i in plan.channels) == released)
        return Series(name, tuple(points), False)

    scores = zip(plan.scores["psnr"], plan.scores["fisher"], strict=True)
    alive = [(i, p, j) for i, (p, j) in enumerate(scores) if j > 0]
    return Chart(
        "a channel alone, dB by a linear decoder",
        "Fisher's criterion",
        (dots("released", True), dots("kept back", False)),
    )
