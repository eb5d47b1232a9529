"""Ink for the figures: axes, lines, texts and colors of hand-drawn SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

STYLE = """
.fig{font:11.5px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
.fig text{fill:var(--ink,#20251f)}.fig .quiet{fill:var(--quiet,#5d655c)}.fig .grid{stroke:var(--line,#e2e1da)}
.fig .below{fill:var(--hidden,#2c6e49);opacity:.07}.fig .floor{stroke:var(--hidden,#2c6e49);stroke-width:1.5}
.fig .raw{stroke:var(--leak,#b03a26);stroke-width:1.5;stroke-dasharray:5 4}
.fig .name-floor{fill:var(--hidden,#2c6e49)}.fig .name-raw{fill:var(--leak,#b03a26)}
.fig .leader{stroke:var(--quiet,#5d655c);stroke-width:.7}.fig .bar{stroke-width:1.5;opacity:.55;fill:none}
.fig .leak{fill:var(--leak,#b03a26);stroke:var(--leak,#b03a26)}
.fig .safe{fill:var(--hidden,#2c6e49);stroke:var(--hidden,#2c6e49)}
.fig .open{fill:var(--quiet,#5d655c);stroke:var(--quiet,#5d655c)}
.fig .base{fill:var(--paper,#fff);stroke:var(--leak,#b03a26);stroke-width:2}
.fig .broken{fill:var(--paper,#fff);stroke:var(--quiet,#5d655c);stroke-dasharray:2 2}
.fig .lane{paint-order:stroke;stroke:var(--paper,#fff);stroke-width:4px}
.fig .span{stroke:var(--hidden,#2c6e49);stroke-width:7;opacity:.22}
.fig .ceiling{stroke:var(--hidden,#2c6e49);stroke-width:3;fill:none}
.fig .struck{text-decoration:line-through}.fig a:focus{outline:none}
.fig a:hover .mark,.fig a:focus .mark{stroke:var(--ink,#20251f);stroke-width:3}
""".strip()


@dataclass(frozen=True)
class Axis:
    """Values to pixels, with about five round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * min((1, 2, 5, 10), key=lambda m: abs(m * power - rough))
        return [round(i * step, 10) for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def axis(values: list[float], least: float, start: float, end: float) -> Axis:
    """An axis over the finite values with some air, at least `least` wide."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = max((high - low) * 0.1, (least - (high - low)) / 2)
    return Axis(low - air, high + air, start, end)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A line of a class."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(kind: str, x: float, y: float, said: str, anchor: str = "start") -> str:
    """An escaped text of a class."""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}>{escape(said)}</text>'
