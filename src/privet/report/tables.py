"""Tables of a study for other readers: a spreadsheet, a paper, a terminal, a notebook."""

from __future__ import annotations

import csv
import html
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from privet.auditing.estimate import Estimate
from privet.report import sentences, words
from privet.report.results import Results, Row
from privet.report.view import Variant, View

FIELDS = ("data", "model", "at", "threat", "defense", "goal", "attribute", "attack", "metric")
ESTIMATES = ("value", "floor", "undefended", "utility")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    words.NBSP: "~",
    words.DASH: "--",
    words.MINUS: "$-$",
}


def rows_csv(results: Results) -> str:
    """Every row with its numbers unrounded, one line each; `calibrated` is no where an attribute is not to be trusted.

    Text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    view, buffer = View(results), io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    spread = [f"{name}{part}" for name in ESTIMATES for part in ("", "_low", "_high", "_n")]
    last = ["normalized", "payload_bytes", "edge_macs", "seeds", "headline", "calibrated", "flags"]
    writer.writerow([*FIELDS, *spread, *last])
    for row in results.rows:
        numbers = [v for name in ESTIMATES for v in _parts(getattr(row, name))]
        share = "" if row.normalized is None else repr(row.normalized)
        trusted = "no" if row.attribute in view.failed else "yes"
        macs = "" if row.edge_macs is None else row.edge_macs
        marks = ["yes" if row.headline else "no", trusted, " ".join(row.flags)]
        texts = [_inert(str(getattr(row, name))) for name in FIELDS]
        writer.writerow([*texts, *numbers, share, row.payload_bytes, macs, row.seeds, *marks])
    return buffer.getvalue()


def latex(results: Results) -> str:
    """A booktabs table: per attribute and defense target accuracy, headline value, floor, undefended, with intervals.

    Values that failed calibration are set in italics with a dagger that the last line explains."""
    view, lines = View(results), []
    for attribute, pairs in _headlines(view):
        lines.append(r"\midrule")
        for position, (variant, row) in enumerate(pairs):
            name = _tex(view.name(attribute)) if position == 0 else ""
            share = "--" if row.normalized is None else f"{row.normalized:.2f}".replace("-", "$-$")
            cells = [_tex(_told(m, e)) for m, e in (("accuracy", row.utility), (row.metric, row.value))]
            cells += [_tex(_told(row.metric, e)) for e in (row.floor, row.undefended)] + [share]
            if attribute in view.failed:
                cells[1:] = [rf"\textit{{{c}}}$^\dagger$" for c in cells[1:]]
            lines.append(" & ".join([name, rf"\texttt{{{_tex(variant.label)}}}", _tex(row.attack), *cells]) + r" \\")
    head = "attribute & defense & attack & target accuracy & leakage & floor & undefended & normalized"
    note = [r"\multicolumn{8}{l}{$^\dagger$ calibration failed: do not trust.} \\"] if view.failed else []
    body = [r"\begin{tabular}{lllrrrrr}", r"\toprule", head + r" \\", *lines, r"\bottomrule", *note, r"\end{tabular}"]
    return "\n".join(body) + "\n"


@dataclass(frozen=True)
class console:  # noqa: N801 (a function to its callers: what it makes is printed)
    """The table at the end of a run, for any width; struck through where calibration failed. Attack and flags stand at
    the end of a row where they fit, else on a line of their own, and nothing is cut."""

    results: Results

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, width = View(self.results), options.max_width
        lines = [line for attribute, pairs in _headlines(view) for line in _lines(view, attribute, pairs)]
        sizes = [max((len(line.cells[i]) for line in lines), default=0) for i in range(len(COLUMNS))]
        names = [view.terms.line, *COLUMNS[1:]]
        names[4] = "first" if view.recorded else names[4]
        sizes = [max(n, len(name)) for n, name in zip(sizes, names, strict=True)]
        gap = 2 if sum(sizes) + 2 * len(sizes) <= width else 1
        sizes[0] = min(sizes[0], max(LABEL, width - sum(sizes[1:]) - gap * len(sizes[1:])))
        table = sum(sizes) + gap * len(sizes)
        beside = table + max((len(line.last) for line in lines), default=0) <= width
        head = [*names, "attack, flags"] if beside else names
        yield Text(_spread(head, sizes, gap).rstrip(), style="dim", no_wrap=True, overflow="ignore")
        for line in lines:
            yield from line.render(sizes, gap, beside, width)
        yield from (Text(said, style="italic dim") for said in _caption(view))


COLUMNS = ("defense", "target", "leakage", "floor", "undef.", "left", "bytes")
LABEL = 18  # characters of a defense's name that are always shown in one line
TONES = {"leak": "red", "safe": "green", "open": "yellow"}


@dataclass(frozen=True)
class _Line:
    """One row of the terminal: its cells, what stands last, and the style of its leakage; a heading has no tone."""

    cells: tuple[str, ...]
    last: str
    tone: str

    def render(self, sizes: list[int], gap: int, beside: bool, width: int) -> Iterator[Text]:
        """The line, its name continued below where it is long, attack and flags beside or under it."""
        if not self.tone:
            yield Text("\n" + self.cells[0], style="bold", end="").append(f"  {self.last}\n", style="not bold dim")
            return
        label, *rest = self.cells
        names = [label[i : i + sizes[0]] for i in range(0, len(label), sizes[0])] or [""]
        start = sum(sizes[:2]) + 2 * gap
        text = Text(_spread([names[0], *rest], sizes, gap), no_wrap=True, overflow="ignore")
        if self.tone == "broken":
            text.stylize("strike dim", sizes[0])
        else:
            text.stylize(TONES[self.tone], start, start + sizes[2])
        yield text.append(" " * gap + self.last) if beside else text
        yield from (Text(f"{name}", no_wrap=True) for name in names[1:])
        if not beside:
            told = textwrap.wrap(self.last, max(20, width - 2), break_on_hyphens=False)
            yield from (Text(f"  {part}", style="dim", no_wrap=True) for part in told)


def _lines(view: View, attribute: str, pairs: list[tuple[Variant, Row]]) -> Iterator[_Line]:
    broken = attribute in view.failed
    empty = ("",) * (len(COLUMNS) - 1)
    doubt = ": do not trust, calibration failed" if broken else ""
    heading = words.metric_name(pairs[0][1].metric) + doubt
    yield _Line((view.name(attribute)[:LABEL], *empty), heading, "")
    for variant, row in pairs:
        share = words.DASH if row.normalized is None else words.figure("ssim", row.normalized, 2)
        cells = (
            variant.label,
            _short("accuracy", row.utility),
            _told(row.metric, row.value),
            _short(row.metric, row.floor),
            _short(row.metric, row.undefended),
            share,
            f"{row.payload_bytes:,}",
        )
        yield _Line(cells, ", ".join([row.attack, *row.flags]), "broken" if broken else view.tone(variant, row))


def _spread(cells: list[str], sizes: list[int], gap: int) -> str:
    first, rest = cells[0], zip(cells[1:], sizes[1:], strict=False)
    numbers = [f"{cell:>{size}}" for cell, size in rest]
    return (" " * gap).join([f"{first:<{sizes[0]}}", *numbers, *cells[len(sizes) :]])


def notebook_html(results: Results) -> str:
    """A compact fragment for `_repr_html_`: the lead sentence and the headline table, escaped."""
    view = View(results)
    rows = []
    for attribute, pairs in _headlines(view):
        for variant, row in pairs:
            share = words.DASH if row.normalized is None else words.figure("ssim", row.normalized, 2)
            numbers = [*(_told(row.metric, e) for e in (row.value, row.floor, row.undefended)), share]
            if attribute in view.failed:
                numbers = [f"<s>{n}</s>" for n in numbers]
            texts = [view.name(attribute), variant.label, _told("accuracy", row.utility), row.attack]
            marks = ", ".join(row.flags).replace("_", " ")
            cells = [*map(html.escape, texts), *numbers, f"{row.payload_bytes:,}", html.escape(marks)]
            rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    names = (
        "attribute",
        "defense",
        "target accuracy",
        "attack",
        "leakage",
        "floor",
        "undefended",
        "left",
        "bytes",
        "flags",
    )
    head = "".join(f'<th scope="col">{n}</th>' for n in names)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><p>{words.marked(sentences.lead(view))}</p>{table}</div>"


def _headlines(view: View) -> list[tuple[str, list[tuple[Variant, Row]]]]:
    """Attribute -> its headline row per variant; attributes without one are left out."""
    pairs = [(a, [(v, r) for v in view.variants if (r := view.headline(v, a))]) for a in view.attributes]
    return [(a, found) for a, found in pairs if found]


def _caption(view: View) -> list[str]:
    said = [
        "\n" + words.unmarked(sentences.lead(view)),
        "Brackets: 95 % intervals. Floor: without the payload." + _left(view),
    ]
    if view.results.unfinished:
        said.append(f"{len(view.results.unfinished)} notes on trials that did not end.")
    return said


def _told(metric: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return words.DASH
    return f"{words.number(metric, estimate.mean)} ({words.interval(metric, estimate)})"


def _short(metric: str, estimate: Estimate | None) -> str:
    return words.DASH if estimate is None else words.number(metric, estimate.mean)


def _parts(estimate: Estimate | None) -> tuple[float | str, float | str, float | str, int | str]:
    if estimate is None:
        return "", "", "", ""
    return estimate.mean, estimate.low, estimate.high, estimate.n


def _left(view: View) -> str:
    """What the last two columns of leakage mean; nothing where a recording has no scale."""
    scale = view.terms.scale
    column = "first" if view.recorded else "undef."
    return f" Left: share of the {scale} ({column}) leakage." if scale else ""


def _tex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
