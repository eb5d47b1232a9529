"""The figures of the paper, drawn from the evidence of the first set that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import PrivetError, RunError
from privet.planner.table import Table
from privet.recipes.claims import Draw, Figure
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.privynet.channels import found_by_fisher, worst_and_leaking
from privet.recipes.privynet.estimates import cells, loss, mean_of, utility, worst
from privet.recipes.privynet.grid import chosen
from privet.recipes.privynet.panels import Bytes, Panel
from privet.recipes.privynet.sizes import SETS
from privet.recipes.privynet.tables import Single
from privet.recipes.privynet.unknown import Width
from privet.report.chart import Chart, Point, Series
from privet.report.sections import png
from privet.report.svg import text

LIMITS = 12  # of figure 8
TILE, GAP, LABEL = 64, 4, 150  # pixels of a reconstruction panel

Measured = tuple[str, Any]  # the data set and the value


def first(evidence: Evidence, key: str) -> Measured:
    """The value of a measurement on the first data set that has it; RunError where none has."""
    for data in SETS:
        if f"{data}/{key}" in evidence.keys:
            return data, evidence.found(f"{data}/{key}")
    raise RunError(f"{key} was not measured")


def spread_of(values: np.ndarray[Any, Any], most: float = np.inf) -> Estimate:
    """The mean with its interval over draws, between 0 and `most`; a single draw has none."""
    value = float(values[0])
    found = mean_of(values.tolist()) if len(values) > 1 else Estimate(value, value, value, 1)
    return Estimate(found.mean, max(found.low, min(0.0, found.mean)), min(found.high, max(most, found.mean)), found.n)


def against_layer(figure: Callable[..., float], y: str, scale: float, most: float = np.inf) -> Draw:
    """Figures 3a and 3b: a figure against the layer, a line for each depth."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        made = cells(first(evidence, "grid")[1], figure, attacker)
        series = tuple(
            Series(
                f"{depth} channel{'s' if depth > 1 else ''}",
                tuple(Point(float(m), spread_of(v, most)) for (m, d), v in made.items() if d == depth),
            )
            for depth in sorted({d for _, d in made})
        )
        return Chart("layer m", y, series, scale=scale)

    return draw


def worth_against_loss(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 3c: accuracy against PSNR, a line for each layer."""
    table: Table = first(evidence, "grid")[1]
    leaks, worth = (cells(table, figure, attacker) for figure in (loss, utility))
    series = tuple(
        Series(
            f"layer {m}",
            tuple(
                sorted(
                    (
                        Point(float(leaks[k].mean()), spread_of(worth[k], 1.0), f"{k[1]} channels")
                        for k in leaks
                        if k[0] == m
                    ),
                    key=lambda point: float(point.x) if not isinstance(point.x, Estimate) else point.x.mean,
                )
            ),
        )
        for m in sorted({m for m, _ in leaks})
    )
    return Chart("privacy loss, dB", "accuracy, %", series, scale=100)


def alone(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 4: every channel alone."""
    made: dict[int, Single] = first(evidence, "single")[1]
    series = []
    for m, one in sorted(made.items()):
        worth = {row.channels: utility(row, attacker) for row in one.named.rows}
        points = tuple(
            Point(loss(row, attacker), worth[row.channels], f"channel {row.channels[0]}") for row in one.redrawn.rows
        )
        series.append(Series(f"layer {m}", points, joined=False))
    return Chart("privacy loss of a channel alone, dB", "accuracy, %", tuple(series), scale=100)


def over_channels(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 5: the deviation over draws of channels, beside the range over layers and depths."""
    made = cells(first(evidence, "grid")[1], loss, attacker)
    series = tuple(
        Series(
            f"layer {m}",
            tuple(Point(float(d), float(v.std(ddof=1))) for (layer, d), v in made.items() if layer == m and len(v) > 1),
        )
        for m in sorted({m for m, _ in made})
    )
    means = [float(v.mean()) for v in made.values()]
    levels = (("deviation over layers and depths", float(np.std(means, ddof=1))),)
    return Chart("channels D'", "deviation over draws of channels, dB", series, levels, log_x=True)


def by_samples(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 7a."""
    made: dict[int, Table] = first(evidence, "samples")[1]
    points = tuple(Point(float(n), spread_of(np.array([loss(r, attacker) for r in t.rows]))) for n, t in made.items())
    return Chart("public pictures", "privacy loss, dB", (Series("reconstruction", points),), log_x=True)


def of_both(key: str, other: str = "") -> Draw:
    """Figures 7b and 7c: the privacy loss on one set against that on another."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        if other:
            here, there = (evidence.found(name) for name in (key, other))
            names = key.split("/")[0], other.split("/")[0]
        else:
            here, there = first(evidence, key)[1]
            names = "first half of the classes", "second half"
        known = {(row.layer, row.channels): loss(row, attacker) for row in there.rows}
        both = [(row, known[row.layer, row.channels]) for row in here.rows if (row.layer, row.channels) in known]
        series = tuple(
            Series(
                f"layer {m}",
                tuple(Point(loss(r, attacker), v, f"{r.depth} channels") for r, v in both if r.layer == m),
                joined=False,
            )
            for m in sorted({r.layer for r, _ in both})
        )
        return Chart(f"privacy loss on {names[0]}, dB", f"on {names[1]}, dB", series)

    return draw


def planned(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 8: the layer that the strategy takes, under each limit."""
    data, table = first(evidence, "grid")
    made = [float(v.mean()) for v in cells(table, loss, attacker).values()]
    points = []
    for limit in np.linspace(min(made), max(made), LIMITS):
        try:
            choice = chosen(evidence, data, float(limit), attacker)
        except PrivetError:
            continue
        points.append(Point(float(limit), float(choice.layer), f"{choice.depth} channels"))
    return Chart("limit on the privacy loss, dB", "layer m that is taken", (Series(data, tuple(points)),))


def leak_and_worth(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 10: channels of the deepest layer by what they leak and what they are worth; the worst quarters apart."""
    data, _ = first(evidence, "single")
    worth, leaks = worst_and_leaking(evidence, data, attacker)
    useless, leaky = worst(worth, 0.25), worst(-leaks, 0.25)
    kinds = (
        ("leaks most", leaky & ~useless), ("worth least", useless & ~leaky), ("both", useless & leaky),
        ("neither", ~useless & ~leaky),
    )  # fmt: skip
    series = tuple(
        Series(
            name, tuple(Point(float(leaks[i]), float(worth[i]), f"channel {i}") for i in np.flatnonzero(rows)), False
        )
        for name, rows in kinds
    )
    return Chart("privacy loss of a channel alone, dB", "accuracy, %", series, scale=100)


def pruned_by_fisher(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figures 11 and 12: the worst quarter found, against the share that is pruned, for numbers of mini-batches."""
    data, made = first(evidence, "fisher")
    pruned = np.linspace(0.05, 1, 20)
    series = [
        Series(
            f"{n} mini-batch{'es' if n > 1 else ''}",
            tuple(Point(float(p), found_by_fisher(evidence, data, n, float(p), attacker)) for p in pruned),
        )
        for n in sorted({min(made), max(made), min(made, key=lambda n: abs(n - 10))})
    ]
    chance = Series("at random", tuple(Point(float(p), float(p)) for p in pruned))
    return Chart("channels pruned, %", "of the worst quarter found, %", (*series, chance), scale=100, x_scale=100)


def three_settings(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 13: draws of three ways to choose channels."""
    tables: list[Table] = first(evidence, "settings")[1]
    names = ("at random", "pruned by characterization", "pruned by Fisher's criterion")
    series = tuple(
        Series(name, tuple(Point(loss(r, attacker), utility(r, attacker)) for r in table.rows), joined=False)
        for name, table in zip(names, tables, strict=True)
    )
    return Chart("privacy loss, dB", "accuracy, %", series, scale=100)


def narrowed(what: str) -> Draw:
    """Figures 14 and 15: accuracy, PSNR and time by width."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        made: list[Width] = first(evidence, "widths")[1]
        ticks = tuple((float(i), "/".join(f"{s:g}" for s in one.shares)) for i, one in enumerate(made))
        if what == "ms":
            points = tuple(Point(float(i), float(np.median(one.ms))) for i, one in enumerate(made))
            return Chart("shares of the inner filters", "milliseconds", (Series("one picture", points),), ticks=ticks)
        series = tuple(
            Series(
                name,
                tuple(
                    Point(float(i), spread_of(np.array([scale * figure(r, attacker) for r in one.table.rows])))
                    for i, one in enumerate(made)
                ),
            )
            for name, figure, scale in (("accuracy, %", utility, 100.0), ("privacy loss, dB", loss, 1.0))
        )
        return Chart("shares of the inner filters", "accuracy, % and dB", series, ticks=ticks)

    return draw


def by_clusters(evidence: Evidence, attacker: Attacker) -> Chart:
    """Figure 19."""
    made: dict[int, Table] = first(evidence, "clusters")[1]
    points = tuple(
        Point(float(n), spread_of(np.array([loss(r, "published") for r in t.rows]))) for n, t in made.items()
    )
    ticks = tuple((float(n), str(n)) for n in made)
    return Chart("clusters", "privacy loss, dB", (Series("reconstruction network", points),), ticks=ticks)


def by_block(what: str, y: str, scale: float) -> Draw:
    """Figure 20: a cost of each block of VGG-16, a line for each size of the picture."""

    def draw(evidence: Evidence, attacker: Attacker) -> Chart:
        sides: dict[str, list[dict[str, Any]]] = evidence.found("vgg16/cost")["sides"]
        series = tuple(
            Series(f"{side} px", tuple(Point(float(i), r[what] * scale) for i, r in enumerate(rows)))
            for side, rows in sides.items()
        )
        ticks = tuple((float(i), r["block"]) for i, r in enumerate(next(iter(sides.values()))))
        return Chart("block of VGG-16", y, series, ticks=ticks)

    return draw


def guessed(evidence: Evidence, attacker: Attacker) -> Chart:
    """The attack on anonymity: channels identified, against an adversary's own pictures."""
    made: dict[float, list[list[dict[str, Any]]]] = first(evidence, "guesses")[1]
    series = []
    for share, draws in made.items():
        counts = [one["pairs"] for one in draws[0]]
        rates = [np.array([draw[i]["rate"] for draw in draws]) for i in range(len(counts))]
        points = tuple(Point(float(n), spread_of(r, 1.0)) for n, r in zip(counts, rates, strict=True))
        series.append(Series(f"{share:.0%} of the inner filters", points))
    return Chart("pictures of an adversary's own", "channels identified, %", tuple(series), scale=100, log_x=True)


def redrawn_of(data: str) -> Draw:
    """Figures 21 to 24: pictures of a set, and what is drawn of them through each extractor."""
    return lambda evidence, attacker: redrawn(*evidence.found(f"{data}/panels"))


def redrawn(pictures: Bytes, made: list[Panel]) -> str:
    """Pictures [n, C, H, W] above what is drawn of them, as an SVG of its own."""
    rows: list[tuple[str, Bytes]] = [("original", pictures)]
    rows += [(_told(panel), panel.drawn) for panel in made]
    width, height = LABEL + len(pictures) * (TILE + GAP), len(rows) * (TILE + GAP)
    body = []
    for i, (name, tiles) in enumerate(rows):
        y = i * (TILE + GAP)
        for line, said in enumerate(name.split(", ")):
            body.append(text("label", 0, y + 16 + 17 * line, said))
        for j, tile in enumerate(tiles):
            at = f'x="{LABEL + j * (TILE + GAP)}" y="{y}" width="{TILE}" height="{TILE}"'
            body.append(f'<image {at} href="{png(tile)}" style="image-rendering:pixelated"/>')
    said = "pictures, and below them what is drawn of them through ever narrower and deeper extractors"
    return (
        f'<svg class="figure" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{said}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _told(panel: Panel) -> str:
    return f"layer {panel.layer}, {panel.depth} channel{'s' if panel.depth > 1 else ''}, {panel.psnr:.1f} dB"


FIGURES = (
    Figure("3a", "Figure 3a: the privacy loss", against_layer(loss, "privacy loss, dB", 1)),
    Figure("3b", "Figure 3b: the accuracy", against_layer(utility, "accuracy, %", 100, 1.0)),
    Figure("3c", "Figure 3c: accuracy against privacy loss", worth_against_loss),
    *(
        Figure(
            f"panels-{data}",
            "Figures 21 to 24: what is drawn",
            redrawn_of(data),
            (f"{data}/panels",),
            "Held-out public pictures, not chosen.",
        )
        for data in SETS
    ),
    Figure("4", "Figure 4: single channels", alone),
    Figure("5", "Figure 5: which channels", over_channels),
    Figure("7a", "Figure 7a: public pictures", by_samples),
    Figure("7b", "Figure 7b: either half of the classes", of_both("halves")),
    Figure(
        "7c", "Figure 7c: another data set", of_both("cifar10/grid", "utkface/grid"), ("cifar10/grid", "utkface/grid")
    ),
    Figure("8", "Figure 8: the strategy", planned),
    Figure("10", "Figure 10: leaking and useless channels", leak_and_worth),
    Figure("11", "Figures 11 and 12: Fisher's criterion", pruned_by_fisher),
    Figure("13", "Figure 13: three ways to choose channels", three_settings),
    Figure("14", "Figure 14: inner filters left out", narrowed("both")),
    Figure("15", "Figure 15: the time", narrowed("ms")),
    Figure("19", "Figure 19: clusters", by_clusters),
    Figure("20-time", "Figure 20: time by block", by_block("ms", "milliseconds", 1.0), ("vgg16/cost",)),
    Figure("20-storage", "Figure 20: storage by block", by_block("bytes", "MB of weights", 1e-6), ("vgg16/cost",)),
    Figure("guess", "Who guesses the network", guessed),
)
