"""Planning: the paper's strategy on tables that are made up, and whole plans of tiny people that keep what they say."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import extractors
import numpy as np
import onnxruntime
import pytest
import torch

from privet import cost
from privet.data.corpus import Corpus
from privet.errors import DataError, Infeasible, RunError, SpecError
from privet.planner import device as devices
from privet.planner import find, fisher, pruning, surrogate
from privet.planner import plan as plans
from privet.planner.characterize import characterize
from privet.planner.choosing import SWITCH, Candidate, Limits, candidates, infeasible, places, preferred, switch_of
from privet.planner.device import Device, Layer
from privet.planner.measuring import Public, pairs
from privet.planner.offers import Offers
from privet.planner.plan import plan
from privet.planner.pruning import FEW_PEOPLE, criterion, ordered, survivors
from privet.planner.table import Table
from privet.pretrained.pool import Source
from privet.schedule import Source as Where
from privet.train import inputs, one_thread

GRID = {(1, 2): 24.0, (1, 8): 30.0, (4, 2): 20.0, (4, 8): 25.0, (6, 2): 15.0, (6, 8): 18.0}


def choice(layer: int, depth: int, psnr: float, ms: float = 1.0, size: int = 1000, source: str = "a") -> Candidate:
    return Candidate(source, layer, depth, psnr, 0.5, 0.6, ms, size, 10)


CHOICES = [choice(m, d, p, ms=m, size=1000 * m + 10 * d) for (m, d), p in GRID.items()]


# Choosing ------------------------------------------------------------------------------------------------------------


def test_a_loose_limit_takes_the_shallowest_layer_and_a_tight_one_the_deepest() -> None:
    """METHODS 2f: 28 dB -> the first layer; 17 dB -> the deepest."""
    loose, tight = (preferred(CHOICES, Limits(psnr=p), 0.0, SWITCH)[0] for p in (28.0, 17.0))
    assert (loose.layer, loose.depth) == (1, 2)
    assert (tight.layer, tight.depth) == (6, 2)
    widest = preferred(CHOICES, Limits(psnr=18.0), 0.0, SWITCH)[0]
    assert (widest.layer, widest.depth) == (6, 8)


def test_a_margin_is_kept_clear_of_the_limit() -> None:
    assert preferred(CHOICES, Limits(psnr=15.4), 0.0, SWITCH)
    assert not preferred(CHOICES, Limits(psnr=15.4), 1.0, SWITCH)


def test_time_and_bytes_keep_deep_layers_away() -> None:
    assert preferred(CHOICES, Limits(psnr=21, ms=5), 0, SWITCH)[0].layer == 4
    assert preferred(CHOICES, Limits(psnr=30, bytes=1050), 0, SWITCH)[0].depth == 2
    assert not preferred(CHOICES, Limits(psnr=17, ms=5), 0, SWITCH)


@pytest.mark.parametrize(
    ("limits", "binding", "nearest"),
    [
        (Limits(psnr=10, ms=7, bytes=9000), ("psnr",), {"psnr": 15.0}),
        (Limits(psnr=16, ms=3), ("psnr", "ms"), {"psnr": 24.0, "ms": 6.0}),
        (Limits(psnr=16, bytes=2000), ("psnr", "bytes"), {"psnr": 24.0, "bytes": 6020}),
        (Limits(ms=0.5), ("ms",), {"ms": 1.0}),
        (Limits(psnr=10, ms=0.5), ("psnr", "ms"), {"psnr": 24.0, "ms": 1.0}),
    ],
)
def test_what_cannot_be_says_which_limit_binds_and_what_would_do(
    limits: Limits, binding: tuple[str, ...], nearest: dict[str, float]
) -> None:
    assert not preferred(CHOICES, limits, 0.0, SWITCH)
    why = infeasible(CHOICES, limits, 0.0)
    assert why.binding == binding
    assert why.nearest == nearest
    alone = [preferred(CHOICES, replace(limits, **{name: value}), 0.0, SWITCH) for name, value in nearest.items()]
    assert all(alone) or preferred(CHOICES, replace(limits, **nearest), 0.0, SWITCH), "what is named would do"


def test_layers_are_looked_at_in_the_order_of_preference_whatever_the_tables_say_of_their_leakage() -> None:
    assert places(CHOICES, Limits(psnr=10), 0.0, SWITCH) == [("a", 6), ("a", 4), ("a", 1)]
    assert places(CHOICES, Limits(psnr=28), 0.0, SWITCH) == [("a", 1), ("a", 4), ("a", 6)]
    assert places(CHOICES, Limits(psnr=10, ms=5, bytes=4025), 0.0, SWITCH) == [("a", 4), ("a", 1)]
    assert not places(CHOICES, Limits(psnr=10, ms=0.5), 0.0, SWITCH)
    better = replace(choice(3, 2, 30.0, source="b"), accuracy=0.7)
    assert places([*CHOICES, better], Limits(psnr=10), 0.0, SWITCH)[0] == ("b", 3)


@pytest.mark.parametrize("limits", [{}, {"psnr": 0.0}, {"ms": -1.0}, {"psnr": math.nan}, {"ms": math.inf}])
def test_empty_and_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=r"needs a limit|is a number of"):
        Limits(**limits)  # type: ignore[arg-type]


def test_the_switch_is_where_layers_begin_to_differ() -> None:
    """Layers as good as each other above 20 dB, apart by much more than draws are below."""
    rows = [
        extractors.row(m, d, psnr + draw / 10, accuracy + draw / 1000, draw=draw)
        for m, line in {1: [(16, 0.2), (20, 0.6), (28, 0.7)], 6: [(16, 0.5), (20, 0.6), (28, 0.7)]}.items()
        for d, (psnr, accuracy) in enumerate(line, 1)
        for draw in range(3)
    ]
    assert 18 <= switch_of(Table(tuple(rows))) <= 20.5
    assert switch_of(extractors.table(GRID)) == SWITCH, "two draws cannot say"


# Channels ------------------------------------------------------------------------------------------------------------


def test_half_are_pruned_for_their_worth_and_a_quarter_for_what_they_leak() -> None:
    worth, leaks = torch.arange(1.0, 129), torch.arange(128).roll(40).double()
    keep, pruned = survivors(worth, leaks, 8)
    assert pruned == {"useless": 64, "leaking": 32, "dead": 0}
    assert set(keep) == set(range(64, 128)) - {int(i) for i in leaks.argsort(descending=True)[:32]}


def test_where_too_few_are_left_fewer_are_pruned_and_dead_ones_first() -> None:
    worth = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    leaks = torch.tensor([9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for depth in range(1, 7):
        keep, _ = survivors(worth, leaks, depth)
        assert len(keep) >= depth
        assert not {0, 1} & set(keep.tolist())
    keep, _ = survivors(worth, leaks, 8)
    assert keep.tolist() == list(range(8)), "all of them where all are asked for"


@pytest.mark.parametrize("depth", [1, 8, 32, 40, 100, 128])
def test_channels_are_released_in_rings_of_less_and_less_pruning(depth: int) -> None:
    generator = torch.Generator().manual_seed(0)
    worth, leaks = (torch.rand(128, generator=generator).double() for _ in range(2))
    order = ordered(worth, leaks, seed=1)
    assert sorted(order) == list(range(128))
    keep, _ = survivors(worth, leaks, depth)
    assert set(order[:depth]) <= set(keep.tolist())
    assert order == ordered(worth, leaks, seed=1)
    assert order != ordered(worth, leaks, seed=2)
    first = [ordered(worth, leaks, seed)[0] for seed in range(40)]
    full = survivors(worth, leaks, 1)[0].tolist()
    assert set(first) <= set(full)
    assert len(set(first)) > len(full) / 3, "any of them may be first"


def test_fishers_criterion_reads_private_people_in_a_stream(tmp_path: Path) -> None:
    people, head = extractors.corpus(), extractors.source(tmp_path).chain.head(1)
    private = people.task_train
    found = criterion(head, private)
    with torch.no_grad():
        z = head(inputs(private.x)).half().float()
    few = fisher.criterion(z, torch.from_numpy(private.y), shrinkage=FEW_PEOPLE)
    np.testing.assert_allclose(found.numpy(), few.numpy(), rtol=1e-6)
    with pytest.raises(DataError, match="nobody among the private people"):
        criterion(head, replace(private, y=np.full_like(private.y, -1)))


# Whole plans ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """Everything that a plan of tiny people is made from."""

    people: Corpus
    small: Source
    table: Table
    where: Device

    def plan(self, **more: object) -> plans.Plan:
        limits = more.pop("limits", Limits(psnr=40, ms=1000, bytes=10**6))
        with one_thread():
            return plan(
                [self.small], self.people, self.table, limits, self.where, extractors.GRID, **more  # type: ignore[arg-type]
            )  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    folder = tmp_path_factory.mktemp("room")
    people, small = extractors.corpus(), extractors.source(folder)
    with one_thread():
        table = characterize([small], people, extractors.GRID, folder / "out")
        where = devices.measured([small], {"small": [1, 2, 3]}, people.shape)
    return Room(people, small, table, where)


def test_a_plan_says_what_was_measured(room: Room) -> None:
    heard: list[tuple[str, float]] = []
    made = room.plan(seed=3, report=lambda text, done, total: heard.append((text, done / total)))
    verifying = [
        share for text, share in heard if text == f"verifying layer {made.layer}, {len(made.channels)} channels"
    ]
    assert verifying == sorted(verifying), "it is told how far it is"
    assert verifying[0] == 0 < verifying[1] < 0.5 < verifying[-1] <= 1
    head = room.small.chain.head(made.layer, torch.tensor(made.channels))
    assert made.verified.bytes == cost.parameter_bytes(head)
    assert made.verified.macs == cost.macs(head, torch.zeros(1, 1, 6, 6))
    assert made.verified.owner.n == 30
    assert made.verified.owner.low <= made.verified.owner.mean <= made.verified.owner.high < 40
    assert made.verified.ms_here
    assert len(made.channels) == made.predicted.depth
    assert made.tried[-1]["kept"]
    told = json.loads(json.dumps(made.json(), allow_nan=False))
    assert "pictures" not in told["verified"]
    assert told["channels"] == list(made.channels)


def test_the_seed_draws_the_channels_and_nothing_else_does(room: Room) -> None:
    one = room.plan(seed=3)
    torch.manual_seed(1)
    two = room.plan(seed=3)
    assert one.channels == two.channels
    assert one.verified.owner == two.verified.owner


def test_inner_filters_are_left_out_of_what_ships(room: Room, tmp_path: Path) -> None:
    """Sliced weights: fewer bytes, and the graph that ships computes what was planned."""
    made = room.plan(seed=3, limits=Limits(psnr=39, ms=1000), margin=0, switch=99.0, inner=0.5)
    assert made.layer == 3
    assert {k: len(v) for k, v in made.kept.items()} == {1: 3}
    released, kept = torch.tensor(made.channels), {k: torch.tensor(v) for k, v in made.kept.items()}
    head = room.small.chain.head(made.layer, released, kept)
    assert made.verified.bytes == cost.parameter_bytes(head)
    assert made.verified.bytes < cost.parameter_bytes(room.small.chain.head(made.layer, released))
    find.write(made, room.small, room.people, Where("tiny"), tmp_path)
    for name in ("plan.json", "edge.onnx"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, "the client's alone"
    x = inputs(room.people.victim.x[:4])
    session = onnxruntime.InferenceSession(tmp_path / "edge.onnx")
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], head(x).numpy(), atol=1e-4)


def test_a_choice_that_leaks_more_than_the_tables_said_is_not_taken(room: Room) -> None:
    """The verification has the last word: tables that promise 5 dB are not believed."""
    there = Device("there", room.people.shape, (Layer("small", 3, "3", 1.0, 100, 100, 0.5, 10),), here=False)
    lies = extractors.table({(3, 1): 13.0, (3, 2): 14.0})
    with pytest.raises(Infeasible, match=r"measured none does; the limit on psnr binds: .* dB was measured") as why:
        replace(room, table=lies, where=there).plan(limits=Limits(psnr=14.5))
    assert why.value.binding == ("psnr",)
    assert why.value.nearest["psnr"] > 14.5


STRICT = {(3, 1): 60.0, (3, 2): 61.0, (3, 3): 62.0}  # of random channels: no limit below 60 dB would be kept


def test_tables_are_moved_to_the_very_channels_that_would_be_released(room: Room) -> None:
    """The figure of random channels, moved by what the linear decoder says of these."""
    table = extractors.table(STRICT)
    tabled = candidates({"small": room.small}, table, room.where, room.people.shape, 1.0, 3)
    offers = Offers({"small": room.small}, table, tabled, room.people, room.people, extractors.GRID, 3)
    with one_thread():
        selection, choices = offers.of(("small", 3))
        head = room.small.chain.head(3, torch.tensor(selection.channels(2)))
        public = Public.of(room.people, extractors.GRID.pictures)
        linear = surrogate.psnr(*(pairs(head, part) for part in public.parts))
    assert [c.depth for c in choices] == [1, 2, 3]
    assert choices[1].psnr == pytest.approx(max(61 + linear - 59, choices[0].psnr), abs=0.01)
    assert [c.psnr for c in choices] == sorted(c.psnr for c in choices), "more channels never leak less"
    assert choices[1].psnr < 50
    assert offers.predicted() == choices
    bright = replace(room.people, parts={r: replace(p, x=p.x // 2) for r, p in room.people.parts.items()}, digest="")
    others = Offers({"small": room.small}, table, tabled, room.people, bright, extractors.GRID, 3)
    with one_thread():
        moved = others.of(("small", 3))[1]
        linear = surrogate.psnr(*(pairs(head, part) for part in Public.of(bright, extractors.GRID.pictures).parts))
    assert moved[1].psnr == pytest.approx(max(61 + linear - 59, moved[0].psnr), abs=0.01), "on the people of the tables"
    assert moved[1].psnr != pytest.approx(choices[1].psnr, abs=0.1)
    fewer = extractors.table({(3, 1): 60.0, (3, 2): 61.0})
    few = Offers({"small": room.small}, fewer, tabled, room.people, room.people, extractors.GRID, 3)
    with one_thread():
        assert few.of(("small", 3))[1] == tabled, "few rows cannot say whether the linear decoder ranks as networks do"


def test_a_limit_that_random_channels_break_is_kept_by_those_that_are_left_after_pruning(room: Room) -> None:
    strict = replace(room, table=extractors.table(STRICT))
    made = strict.plan(limits=Limits(psnr=40), seed=3)
    assert made.predicted.psnr <= 40
    assert made.verified.owner.mean <= 40
    assert len(made.channels) == 3, "as many as the limit allows"
    assert strict.plan(limits=Limits(psnr=40), seed=3, strategy="pareto").verified.owner.mean <= 40
    with pytest.raises(Infeasible, match="the limit on psnr binds") as why:
        strict.plan(limits=Limits(psnr=14.2), seed=3)
    assert why.value.nearest["psnr"] < 40, "the nearest miss is that of the very channels"


def test_less_than_the_mean_picture_draws_is_nobodys_to_keep(room: Room) -> None:
    with pytest.raises(Infeasible, match=r"draws 14\.1 dB without any payload") as why:
        plans.possible(Limits(psnr=14.0), Public.of(room.people, extractors.GRID.pictures))
    assert why.value.binding == ("psnr",)
    assert 14.0 < why.value.nearest["psnr"] < 14.2


def test_scores_of_channels_are_kept_and_found_again(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = room.plan(seed=3, out=tmp_path)
    path = tmp_path / "channels.json"
    assert path.stat().st_mode & 0o077 == 0, "they are of private people"
    kept = path.read_bytes()
    monkeypatch.setattr(pruning, "criterion", None)
    again = room.plan(seed=3, out=tmp_path)
    assert (again.channels, again.scores) == (made.channels, made.scores)
    assert room.plan(seed=4, out=tmp_path).scores == made.scores, "another seed draws others of the same"
    other = replace(room, people=extractors.corpus(90))
    with pytest.raises(TypeError):
        other.plan(seed=3, out=tmp_path)
    monkeypatch.undo()
    path.write_bytes(kept[:-5])
    assert room.plan(seed=3, out=tmp_path).scores == made.scores
    assert path.read_bytes() == kept, "a damaged file is made again"


def test_the_papers_strategy_looks_at_no_layer_that_it_does_not_need(room: Room) -> None:
    tabled = candidates({"small": room.small}, room.table, room.where, room.people.shape, 1.0, 3)
    offers = Offers({"small": room.small}, room.table, tabled, room.people, room.people, extractors.GRID, 3)
    limits = Limits(psnr=60)
    with one_thread():
        first = next(offers.turns("paper", limits, 0.0, 99.0))
        assert first.layer == 3
        assert list(offers.seen) == [("small", 3)]
        next(offers.turns("pareto", limits, 0.0, 99.0))
    assert set(offers.seen) == {("small", m) for m in (1, 2, 3)}


@pytest.mark.parametrize("more", [{"inner": 0.0}, {"inner": 1.5}, {"margin": -1.0}, {"margin": math.nan}])
def test_shares_and_margins_have_their_range(more: dict[str, float], room: Room) -> None:
    with pytest.raises(SpecError, match=f"--{next(iter(more))} is a"):
        room.plan(**more)


def test_extractors_that_say_nothing_are_not_released(room: Room) -> None:
    """Where the inner filters that are kept are dead, so is everything behind them."""
    dead = room.small.chain
    silent = replace(room.small, chain=deepcopy(dead))
    with torch.no_grad():
        bank = silent.chain.layer(1)[0]
        bank.weight.zero_()
        bank.bias.fill_(-1.0)
    with pytest.raises(DataError, match="every channel is the same for all private people"):
        replace(room, small=silent).plan(limits=Limits(psnr=60), seed=3)


def test_channels_are_judged_behind_the_filters_that_are_kept(room: Room) -> None:
    """Pruning and prediction look at the extractor that ships: with one live inner filter, and with a dead one."""
    chain = deepcopy(room.small.chain)
    with torch.no_grad():
        bank = chain.layer(1)[0]
        bank.weight[:3].zero_()
        bank.bias[:3].fill_(-1.0)
    half = replace(room.small, chain=chain)
    tabled = candidates({"small": half}, room.table, room.where, room.people.shape, 1.0, 3)
    seen = {}
    for seed in range(12):
        offers = Offers(
            {"small": half}, room.table, tabled, room.people, room.people, extractors.GRID, seed, inner=1 / 6
        )
        with one_thread():
            selection, choices = offers.of(("small", 3))
        lives = offers.kept(("small", 3))[1][0] >= 3
        seen[lives] = selection.alive
        assert (selection.alive > 0) == lives
        assert max((c.depth for c in choices), default=0) <= selection.alive
    assert set(seen) == {True, False}


def test_a_plan_says_what_is_left_of_the_task(room: Room) -> None:
    made = room.plan(seed=3, limits=Limits(psnr=60), switch=0.0, margin=0.0)
    assert made.verified.accuracy is not None
    assert made.verified.accuracy.n == 30
    assert 0 <= made.verified.accuracy.low <= made.verified.accuracy.mean <= made.verified.accuracy.high <= 1
    y = room.people.parts["task_val"].y
    assert made.verified.majority == np.bincount(y).max() / len(y)
    unknown = replace(room.people.parts["task_val"], y=np.full_like(y, -1))
    people = replace(room.people, parts=room.people.parts | {"task_val": unknown}, digest="")
    made = replace(room, people=people).plan(seed=3, limits=Limits(psnr=60), switch=0.0, margin=0.0)
    assert made.verified.accuracy is None


# Devices -------------------------------------------------------------------------------------------------------------


def test_a_device_is_measured_written_and_read_elsewhere(room: Room, tmp_path: Path) -> None:
    made = replace(room.where, layers=(room.where.layers[0], room.where.layers[2]))
    assert [(one.layer, one.ms > 0, one.macs) for one in made.layers] == [(1, True, 6 * 9 * 36), (3, True, 42 * 9 * 36)]
    made.write(tmp_path / "device.json")
    there = Device.read(tmp_path / "device.json", (1, 6, 6))
    assert there == replace(made, here=False)
    whole = made.layers[1]
    assert whole.least_macs == (6 * 9 * 36) // 6 + 9 * 36, "one filter behind one"
    line = Layer("small", 3, "3", 5.0, 1000, 100, 3.0, 200)
    device = replace(made, layers=(line,))
    assert [device.ms("small", 3, macs) for macs in (1000, 600, 200, 10)] == [5.0, 4.0, 3.0, 3.0], "never for nothing"
    slower = replace(made, layers=(replace(line, least_ms=6.0),))
    assert slower.ms("small", 3, 1000) == 6.0, "measured as slower with less work: that is what it takes"
    with pytest.raises(SpecError, match="was not measured with layer 2"):
        there.ms("small", 2, 1)
    with pytest.raises(SpecError, match="samples of"):
        Device.read(tmp_path / "device.json", (1, 8, 8))
    told = json.loads((tmp_path / "device.json").read_text())
    idle = told | {"layers": [one | {"macs": 0} for one in told["layers"]]}
    for damaged in ('{"layers": []}', json.dumps(idle), "[]"):
        (tmp_path / "device.json").write_text(damaged)
        with pytest.raises(RunError, match="is no profile of a device"):
            Device.read(tmp_path / "device.json", (1, 6, 6))


def test_a_line_that_no_network_beats_still_deviates() -> None:
    """Where the linear decoder draws best of every row, its own figures say nothing of what others may draw."""
    rows = extractors.table({(m, d): 15.0 + m + d for m in (1, 2, 3) for d in (1, 3)}).rows
    bent = [0.4, -0.4, 0.3, -0.3, 0.2, -0.2] * 2
    behind = Table(tuple(replace(r, linear_psnr=r.psnr + 2 + b) for r, b in zip(rows, bent, strict=True)))
    assert behind.slope() == pytest.approx(1.0)
    assert 0.2 < behind.missed() < 0.6
