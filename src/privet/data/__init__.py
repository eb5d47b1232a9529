"""Data: read a set, deal its roles, and refuse what would make an audit lie.

corpus.py               Part, Corpus: the nouns, and the check that parts share nobody
assemble.py             load: the way from a name to a Corpus
question.py columns.py  target, hidden, side: columns as labels, checked
sheet.py pool.py        all examples of a question in one place
groups.py deal.py roles.py   who belongs together, who plays which part
digits.py parquet.py folder.py hub.py   where sources come from
images.py tables.py cache.py   pictures and rows to arrays
describe.py             facts for the report"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privet.data.corpus import Corpus, Part
from privet.data.describe import dependence, describe

if TYPE_CHECKING:
    from privet.data.assemble import load

__all__ = ["Corpus", "Part", "dependence", "describe", "load"]


def __getattr__(name: str) -> Any:
    """`load` reads Parquet and groups by scipy: imported when asked for, so that the nouns stay light."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from privet.data.assemble import load
    except ModuleNotFoundError as error:
        from privet.errors import MissingExtra

        raise MissingExtra(str(error.name), "lab") from error
    return load
