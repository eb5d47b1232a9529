"""Figures: target accuracy against leakage, one standalone SVG per hidden attribute, drawn by hand.

Hand-drawn rather than plotted, so that a point is a link to its row, colors follow the page from light to dark, and the
same text gives the same bytes. Colors fall back to the light theme where the file stands alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from privet import run
from privet.auditing.estimate import Estimate
from privet.report import words
from privet.report.place import CHARACTER, Box, place
from privet.report.results import Results, Row
from privet.report.svg import STYLE, Axis, axis, line, text
from privet.report.view import Variant, View, over

SMALL, LARGE, MANY = (364, 322), (560, 420), 6  # width and height of a panel, and how many points the small one takes


def utility_leakage_svg(results: Results, attribute: str) -> str:
    """Standalone SVG: x target accuracy, y the headline attack on `attribute` (`input` for reconstruction), with 95 %
    intervals, the floor, the undefended level, and every point named. Empty text where no attack on it ended."""
    return utility_leakage(View(results), attribute)


def utility_leakage(view: View, attribute: str) -> str:
    """As `utility_leakage_svg`, for a view that exists already."""
    pairs = [(v, r) for v in view.variants if (r := view.headline(v, attribute)) is not None and r.utility is not None]
    if not pairs:  # nor where nobody recorded how well the target is answered
        return ""
    plot = _plot(view, attribute, [r for _, r in pairs])
    body, taken = _levels(plot, pairs[0][1])
    points = [(*plot.at(r), words.shorten(v.label)) for v, r in pairs]
    for (_, row), (x, y, _) in zip(pairs, points, strict=True):
        left, right, top, bottom = plot.reach(row)
        taken += [Box(left, y - 2, right, y + 2), Box(x - 2, top, x + 2, bottom)]
    for label, (x, y, _) in zip(place(points, plot.frame, taken), points, strict=True):
        if label.leader:
            body.append(line("leader", x, y, *label.leader))
        body.append(text("struck quiet" if plot.broken else "", label.box.left, label.box.bottom - 3, label.text))
    marks = [_point(plot, v, r) for v, r in pairs]
    width, height = plot.size
    drawn = "".join([*_grid(plot), *body, *marks])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {width} {height}" role="group" '
        f'aria-label="{escape(alt(view, attribute))}"><style>{STYLE}</style>{drawn}</svg>'
    )


@dataclass(frozen=True)
class _Plot:
    """One panel: what it shows, where, and on which axes."""

    view: View
    attribute: str
    metric: str
    size: tuple[int, int]
    frame: Box
    x: Axis
    y: Axis
    scale: int
    broken: bool

    def at(self, row: Row) -> tuple[float, float]:
        """The point of a row, in pixels."""
        assert row.utility is not None
        return self.x(row.utility.mean * 100), self.y(row.value.mean * self.scale)

    def reach(self, row: Row) -> tuple[float, float, float, float]:
        """Its intervals: left, right, top, bottom."""
        u, v = row.utility, row.value
        assert u is not None
        return self.x(u.low * 100), self.x(u.high * 100), self.y(v.high * self.scale), self.y(v.low * self.scale)


def _plot(view: View, attribute: str, rows: list[Row]) -> _Plot:
    metric, size = rows[0].metric, SMALL if len(rows) <= MANY else LARGE
    scale, frame = 100 if metric in words.RATES else 1, Box(34, 34, size[0] - 4, size[1] - 42)
    spans = [r.value for r in rows] + [rows[0].floor, *([rows[0].undefended] if rows[0].undefended else [])]
    least = {"psnr": 2.0}.get(metric, 0.08 * scale)
    y = axis([v * scale for e in spans for v in (e.low, e.high)], least, frame.bottom, frame.top)
    x = axis(
        [v * 100 for r in rows if r.utility for v in (r.utility.low, r.utility.high)], 6.0, frame.left, frame.right
    )
    return _Plot(view, attribute, metric, size, frame, x, y, scale, attribute in view.failed)


def alt(view: View, attribute: str) -> str:
    """The figure in words, for who cannot see it."""
    said = [words.unmarked(point_text(view, v, r)) for v in view.variants if (r := view.headline(v, attribute))]
    doubt = "Not to be trusted, calibration failed. " if attribute in view.failed else ""
    return f"{doubt}Target accuracy against what leaks about {view.name(attribute)}. " + " ".join(said)


def point_text(view: View, variant: Variant, row: Row) -> str:
    """One point as lines: defense, target accuracy, value with interval, floor, undefended, attack, n, seeds, flags."""
    metric = row.metric

    def told(e: Estimate) -> str:
        return f"{words.number(metric, e.mean)} ({words.interval(metric, e)})"

    flags = f"Flags: {', '.join(row.flags)}." if row.flags else ""
    doubt = "Calibration failed: do not trust this value." if row.attribute in view.failed else ""
    lines = [
        f"{variant.label}.",
        doubt,
        f"{_capital(view.name(view.target))} right: {words.number('accuracy', row.utility.mean)} "
        f"({words.interval('accuracy', row.utility)})."
        if row.utility
        else "",
        f"{_capital(words.metric_name(metric))} on {view.name(row.attribute)}: {told(row.value)}.",
        f"Over floor {words.gap(metric, over(row).mean)} ({words.interval(metric, over(row))}).",
        f"Floor {told(row.floor)}" + (f", {view.terms.scale} {told(row.undefended)}." if row.undefended else "."),
        f"Attack {row.attack}, n = {row.value.n}, {row.seeds} seed{'s' if row.seeds != 1 else ''}.",
        flags,
    ]
    return "\n".join(line for line in lines if line)


def glyph(row: Row, kind: str) -> str:
    """A small bar for a table cell: the advantage with its interval, between floor and undefended; decorative."""
    span = row.undefended.mean - row.floor.mean if row.undefended else 0.0
    if row.normalized is None or not span > 0:
        return ""
    low, mid, high = (min(max(v / span, -0.06), 1.06) * 60 + 6 for v in (over(row).low, over(row).mean, over(row).high))
    return (
        '<svg class="fig glyph" viewBox="0 0 72 14" width="72" height="14" aria-hidden="true">'
        '<path class="grid" d="M6 7H66M6 3v8M66 3v8"/>'
        f'<path class="bar {kind}" d="M{low:.1f} 7H{high:.1f}"/>'
        f'<circle class="mark {kind}" cx="{mid:.1f}" cy="7" r="3"/></svg>'
    )


def write_figures(results: Results, folder: Path) -> list[Path]:
    """Write `utility-leakage-<attribute>.svg` into `folder`; returns the paths. RunError where it cannot be written."""
    view, written = View(results), []
    for index, attribute in enumerate(view.attributes):
        if svg := utility_leakage(view, attribute):
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", attribute).strip("-") or str(index)
            file = folder / f"utility-leakage-{name}.svg"
            run.write_text(file, svg)
            written.append(file)
    return written


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]


def _grid(plot: _Plot) -> list[str]:
    frame, x, y = plot.frame, plot.x, plot.y
    name, target = (words.shorten(plot.view.name(n)) for n in (plot.attribute, plot.view.target))
    measured = {"psnr": "PSNR of the reconstruction, dB", "accuracy": f"victims whose {name} is recognized, %"}
    left = measured.get(plot.metric, f"{words.metric_name(plot.metric)} of the attack on {name}")
    bottom = f"{target} answered correctly, % \u2192"
    out = [line("grid", frame.left, y(t), frame.right, y(t)) for t in y.ticks()]
    out += [text("quiet", frame.left - 6, y(t) + 4, f"{t:g}", "end") for t in y.ticks()]
    out += [text("quiet", x(t), frame.bottom + 17, f"{t:g}", "middle") for t in x.ticks()]
    return [*out, text("quiet", 0, 16, left), text("quiet", frame.right, plot.size[1] - 6, bottom, "end")]


def _levels(plot: _Plot, row: Row) -> tuple[list[str], list[Box]]:
    """The floor, the undefended line, and the boxes of their names."""
    frame, metric = plot.frame, row.metric
    floor = plot.y(row.floor.mean * plot.scale)
    levels = [("floor", floor, floor + 13, f"floor {words.number(metric, row.floor.mean)}, without the payload")]
    if row.undefended:
        raw, scale = plot.y(row.undefended.mean * plot.scale), words.shorten(plot.view.terms.scale)
        levels.append(("raw", raw, raw - 5, f"{scale} {words.number(metric, row.undefended.mean)}"))
    wide, high = frame.right - frame.left, max(frame.bottom - floor, 0)
    out = [f'<rect class="below" x="{frame.left}" y="{floor:.1f}" width="{wide}" height="{high:.1f}"/>']
    out += [line(kind, frame.left, at, frame.right, at) for kind, at, _, _ in levels]
    taken = [Box(frame.left, at - 1, frame.right, at + 1) for _, at, _, _ in levels]
    for kind, _, at, said in levels:
        out.append(text(f"name-{kind}{' struck' if plot.broken else ''}", frame.left + 4, at, said))
        taken.append(Box(frame.left + 4, at - 11, frame.left + 4 + CHARACTER * len(said), at + 3))
    return out, taken


def _point(plot: _Plot, variant: Variant, row: Row) -> str:
    """A link to the row of the table: intervals, a wide invisible target for fingers, and the mark."""
    (x, y), (left, right, top, bottom) = plot.at(row), plot.reach(row)
    kind = "broken" if plot.broken else "base" if variant not in plot.view.judged else plot.view.tone(variant, row)
    diamond = f'<path class="mark {kind}" d="M{x:.1f} {y - 6.4:.1f}l6.4 6.4l-6.4 6.4l-6.4 -6.4z"/>'
    mark = diamond if kind in ("safe", "open") else f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    told = escape(words.unmarked(point_text(plot.view, variant, row)))
    target = f"row-{plot.view.attributes.index(row.attribute)}-{variant.index}"
    bars = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {top:.1f}V{bottom:.1f}"
    return (
        f'<a href="#{target}" class="pt" data-row="{target}"><title>{told}</title><path class="bar {kind}" d="{bars}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="13" fill="transparent"/>{mark}</a>'
    )
