"""Shipping: what cannot end well is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from privet import shipping
from privet.errors import RunError, SpecError
from privet.schedule import Source


def test_refused_before_the_data_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*arguments: object) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr(Source, "load", loads)
    (tmp_path / "thesis.txt").touch()
    for seed in (-1, 2**63):
        with pytest.raises(SpecError, match=f"the seed is {seed}; give a whole number"):
            shipping.fit(Source("digits"), "none", seed=seed, out=tmp_path / "new")
    with pytest.raises(RunError, match="holds something that is not a bundle"):
        shipping.fit(Source("digits"), "none", out=tmp_path)
    with pytest.raises(AssertionError, match="the data were read"):
        shipping.fit(Source("digits"), "none", seed=2**63 - 1, out=tmp_path / "new")
    assert [place.name for place in tmp_path.iterdir()] == ["thesis.txt"]
