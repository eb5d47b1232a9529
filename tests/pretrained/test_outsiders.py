"""Networks of other people: operators by hand, folders that are refused, and what is known of the real weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import tiny
from privet.auditing import judges
from privet.auditing.panel import FLOOR, Panel
from privet.data import load as load_data
from privet.errors import ModelError
from privet.pretrained import outsiders
from privet.setting import Setting, trial_name
from privet.train import inputs, one_thread
from studies import privet

VGG, FACES = outsiders.KNOWN
DRAWN = torch.Generator().manual_seed(0)


def write(folder: Path, *names: str, seed: int = 5) -> Path:
    """Files of random weights, named and shaped as the real ones are."""
    folder.mkdir(exist_ok=True)
    for name in names:
        state = tiny.seeded(outsiders.KNOWN[name][0](), seed).state_dict()
        if name == FACES:
            named = {k.replace(".", "/"): v for k, v in state.items()}
        else:
            named = {
                k.replace("chain.first", "preprocess").replace("chain.layers.", "").replace(".0.", "."): v
                for k, v in state.items()
            }
        save_file(named, folder / f"{name}.safetensors")
    return folder


# Operators -----------------------------------------------------------------------------------------------------------


def test_same_pads_behind_rather_than_before() -> None:
    layer = outsiders.Filters(3, 1, 1, 2)
    nn.init.ones_(layer.filters)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [45, 39, 66, 50]  # rows 0-2 and 2-3 by columns 0-2 and 2-3


def test_filters_are_laid_out_as_tensorflow_does() -> None:
    layer = outsiders.Filters(1, 2, 3, 1)
    with torch.no_grad():
        layer.filters.copy_(torch.arange(6.0).reshape(1, 1, 2, 3))
        layer.bias.copy_(torch.tensor([0.0, 0.5, 1.0]))
    assert layer(torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)).flatten().tolist() == [30, 41.5, 53]
    separable = tiny.seeded(outsiders.Separable(2, 1), 1)
    x = torch.rand(1, 2, 5, 5, generator=DRAWN)
    patch = (x[0, :, 1:4, 1:4] * separable.depthwise_filter[..., 0].permute(2, 0, 1)).sum((1, 2))
    wanted = (patch * separable.pointwise_filter.flatten()).sum() + separable.bias
    assert separable(x)[0, 0, 2, 2].item() == pytest.approx(wanted.item(), abs=1e-6)


def test_vgg_reflects_at_its_borders_and_rectifies() -> None:
    network = tiny.seeded(outsiders.VggHead(), 2)
    x = torch.rand(1, 3, 12, 12, generator=DRAWN)
    first, colors_of = network.chain.layers.conv1_1[0], network.chain.first
    colors = torch.einsum("oi,ihw->ohw", colors_of.weight.flatten(1), x[0]) + colors_of.bias[:, None, None]
    wide = np.pad(colors.detach().numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    corner = np.einsum("oihw,ihw->o", first.weight.detach().numpy(), wide[:, :3, :3]) + first.bias.detach().numpy()
    np.testing.assert_allclose(first(colors_of(x))[0, :, 0, 0].detach(), corner, atol=1e-5)
    maps = network(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 12, 12), (128, 6, 6), (256, 3, 3)]
    assert all(bool((m >= 0).all()) for m in maps)
    gray = x.mean(1, keepdim=True)
    assert network(gray)[2].equal(network(gray.expand(1, 3, 12, 12))[2])


def test_faces_are_seen_at_their_own_size() -> None:
    network = tiny.seeded(outsiders.AgeGender(), 3)
    x = torch.rand(2, 3, 112, 112, generator=DRAWN)
    years, genders = network(x)
    assert (tuple(years.shape), tuple(genders.shape)) == ((2,), (2, 2))
    small = network(F.interpolate(x, (50, 50), mode="area"))[0]
    assert not small.equal(years)


# Folders -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_and_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "judges", VGG, FACES)
    assert list(outsiders.load(folder)) == [FACES, VGG]
    file = folder / f"{VGG}.safetensors"
    weights = load_file(file)
    save_file(weights | {"conv1_2.weight": torch.zeros(64, 32, 3, 3)}, file)
    with pytest.raises(ModelError, match=r"conv1_2.weight is \[64, 32, 3, 3\], wanted \[64, 64, 3, 3\]"):
        outsiders.load(folder)
    save_file({k: v for k, v in weights.items() if k != "conv3_1.bias"}, file)
    with pytest.raises(ModelError, match=r"1 missing \(chain.layers.conv3_1.0.bias\)"):
        outsiders.load(folder)
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        outsiders.load(folder)


@pytest.mark.parametrize("there", ["nothing", "stranger", "no folder"])
def test_other_folders_are_refused_in_one_sentence(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "judges"
    if there != "no folder":
        folder.mkdir()
    if there == "stranger":
        save_file({"a": torch.zeros(1)}, folder / "cifar10_resnet20.safetensors")
    assert privet("audit", "--limit", "150", "--effort", "tiny", "--judges", folder, "--out", tmp_path / "out") == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("privet: ")]
    assert len(told) == 1
    assert ("there is no folder" if there == "no folder" else "holds none") in told[0]


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    for name in ("cifar10_resnet20", VGG):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert list(outsiders.files(tmp_path)) == [VGG]


def test_a_trial_is_named_by_what_the_judges_hold(tmp_path: Path) -> None:
    people = tiny.corpus()
    setting = Setting("cnn3", "flatten", effort="tiny")

    def name(judges: Path | None) -> str:
        given = None if judges is None else str(judges)
        return trial_name(Setting(**{**vars(setting), "judges": given}), people, "none", 0, False)

    one = write(tmp_path / "one", VGG)
    two = Path(shutil.copytree(one, tmp_path / "two"))
    assert name(one) == name(two) != name(None)
    write(two, VGG, seed=6)
    assert name(one) != name(two)


def test_they_sit_on_the_panel(tmp_path: Path) -> None:
    """Of the originals themselves faces and VGG-19 say what they said before."""
    people = tiny.corpus()
    outside = outsiders.load(write(tmp_path / "judges", VGG, FACES))
    panel = Panel(people, judges.judge(people).eval(), outside)
    said = panel.of("decoder", inputs(people.victim.x), np.arange(8))
    assert said["judged/input/decoder/distance:vgg19"].max() == 0
    assert said["judged/input/decoder/faces:years"].max() == 0
    assert said["judged/input/decoder/faces:verdict"].tolist() == [1.0] * 8
    assert "judged/input/decoder/faces:gender" not in said, "nobody is labelled with a gender"
    assert panel.reference()[f"judged/input/{FLOOR}/faces:verdict"].mean() >= 0.5


# The real weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "hidden", "people"),
    [
        ("utkface", "race", 120),
        pytest.param("utkface", "race", 1500, marks=pytest.mark.heavy),
        pytest.param("lfw_gender", "identity", 1500, marks=pytest.mark.heavy),
    ],
)
def test_faces_are_told_apart(data: str, hidden: str, people: int, shared_data: Path, tmp_path: Path) -> None:
    """The data's README: .943 on UTKFace, .952 on LFW; three standard errors below."""
    known = {"utkface": 0.943, "lfw_gender": 0.952}[data]
    shutil.copy(shared_data / "weights" / f"{FACES}.safetensors", tmp_path)
    network = outsiders.load(tmp_path)[FACES]
    victim = load_data(
        str(shared_data / data), target="gender", hidden=[hidden], limit=2 * people, resize="none"
    ).victim
    x, y = inputs(victim.x[:people]), victim.y[:people]
    assert len(x) == people
    with one_thread(), torch.no_grad():
        said = torch.cat([network(rows)[1] for rows in torch.split(x, 64)]).argmax(1).numpy()
    assert (said == y).mean() > known - 3 * (known * (1 - known) / people) ** 0.5


def test_vgg_is_normalized(shared_data: Path, tmp_path: Path) -> None:
    """Its maps have a mean of about one on natural pictures, which is what it was scaled for."""
    shutil.copy(shared_data / "weights" / f"{VGG}.safetensors", tmp_path)
    victim = load_data(str(shared_data / "utkface"), target="gender", hidden=["race"], limit=200).victim
    with one_thread(), torch.no_grad():
        maps = outsiders.load(tmp_path)[VGG](inputs(victim.x[:32]))
    assert [float(m.mean()) for m in maps] == pytest.approx([1, 1, 1], abs=0.35)
