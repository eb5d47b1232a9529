"""A server's profile: how far the target falls, what travels and what the edge computes, for each cut and kept share;
the client's choice from it; its page (Samragh et al. 2021, arXiv:2104.11413, section 4.3, "Inference")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from privet import run
from privet.auditing.estimate import Estimate
from privet.report import chart, pages, words
from privet.report.chart import Chart, Point, Series


@dataclass(frozen=True)
class Row:
    """One cut and kept share. `drop` is the undefended accuracy minus this one, paired over people and seeds; `ratio`
    is payload bytes over those of the raw input; `chosen` marks the smallest payload of its cut within the
    tolerance."""

    cut: str
    keep: str | int | float
    kept: int
    rank: int
    null_dimension: int
    payload_bytes: int
    ratio: float
    edge_macs: int
    drop: Estimate
    accuracy: Estimate
    chosen: bool = False

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {"drop": self.drop.json(), "accuracy": self.accuracy.json()}


@dataclass(frozen=True)
class Profile:
    """All rows, and what they stand on. `refused` says why a cut, or a kept share at a cut, has no row; `command`
    makes the profile again; `audit` is the command that measures what the chosen row leaks, empty where no row is
    within the tolerance."""

    title: str
    data: dict[str, Any]
    model: str
    effort: str
    seeds: int
    people: int
    groups: int
    undefended: Estimate
    rows: tuple[Row, ...]
    refused: dict[str, str]
    at_most: float
    sure: bool
    folder: str
    command: str
    audit: str = ""
    digest: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Row | None:
        """The recommendation: of the rows chosen for their cuts the smallest payload, then the least work on the
        edge."""
        found = [row for row in self.rows if row.chosen]
        return min(found, key=lambda row: (row.payload_bytes, row.edge_macs)) if found else None

    @property
    def tolerance(self) -> str:
        """The client's condition in words."""
        points = f"{self.at_most * 100:g} point{'' if self.at_most == 0.01 else 's'} of accuracy"
        return f"at most {points}, by the upper end of the interval" if self.sure else f"at most {points} on average"


def choose(rows: Sequence[Row], at_most: float, sure: bool) -> tuple[Row, ...]:
    """Mark for each cut the smallest payload among the rows whose drop (its upper end with `sure`) is within the
    tolerance; among equal payloads the smallest drop."""
    best: dict[str, Row] = {}
    for row in rows:
        if (row.drop.high if sure else row.drop.mean) <= at_most + 1e-12:
            known = best.get(row.cut)
            if known is None or (row.payload_bytes, row.drop.mean) < (known.payload_bytes, known.drop.mean):
                best[row.cut] = row
    return tuple(replace(row, chosen=best.get(row.cut) is row) for row in rows)


def drawing(profile: Profile) -> Chart:
    """Drop of accuracy against payload bytes, a line for each cut."""
    cuts = dict.fromkeys(row.cut for row in profile.rows)
    series = []
    for cut in cuts:
        rows = sorted((r for r in profile.rows if r.cut == cut), key=lambda r: (r.payload_bytes, -r.drop.mean))
        points = tuple(Point(r.payload_bytes, r.drop, f"keep={r.keep}{', chosen' if r.chosen else ''}") for r in rows)
        series.append(Series(cut, points))
    level = (f"tolerance {profile.at_most * 100:g}", profile.at_most)
    return Chart("payload, bytes", "accuracy lost, points", tuple(series), (level,), scale=100, log_x=True)


def render(profile: Profile) -> str:
    """The page, self-contained."""
    svg = (
        chart.svg(drawing(profile), "Accuracy lost against payload bytes, a line for each cut") if profile.rows else ""
    )
    commands = [("What the choice leaks is measured by an audit:", profile.audit)] if profile.audit else []
    return pages.render(
        "profile.html.j2",
        title=profile.title,
        eyebrow="Privet profile",
        facts=[
            ("Network", profile.model),
            ("People", f"{profile.people:,} of the owner's own, held out"),
            (
                "Undefended accuracy",
                f"{_accuracy(profile.undefended)} ({words.interval('accuracy', profile.undefended)})",
            ),
            ("Effort", profile.effort),
            ("Seeds", str(profile.seeds)),
        ],
        lead=lead(profile),
        cautions=cautions(profile),
        svg=svg,
        rows=lines(profile),
        refused=left_out(profile),
        tolerance=profile.tolerance,
        commands=[*commands, ("The profile again; rows that are there are not computed again:", profile.command)],
        versions=list(run.versions().items()),
    )


def write(profile: Profile, path: Path) -> Path:
    """Write the page, whole or not at all; RunError where it cannot be written."""
    run.write_text(path, render(profile))
    return path


def lead(profile: Profile) -> str:
    """The recommendation as a sentence."""
    best = profile.best
    if best is None:
        return f"No cut and share loses {profile.tolerance}; allow more with `--at-most`, or train longer."
    return (
        f"To lose {profile.tolerance}, cut at `{best.cut}` and keep **{best.kept} of {best.rank}** coefficients: "
        f"**{best.payload_bytes:,} bytes** travel instead of {best.payload_bytes / best.ratio:,.0f}, the edge computes "
        f"{best.edge_macs:,} multiply-accumulates, and accuracy changes by {words.gap('accuracy', -best.drop.mean)}."
    )


def cautions(profile: Profile) -> list[str]:
    """What the numbers do not say."""
    said = ["No attack was run: a profile says what a client pays, not what a payload still tells. Audit the choice."]
    if profile.effort == "quick":
        said.append("Quick effort: a smoke test, the network learned little.")
    if profile.seeds == 1:
        said.append("One seed: every interval holds for that training only.")
    return said


def console(profile: Profile) -> Table:
    """The table of a terminal."""
    columns = ("cut", "keep", "kept", "bytes", "of raw", "edge MACs", "accuracy", "lost, points", "")
    table = Table(*columns, title=profile.title)
    for line in lines(profile):
        cells = [line[k] for k in ("cut", "keep", "kept", "bytes", "ratio", "macs", "accuracy", "drop", "mark")]
        table.add_row(*cells, style="bold" if line["mark"] else None)
    return table


def lines(profile: Profile) -> list[dict[str, Any]]:
    """The rows as text, from much kept to little; shares that keep the same coefficients of a cut stand in one line."""
    equal: dict[tuple[str, int], list[Row]] = {}
    cuts = list(dict.fromkeys(row.cut for row in profile.rows))
    for row in sorted(profile.rows, key=lambda row: (cuts.index(row.cut), -row.kept)):
        equal.setdefault((row.cut, row.kept), []).append(row)
    best = profile.best
    return [_line(next((r for r in rows if r.chosen), rows[0]), rows, best in rows) for rows in equal.values()]


def left_out(profile: Profile) -> list[tuple[str, str]]:
    """What has no row, by the reason: (names, why)."""
    names: dict[str, list[str]] = {}
    for name, why in profile.refused.items():
        names.setdefault(why.replace(name.partition("keep=")[2] or "\0", "it"), []).append(name)
    return [(", ".join(found), profile.refused[found[0]]) for found in names.values()]


def _line(row: Row, equal: list[Row], best: bool) -> dict[str, Any]:
    interval = words.interval("accuracy", row.drop)
    return {
        "cut": row.cut,
        "keep": ", ".join(str(r.keep) for r in equal),
        "kept": f"{row.kept} of {row.rank}",
        "null": f"{row.null_dimension:,}",
        "bytes": f"{row.payload_bytes:,}",
        "ratio": f"{row.ratio * 100:.1f}{words.NBSP}%" if row.ratio < 10 else f"{row.ratio:.0f}x",
        "macs": f"{row.edge_macs:,}",
        "accuracy": _accuracy(row.accuracy),
        "drop": f"{words.figure('accuracy', row.drop.mean)} ({interval})",
        "mark": "recommended" if best else "chosen" if row.chosen else "",
        "sort": (row.payload_bytes, row.ratio, row.edge_macs, row.accuracy.mean, row.drop.mean, row.kept),
        "best": best,
    }


def _accuracy(found: Estimate) -> str:
    return words.number("accuracy", found.mean)
