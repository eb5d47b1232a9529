"""Models by reference: what they compute, where they come from, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from privet._torchvision import prepare_torchvision
from privet.errors import MissingExtra, ModelError
from privet.models import BUILT_IN, default_model, load, load_weights, save_weights
from privet.split import split

PICTURES = ("cnn3", "vgg", "resnet18", "vit")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (4, 33, 32)])
@pytest.mark.parametrize("name", PICTURES)
def test_built_in_networks_take_any_picture(name: str, shape: tuple[int, ...]) -> None:
    model = load(name, shape=shape, classes=5, weights=None, seed=1)
    assert model.training
    assert model(torch.rand(3, *shape)).shape == (3, 5)


def test_the_net_of_the_table_has_its_parameters() -> None:
    """16, 32 and 64 filters of 3x3, then 128, 64 and K units, each followed by batch norm except the last."""
    model = load("cnn3", shape=(3, 50, 50), classes=2, weights=None, seed=0)
    convolutions = (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    linear = (64 * 36 + 1) * 128 + (128 + 1) * 64 + (64 + 1) * 2
    assert sum(p.numel() for p in model.parameters()) == convolutions + linear + 2 * (16 + 32 + 64 + 128 + 64)
    assert split(model, torch.zeros(1, 3, 50, 50), "flatten").shape == (2304,)
    assert [type(m).__name__ for m in model.block2] == ["Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d"]
    assert [type(m).__name__ for m in model.fc2] == ["Linear", "ReLU", "BatchNorm1d"]


@pytest.mark.parametrize(
    ("kind", "shape", "wanted"),
    [
        ("image", (1, 8, 8), ("cnn3", (64,))),
        ("image", (3, 50, 50), ("cnn3", (2304,))),
        ("image", (1, 5, 5), ("mlp", (128,))),
        ("table", (9,), ("mlp", (128,))),
    ],
)
def test_default_models_cut_at_the_input_of_a_linear_layer(
    kind: str, shape: tuple[int, ...], wanted: tuple[str, tuple[int, ...]]
) -> None:
    reference, at = default_model(kind, shape)
    made = split(load(reference, shape=shape, classes=3, weights=None, seed=0), torch.zeros(1, *shape), at)
    first = next(m for m in made.server.modules() if not list(m.children()))
    assert (reference, made.shape) == wanted
    assert isinstance(first, nn.Linear)
    assert first.in_features == wanted[1][0]


def test_default_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="'sound'; wanted 'image' or 'table'"):
        default_model("sound", (8,))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    shape = (12,) if name == "mlp" else (1, 8, 8)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = load(name, shape=shape, classes=2, weights=None, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = load(name, shape=shape, classes=2, weights=None, seed=7).state_dict()
    other = load(name, shape=shape, classes=2, weights=None, seed=8).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


FACTORY = """
from torch import nn

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

def sized(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], width), nn.Linear(width, classes))

def anything(**options):
    return nn.Linear(options["shape"][0], options["classes"])

def demanding(classes, depth):
    return nn.Linear(12, classes)

def text(classes):
    return "a model"

def wrong(classes):
    return nn.Linear(12, classes + 1)
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "factories_for_test.py"
    path.write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(path.stem, None)


def test_factories_get_what_they_take(factories: Path) -> None:
    for source in (factories.stem, str(factories)):
        for name in ("plain", "sized", "anything"):
            assert load(f"{source}:{name}", shape=(12,), classes=2, weights=None, seed=0)(torch.rand(3, 12)).shape == (
                3,
                2,
            )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("demanding", "asks for depth; a factory may ask for shape and classes only"),
        ("text", "gave a str; wanted a factory that returns a torch.nn.Module"),
        ("wrong", r"gave \[2, 3\] for 2 samples of shape \[12\]; wanted logits \[2, 2\]"),
        ("plan", "did you mean 'plain'"),
    ],
)
def test_factories_that_do_not_serve_are_refused(factories: Path, name: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        load(f"{factories}:{name}", shape=(12,), classes=2, weights=None, seed=0)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("cnn4", "did you mean 'cnn3'"),
        ("no_such_package_here:make", "cannot be imported"),
        ("no/such/file.py:make", "there is no Python file"),
        ("cnn3", r"pictures \[C, H, W\] of 8 px or more; given the shape \(12,\)"),
    ],
)
def test_references_that_lead_nowhere_are_refused(reference: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        load(reference, shape=(12,), classes=2, weights=None, seed=0)


@pytest.mark.parametrize("reference", [":", ":f", "x:", ".x:f", "builtins:dict.x", "timm:"])
def test_references_that_are_none_are_refused(reference: str) -> None:
    with pytest.raises((ModelError, MissingExtra)):
        load(reference, shape=(12,), classes=2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def make(:", r"cannot be imported \(SyntaxError: "),
        ("1 / 0", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("raise SystemExit(3)", r"cannot be imported \(SystemExit: 3\)"),
        ("import no_such_module_here", "imports the module 'no_such_module_here', which is not installed"),
        ("def make(): raise RuntimeError('no\\nmore')", r"failed while it built .*\(RuntimeError: no\)"),
        ("def make(): raise SystemExit", r"failed while it built .*\(SystemExit\)"),
        ("make = dict.fromkeys", "does not say what it takes|asks for|failed while"),
    ],
)
def test_files_that_fail_are_refused(tmp_path: Path, text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken_for_test.py"
    path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=why) as caught:
        load(f"{path}:make", shape=(12,), classes=2)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError):
        load("broken_for_test:make", shape=(12,), classes=2)
    sys.modules.pop(path.stem, None)


@pytest.mark.parametrize("problem", ["AttributeError('x')", "KeyError('x')", "NotImplementedError", "SystemExit(1)"])
def test_networks_that_fail_are_refused(tmp_path: Path, problem: str) -> None:
    path = tmp_path / "failing.py"
    lines = ["from torch import nn", "class Net(nn.Module):", "    def __init__(self): super().__init__()"]
    path.write_text("\n".join([*lines, f"    def forward(self, x): raise {problem}"]))
    with pytest.raises(ModelError, match="does not accept inputs of shape"):
        load(f"{path}:Net", shape=(12,), classes=2)


def test_what_is_not_finite_is_refused(tmp_path: Path, factories: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = load(f"{factories}:plain", shape=(12,), classes=2)
    state = model.state_dict()
    save_file({k: torch.full_like(v, float("nan")) if k == "1.bias" else v for k, v in state.items()}, path)
    with pytest.raises(ModelError, match=r"are not finite \(1.bias\)"):
        load_weights(model, path)
    assert bool(torch.isfinite(model[1].bias).all())
    nan = "def nan():\n    model = plain()\n    model[1].bias.data.fill_(float('nan'))\n    return model"
    factories.write_text(FACTORY + nan)
    with pytest.raises(ModelError, match="gave logits that are not finite"):
        load(f"{factories}:nan", shape=(12,), classes=2)


def test_a_shape_that_the_model_does_not_take_is_said(factories: Path) -> None:
    with pytest.raises(ModelError, match=r"does not accept inputs of shape \[3, 8, 8\]"):
        load(f"{factories}:plain", shape=(3, 8, 8), classes=2, weights=None, seed=0)


def test_zoo_models_by_name() -> None:
    prepare_torchvision()  # timm imports torchvision
    pytest.importorskip("timm")
    small = load("torchvision:squeezenet1_1", shape=(3, 40, 40), classes=4, weights=None, seed=0)
    assert small(torch.rand(2, 3, 40, 40)).shape == (2, 4)
    grey = load("timm:resnet10t", shape=(1, 32, 32), classes=4, weights=None, seed=0)
    assert grey(torch.rand(2, 1, 32, 32)).shape == (2, 4)
    for reference, why in (
        ("torchvision:resnet19", "did you mean 'resnet1[58]"),
        ("timm:resnet19x", "timm has .* models"),
    ):
        with pytest.raises(ModelError, match=why):
            load(reference, shape=(3, 32, 32), classes=4, weights=None, seed=0)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_an_absent_zoo_is_named_with_its_install_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm", "torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"{package}.*'privet\[zoo\]' \(in a clone: pip .*\[zoo\]'\)") as caught:
        load(f"{package}:resnet18", shape=(3, 32, 32), classes=4, weights=None, seed=0)
    again, arguments = caught.value.__reduce__()
    assert str(again(*arguments)) == str(caught.value)


def test_weights_travel(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    trained = load("mlp", shape=(12,), classes=2, weights=None, seed=1)
    trained(torch.rand(8, 12))
    save_weights(trained, path)
    again = load("mlp", shape=(12,), classes=2, weights=path, seed=2)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in trained.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tied_weights_travel_once(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model

    path, one, two = tmp_path / "w.safetensors", tied(), tied()
    save_weights(one, path)
    assert "1.weight" not in load_file(path)
    load_weights(two, path)
    assert torch.equal(two[1].weight, one[0].weight)


def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = load("mlp", shape=(12,), classes=2, weights=None, seed=1)
    state = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
    del state["fc1.linear.bias"]
    state["extra"] = torch.zeros(1)
    state["fc3.weight"] = torch.zeros(3, 64)
    save_file(state, path)
    with pytest.raises(ModelError) as caught:
        load_weights(model, path)
    for said in (r"1 missing (fc1.linear.bias)", "1 unexpected (extra)", "fc3.weight is [3, 64], wanted [2, 64]"):
        assert said in str(caught.value)
    assert model.fc2.linear.weight.abs().sum() > 0


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not safetensors at all, whatever its name is"])
def test_other_files_are_not_read_as_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load("mlp", shape=(12,), classes=2, weights=path, seed=1)
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load("mlp", shape=(12,), classes=2, weights=tmp_path / "absent", seed=1)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")

    def fails(tensors: object, name: str, header: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("privet.models.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_weights(nn.Linear(2, 2), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
