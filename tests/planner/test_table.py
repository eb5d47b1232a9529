"""Tables: monotone ones, surrogates that may speak and those that may not, and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
from extractors import row, table

from privet.errors import RunError
from privet.planner import table as tables
from privet.planner.table import Table, monotone


def test_the_nearest_monotone_table_is_the_one_that_a_solver_finds() -> None:
    generator = np.random.default_rng(3)
    grid, weight = generator.normal(size=(4, 3)), generator.uniform(0.5, 2, (4, 3))
    found = monotone(grid, weight)
    assert (np.diff(found, axis=0) <= 1e-9).all()
    assert (np.diff(found, axis=1) >= -1e-9).all()
    rules = [
        {"type": "ineq", "fun": lambda v, a=a, b=b: v.reshape(4, 3)[a] - v.reshape(4, 3)[b]}
        for a, b in [((i, j), (i + 1, j)) for i in range(3) for j in range(3)]
        + [((i, j + 1), (i, j)) for i in range(4) for j in range(2)]
    ]
    solved = scipy.optimize.minimize(
        lambda v: (weight * (v.reshape(4, 3) - grid) ** 2).sum(), found.ravel() * 0, constraints=rules, method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )  # fmt: skip
    np.testing.assert_allclose(found, solved.x.reshape(4, 3), atol=1e-4)


def test_a_monotone_table_stays_and_gaps_count_nothing() -> None:
    grid = np.array([[20.0, 25.0], [18.0, np.nan], [15.0, 19.0]])
    found = monotone(grid, np.isfinite(grid).astype(float))
    np.testing.assert_allclose(found[np.isfinite(grid)], grid[np.isfinite(grid)], atol=1e-6)
    assert 19 - 1e-6 <= found[1, 1] <= 25 + 1e-6


def test_cells_are_means_over_draws() -> None:
    made = table({(1, 2): 20.0, (1, 8): 25.0, (3, 2): 18.0, (3, 8): 21.0})
    cell = next(c for c in made.cells() if (c.layer, c.depth) == (3, 8))
    assert (cell.psnr, cell.accuracy, cell.draws, cell.measured) == (21.0, 0.5, 2, 2)
    assert cell.std == pytest.approx(0.5 / 2**0.5)


@pytest.mark.parametrize("agrees", [True, False])
def test_the_surrogate_speaks_only_where_it_ranks_as_networks_do(agrees: bool) -> None:
    figures = [15.0, 17.0, 19.0, 21.0, 23.0, 25.0, 27.0]
    said = figures if agrees else [*figures[3:], *figures[:3]]
    rows = [row(1, d, 2 * v, linear=other) for d, (v, other) in enumerate(zip(figures, said, strict=True), 1)]
    untrained = [row(1, 7, None, None, draw=1, linear=29.0), row(1, 9, None, None, linear=29.0)]
    made = Table((*rows, *untrained))
    assert (made.rank_correlation() >= tables.AGREES) is agrees
    cells = {c.depth: c for c in made.cells()}
    assert 9 not in cells, "nothing was measured there"
    if agrees:
        assert cells[7].psnr == pytest.approx((54 + 58) / 2), "two dB more of the surrogate are four of networks"
        assert (cells[7].draws, cells[7].measured) == (2, 1)
        assert cells[7].std == pytest.approx(4 / 2**0.5)
    else:
        assert (cells[7].psnr, cells[7].draws) == (54, 1)


def test_a_line_that_draws_better_than_a_network_counts() -> None:
    """Six epochs of a network are no bound on what leaks."""
    one = row(1, 2, 25.0, 0.3, linear=34.0)
    assert (one.loss, one.utility) == (34.0, 0.4)
    assert row(1, 2, 25.0, 0.5, linear=20.0).loss == 25.0
    assert row(1, 2, None, None).loss is None
    assert Table((one,)).cells()[0].psnr == 34.0


def test_few_or_equal_rows_have_no_rank_correlation() -> None:
    assert np.isnan(Table(tuple(row(1, d, 20.0 + d) for d in range(1, 5))).rank_correlation())
    assert np.isnan(Table(tuple(row(1, d, 20.0) for d in range(1, 9))).rank_correlation())


def test_a_file_gives_back_what_was_written_and_others_are_refused(tmp_path: Path) -> None:
    made = Table((row(1, 2, 20.0), row(3, 2, None, None), row(6, 8, 17.0, spread=1.5, pictures=9, seconds=2.5)))
    tables.write(made, tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet") == made
    tables.write(Table((row(1, 2, float("nan")),)), tmp_path / "t.parquet")
    with pytest.raises(RunError, match="some of its figures are no numbers"):
        tables.read(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(RunError, match="is no table of a characterization"):
        tables.read(tmp_path / "t.parquet")


def test_what_a_line_misses_is_asked_of_draws_of_one_layer_and_depth() -> None:
    """Layers bend away from the line by dB, draws of one of them by a tenth: the latter is what a prediction misses."""
    away = {m: 0.6 * (m - 3.5) ** 2 for m in range(1, 7)}
    rows = [
        row(m, 2, 30.0 - 2 * m + away[m] + step + near, draw=draw, linear=28.0 - 2 * m + step)
        for m in range(1, 7)
        for draw, (step, near) in enumerate([(0.0, 0.1), (0.5, -0.1), (1.0, 0.1), (1.5, -0.1)])
    ]
    assert Table(tuple(rows)).missed() == pytest.approx(0.15, abs=0.1)
    once = Table(tuple(r for r in rows if r.draw == 0))
    assert once.missed() > 0.8, "with one draw of each nobody can tell"
