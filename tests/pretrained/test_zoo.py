"""Weights of other people in our layers: what is known of them holds, and what does not fit is refused by name."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

import tiny
from privet import models
from privet.data import load as load_data
from privet.errors import DataError, ModelError
from privet.pretrained import pool, zoo
from privet.train import inputs, one_thread

RESNETS = {"cifar10_resnet20": 0.810, "cifar10_resnet32": 0.829, "cifar10_resnet44": 0.829, "cifar10_resnet56": 0.832}
VGG, MOBILENET = "vgg19_normalised_to_conv3_1", "mobilenet_v1_1.0_224_to_conv_pw_12"
PIXELS = (3, 32, 32)


# Files ---------------------------------------------------------------------------------------------------------------


def published(name: str, folder: Path) -> Path:
    """A file of random weights under the names and in the layout in which the real ones come."""
    network = tiny.seeded(zoo.KNOWN[name].build(), 5)
    given = {}
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        if name == VGG:
            given[key.replace("first.", "preprocess.").replace("layers.", "").replace(".0.", ".")] = value
        else:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            place, _, kind = rest.removeprefix("inner.").partition(".")
            module = ("conv1", "bn1", "", "conv2", "bn2")[int(place)]
            given[f"{module}.{kind}" if stage == "stem" else f"{stage.replace('_', '.')}.{module}.{kind}"] = (
                value.clone()
            )
    if name != VGG:
        given |= {"linear.weight": torch.zeros(10, 64), "linear.bias": torch.zeros(10)}
    save_file(given, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.mark.parametrize("name", [VGG, "cifar10_resnet20"])
def test_files_are_read_and_what_does_not_fit_is_named_as_in_the_file(name: str, tmp_path: Path) -> None:
    file = published(name, tmp_path)
    source = pool.load(tmp_path, name[:9], PIXELS)
    assert source.name == name
    assert not any(p.requires_grad for p in source.chain.parameters())
    given = load_file(file)
    first = "conv1_1.weight" if name == VGG else "conv1.weight"
    save_file(given | {first: torch.zeros(4, 3, 3, 3)}, file)
    with pytest.raises(ModelError, match=rf"{first} is \[4, 3, 3, 3\], wanted \[(64|16), 3, 3, 3\]"):
        pool.load(tmp_path, name, PIXELS)
    save_file({k: v for k, v in given.items() if k != first}, file)
    with pytest.raises(ModelError, match="1 missing"):
        pool.load(tmp_path, name, PIXELS)
    for strange in ("strange", "layer1.0", "layer1.0.conv3.weight"):
        save_file(given | {strange: torch.zeros(2)}, file)
        with pytest.raises(ModelError, match=rf"1 unexpected \([\w.]*{strange}\)"):
            pool.load(tmp_path, name, PIXELS)
    save_file(given | {first: torch.full_like(given[first], torch.nan)}, file)
    with pytest.raises(ModelError, match=rf"not finite \({first}\)"):
        pool.load(tmp_path, name, PIXELS)


def test_pools_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder of pretrained networks"):
        pool.names(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="holds no pretrained network that is known here"):
        pool.names(tmp_path)
    published(VGG, tmp_path)
    with pytest.raises(ModelError, match="no pretrained network named 'resnet'"):
        pool.load(tmp_path, "resnet", PIXELS)


# What has met the private people -------------------------------------------------------------------------------------


def test_networks_that_have_met_the_private_people_are_refused(tmp_path: Path) -> None:
    """METHODS 15.11: by the name of the data, by its classes, by the content of a single picture."""
    people = tiny.corpus()
    published("cifar10_resnet20", tmp_path)
    circular = pool.load(tmp_path, "cifar10_resnet20", PIXELS)
    assert not circular.meets(people)
    assert "trained on cifar10" in circular.meets(replace(people, name="CIFAR-10 (mine)"))
    assert not circular.meets(replace(people, name="cifar100"))
    named = replace(people, classes=people.classes | {"y": tuple(n.upper() for n in zoo.CIFAR10)})
    assert "very classes" in circular.meets(named)

    model = models.load("mlp", shape=people.shape, classes=2)
    for role, met in (("victim", True), ("task_train", True), ("aux_train", False)):
        one = str(people.parts[role].ids[3])
        models.save_weights(model, tmp_path / "mine.safetensors", pool.header(["mine"], [one, "f" * 16]))
        source = pool.load(None, f"mlp={tmp_path / 'mine.safetensors'}", people.shape)
        assert source.trained_on == ("mine",)
        assert source.meets(people) == ("1 of the corpus' examples are among those it was trained on" if met else "")
    with pytest.raises(DataError, match="no pretrained network of the pool may serve"):
        pool.usable([circular], replace(people, name="cifar10"))
    left, refused = pool.usable([circular, source], replace(people, name="cifar10"))
    assert [one.name for one in left] == ["mlp"]
    assert list(refused) == ["cifar10_resnet20"]


@pytest.mark.parametrize(
    ("reference", "m", "module"), [("torchvision:squeezenet1_1", 2, "features.2"), ("timm:resnet10t", 4, "maxpool")]
)
def test_networks_of_collections_get_the_scale_they_were_trained_with_and_colors(
    reference: str, m: int, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.load(reference, shape=(3, 64, 64), classes=1000, seed=2).eval()
    models.save_weights(model, tmp_path / "w.safetensors", pool.header(["imagenet"], []))
    scale = zoo.IMAGENET_MEAN, zoo.IMAGENET_DEVIATION
    if reference.startswith("timm:"):  # which says of every network on what it was trained
        scale = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
        told = model.pretrained_cfg | {"mean": scale[0], "std": scale[1]}
        monkeypatch.setattr(
            type(model), "pretrained_cfg", property(lambda self: told, lambda self, value: None), raising=False
        )
    source = pool.load(None, f"{reference}={tmp_path / 'w.safetensors'}", (1, 64, 64))
    assert source.trained_on == ("imagenet",)
    gray = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    mean, deviation = (torch.tensor(v)[:, None, None] for v in scale)
    seen: list[torch.Tensor] = []
    model.get_submodule(module).register_forward_hook(lambda _, given, gave: seen.append(gave))
    with torch.no_grad():
        model((gray.expand(-1, 3, -1, -1) - mean) / deviation)
        torch.testing.assert_close(source.chain.head(m)(gray), seen[0])


def test_a_network_of_which_no_layers_can_be_made_is_refused_for_that_and_not_for_its_weights(tmp_path: Path) -> None:
    model = models.load("timm:test_vit", shape=(3, 160, 160), classes=1000)
    models.save_weights(model, tmp_path / "w.safetensors", pool.header([], []))
    with pytest.raises(ModelError, match="no layers can be made of a VisionTransformer"):
        pool.load(None, f"timm:test_vit={tmp_path / 'w.safetensors'}", (3, 32, 32))


# The real weights ----------------------------------------------------------------------------------------------------


def official(shared: Path, n: int) -> tuple[torch.Tensor, np.ndarray]:
    """CIFAR-10's own test pictures, as JPEG: the only ones that the networks never saw."""
    rows = pq.read_table(shared / "cifar10" / "test.parquet").to_pylist()
    rows = [row for row in rows if int(row["official_test"])][:n]
    x = np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).transpose(2, 0, 1) for row in rows])
    return inputs(x), np.array([row["label"] for row in rows])


@pytest.mark.parametrize(
    "name", ["cifar10_resnet20", *(pytest.param(n, marks=pytest.mark.heavy) for n in list(RESNETS)[1:])]
)
def test_resnets_know_cifar10_as_well_as_their_readme_says(name: str, shared_data: Path) -> None:
    n = 600
    x, y = official(shared_data, n)
    source = pool.load(shared_data / "weights", name, PIXELS)
    answer = load_file(shared_data / "weights" / f"{name}.safetensors")
    with one_thread(), torch.no_grad():
        z = torch.cat([source.chain(rows) for rows in x.split(100)]).mean((2, 3))
        said = F.linear(z, answer["linear.weight"], answer["linear.bias"]).argmax(1).numpy()
    known = RESNETS[name]
    assert abs((said == y).mean() - known) < 3 * (known * (1 - known) / n) ** 0.5


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "layer", "gender", "race"), [(VGG, 6, 0.885, 0.747), (MOBILENET, 7, 0.888, 0.732)])
def test_imagenet_layers_say_of_faces_what_their_readme_says(
    name: str, layer: int, gender: float, race: float, shared_data: Path
) -> None:
    """A linear probe on 2,500 faces; three standard errors of 1,000 others, and three points for the probe."""
    source = pool.load(shared_data / "weights", name, (3, 64, 64))
    for target, known in (("gender", gender), ("race", race)):
        people = load_data(str(shared_data / "utkface"), target=target, hidden=["none"], resize="none", limit=2500)
        with one_thread(), torch.no_grad():
            z = [
                F.adaptive_avg_pool2d(torch.cat([source.chain.head(layer)(r) for r in inputs(p.x).split(100)]), 4)
                for p in (people.task_train, people.victim)
            ]
        fit = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
        found = fit.fit(z[0].flatten(1), people.task_train.y).score(z[1].flatten(1), people.victim.y)
        assert abs(found - known) < 3 * (known * (1 - known) / len(people.victim)) ** 0.5 + 0.03
