"""Pages: the same ink, one template each, everything that comes from data escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from privet.report import bars, svg, words


def render(template: str, **values: Any) -> str:
    """One self-contained HTML page from a template of this folder."""
    return _environment().get_template(template).render(style=svg.STYLE + "\n" + bars.STYLE, **values)


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"marked": words.marked, "metric": words.metric_name, "adversary": words.adversary}
    return made
