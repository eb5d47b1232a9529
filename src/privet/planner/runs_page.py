"""The page of a plan over finished runs: the choice, what it was chosen from, and what no other run beats."""

from __future__ import annotations

from pathlib import Path

from privet import run
from privet.auditing.estimate import Estimate
from privet.planner.finished import VICTIMS, Option
from privet.planner.runs import Planned, amount, cautions, lead, told
from privet.report import chart, pages, words
from privet.report.chart import Chart, Point, Series

HEADS = (
    "run",
    "verdict (*: nothing beats it)",
    "target, %",
    "lost, points",
    "attack over floor, points",
    "PSNR, dB",
    "bound",
    "bytes",
    "ms",
)


def write(made: Planned, command: str, path: Path) -> Path:
    """Write the page, whole or not at all; RunError where it cannot be written."""
    run.write_text(path, render(made, command))
    return path


def render(made: Planned, command: str) -> str:
    """The page, self-contained."""
    first = made.studies[0].results
    return pages.render(
        "runs.html.j2",
        title=f"{first.data['name']}: which of {len(made.options)} finished runs",
        eyebrow="Privet plan",
        facts=[
            ("Limits", ", ".join(f"{name} {amount(name, v, made.limits)}" for name, v in made.limits.given.items())),
            ("Judged on", "the victims" if made.options[0].judged_on == VICTIMS else "the owner's held-out people"),
            ("Adversary", first.threat["name"]),
            ("Studies", str(len(made.studies))),
        ],
        lead=lead(made),
        cautions=cautions(made),
        figures=figures(made),
        heads=HEADS,
        lines=[
            {"cells": cells(o, made), "best": o is made.chosen, "front": any(o is f for f in made.front)}
            for o in made.options
        ],
        commands=[
            ("The plan again:", command),
            *((f"The study {s.folder} again; finished runs are kept:", s.results.command) for s in made.studies),
        ],
        versions=list(run.versions().items()),
    )


def cells(option: Option, made: Planned) -> tuple[str, ...]:
    """A line of the table: means with their intervals, and the limits that the cautious ends are beyond."""
    over = sorted(made.limits.over(told(option, made.limits)))
    verdict = "chosen" if option is made.chosen else f"over: {', '.join(over)}" if over else "within the limits"
    on = f", {option.attribute}" if option.attribute else ""
    front = " *" if any(option is f for f in made.front) else ""
    return (
        option.name,
        verdict + front,
        _figure("accuracy", option.accuracy),
        _figure("accuracy", option.drop),
        _figure("accuracy", option.advantage) + on,
        _figure("psnr", option.psnr),
        ", ".join(f"{value:.3g}{unit}" for unit, value in option.certificates.items()) or words.DASH,
        f"{option.payload_bytes:,}",
        words.DASH if option.ms is None else f"{option.ms:.3g}",
    )


def figures(made: Planned) -> list[tuple[str, str, str]]:
    """Title, drawing and caption of each figure: target accuracy against what leaks."""
    drawn = []
    for name, title, unit, scale in (
        ("advantage", "Target and the strongest attack", "attack above the floor, points", 100.0),
        ("psnr", "Target and redrawn pictures", "PSNR, dB", 1.0),
    ):
        limit = made.limits.given.get(name)
        picture = Chart(
            "target accuracy, %", unit, _series(made, name), () if limit is None else (("limit", limit / scale),),
            scale=scale, x_scale=100,
        )  # fmt: skip
        if picture.series:
            said = "Right is more useful, low leaks less."
            said += " The upper end of an interval has to be below the limit." if limit is not None else ""
            drawn.append((title, chart.svg(picture, title), said))
    return drawn


def _series(made: Planned, name: str) -> tuple[Series, ...]:
    """The chosen run, others that nothing beats, and the rest, where they were measured."""
    kinds: dict[str, list[Point]] = {"chosen": [], "nothing beats it": [], "beaten": []}
    for option in made.options:
        value: Estimate | None = getattr(option, name)
        if value is not None:
            on_front = any(option is f for f in made.front)
            kind = "chosen" if option is made.chosen else "nothing beats it" if on_front else "beaten"
            kinds[kind].append(Point(option.accuracy, value, option.name))
    return tuple(Series(kind, tuple(points), joined=False) for kind, points in kinds.items() if points)


def _figure(metric: str, value: Estimate | None) -> str:
    return words.DASH if value is None else f"{words.figure(metric, value.mean)} ({words.interval(metric, value)})"
