"""Figures: target accuracy against leakage, one standalone SVG per hidden attribute, drawn by hand.

Hand-drawn rather than plotted, so that a point is a link to its row, colors follow the page from light to dark, and the
same text gives the same bytes. Colors fall back to the light theme where the file stands alone."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from privet.audit.estimate import Estimate
from privet.report import words
from privet.report.files import write_atomic
from privet.report.place import Box, place
from privet.report.results import Results, Row
from privet.report.view import Variant, View, leaks

WIDTH, HEIGHT = 400, 330
FRAME = Box(42, 34, 392, 286)
STYLE = """
.fig{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
.fig text{fill:var(--ink,#20251f)}.fig .quiet{fill:var(--quiet,#5d655c)}.fig .grid{stroke:var(--line,#e2e1da)}
.fig .below{fill:var(--hidden,#2c6e49);opacity:.07}.fig .floor{stroke:var(--hidden,#2c6e49);stroke-width:1.5}
.fig .raw{stroke:var(--leak,#b03a26);stroke-width:1.5;stroke-dasharray:5 4}
.fig .name-floor{fill:var(--hidden,#2c6e49)}.fig .name-raw{fill:var(--leak,#b03a26)}
.fig .leader{stroke:var(--quiet,#5d655c);stroke-width:.7}.fig .bar{stroke-width:1.5;opacity:.55;fill:none}
.fig .leak{fill:var(--leak,#b03a26);stroke:var(--leak,#b03a26)}
.fig .safe{fill:var(--hidden,#2c6e49);stroke:var(--hidden,#2c6e49)}
.fig .base{fill:var(--paper,#fff);stroke:var(--leak,#b03a26);stroke-width:2}
.fig .broken{fill:var(--paper,#fff);stroke:var(--quiet,#5d655c);stroke-dasharray:2 2}
.fig .struck{text-decoration:line-through}.fig a:focus{outline:none}
.fig a:hover .mark,.fig a:focus .mark{stroke:var(--ink,#20251f);stroke-width:3}
""".strip()


@dataclass(frozen=True)
class _Axis:
    """Values to pixels, with about five round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 5, 10), key=lambda m: abs(m * power - rough))
        return [round(i * step, 10) for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _axis(values: list[float], least: float, start: float, end: float) -> _Axis:
    """An axis over the finite values with some air, at least `least` wide."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = max((high - low) * 0.1, (least - (high - low)) / 2)
    return _Axis(low - air, high + air, start, end)


def utility_leakage_svg(results: Results, attribute: str) -> str:
    """Standalone SVG: x target accuracy, y the headline attack on `attribute` (`input` for reconstruction), with 95 %
    intervals, the floor, the undefended level, and every point named. Empty text where no attack on it ended."""
    return utility_leakage(View(results), attribute)


def utility_leakage(view: View, attribute: str) -> str:
    """As `utility_leakage_svg`, for a view that exists already."""
    pairs = [(v, r) for v in view.variants if (r := view.headline(v, attribute)) is not None]
    pairs = [(v, r) for v, r in pairs if math.isfinite(r.value.mean) and math.isfinite(r.utility.mean)]
    if not pairs:
        return ""
    rows = [r for _, r in pairs]
    first, scale = rows[0], 100 if rows[0].metric in words.RATES else 1
    spans = [r.value for r in rows] + [first.floor, first.undefended]
    least = {"psnr": 2.0}.get(first.metric, 0.08) * scale
    y = _axis([v * scale for e in spans for v in (e.low, e.high)], least, FRAME.bottom, FRAME.top)
    x = _axis([v * 100 for r in rows for v in (r.utility.low, r.utility.high)], 6.0, FRAME.left, FRAME.right)
    lines, taken = _levels(first, y, scale)
    points = [(x(r.utility.mean * 100), y(r.value.mean * scale), words.shorten(v.label)) for v, r in pairs]
    broken = attribute in view.failed
    body = [*_grid(view, attribute, first.metric, x, y), *lines]
    for label, (px, py, _) in zip(place(points, FRAME, taken), points, strict=True):
        if label.leader:
            body.append(_line("leader", px, py, *label.leader))
        body.append(_text("struck quiet" if broken else "", label.box.left, label.box.bottom - 3, label.text))
    for v, r in pairs:
        body.append(_point(view, v, r, x, y, scale, broken))
    summary = escape(alt(view, attribute))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'aria-label="{summary}"><style>{STYLE}</style>{"".join(body)}</svg>'
    )


def alt(view: View, attribute: str) -> str:
    """The figure in words, for who cannot see it."""
    said = [words.unmarked(point_text(view, v, r)) for v in view.variants if (r := view.headline(v, attribute))]
    doubt = "Not to be trusted, calibration failed. " if attribute in view.failed else ""
    return f"{doubt}Target accuracy against what leaks about {words.plain(attribute)}. " + " ".join(said)


def point_text(view: View, variant: Variant, row: Row) -> str:
    """One point as lines: defense, target accuracy, value with interval, floor, undefended, attack, n, seeds, flags."""
    metric = row.metric

    def told(e: Estimate) -> str:
        return f"{words.number(metric, e.mean)} ({words.interval(metric, e)})"

    flags = f"Flags: {', '.join(row.flags)}." if row.flags else ""
    lines = [
        f"{variant.label}.",
        f"{_capital(words.plain(view.target))} right: {words.number('accuracy', row.utility.mean)} "
        f"({words.interval('accuracy', row.utility)}).",
        f"{_capital(words.metric_name(metric))} on {words.plain(row.attribute)}: {told(row.value)}.",
        f"Floor {told(row.floor)}, undefended {told(row.undefended)}.",
        f"Attack {row.attack}, n = {row.value.n}, {row.seeds} seed{'s' if row.seeds != 1 else ''}.",
        flags,
    ]
    return "\n".join(line for line in lines if line)


def glyph(row: Row, broken: bool) -> str:
    """A small bar for a table cell: from the floor (left) to undefended (right), with value and interval; decorative."""
    span = row.undefended.mean - row.floor.mean
    if row.normalized is None or not span > 0:
        return ""
    low, mid, high = (min(max((v - row.floor.mean) / span, -0.06), 1.06) * 76 + 6 for v in _ends(row.value))
    kind = "broken" if broken else ("leak" if leaks(row) else "safe")
    return (
        '<svg class="fig glyph" viewBox="0 0 88 14" width="88" height="14" aria-hidden="true">'
        '<path class="grid" d="M6 7H82M6 3v8M82 3v8"/>'
        f'<path class="bar {kind}" d="M{low:.1f} 7H{high:.1f}"/><circle class="mark {kind}" cx="{mid:.1f}" cy="7" r="3"/></svg>'
    )


def write_figures(results: Results, folder: Path) -> list[Path]:
    """Write `utility-leakage-<attribute>.svg` into `folder`; returns the paths. RunError where it cannot be written."""
    view, written = View(results), []
    for index, attribute in enumerate(view.attributes):
        if svg := utility_leakage(view, attribute):
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", attribute).strip("-") or str(index)
            written.append(write_atomic(folder / f"utility-leakage-{name}.svg", svg))
    return written


def _ends(e: Estimate) -> tuple[float, float, float]:
    return e.low, e.mean, e.high


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}>{escape(text)}</text>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _grid(view: View, attribute: str, metric: str, x: _Axis, y: _Axis) -> list[str]:
    name = words.plain(attribute)
    measured = {"psnr": "PSNR of the reconstruction, dB", "accuracy": f"victims whose {name} is recognized, %"}
    left = measured.get(metric, f"{words.metric_name(metric)} of the attack on {name}")
    bottom = f"{words.plain(view.target)} answered correctly, %"
    out = [_line("grid", FRAME.left, y(t), FRAME.right, y(t)) for t in y.ticks()]
    out += [_text("quiet", FRAME.left - 7, y(t) + 4, f"{t:g}", "end") for t in y.ticks()]
    out += [_text("quiet", x(t), FRAME.bottom + 17, f"{t:g}", "middle") for t in x.ticks()]
    return [*out, _text("quiet", 6, 16, left), _text("quiet", FRAME.right, HEIGHT - 6, f"{bottom} \u2192", "end")]


def _levels(row: Row, y: _Axis, scale: int) -> tuple[list[str], list[Box]]:
    """The floor, the undefended line, and the boxes of their names."""
    floor, raw, metric = y(row.floor.mean * scale), y(row.undefended.mean * scale), row.metric
    wide, high = FRAME.right - FRAME.left, max(FRAME.bottom - floor, 0)
    out = [f'<rect class="below" x="{FRAME.left}" y="{floor:.1f}" width="{wide}" height="{high:.1f}"/>']
    out += [_line("floor", FRAME.left, floor, FRAME.right, floor), _line("raw", FRAME.left, raw, FRAME.right, raw)]
    taken = []
    for kind, at, text in (
        ("floor", floor + 13, f"floor {words.number(metric, row.floor.mean)}, without the payload"),
        ("raw", raw - 5, f"undefended {words.number(metric, row.undefended.mean)}"),
    ):
        out.append(_text(f"name-{kind}", FRAME.left + 4, at, text))
        taken.append(Box(FRAME.left + 4, at - 11, FRAME.left + 4 + 5.6 * len(text), at + 3))
    return out, taken


def _point(view: View, variant: Variant, row: Row, x: _Axis, y: _Axis, scale: int, broken: bool) -> str:
    px, py = x(row.utility.mean * 100), y(row.value.mean * scale)
    kind = "broken" if broken else "base" if variant.index == 0 else "leak" if leaks(row) else "safe"
    across = f"M{x(row.utility.low * 100):.1f} {py:.1f}H{x(row.utility.high * 100):.1f}"
    bars = f"{across}M{px:.1f} {y(row.value.low * scale):.1f}V{y(row.value.high * scale):.1f}"
    diamond = f'<path class="mark {kind}" d="M{px:.1f} {py - 6.4:.1f}l6.4 6.4l-6.4 6.4l-6.4 -6.4z"/>'
    mark = diamond if kind == "safe" else f'<circle class="mark {kind}" cx="{px:.1f}" cy="{py:.1f}" r="5"/>'
    text = escape(words.unmarked(point_text(view, variant, row)))
    target = f"row-{view.attributes.index(row.attribute)}-{variant.index}"
    return (
        f'<a href="#{target}" class="pt" data-row="{target}"><title>{text}</title><path class="bar {kind}" d="{bars}"/>'
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="13" fill="transparent"/>{mark}</a>'
    )
