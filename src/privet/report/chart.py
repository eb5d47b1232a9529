"""Charts of any study: lines and points with intervals, drawn by hand as the figures of an audit are.

Chart("kept coefficients m'", "attack error, %", (Series("signal content", (Point(1, told), Point(2, told))),))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from privet.auditing.estimate import Estimate
from privet.report.place import CHARACTER, Box
from privet.report.svg import STYLE as FIGURE
from privet.report.svg import Axis, axis, line, text
from privet.report.words import MINUS


@dataclass(frozen=True)
class Point:
    """Where a mark stands: x and y, a number or an estimate with its interval; `label` is said beside its values."""

    x: float | Estimate
    y: float | Estimate
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one kind, joined in their order by a line unless `joined` is False."""

    name: str
    points: tuple[Point, ...]
    joined: bool = True


@dataclass(frozen=True)
class Chart:
    """Series on common axes. `levels` are horizontal lines with a name, such as a floor; `scale` multiplies both the
    y values and the levels (100 for percent), `x_scale` the x values; `log_x` spaces x by its logarithm; `ticks` names
    places on the x axis where x counts settings."""

    x: str
    y: str
    series: tuple[Series, ...]
    levels: tuple[tuple[str, float], ...] = ()
    scale: float = 1.0
    x_scale: float = 1.0
    log_x: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


STYLE = """
.chart .s0{color:#b03a26}.chart .s1{color:#2c6e49}.chart .s2{color:#2f5f9e}.chart .s3{color:#8a6100}
.chart .s4{color:#7b4397}.chart .s5{color:#1f7478}.chart .s6{color:#5d655c}
.chart .mark{fill:currentColor;stroke:currentColor;stroke-width:1.5}.chart .hollow{fill:var(--paper,#fff)}
.chart .join{fill:none;stroke:currentColor;stroke-width:1.6}.chart .bar{stroke:currentColor;opacity:.4}
.chart .level{stroke:var(--quiet,#5d655c);stroke-width:1.2;stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.chart .s0{color:#f08d76}.chart .s1{color:#7fc79d}.chart .s2{color:#8ab4e8}
.chart .s3{color:#e9c46a}.chart .s4{color:#c79be0}.chart .s5{color:#6fc7c7}.chart .s6{color:#a3aba1}}
""".strip()
SIZE, COLORS, ROW, FEW = (560, 380), 7, 18, 6
SHAPES = (
    "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0 -8.8 0z",
    "M0 -5.8L5.8 0L0 5.8L-5.8 0z",
    "M-4.2 -4.2h8.4v8.4h-8.4z",
    "M0 -5.4L5.2 4L-5.2 4z",
    "M0 5.4L5.2 -4L-5.2 -4z",
)


def svg(chart: Chart, title: str) -> str:
    """The chart as one standalone SVG: legend above, every mark with its interval and its numbers as a tooltip; `title`
    says it in words. Colors follow the page from light to dark."""
    legend, depth = _legend(chart)
    width, height = SIZE[0], SIZE[1] + depth
    frame = Box(46, 30 + depth, width - 12, height - 42)
    plot = _Plot(chart, frame, _x_axis(chart, frame), _y_axis(chart, frame))
    body = [*plot.grid(), *plot.levels(), *legend]
    for index, series in enumerate(chart.series):
        body.append(plot.series(index, series))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{FIGURE}{STYLE}</style>{"".join(body)}</svg>'
    )


def around(value: float | Estimate) -> tuple[float, float, float]:
    """low, mean, high of a number or an estimate."""
    return (value.low, value.mean, value.high) if isinstance(value, Estimate) else (value, value, value)


@dataclass(frozen=True)
class _Plot:
    """A chart on its axes, in pixels."""

    chart: Chart
    frame: Box
    x: Axis
    y: Axis

    def across(self, value: float) -> float:
        """An x value to pixels."""
        return self.x(_placed(self.chart, value))

    def up(self, value: float) -> float:
        """A y value to pixels."""
        return self.y(value * self.chart.scale)

    def grid(self) -> list[str]:
        """Lines, ticks and the names of the axes."""
        frame, chart = self.frame, self.chart
        out = [line("grid", frame.left, self.y(t), frame.right, self.y(t)) for t in self.y.ticks()]
        out += [text("quiet", frame.left - 7, self.y(t) + 4, _plain(f"{t:g}"), "end") for t in self.y.ticks()]
        for at, said in _x_ticks(chart, self.x):
            out += [line("grid", self.x(at), frame.bottom, self.x(at), frame.bottom + 4)]
            out += [text("quiet", self.x(at), frame.bottom + 18, said, "middle")]
        out += [text("quiet", 0, frame.top - 14, chart.y)]
        return [*out, text("quiet", frame.right, frame.bottom + 36, chart.x, "end")]

    def levels(self) -> list[str]:
        """Horizontal lines with their names."""
        out = []
        for name, value in self.chart.levels:
            at = self.up(value)
            out += [line("level", self.frame.left, at, self.frame.right, at)]
            out += [text("quiet", self.frame.right - 2, at - 5, name, "end")]
        return out

    def series(self, index: int, series: Series) -> str:
        """Line, intervals and marks of one series."""
        out = []
        places = [(self.across(around(p.x)[1]), self.up(around(p.y)[1])) for p in series.points]
        if series.joined and len(places) > 1:
            out.append('<path class="join" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>')
        frame = self.frame
        for point, (x, y) in zip(series.points, places, strict=True):
            left, _, right = (min(max(self.across(v), frame.left), frame.right) for v in around(point.x))
            low, _, high = (min(max(self.up(v), frame.top), frame.bottom) for v in around(point.y))
            bars = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {high:.1f}V{low:.1f}"
            said = escape(f"{series.name}{', ' if point.label else ''}{point.label}: {self._told(point)}")
            out.append(f'<g><title>{said}</title><path class="bar" d="{bars}"/>{_mark(index, x, y)}</g>')
        return f'<g class="s{index % COLORS}">{"".join(out)}</g>'

    def _told(self, point: Point) -> str:
        chart = self.chart
        named = {around(x)[1]: said for x, said in chart.ticks}
        said = []
        for name, value, scale in ((chart.x, point.x, chart.x_scale), (chart.y, point.y, chart.scale)):
            low, mean, high = (v * scale for v in around(value))
            number = named.get(around(value)[1], "") if name == chart.x else ""
            span = f" ({low:.4g} to {high:.4g})" if low < high else ""
            said.append(f"{name} {number or _plain(f'{mean:.4g}')}{_plain(span)}")
        return "; ".join(said)


def _plain(number: str) -> str:
    return number.replace("-", MINUS)


def _mark(index: int, x: float, y: float) -> str:
    hollow = " hollow" if index >= len(SHAPES) else ""
    return f'<path class="mark{hollow}" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[index % len(SHAPES)]}"/>'


def _legend(chart: Chart) -> tuple[list[str], int]:
    """Marks and names in rows from the top left, and the height that they take."""
    out, x, y = [], 6.0, 10.0
    if len(chart.series) < 2 and not (chart.series and chart.series[0].name):
        return [], 0
    for index, series in enumerate(chart.series):
        wide = 38 + CHARACTER * len(series.name)
        if x > 6 and x + wide > SIZE[0]:
            x, y = 6.0, y + ROW
        out.append(f'<g class="s{index % COLORS}">{_mark(index, x, y)}</g>{text("", x + 11, y + 4, series.name)}')
        x += wide
    return out, int(y) + 10


def _placed(chart: Chart, value: float) -> float:
    return math.log10(max(value * chart.x_scale, 1e-12)) if chart.log_x else value * chart.x_scale


def _x_axis(chart: Chart, frame: Box) -> Axis:
    spans = [tuple(_placed(chart, v) for v in around(p.x)) for s in chart.series for p in s.points]
    values = _near(spans) + [mean for _, mean, _ in spans]
    values += [_placed(chart, at) for at, _ in chart.ticks]
    return axis(values, 0.3 if chart.log_x else 1e-6, frame.left, frame.right)


def _y_axis(chart: Chart, frame: Box) -> Axis:
    values = [tuple(v * chart.scale for v in around(p.y)) for s in chart.series for p in s.points]
    levels = [v * chart.scale for _, v in chart.levels]
    return axis(_near(values) + levels, 0.02 * chart.scale, frame.bottom, frame.top)


def _near(spans: list[tuple[float, ...]]) -> list[float]:
    """The ends of (low, mean, high) as far as an axis should follow them: one hopeless interval, as of two seeds, must
    not squeeze every point into one line."""
    if not spans:
        return []
    means = [mean for _, mean, _ in spans]
    usual = sorted(high - low for low, _, high in spans)[len(spans) // 2]
    room = max(max(means) - min(means), usual)
    return [v for low, _, high in spans for v in (max(low, min(means) - room / 2), min(high, max(means) + room / 2))]


def _x_ticks(chart: Chart, x: Axis) -> list[tuple[float, str]]:
    """Places and names: those given; the x values themselves where a logarithmic axis has few; whole numbers where all
    x are."""
    if chart.ticks:
        return [(_placed(chart, at), said) for at, said in chart.ticks]
    values = sorted({around(p.x)[1] * chart.x_scale for s in chart.series for p in s.points})
    if not chart.log_x:
        whole = all(float(v).is_integer() for v in values)
        return [(t, _plain(f"{t:g}")) for t in x.ticks() if not whole or float(t).is_integer()]
    if len(values) <= FEW and all(float(v).is_integer() for v in values):
        ticks = values
    else:
        exponents = range(math.floor(x.low), math.ceil(x.high) + 1)
        ticks = [m * 10.0**e for e in exponents for m in ((1, 2, 5) if x.high - x.low < 3 else (1,))]
    places = [(math.log10(t), f"{t:,.0f}" if t >= 1 else f"{t:g}") for t in ticks if t > 0]
    return [(at, said) for at, said in places if x.low <= at <= x.high]
