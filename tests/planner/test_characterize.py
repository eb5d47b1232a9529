"""Characterization on tiny people: what it measures, what it keeps, what it finds again, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import extractors
import numpy as np
import pytest
import torch

from privet.errors import DataError, SpecError
from privet.planner import characterize as characterizing
from privet.planner import surrogate, table
from privet.planner.characterize import Asked, characterize
from privet.planner.grid import Grid, drawn, layers
from privet.planner.measuring import Public
from privet.planner.surrogate import Pairs
from privet.train import one_thread


def measured(folder: Path, grid: Grid = extractors.GRID, seed: int = 0) -> table.Table:
    with one_thread():
        return characterize([extractors.source(folder)], extractors.corpus(), grid, folder / "out", seed=seed)


def test_every_cell_is_measured_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = measured(tmp_path)
    assert [(r.layer, r.depth, r.draw) for r in made.rows] == [
        (m, d, i) for m in (1, 2, 3) for d in (1, 3) for i in (0, 1)
    ]
    for r in made.rows:
        assert len(set(r.channels)) == r.depth
        assert 3 < r.linear_psnr < 60
        assert 3 < r.psnr < 60
        assert 0 <= r.accuracy <= 1
    assert table.read(tmp_path / "out" / "tables.parquet") == made

    def never(*args: object, **more: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(characterizing, "measure", never)
    assert measured(tmp_path) == made


def test_what_was_stopped_goes_on_and_the_seed_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after some rows, it goes on; what comes out is what an undisturbed one gives, bit for bit."""
    torch.manual_seed(5)
    (tmp_path / "whole").mkdir()
    whole = measured(tmp_path / "whole")
    real, seen = characterizing.measure, []

    def stops(*args: object, **more: object) -> table.Row:
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(characterizing, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path)
    assert len(table.read(tmp_path / "out" / "tables.parquet").rows) == 4
    torch.manual_seed(6)
    again = measured(tmp_path)
    assert [replace(r, seconds=0.0) for r in again.rows] == [replace(r, seconds=0.0) for r in whole.rows]
    assert len(seen) == 5 + 8


def test_another_question_is_measured_anew(tmp_path: Path) -> None:
    one = measured(tmp_path)
    two = measured(tmp_path, replace(extractors.GRID, epochs=1))
    assert {r.identity for r in one.rows}.isdisjoint(r.identity for r in two.rows)
    assert len(table.read(tmp_path / "out" / "tables.parquet").rows) == 2 * len(one.rows)


def test_channels_are_drawn_by_the_seed_alone(tmp_path: Path) -> None:
    small = extractors.source(tmp_path)
    np.random.seed(1)
    one = drawn(small, 1, 3, 0, seed=4)
    np.random.seed(2)
    assert one == drawn(small, 1, 3, 0, seed=4) == sorted(set(one))
    assert len({tuple(drawn(small, 1, 3, i, seed=4)) for i in range(12)}) > 4


def test_public_people_in_three_roles_share_nobody() -> None:
    people = extractors.corpus()
    public = Public.of(people, 50)
    assert len(public.train) == 50
    assert len(public.val) + len(public.test) == 40
    ids = [set(part.ids.tolist()) for part in public.parts]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]
    private = {i for role in ("task_train", "task_val", "victim") for i in people.parts[role].ids.tolist()}
    assert not private & set().union(*ids)


def test_public_people_must_serve() -> None:
    people = extractors.corpus()
    for y in (-1, 1):
        unlabelled = {
            r: replace(p, y=np.full_like(p.y, y)) if r.startswith("aux") else p for r, p in people.parts.items()
        }
        with pytest.raises(DataError, match="public people carry the target"):
            Public.of(replace(people, parts=unlabelled, digest=""))


def test_layers_are_those_that_leave_a_map(tmp_path: Path) -> None:
    small = extractors.source(tmp_path)
    assert layers(small, extractors.GRID, (1, 6, 6)) == [1, 2, 3]
    assert layers(small, replace(extractors.GRID, layers=(3, 9)), (1, 6, 6)) == [3]
    with pytest.raises(SpecError, match="less than 4 places"):
        layers(small, extractors.GRID, (1, 3, 3))


# The surrogate -------------------------------------------------------------------------------------------------------


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_linear_map_is_undone_by_the_surrogate() -> None:
    """Where the input is a linear function of the window, it is found; where nothing is there, the mean picture is."""
    parts = []
    for n, seed in ((200, 1), (60, 2), (60, 3)):
        x = pictures(n, seed)
        z = torch.stack([x[:, 0] + 2 * x[:, 1], x[:, 0] - x[:, 1], torch.ones_like(x[:, 0])], 1)
        parts.append(Pairs(z, x, torch.arange(n) % 2))
    assert surrogate.psnr(*parts) > 60
    blind = [replace(part, z=torch.zeros_like(part.z)) for part in parts]
    mean = parts[0].x.mean(0)
    wanted = (-10 * ((parts[2].x - mean) ** 2).flatten(1).mean(1).log10()).mean()
    assert surrogate.psnr(*blind) == pytest.approx(float(wanted), abs=1e-4)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 3, 3), (12,)])
def test_every_shape_is_drawn(shape: tuple[int, ...]) -> None:
    parts = []
    for n, seed in ((120, 1), (40, 2), (40, 3)):
        x = pictures(n, seed)
        z = x.flatten(1)[:, :12] if len(shape) == 1 else torch.nn.functional.adaptive_avg_pool2d(x, shape[1:])
        parts.append(Pairs(z, x, torch.arange(n) % 2))
    blind = surrogate.psnr(*(replace(part, z=torch.zeros_like(part.z)) for part in parts))
    assert surrogate.psnr(*parts) > blind + 0.2


def test_labels_that_are_in_a_map_are_told() -> None:
    parts = []
    for n, seed in ((200, 1), (60, 2), (60, 3)):
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 3, (n,), generator=generator)
        z = torch.randn(n, 3, 6, 6, generator=generator)
        z[torch.arange(n), y] += 2
        parts.append(Pairs(z, pictures(n, seed), y))
    assert surrogate.accuracy(*parts) > 0.95
    shuffled = [replace(part, y=part.y.roll(1)) for part in parts]
    assert surrogate.accuracy(*shuffled) < 0.6


def test_processes_measure_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes give what one gives, bit for bit."""
    grid = replace(extractors.GRID, depths=(3,), draws=1)
    one = measured(tmp_path, grid)
    monkeypatch.setattr(characterizing, "WORTH", 0.0)
    args = [extractors.source(tmp_path)], extractors.corpus(), grid
    heard: list[tuple[int, int]] = []
    two = characterize(*args, tmp_path / "two", jobs=2, report=lambda text, done, total: heard.append((done, total)))
    assert [replace(r, seconds=0.0) for r in two.rows] == [replace(r, seconds=0.0) for r in one.rows]
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
    assert table.read(tmp_path / "two" / "tables.parquet").of("small").rows


def test_an_extractor_with_fewer_inner_filters_has_another_name(tmp_path: Path) -> None:
    """The same channels behind all inner filters and behind half of them are two rows, and the row says so."""
    small, people = extractors.source(tmp_path), Public.of(extractors.corpus(), 60)
    whole = Asked(small, 3, (0, 2), 0, frozenset())
    half = replace(whole, kept={1: (0, 1, 4)})
    made = characterizing.measured([whole, half], people, extractors.GRID, tmp_path / "out")
    assert [r.inner for r in made.rows] == [(), (3,)]
    assert made.rows[0].identity != made.rows[1].identity
    assert made.rows[0].linear_psnr != made.rows[1].linear_psnr
    assert [(r.psnr, r.accuracy) for r in made.rows] == [(None, None), (None, None)]
    drawn_only = characterizing.measured(
        [replace(whole, networks=frozenset({"irn"}))], people, extractors.GRID, tmp_path
    )
    assert (drawn_only.rows[0].psnr is None, drawn_only.rows[0].accuracy is None) == (False, True)


def test_maps_that_are_kept_are_those_of_the_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some channels of a kept layer are what the sliced network gives, whatever was asked before; an extractor with
    fewer inner filters is run itself, and so is one whose maps would be too large to keep."""
    small, people = extractors.source(tmp_path), Public.of(extractors.corpus(), 60)
    worker = characterizing._Worker(people, extractors.GRID, 0, "cpu")
    asked = [
        Asked(small, 3, (0, 4)),
        Asked(small, 1, (2,)),
        Asked(small, 3, (1, 2, 5)),
        Asked(small, 3, (1, 2, 5), kept={1: (0, 3)}),
    ]
    for room in (characterizing.ROOM, 0):
        monkeypatch.setattr(characterizing, "ROOM", room)
        for one in asked:
            for found, part in zip(worker.seen(one), people.parts, strict=True):
                expected = characterizing.pairs(one.head(), part)
                torch.testing.assert_close(found.z, expected.z, rtol=2e-3, atol=1e-4)
                assert found.z.dtype == torch.float32
                assert torch.equal(found.y, expected.y)
    assert not torch.allclose(worker.seen(asked[2])[0].z, worker.seen(asked[3])[0].z, atol=1e-2)
