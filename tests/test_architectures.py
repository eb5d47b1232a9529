"""The built-in sequence networks: their cuts, what they are sensitive to, their ONNX graphs, and what they learn."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from privet.channels import FixedTokens, MaskedTokens
from privet.data import load as load_data
from privet.defense import Defended, Obfuscator
from privet.defenses.none import RawObfuscator
from privet.errors import ModelError
from privet.models import load
from privet.runtime import export
from privet.split import cuts, split
from privet.train import Effort, accuracy, fit_task, one_thread

SHAPES = {"gru": (1, 5, 12), "vit": (1, 16, 16)}
INNER = {"gru": ("frames", "layer1", "layer2"), "vit": ("tokens", "block1", "block2", "block3", "block4")}
KEEP = 3


@cache
def network(name: str, shape: tuple[int, ...] | None = None) -> nn.Module:
    """A network whose batch-norm statistics are not the trivial ones, in eval mode."""
    shape = shape or SHAPES[name]
    model = load(name, shape=shape, classes=3, seed=4)
    model(torch.rand(16, *shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def pictures(name: str, n: int) -> torch.Tensor:
    return torch.rand(n, *SHAPES[name], generator=torch.Generator().manual_seed(n))


def first_feature(name: str, at: str) -> tuple[Defended, tuple[int, ...]]:
    """Behind a cut where z is [T, D], an obfuscator that sends `KEEP` whole tokens, picked by their first feature."""

    class First(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z[:, :, 0]

    halves = split(network(name), pictures(name, 2), at)
    return Defended.of(halves, MaskedTokens(halves.shape, 0, KEEP, First(), "float32"), "a test"), halves.shape


# The recurrent network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 40, 64), (2, 3, 7), (1, 4, 1), (9, 6), (1, 1)])
def test_gru_takes_pictures_of_sound_and_sequences(shape: tuple[int, ...]) -> None:
    model = load("gru", shape=shape, classes=5, seed=1)
    steps = -(-shape[-1] // 2) if len(shape) == 3 else -(-shape[0] // 2)
    assert model.training
    assert model(torch.rand(3, *shape)).shape == (3, 5)
    assert [model[: i + 1](torch.rand(3, *shape)).shape for i in range(4)] == [(3, steps, 128)] * 3 + [(3, 128)]


def test_gru_refuses_what_has_no_time() -> None:
    with pytest.raises(
        ModelError, match=r"sequences \[T, D\] or pictures of sound \[C, H, W\]; given the shape \(9,\)"
    ):
        load("gru", shape=(9,), classes=2)


def test_a_picture_is_read_column_by_column() -> None:
    """[B, C, H, W] is the sequence whose step t is x[:, :, :, t]."""
    model, sequence = load("gru", shape=(2, 3, 8), classes=4, seed=2), load("gru", shape=(8, 6), classes=4, seed=2)
    sequence.load_state_dict(model.state_dict())
    x = torch.rand(5, 2, 3, 8)
    columns = torch.stack([x[:, :, :, t].flatten(1) for t in range(8)], 1)
    assert torch.equal(model.eval()(x), sequence.eval()(columns))


def test_order_matters_to_gated_units_and_only_the_past_does() -> None:
    layer = network("gru").layer1
    steps = torch.rand(2, 6, 128, generator=torch.Generator().manual_seed(3))
    forwards, backwards = layer(steps), layer(steps.flip(1)).flip(1)
    assert (forwards - backwards).abs().mean() > 0.1
    changed = steps.clone()
    changed[:, 3:] += 1
    moved = (layer(changed) - forwards).abs().amax((0, 2))
    assert bool((moved[:3] == 0).all())
    assert bool((moved[3:] > 0.01).all())


def test_the_order_of_what_arrives_matters_to_the_server() -> None:
    halves = split(network("gru"), pictures("gru", 2), "layer1")
    z = halves.edge(pictures("gru", 4))
    assert (halves.server(z) - halves.server(z.flip(1))).abs().amax() > 0.01


# Both ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_every_inner_cut_is_a_sequence_and_exact(name: str) -> None:
    model = network(name)
    found = {c.name: c for c in cuts(model, pictures(name, 2))}
    x = pictures(name, 5)
    for at in INNER[name]:
        halves = split(model, x, at)
        assert found[at].tracer == halves.tracer == "fx"
        assert len(halves.shape) == 2
        assert torch.equal(halves.server(halves.edge(x)), model(x))


def test_both_tracers_find_the_same_cuts_of_gru() -> None:
    by_fx, by_export = (cuts(network("gru"), pictures("gru", 2), tracer=tracer) for tracer in ("fx", "export"))
    assert [(c.name, c.shape) for c in by_fx] == [(c.name, c.shape) for c in by_export]


@pytest.mark.parametrize("name", SHAPES)
def test_halves_learn_as_the_whole_does(name: str) -> None:
    """In train mode, dropout drawn alike, every parameter has the same gradient."""
    model, x = load(name, shape=SHAPES[name], classes=3, seed=4), pictures(name, 6)
    halves = split(model, x, INNER[name][2])
    for network in (model, nn.Sequential(halves.edge, halves.server)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            network(x).square().sum().backward()
    whole = dict(model.named_parameters())
    parts = dict(halves.edge.named_parameters()) | dict(halves.server.named_parameters())
    assert halves.edge.training
    assert whole.keys() == parts.keys()
    for path, parameter in whole.items():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, parts[path].grad, atol=1e-5), path


@pytest.mark.parametrize("name", SHAPES)
def test_the_server_goes_on_with_the_tokens_that_came(name: str) -> None:
    """Kept tokens reach the next layer as a shorter sequence; no place of the others is left."""
    defended, (length, width) = first_feature(name, INNER[name][1])
    lengths: list[tuple[int, ...]] = []
    following = defended.split.server.get_submodule(INNER[name][2])
    inside = following.gru if name == "gru" else following.attention
    inside.register_forward_pre_hook(lambda _, given: lengths.append(tuple(given[0].shape)))
    sent = defended.edge_half(pictures(name, 4))
    logits = defended.server_half(*sent)
    assert [t.shape for t in sent] == [(4, KEEP, width)]
    assert lengths == [(4, KEEP, width)]
    assert length > KEEP
    assert torch.equal(logits, defended.split.server(sent[0]))


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("gru", False),
        ("vit", True),
        pytest.param("gru", True, marks=pytest.mark.heavy),
        pytest.param("vit", False, marks=pytest.mark.heavy),
    ],
)
def test_both_halves_run_in_onnx_at_any_batch(name: str, tokens: bool, tmp_path: Path) -> None:
    """The exporter compares at 1 and 5 samples; here the two graphs are joined and compared with torch at 7."""
    halves = split(network(name), pictures(name, 2), INNER[name][1])
    sends: Obfuscator = FixedTokens(halves.shape, 0, [0, 2, 5]) if tokens else RawObfuscator(halves.shape)
    defended = Defended.of(halves, sends, "a test")
    export.export_edge(defended, tmp_path / "edge.onnx", SHAPES[name])
    export.export_server(defended, tmp_path / "server.onnx")
    x = pictures(name, 7)
    edge, server = (onnxruntime.InferenceSession(tmp_path / f"{half}.onnx") for half in ("edge", "server"))
    sent = edge.run(None, {"x": x.numpy()})
    (logits,) = server.run(None, {f.name: t for f, t in zip(defended.obfuscator.signature, sent, strict=True)})
    with torch.no_grad():
        wanted = defended.server_half(*defended.edge_half(x)).numpy()
    assert np.abs(logits - wanted).max() < 1e-4
    if name == "gru":
        operators = [n.op_type for n in onnx.load(tmp_path / "edge.onnx").graph.node]
        assert operators.count("GRU") == 1, "a loop unrolled over time would grow with the sequence"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "data", "target", "hidden", "least"),
    [("gru", "fsdd", "digit", "speaker", 0.955), ("vit", "utkface", "gender", "race", 0.879)],
)
def test_they_learn_on_real_data(
    name: str, data: str, target: str, hidden: str, least: float, shared_data: Path
) -> None:
    """Within three points of a small CNN (the data's README: .985 and .909), on half of its training data."""
    corpus = load_data(str(shared_data / data), target=target, hidden=[hidden])
    model = load(name, shape=corpus.shape, classes=corpus.n_classes(target), seed=0)
    with one_thread():
        fit_task(model, corpus, effort=Effort.named("standard"), seed=0)
        assert accuracy(model, corpus.victim) >= least
