"""Bars: a group a lane, the defended network's bar over the undefended one's; and who is taken for whom, as a matrix.

Drawn by hand as the other figures are. In the chart of the attack a mark shows for how many of all people the value is
named: only what a bar reaches beyond its mark is known about that group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from privet.auditing.estimate import Estimate
from privet.report import words
from privet.report.svg import Axis, line, text

STYLE = """
.groups .rod{stroke-width:1.4}.groups .reach{stroke:var(--ink,#20251f);stroke-width:1.2;opacity:.75}
.fig.groups .answer{fill:var(--hidden,#2c6e49);stroke:var(--hidden,#2c6e49)}
.fig.groups .rod.base{fill:var(--paper,#fff);stroke-width:1.4}
.groups .named{stroke:var(--ink,#20251f);stroke-width:2.6}.groups .halo{stroke:var(--paper,#fff);stroke-width:5}
.groups .reach.halo{stroke-width:4;opacity:.55}.groups .cell{fill:var(--leak,#b03a26)}
.groups .held{fill:none;stroke:var(--line,#e2e1da)}.groups .own{fill:none;stroke:var(--ink,#20251f);stroke-width:1.4}
""".strip()
WIDTH, LEFT, RIGHT, TOP, LANE = 560, 128, 512, 34, 42
NAME, WIDEST = 17, 52  # characters of a group's name; pixels of a cell
DARKEST = 0.55  # opacity of a full cell: its number stays readable, by light and in the dark


@dataclass(frozen=True)
class Lane:
    """One group: its bar, the bar without a defense, and where a mark stands on each; None where nobody counts."""

    name: str
    people: int
    here: Estimate | None
    raw: Estimate | None
    mark: float | None = None
    raw_mark: float | None = None
    told: str = ""


def bars(lanes: Sequence[Lane], title: str, label: str, *, kind: str, mark: str = "", base: str = "no defense") -> str:
    """A bar chart as one SVG; `kind` is the color's class (leak or answer), `label` names the filled bars, empty where
    there are no others; `mark` says what the marks mean."""
    x, bottom = Axis(0.0, 1.0, LEFT, RIGHT), TOP + LANE * len(lanes)
    body = [line("grid", x(t), TOP - 6, x(t), bottom) for t in (0, 0.25, 0.5, 0.75, 1)]
    body += [text("quiet", x(t), bottom + 15, f"{100 * t:g}", "middle") for t in (0, 0.25, 0.5, 0.75, 1)]
    body += _key(label, kind, mark, base)
    for index, lane in enumerate(lanes):
        y = TOP + LANE * index + 4
        body.append(text("", LEFT - 8, y + 12, words.shorten(lane.name, NAME), "end"))
        body.append(text("quiet", LEFT - 8, y + 26, f"n = {lane.people:,}", "end"))
        body.append(f"<g><title>{escape(lane.told)}</title>{_rod(x, y, 14, lane.here, lane.mark, kind)}")
        body.append(f"{_rod(x, y + 18, 10, lane.raw, lane.raw_mark, f'{kind} base') if label else ''}</g>")
    return _figure(bottom + 22, f"{title}. " + " ".join(lane.told for lane in lanes), body)


def _rod(x: Axis, y: float, height: float, value: Estimate | None, mark: float | None, kind: str) -> str:
    """One bar from zero with its interval, its mark and its number."""
    if value is None:
        return text("quiet", x(0) + 4, y + height - 3, "nobody to count")
    middle, end = y + height / 2, x(value.mean)
    out = f'<rect class="rod {kind}" x="{x(0)}" y="{y:.1f}" width="{end - x(0):.1f}" height="{height}"/>'
    reach = f'd="M{x(value.low):.1f} {middle:.1f}H{x(value.high):.1f}"'
    out += f'<path class="reach halo" {reach}/><path class="reach" {reach}/>'
    if mark is not None:
        out += "".join(line(kind, x(mark), y - 2, x(mark), y + height + 2) for kind in ("halo", "named"))
    return out + text("quiet", x(value.high) + 5, middle + 4, f"{100 * value.mean:.0f}")


def _key(label: str, kind: str, mark: str, base: str) -> list[str]:
    out, at = [], 4.0
    for said, drawn in ((label, kind), (base, f"{kind} base")):
        if label:
            out.append(f'<rect class="rod {drawn}" x="{at:.1f}" y="3" width="12" height="9"/>')
            out.append(text("quiet", at + 17, 12, words.shorten(said)))
            at += 33 + 6.2 * len(words.shorten(said))
    if mark:
        out += [line("named", at + 4, 1, at + 4, 14), text("quiet", at + 11, 12, mark)]
    return out


def matrix(names: Sequence[str], counts: Sequence[Sequence[float]], people: Sequence[int], title: str) -> str:
    """Who is taken for whom: a row a group, shares of its people in percent. What is named beyond these groups stands
    in a last column."""
    shares = [[c / n for c in row] for row, n in zip(counts, people, strict=True)]
    rest = [max(0.0, 1 - sum(row)) for row in shares]
    columns = [*names, "others"] if max(rest) > 0.0005 else list(names)
    side, left = min(WIDEST, (RIGHT + 40 - LEFT) / len(columns)), LEFT
    high, top = min(side, 34.0), 78.0
    body = [text("quiet", 0, 12, "what people hold \u2193"), text("quiet", left, 12, "what the attack names \u2192")]
    for j, name in enumerate(columns):
        where = f"translate({left + side * (j + 0.5) - 4:.1f} {top - 6:.1f}) rotate(-32)"
        body.append(f'<text class="quiet" transform="{where}">{escape(words.shorten(name, 13))}</text>')
    for i, (name, row) in enumerate(zip(names, shares, strict=True)):
        y = top + high * i
        body.append(text("", left - 8, y + high / 2 + 4, words.shorten(name, NAME), "end"))
        for j, share in enumerate([*row, rest[i]][: len(columns)]):
            told = escape(f"{name} is taken for {columns[j]}: {100 * share:.1f} %")
            box = f'x="{left + side * j:.1f}" y="{y:.1f}" width="{side - 2:.1f}" height="{high - 2:.1f}"'
            body.append(f'<g><title>{told}</title><rect class="cell" {box} fill-opacity="{DARKEST * share:.2f}"/>')
            body.append(f'<rect class="{"own" if i == j else "held"}" {box}/>')
            ink = "" if share >= 0.005 else "quiet"
            body.append(text(ink, left + side * j + side / 2 - 1, y + high / 2 + 3, f"{100 * share:.0f}", "middle"))
            body.append("</g>")
    told = " ".join(
        f"{n}: " + ", ".join(f"{c} {100 * v:.0f} %" for c, v in zip(names, row, strict=True)) + "."
        for n, row in zip(names, shares, strict=True)
    )
    return _figure(top + high * len(names) + 4, f"{title}. {told}", body)


def _figure(height: float, told: str, body: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig groups" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(told)}">{"".join(body)}</svg>'
    )
