"""One line of Python: `privet.audit(data, defenses=[...])`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from privet import schedule
from privet import study as studies
from privet.recorded import study as recorded
from privet.recorded.columns import PREFIX
from privet.report import figures, html, tables
from privet.report.results import Results, Row
from privet.schedule import Source, Study
from privet.setting import Setting
from privet.study import Listener


@dataclass(frozen=True, repr=False)
class Answer:
    """A finished audit. In a notebook it shows itself; `report` is the page, `csv`, `latex` and `figures` are for
    papers."""

    results: Results
    report: Path

    @property
    def rows(self) -> tuple[Row, ...]:
        """All findings."""
        return self.results.rows

    def headline(self, attribute: str, metric: str = "accuracy") -> dict[str, Row]:
        """For each defense the finding of the attack that was selected on aux_val."""
        return {r.defense: r for r in self.rows if r.headline and r.attribute == attribute and r.metric == metric}

    def csv(self) -> str:
        """All findings as CSV."""
        return tables.rows_csv(self.results)

    def latex(self) -> str:
        """The headlines as a LaTeX table."""
        return tables.latex(self.results)

    def figures(self, folder: str | Path) -> list[Path]:
        """Write the figures as SVG files."""
        return figures.write_figures(self.results, Path(folder))

    def __repr__(self) -> str:
        return f"Answer({self.results.title!r}, {len(self.rows)} findings, report={str(self.report)!r})"

    def _repr_html_(self) -> str:
        return tables.notebook_html(self.results)


def audit(
    data: str | Path | None = None,
    model: str = "",
    *,
    target: str | None = None,
    hidden: Sequence[str] = (),
    defenses: Sequence[str] = (),
    at: str = "",
    weights: str | Path | None = None,
    freeze: str | None = None,
    attacks: Sequence[str] = (),
    threat: str = "server",
    side: Sequence[str] = (),
    effort: str = "standard",
    seeds: int = 3,
    resize: str | None = None,
    aux: str | None = None,
    victims: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    on_bad: str | None = None,
    top: str | None = None,
    dependence: str | None = None,
    training: str | None = None,
    curves: bool = False,
    payloads: str | Path | Sequence[str | Path] = (),
    payload_columns: str = PREFIX,
    bundle: str | Path | None = None,
    judges: str | Path | None = None,
    device: str = "cpu",
    jobs: int = 1,
    out: str | Path | None = None,
    max_minutes: float | None = None,
    any_version: bool = False,
    listen: Listener | None = None,
    announce: Callable[[schedule.Schedule], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
) -> Answer:
    """Train, cut, defend, attack and report; the arguments are those of `privet audit --help`.

    With `payloads` (files) nothing is trained but the adversaries, who attack what another system sent; with `bundle`
    what a shipped edge makes of the people of `data`: `privet.audit(payloads="sent.parquet", hidden=["race"])`.
    Without `data` the people are the digits; without `out` the runs are kept in a fresh temporary folder. `listen`
    hears of every stage, `announce` of the plan before the first trial. Raises the errors of `privet.errors`, each with
    its remedy.
    """
    files = (payloads,) if isinstance(payloads, str | Path) else tuple(payloads)
    people = str(data) if data is not None else "" if files else recorded.DEFAULT
    source = Source(
        people, target, tuple(hidden), tuple(side), resize, aux, victims, group, limit, on_bad or "skip", top,
        dependence,
    )  # fmt: skip
    kept = None if weights is None else str(weights)
    setting = Setting(model, at, threat, tuple(side), tuple(attacks), effort, kept, freeze, device, training, curves)
    setting = replace(setting, judges=None if judges is None else str(judges))
    where = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="privet-"))
    if files or bundle is not None:
        study: Study = recorded.study(
            source, setting, defenses=tuple(defenses), seeds=seeds, out=where, jobs=jobs, max_minutes=max_minutes,
            any_version=any_version, files=tuple(map(str, files)), prefix=payload_columns,
            bundle=None if bundle is None else str(bundle), on_bad=on_bad,
        )  # fmt: skip
        corpus = study.load(loading)
    else:
        corpus = source.load(loading)
        setting = schedule.with_defaults(setting, corpus)
        study = Study(source, setting, tuple(defenses or ("none",)), seeds, where, jobs, max_minutes, any_version)
    planned = schedule.draw_up(study, corpus)
    if announce:
        announce(planned)
    return publish(studies.execute(planned, listen))


def publish(results: Results) -> Answer:
    """Write the page beside the runs."""
    page = Path(results.folder) / "report.html"
    html.write(results, page)
    return Answer(results, page)
