"""The page: one self-contained HTML file that asks the network for nothing, reads in light and dark, and prints."""

from __future__ import annotations

from pathlib import Path

from privet import run
from privet.report import by_group, ceilings, efforts, evidence, figures, opinions, pages, sections, sentences
from privet.report.results import Results
from privet.report.view import View


def render(results: Results) -> str:
    """One HTML page; everything that comes from data is escaped."""
    view = View(results)
    return pages.render(
        "page.html.j2",
        results=results,
        view=view,
        lead=sentences.lead(view),
        verdicts=sentences.headline(view),
        left_over=sentences.left_over(view),
        cautions=evidence.cautions(view),
        facts=sections.facts(view),
        panels=[(a, drawn) for a in view.attributes if (drawn := figures.utility_leakage(view, a))],
        roomy=len(view.variants) > figures.MANY,
        overview=sections.overview(view),
        leakage=[sections.leakage(view, a) for a in view.attributes],
        groups=by_group.by_group(view),
        effort=efforts.efforts(view),
        persons=efforts.persons(view),
        ceilings=ceilings.ceilings(view),
        errors=ceilings.errors(view),
        pictures=sections.pictures(view),
        opinions=opinions.opinions(view),
        costs=sections.costs(view),
        left_out=sections.left_out(view),
        calibrations=evidence.calibrations(view),
        floors=evidence.floors(view),
        dependence=evidence.dependence(view),
        labels=evidence.labels(view),
        promises=evidence.promises(view),
        duration=evidence.duration(results.seconds),
    )


def write(results: Results, path: Path) -> Path:
    """Write the page to `path`, whole or not at all; RunError where it cannot be written."""
    run.write_text(path, render(results))
    return path
