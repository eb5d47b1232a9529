"""Splits are exact at every legal cut, everything else is refused, and names do not depend on the tracer."""

from __future__ import annotations

import copy
import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import networks
from privet._torchvision import prepare_torchvision
from privet.errors import CutError, ModelError
from privet.split import Split, cuts, halves, legal, split
from privet.tracing import CannotTrace, trace
from privet.tracing.nouns import Traced

GOLDEN = Path(__file__).parent / "golden" / "cuts"
UPDATE = os.environ.get("PRIVET_UPDATE_GOLDEN") == "1"
BOTH = [name for name in networks.FACTORIES if name not in networks.EXPORT_ONLY]
TWINS = ("resnet18", "vgg", "vit", "timm_vit")  # slow to export; torchvision's networks of the same kind run always


@cache
def network(name: str) -> nn.Module:
    """A network with seeded weights and batch-norm statistics that are not the trivial ones, in eval mode."""
    for package in ("torchvision", "timm"):
        if name.startswith(package):
            prepare_torchvision()
            pytest.importorskip(package)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = networks.FACTORIES[name][0]()
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def inputs(name: str, size: int) -> torch.Tensor:
    """A batch that is not the probe of the tracer."""
    return torch.randn(size, *networks.FACTORIES[name][1], generator=torch.Generator().manual_seed(size))


@cache
def traced(name: str, tracer: str) -> Traced:
    return trace(network(name), inputs(name, 1), tracer)


def exact(split: Split, model: nn.Module, x: torch.Tensor) -> bool:
    with torch.no_grad():
        z = split.edge(x)
        kept = z.clone()
        same = torch.equal(split.server(z), model(x))
    assert z.shape[1:] == split.shape
    assert torch.equal(z, kept), "the server changed the tensor it was given"
    return same


@pytest.mark.parametrize("name", networks.FACTORIES)
def test_halves_equal_the_whole_at_every_legal_cut(name: str) -> None:
    model = network(name)
    found = traced(name, "export" if name in networks.EXPORT_ONLY else "fx")
    for i, cut in enumerate(legal(found)):
        made = halves(found, cut.name)
        for size in (1, 3, 7) if i % 8 == 0 else (4,):
            assert exact(made, model, inputs(name, size)), f"{cut.name} with {size} samples"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.heavy] * (n in TWINS)) for n in BOTH])
def test_both_tracers_name_the_same_cuts_and_make_the_same_halves(name: str) -> None:
    by_fx, by_export = traced(name, "fx"), traced(name, "export")
    names = [cut.name for cut in legal(by_fx)]
    assert [(c.name, c.shape) for c in legal(by_export)] == [(c.name, c.shape) for c in legal(by_fx)]
    x = inputs(name, 5)
    with torch.no_grad():
        y = network(name)(x)
        for cut in names[:: max(1, len(names) // 3)]:
            exported, symbolic = halves(by_export, cut), halves(by_fx, cut)
            z = exported.edge(x)
            torch.testing.assert_close(z, symbolic.edge(x), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(exported.server(z), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", networks.FACTORIES)
def test_the_legal_cuts_are_those_on_record(name: str) -> None:
    found = [cut.name for cut in legal(traced(name, "export" if name in networks.EXPORT_ONLY else "fx"))]
    path = GOLDEN / f"{name}.json"
    if UPDATE:
        path.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(path.read_text())


def test_cuts_come_with_shapes_and_tracer() -> None:
    found = {cut.name: cut for cut in cuts(network("cnn3"), inputs("cnn3", 1))}
    assert found["flatten"].shape == (64,)
    assert found["block1"].shape == (16, 4, 4)
    assert {cut.tracer for cut in found.values()} == {"fx"}
    assert "fc3" not in found
    assert {cut.tracer for cut in cuts(network("control_flow"), inputs("control_flow", 1))} == {"export"}


def test_inside_a_residual_block_is_refused_with_what_would_cross() -> None:
    model, x = network("resnet18"), inputs("resnet18", 1)
    with pytest.raises(CutError, match=r"'layer1\.1\.conv1' .* send 2 tensors \(layer1\.0\S*, layer1\.1\.conv1\)"):
        split(model, x, "layer1.1.conv1")
    with pytest.raises(CutError, match=r"stem\.conv, .* more \(`privet cuts` lists all\)"):
        split(model, x, "layer2.0.bn2")
    assert split(model, x, "layer2.0").shape == (128, 4, 4)


@pytest.mark.parametrize("tracer", ["fx", "export"])
@pytest.mark.parametrize(
    ("name", "at", "why"),
    [
        ("raw", "0", "raw input"),
        ("raw", "1", "raw input"),
        ("raw", "3", "hands on what it was given"),
        ("raw", "5", "nothing would be left"),
        ("raw", "7", "nothing would be left"),
        ("twice", "again", "called 2 times"),
        ("twice", "never", "not called"),
        ("twice", "side", "would send 2 tensors"),
        ("transformer", "encoder.layers.0.linear1", "one piece"),
        ("sequence_first", "cell", "batch first"),
        ("gru", "cell", "batch first"),
        ("windows", "inner", "batch first"),
    ],
)
def test_what_is_not_legal_is_refused(name: str, at: str, why: str, tracer: str) -> None:
    with pytest.raises(CutError, match=why):
        halves(traced(name, tracer), at)


def test_the_input_is_named_where_it_would_cross() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x) + x)

    with pytest.raises(CutError, match=r"2 tensors \(the input, first\); this model has no legal cut"):
        split(Skip(), torch.zeros(1, 6), "first")


def test_a_misspelt_path_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(CutError, match=r"no module 'flaten'; did you mean 'flatten'\? legal cuts: block1\.conv"):
        split(network("cnn3"), inputs("cnn3", 1), "flaten")
    with pytest.raises(CutError, match="no module ''"):
        split(network("cnn3"), inputs("cnn3", 1), "")


@pytest.mark.parametrize(
    ("name", "why"), [("control_flow", "control flow"), ("hidden_write", "changes a value in place that is read again")]
)
def test_what_fx_would_get_wrong_falls_to_export(name: str, why: str) -> None:
    model, x = network(name), inputs(name, 2)
    with pytest.raises(CutError, match=f"fx: .*{why}"):
        cuts(model, x, tracer="fx")
    made = split(model, x, "first")
    assert made.tracer == "export"
    assert exact(made, model, x)


def test_a_model_that_neither_follows_is_refused_with_the_remedy() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.first(x)
            return self.head(z if z.sum() > 0 else -z)

    with pytest.raises(CutError, match=r"fx: .*export: .*Split\(edge, server\)"):
        cuts(Decides(), torch.zeros(2, 6))


def test_a_branch_that_depends_on_the_batch_is_not_believed() -> None:
    class Misleads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.first(x)
            return self.head(torch.relu(z) if isinstance(z, torch.Tensor) else z)

    with pytest.raises(CannotTrace, match="something else than the model"):
        trace(Misleads(), torch.zeros(2, 6), "fx")
    assert cuts(Misleads(), torch.zeros(2, 6))[0].tracer == "export"


def test_an_input_that_does_not_fit_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="does not accept inputs of shape"):
        cuts(network("cnn3"), torch.zeros(1, 5, 8, 8))
    with pytest.raises(ModelError, match="one tensor with the batch first"):
        cuts(nn.LSTM(6, 3, batch_first=True), torch.zeros(1, 5, 6))
    with pytest.raises(ModelError, match="at least one row"):
        cuts(network("cnn3"), torch.zeros(0, 3, 9, 8))


def test_halves_own_their_parameters_and_the_model_is_untouched() -> None:
    model = copy.deepcopy(network("torchvision_densenet121")).train()
    for module in model.features.denseblock1.modules():
        module.training = False  # a frozen part stays frozen
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    made = split(model, inputs("torchvision_densenet121", 2), "features.transition1")
    assert made.edge.training
    assert not made.edge.get_submodule("features.denseblock1.denselayer1.norm1").training
    assert made.server.get_submodule("features.norm5").training
    parameters = [p for half in (made.edge, made.server) for p in half.parameters()]
    assert len(parameters) == len(list(model.parameters()))
    assert not {p.data_ptr() for p in parameters} & {p.data_ptr() for p in model.parameters()}
    made.server.train()(made.edge.train()(inputs("torchvision_densenet121", 4))).sum().backward()
    with torch.no_grad():
        for p in parameters:
            p += 1
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    names = set(dict(made.edge.named_parameters())) | set(dict(made.server.named_parameters()))
    assert names == set(dict(model.named_parameters()))


@pytest.mark.parametrize("tracer", ["fx", "export"])
def test_parameters_used_on_their_own_stay_trainable(tracer: str) -> None:
    server = halves(traced("masks_weights", tracer), "layers.1").server
    server(torch.ones(2, 8)).sum().backward()
    grads = {name: p.grad for name, p in server.named_parameters()}
    assert set(grads) == {"gain", "head.weight", "head.bias"}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())


def test_a_tied_parameter_is_not_shared_between_halves() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    made = split(model, torch.zeros(1, 6), "1")
    edge, server = made.edge.get_parameter("0.weight"), made.server.get_parameter("2.weight")
    assert torch.equal(edge, server)
    assert edge.data_ptr() != server.data_ptr()


@pytest.mark.parametrize("name", ["functional_modes", "vgg", "torchvision_densenet121"])
def test_halves_follow_train_and_eval(name: str) -> None:
    """In train mode dropout drops and batch norm learns, in both halves exactly as in the whole."""
    model, x = copy.deepcopy(network(name)).train(), inputs(name, 6)
    for cut in [c.name for c in legal(traced(name, "fx"))][::6]:
        made = split(model, x, cut)
        whole = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            wanted = whole(x)
            torch.manual_seed(3)
            given = made.server(made.edge(x))
            other = made.server(made.edge(x))
        assert torch.equal(given, wanted), cut
        assert not torch.equal(given, other), "train mode drew no dropout"
        made.edge.eval()
        made.server.eval()
        assert torch.equal(made.server(made.edge(x)), made.server(made.edge(x))), "eval mode drew a dropout"
        assert exact(split(whole.eval(), x, cut), whole, x)


def test_batch_norm_learns_in_both_halves() -> None:
    model, x = copy.deepcopy(network("cnn3")).train(), inputs("cnn3", 6)
    made = split(model, x, "block2.relu")
    model(x)
    made.server(made.edge(x))
    buffers = {**dict(made.edge.named_buffers()), **dict(made.server.named_buffers())}
    assert all(torch.equal(buffers[key], value) for key, value in model.named_buffers())


def test_halves_hold_their_modules_in_order_of_execution() -> None:
    for tracer in ("fx", "export"):
        server = halves(traced("cnn3", tracer), "block3.relu").server
        names = [name.removesuffix(".weight") for name in dict(server.named_parameters()) if name.endswith(".weight")]
        assert names == ["block3.bn", "fc1.linear", "fc1.bn", "fc2.linear", "fc2.bn", "fc3"]


def test_sizes_are_rebuilt_from_z_for_any_batch() -> None:
    for tracer in ("fx", "export"):
        made = halves(traced("sizes_cross", tracer), "conv")
        for size in (1, 2, 9):
            assert exact(made, network("sizes_cross"), inputs("sizes_cross", size))


def test_codes_as_input_and_a_single_row_as_example() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3)).eval()
    x = torch.tensor([[1, 2, 9]])
    for tracer in ("fx", "export"):
        made = split(model, x, "0", tracer=tracer)
        assert made.shape == (3, 4)
        assert exact(made, model, torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 9, 9]]))


def test_copy_is_deep_and_splits_are_frozen() -> None:
    made = split(network("mlp"), inputs("mlp", 1), "fc1")
    other = made.copy()
    with torch.no_grad():
        next(other.edge.parameters()).zero_()
        next(other.server.parameters()).zero_()
    assert exact(made, network("mlp"), inputs("mlp", 3))
    assert (other.cut, other.shape, other.tracer) == (made.cut, made.shape, made.tracer)
    with pytest.raises(AttributeError):
        made.cut = "fc2"  # type: ignore[misc]
    explicit = Split(nn.Identity(), network("mlp"), "input", (12,))
    assert explicit.tracer == "explicit"


def test_tracing_does_not_touch_the_global_generator() -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    split(network("vgg"), inputs("vgg", 1), "pool")
    cuts(network("control_flow"), inputs("control_flow", 1))
    assert torch.equal(torch.get_rng_state(), state)
