"""Tables of a study for other readers: a spreadsheet, a paper, a terminal, a notebook."""

from __future__ import annotations

import csv
import html
import io

from rich.markup import escape
from rich.table import Table

from privet.auditing.estimate import Estimate
from privet.report import sentences, words
from privet.report.results import Results, Row
from privet.report.view import Variant, View, flags, leaks

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
        marks = ["yes" if row.headline else "no", trusted, " ".join(row.flags)]
        texts = [_inert(str(getattr(row, name))) for name in FIELDS]
        writer.writerow([*texts, *numbers, share, row.payload_bytes, row.edge_macs, row.seeds, *marks])
    return buffer.getvalue()


def latex(results: Results) -> str:
    """A booktabs table: per attribute and defense target accuracy, headline value, floor, undefended, with intervals.

    Values that failed calibration are set in italics with a dagger that the last line explains."""
    view, lines = View(results), []
    for attribute, pairs in _headlines(view):
        lines.append(r"\midrule")
        for position, (variant, row) in enumerate(pairs):
            name = _tex(words.plain(attribute)) if position == 0 else ""
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


def console(results: Results) -> Table:
    """The table at the end of a run, readable from 100 columns on; struck through where calibration failed."""
    view = View(results)
    table = Table(
        caption=_caption(view), caption_justify="left", box=None, padding=(0, 1), show_edge=False, header_style="dim"
    )
    table.add_column("defense", overflow="fold", min_width=21, max_width=24)
    for name in ("target", "leakage", "floor", "undef.", "left", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("attack, flags", overflow="fold", min_width=13, max_width=22)
    for attribute, pairs in _headlines(view):
        broken = attribute in view.failed
        metric = words.metric_name(pairs[0][1].metric)
        warning = ": [bold yellow]do not trust, calibration failed[/]" if broken else ""
        table.add_row(f"[bold]{escape(words.plain(attribute))}[/]{warning}", "", f"[dim]{metric}[/]")
        for variant, row in pairs:
            style = "strike dim" if broken else "red" if leaks(row) else "green"
            share = words.DASH if row.normalized is None else words.figure("ssim", row.normalized, 2)
            numbers = [
                _told(row.metric, row.value),
                _short(row.metric, row.floor),
                _short(row.metric, row.undefended),
                share,
            ]
            marked = flags(view.headlines(variant, attribute))
            table.add_row(
                escape(variant.label),
                _short("accuracy", row.utility),
                *(f"[{style}]{n}[/]" if i == 0 or broken else n for i, n in enumerate(numbers)),
                f"{row.payload_bytes:,}",
                escape(", ".join([row.attack, *marked])),
            )
        table.add_section()
    return table


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
            texts = [words.plain(attribute), variant.label, _told("accuracy", row.utility), row.attack]
            marks = ", ".join(flags(view.headlines(variant, attribute))).replace("_", " ")
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


def _caption(view: View) -> str:
    said = [
        words.unmarked(sentences.lead(view)),
        "Brackets: 95 % intervals. Floor: without the payload. Left: share of the undefended (undef.) leakage.",
    ]
    if view.results.unfinished:
        said.append(f"{len(view.results.unfinished)} notes on trials that did not end.")
    return escape("\n".join(said))


def _told(metric: str, estimate: Estimate) -> str:
    return f"{words.number(metric, estimate.mean)} ({words.interval(metric, estimate)})"


def _short(metric: str, estimate: Estimate) -> str:
    return words.number(metric, estimate.mean)


def _parts(estimate: Estimate) -> tuple[float, float, float, int]:
    return estimate.mean, estimate.low, estimate.high, estimate.n


def _tex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
