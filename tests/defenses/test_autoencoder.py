"""Auto-encoder: it starts as the SVD, only improves on it in the server's logits, and learns from the owner's data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.data.corpus import Corpus, Part
from privet.defense import Defended, check
from privet.defenses.autoencoder import Autoencoder, CodeObfuscator
from privet.errors import CutError, SpecError
from privet.payload import HEADER
from privet.split import Split
from privet.train import inputs
from tiny import EFFORT, SPLITS, conv_split, corpus, pictures, seeded, vector_split

START = replace(EFFORT, task_epochs=0)
LONGER = replace(EFFORT, task_epochs=40)
both_cuts = pytest.mark.parametrize("cut", list(SPLITS))


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus, keep: int = 2, effort: object = LONGER, seed: int = 0) -> Defended:
    return Autoencoder(keep).fit(given, data, effort=effort, seed=seed)


@torch.no_grad()
def distortion(defended: Defended, part: Part) -> float:
    """Mean square of M_s(z) - M_s(z') per logit."""
    z = defended.split.edge(inputs(part.x))
    server = defended.split.server
    return float((server(z) - server(defended.obfuscator(z))).double().pow(2).mean())


def learned(defended: Defended) -> dict[str, Tensor]:
    return dict(defended.obfuscator.state_dict())


@torch.no_grad()
def test_starts_as_the_svd(data: Corpus) -> None:
    """z' = z_bar + V V^T (z - z_bar), V by s_k^2 Var(alpha_k) over task_train."""
    given = vector_split()
    z = given.edge(inputs(data.task_train.x)).double()
    _, s, vt = torch.linalg.svd(given.server[0].weight.double(), full_matrices=False)
    energy = s**2 * ((z - z.mean(0)) @ vt.T).var(0)
    v = vt[energy.argsort(descending=True)[:3]].T
    new = given.edge(pictures(20)).double()
    wanted = z.mean(0) + (new - z.mean(0)) @ v @ v.T
    defended = fit(given, data, 3, START)
    torch.testing.assert_close(defended.obfuscator(new.float()).double(), wanted, atol=1e-5, rtol=0)
    assert defended.log["svd_distortion"] == defended.log["distortion"]


@both_cuts
@pytest.mark.parametrize("keep", [1, 4])
def test_distorts_less_than_the_svd(cut: str, keep: int, data: Corpus) -> None:
    svd, trained = (fit(SPLITS[cut](), data, keep, effort) for effort in (START, LONGER))
    assert trained.log["svd_distortion"] == pytest.approx(distortion(svd, data.task_val), rel=1e-4)
    assert trained.log["distortion"] == pytest.approx(distortion(trained, data.task_val), rel=1e-4)
    assert trained.log["distortion"] < 0.9 * trained.log["svd_distortion"]
    assert trained.log["distortion"] == min(trained.log["task_val_distortion"])
    assert distortion(trained, data.task_train) < distortion(svd, data.task_train)


def test_matches_logits_rather_than_z(data: Corpus) -> None:
    """What the server does not read of z pulls at nothing: its rows of the decoder stay where they start."""
    given = vector_split()
    with torch.no_grad():
        given.server[0].weight[:, 2:] = 0
    svd, trained = (learned(fit(given, data, 1, effort)) for effort in (START, LONGER))
    for name in ("decoder.weight", "decoder.bias", "decoder.out"):
        assert torch.equal(trained[name][2:], svd[name][2:])
        assert not torch.equal(trained[name][:2], svd[name][:2])


def test_never_worse_than_its_start(data: Corpus) -> None:
    """With nothing lost to begin with, training can only lose, and the start is kept."""
    log = fit(vector_split(), data, 10, EFFORT).log
    assert log["svd_distortion"] < 1e-10 < log["task_val_distortion"][1]
    assert log["distortion"] == log["svd_distortion"]


def test_server_stays(data: Corpus) -> None:
    given = vector_split()
    defended = fit(given, data)
    for before, after in ((given.server, defended.split.server), (given.edge, defended.split.edge)):
        assert all(torch.equal(after.state_dict()[k], v) for k, v in before.state_dict().items())
        assert all(p.requires_grad for p in after.parameters())
    tuned = Autoencoder(2, tune=True).fit(given, data, effort=EFFORT, seed=0)
    assert tuned.log["server_tuned"] is True
    frozen = Autoencoder(2, tune=True).fit(vector_split(frozenset({"server"})), data, effort=EFFORT, seed=0)
    assert frozen.log["server_tuned"] is False


def test_sees_no_aux_no_victim_no_label(data: Corpus) -> None:
    """Other people in the other parts, and other labels everywhere, change nothing."""

    def turned(part: Part, x: bool) -> Part:
        s = {k: (v + 1) % 3 for k, v in part.s.items()}
        return Part(part.ids, part.groups, 255 - part.x if x else part.x, 1 - part.y, s)

    other = replace(data, parts={r: turned(p, not r.startswith("task")) for r, p in data.parts.items()}, digest="")
    assert other.digest != data.digest
    first, second = learned(fit(vector_split(), data)), learned(fit(vector_split(), other))
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    inverted = {r: turned(p, True) for r, p in data.parts.items()}
    third = learned(fit(vector_split(), replace(data, parts=inverted, digest="")))
    assert not all(torch.equal(v, third[k]) for k, v in first.items()), "the check above can fail"


def test_seed(data: Corpus) -> None:
    first, again, other = (learned(fit(vector_split(), data, seed=s)) for s in (1, 1, 2))
    assert all(torch.equal(v, again[k]) for k, v in first.items())
    assert not torch.equal(first["encoder.weight"], other["encoder.weight"])
    drawn = [learned(fit(vector_split(), data, effort=START, seed=s))["encoder.hidden"] for s in (1, 2)]
    assert not torch.equal(*drawn), "the hidden units are drawn from the seed, too"


def test_unlabelled_people_count(data: Corpus) -> None:
    part = data.task_train
    blank = replace(part, y=np.full_like(part.y, -1))
    unlabelled = replace(data, parts={**data.parts, "task_train": blank}, digest="")
    first, second = learned(fit(vector_split(), data)), learned(fit(vector_split(), unlabelled))
    assert all(torch.equal(v, second[k]) for k, v in first.items())


@both_cuts
def test_sends_m_numbers(cut: str, data: Corpus) -> None:
    defended = fit(SPLITS[cut](), data, 3, START)
    assert isinstance(defended.obfuscator, CodeObfuscator)
    assert defended.payload_bytes == HEADER.size + 6
    assert defended.decode(defended.encode(pictures(4))).shape == (4, *defended.split.shape)


def test_refusals(data: Corpus) -> None:
    for keep in (0, -2, True):
        with pytest.raises(SpecError, match="number of values"):
            Autoencoder(keep)
    for refuse in (lambda: check(Autoencoder(11), vector_split()), lambda: fit(vector_split(), data, 11)):
        with pytest.raises(SpecError, match="keep=11 exceeds the rank 10"):
            refuse()
    poor = vector_split()
    with torch.no_grad():
        poor.server[0].weight.copy_(torch.ones(10, 1) @ torch.arange(1.0, 13).reshape(1, 12))
    with pytest.raises(SpecError, match="the rank 1 "):
        fit(poor, data, 2)
    large = Split(nn.Identity(), seeded(nn.Sequential(nn.Flatten(), nn.Linear(10_001, 2))), "c", (10_001,))
    with pytest.raises(CutError, match=r"all 10001 values.*signal_content"):
        check(Autoencoder(1), large)
    pooled = seeded(nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)))
    with pytest.raises(CutError, match="maxpool2d"):
        check(Autoencoder(), replace(conv_split(), server=pooled))
