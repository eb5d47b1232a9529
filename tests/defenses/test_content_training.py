"""Content training: the removal is the projection that the paper writes, the penalties are what they are called, and a
switch changes what it names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from people import strangers
from privet import joint
from privet.architectures import cnn3
from privet.data import load
from privet.data.corpus import Corpus
from privet.defense import ChainedObfuscator, Defended, ServerHalf, check, parse
from privet.defenses.content_training import (
    SHARES,
    ContentTraining,
    correlation_energy,
    covariance_energy,
    decorrelation,
    leading,
    met,
    shape_of,
    without_content,
)
from privet.errors import CutError, SpecError
from privet.split import Split, split
from privet.train import fit_task
from tiny import EFFORT, conv_split, corpus, pictures, seeded, vector_split

LONGER = replace(EFFORT, task_epochs=12)
OFF: dict[str, Any] = {"removal": False, "decorrelate": 0.0, "variational": 0.0}


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return ContentTraining(**options).fit(given or vector_split(), data, effort=LONGER, seed=0)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Content --------------------------------------------------------------------------------------------------------------


def test_linear_layer_sees_the_projection() -> None:
    """W (v_bar + V V^T (v - v_bar)) + b, with V from numpy."""
    layer = nn.Linear(7, 5)
    v, (_, _, vt) = randn(9, 7), np.linalg.svd(layer.weight.detach().numpy())
    basis, kept, rank = leading(layer, 0.3)
    assert (kept, rank, tuple(basis.shape)) == (2, 5, (1, 7, 2))
    project = torch.from_numpy(vt[:2].T @ vt[:2])
    seen = v.mean(0) + (v - v.mean(0)) @ project
    with torch.no_grad(), without_content(layer, basis):
        torch.testing.assert_close(layer(v), F.linear(seen, layer.weight, layer.bias), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(v), F.linear(v, layer.weight, layer.bias))


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_sees_the_projection_at_every_place(groups: int) -> None:
    """Each patch, stride, padding and group included, is projected for itself."""
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups)
    v = randn(5, 4, 7, 6)
    basis, kept, rank = leading(layer, 0.5)
    assert (kept, rank) == ((3, 6) if groups == 1 else (2, 3))
    patches = F.unfold(v, 3, padding=1, stride=2).reshape(5, groups, 4 // groups * 9, -1)
    mean = patches.mean(0, keepdim=True)
    weight = layer.weight.reshape(groups, 6 // groups, -1)
    _, _, vt = torch.linalg.svd(weight.detach(), full_matrices=False)
    project = vt[:, :kept].mT @ vt[:, :kept]
    seen = mean + torch.einsum("gij,bgjp->bgip", project, patches - mean)
    wanted = torch.einsum("goi,bgip->bgop", weight, seen).reshape(5, 6, 4, 3) + layer.bias.reshape(6, 1, 1)
    with without_content(layer, basis):
        torch.testing.assert_close(layer(v), wanted, atol=1e-5, rtol=1e-4)


def test_the_whole_rank_changes_nothing() -> None:
    for layer, v in ((nn.Linear(7, 5, bias=False), randn(3, 7)), (nn.Conv2d(2, 3, 3), randn(3, 2, 5, 5))):
        plain = layer(v)
        with without_content(layer, leading(layer, 1.0)[0]):
            torch.testing.assert_close(layer(v), plain, atol=1e-5, rtol=1e-4)


def test_rank_is_that_of_the_matrix() -> None:
    layer = nn.Linear(6, 5)
    with torch.no_grad():
        layer.weight.copy_(randn(5, 2) @ randn(2, 6, seed=1))
    assert leading(layer, 1.0)[1:] == (2, 2)
    with torch.no_grad():
        layer.weight.zero_()
    assert leading(layer, 0.5)[1:] == (1, 0)


def test_the_weight_learns_through_the_projection_and_the_basis_stays() -> None:
    layer, v = nn.Linear(7, 5), randn(9, 7)
    basis = leading(layer, 0.3)[0]
    with without_content(layer, basis):
        layer(v).pow(2).sum().backward()
    weight, bias = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))
    seen = v.mean(0) + (v - v.mean(0)) @ basis[0] @ basis[0].T
    F.linear(seen, weight, bias).pow(2).sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.bias.grad, bias.grad, atol=1e-4, rtol=1e-4)


def test_the_layer_is_itself_again_after_an_error() -> None:
    layer, v = nn.Linear(7, 5), randn(4, 7)
    plain = layer(v)
    with pytest.raises(RuntimeError, match="shapes"), without_content(layer, leading(layer, 0.3)[0]):
        layer(randn(4, 8))
    assert torch.equal(layer(v), plain)
    assert "forward" not in vars(layer)


def test_layers_that_are_met_in_their_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.unused, self.first = nn.Linear(8, 2), nn.Linear(8, 8), nn.Linear(12, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, z: Tensor) -> Tensor:
            token = self.first(z).unsqueeze(1)
            return self.last(self.attention(token, token, token, need_weights=False)[0][:, 0])

    given = Split(vector_split().edge, Backwards(), "cut", (12,))
    assert list(met(given, pictures(2))) == ["edge.1", "server.first", "server.last"]
    assert all(not m._forward_hooks for half in (given.edge, given.server) for m in half.modules())
    assert list(met(conv_split(), pictures(2))) == ["edge.0", "server.0", "server.3"]


# Penalties ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [5, 50])
def test_covariance_energy_is_cogswells(samples: int) -> None:
    """||C||_F^2 - ||diag C||^2, whichever Gram matrix is the smaller."""
    z = randn(samples, 12)
    c = np.cov(z.numpy().T, bias=True)
    wanted = (c**2).sum() - (np.diag(c) ** 2).sum()
    assert float(covariance_energy(z)) == pytest.approx(wanted, rel=1e-4)


def test_correlation_by_hand() -> None:
    """Two units that go together, a third that is orthogonal to both: two ordered pairs of six have correlation one."""
    a, b = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    z = torch.stack([a, 3 * a + 7, b], 1)
    assert float(correlation_energy(z)) == pytest.approx(2 / 6, abs=1e-6)
    assert float(decorrelation(z)) == pytest.approx(1 / 6, abs=1e-6)
    assert float(decorrelation(torch.cat([z, torch.full((4, 5), 2.0)], 1))) == pytest.approx(1 / 6, abs=1e-6)
    assert float(decorrelation(100 * z)) == pytest.approx(1 / 6, abs=1e-6)
    for nothing in (z[:1], z[:, :1], torch.zeros(4, 3)):
        assert float(decorrelation(nothing)) == 0


def test_channels_are_the_units_of_a_map() -> None:
    z = randn(6, 3, 4, 5)
    c = np.corrcoef(z.permute(0, 2, 3, 1).reshape(-1, 3).numpy().T)
    wanted = ((c**2).sum() - 3) / 6
    assert float(correlation_energy(z)) == pytest.approx(wanted, rel=1e-3)


def test_shape_tells_gaussian_from_relu() -> None:
    z = randn(4000, 6)
    normal, cut = shape_of(z), shape_of(z.relu())
    assert normal["correlation_energy"] < 3 * normal["correlation_energy_by_chance"]
    assert normal["skewness"] < 0.1 < 0.5 < cut["skewness"]
    assert normal["share_near_gaussian"] == 1 > cut["share_near_gaussian"]
    assert normal["share_of_zeros"] == 0
    assert cut["share_of_zeros"] == pytest.approx(0.5, abs=0.02)
    assert shape_of(torch.zeros(5, 3)) == {"share_of_zeros": 1.0}


# The method -----------------------------------------------------------------------------------------------------------


def test_decorrelation_works(data: Corpus) -> None:
    off, on = fit(data, **OFF), fit(data, **OFF | {"decorrelate": 100.0})
    assert off.log["before"] == on.log["before"]
    assert on.log["after"]["correlation_energy"] < 0.7 * off.log["after"]["correlation_energy"]


def test_variational_part_works_in_training_alone(data: Corpus) -> None:
    off, on = fit(data, **OFF), fit(data, **OFF | {"variational": 10.0})
    x = pictures(4)
    assert on.encode(x).to_bytes() == on.encode(x).to_bytes() != off.encode(x).to_bytes()
    assert on.obfuscator.noise == ()
    with torch.no_grad():
        size = {d is on: float(d.split.edge(pictures(200)).pow(2).mean()) for d in (on, off)}
    assert size[True] < 0.8 * size[False], "the prior draws mu to zero"


def test_what_was_drawn_is_told(data: Corpus) -> None:
    drawn = fit(data).log["drawn"]
    assert len(drawn) == LONGER.task_epochs
    assert {d["layer"] for d in drawn} == {"edge.1", "server.0", "server.2"}
    assert {d["share"] for d in drawn} <= set(SHARES)
    assert all(d["kept"] == max(1, int(np.ceil(d["share"] * d["rank"] - 1e-9))) for d in drawn)
    assert fit(data, removal=False).log["drawn"] == []


def test_removal_makes_the_network_bear_it() -> None:
    """Digits: with little of the server's first layer's content the network errs less than its control."""
    digits, effort = load("digits", target="digit", hidden=("parity",)), replace(EFFORT, task_epochs=15, batch=64)
    with joint.seeded(0, torch.device("cpu")):
        model = cnn3(digits.shape, 10)
    fit_task(model, digits, effort=effort, seed=0)
    given = split(model.eval(), torch.zeros(2, *digits.shape), "flatten")
    batch = joint.Examples.of(digits.victim, None, torch.device("cpu")).batch(slice(None))

    def nats(removal: bool, share: float) -> float:
        halves = trained[removal]
        layer = next(layer for name, layer in met(halves, batch.x[:2]).items() if name.startswith("server"))
        with torch.no_grad(), without_content(layer, leading(layer, share)[0]):
            return float(joint.cross_entropy(halves.server(halves.edge(batch.x)), batch.y))

    trained = {r: ContentTraining(r, 0.0, 0.0).fit(given, digits, effort=effort, seed=0).split for r in (True, False)}
    little = {removal: sum(nats(removal, share) for share in (0.05, 0.1, 0.2)) for removal in trained}
    assert little[True] < 0.92 * little[False]
    assert nats(True, 1.0) < nats(False, 1.0) + 0.1


def test_all_off_is_plain_training(data: Corpus) -> None:
    """The control arm: the same loop with cross-entropy and nothing else."""
    control = vector_split()
    device = torch.device("cpu")
    game = joint.Game(lambda x: (control.edge(x), torch.zeros(())), control.server, (control.edge, control.server))
    with joint.seeded(0, device) as generator:
        plan = joint.Plan(joint.adam(control.edge, control.server))
        log = joint.play(game, plan, joint.Owner.of(data, (), device), effort=LONGER, generator=generator)
    found = fit(data, **OFF)
    assert found.log["task_val_objective"] == log["task_val_objective"]
    x = pictures(4)
    with torch.no_grad():
        assert torch.equal(found.split.edge(x), control.edge(x))


def test_only_the_task_parts_are_read(data: Corpus) -> None:
    one, two = fit(data, conv_split()), fit(strangers(data), conv_split())
    assert one.log == two.log
    assert one.encode(pictures(4)).to_bytes() == two.encode(pictures(4)).to_bytes()


def test_people_without_a_target_are_left_out(data: Corpus) -> None:
    part = data.task_train
    y, x = part.y.copy(), part.x.copy()
    y[:10] = -1
    one = {**data.parts, "task_train": replace(part, y=y)}
    x[:10] = 255 - x[:10]
    two = {**data.parts, "task_train": replace(part, y=y, x=x)}
    fitted = [fit(replace(data, parts=parts, digest="")).encode(pictures(4)).to_bytes() for parts in (one, two)]
    assert fitted[0] == fitted[1]


@pytest.mark.parametrize("removal", [True, False])
def test_layers_work_as_ever_afterwards(data: Corpus, removal: bool) -> None:
    defended = fit(data, conv_split(), removal=removal)
    modules = [m for half in (defended.split.edge, defended.split.server) for m in half.modules()]
    assert not any("forward" in vars(m) or m._forward_hooks for m in modules)
    assert not any(m.training for m in modules)


def test_in_front_of_signal_content(data: Corpus) -> None:
    alone = ContentTraining().fit(vector_split(), data, effort=LONGER, seed=0)
    chained = parse("content_training+signal_content:keep=4").fit(vector_split(), data, effort=LONGER, seed=0)
    assert isinstance(chained.obfuscator, ChainedObfuscator)
    payload = chained.encode(pictures(6))
    assert payload.tensors["alpha"].shape == (6, 4)
    with torch.no_grad():
        assert torch.equal(chained.split.server(randn(3, 12)), alone.split.server(randn(3, 12)))
        whole = ServerHalf(chained.obfuscator, chained.split.server)(*chained.tensors(payload))
    torch.testing.assert_close(chained.server(payload), whole, atol=1e-4, rtol=1e-4)


def test_refusals(data: Corpus) -> None:
    for wrong in ({"decorrelate": -1.0}, {"variational": float("nan")}):
        with pytest.raises(SpecError, match="weighs"):
            ContentTraining(**wrong)
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match="frozen"):
            check(ContentTraining(), vector_split(frozenset({half})))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian+content_training").fit(vector_split(), data, effort=EFFORT, seed=0)
    plain = Split(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36)), seeded(nn.BatchNorm1d(36)), "cut", (36,))
    with pytest.raises(CutError, match="content_training:removal=false"):
        check(ContentTraining(), plain)
    check(ContentTraining(removal=False), plain)
