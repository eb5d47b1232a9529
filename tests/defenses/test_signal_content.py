"""Signal content: the identities of Samragh et al. 2021 that the method rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.data.corpus import Corpus, Part
from privet.defense import Defended, ServerHalf
from privet.defenses.signal_content import SignalContent, SignalObfuscator, first_linear
from privet.errors import CutError, SpecError
from privet.split import Split, split
from privet.train import accuracy, fit_task, predict
from tiny import EFFORT, conv_split, corpus, pictures, seeded, vector_split

RANK = 10


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, keep: float, order: Any = "energy", given: Split | None = None) -> Defended:
    return SignalContent(keep, order).fit(given or vector_split(), data, effort=EFFORT, seed=0)


def parts(defended: Defended) -> tuple[SignalObfuscator, Tensor, Tensor]:
    """The obfuscator, W [m, n] and z [B, n] in float64."""
    obfuscator = defended.obfuscator
    assert isinstance(obfuscator, SignalObfuscator)
    split = vector_split()
    with torch.no_grad():
        return obfuscator, split.server[0].weight.double(), split.edge(pictures(50)).double()


@pytest.mark.parametrize("order", ["energy", "singular"])
@pytest.mark.parametrize("keep", [1, 4, RANK])
def test_basis_is_orthonormal(data: Corpus, keep: int, order: str) -> None:
    basis = parts(fit(data, keep, order))[0].basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(keep), atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", ["energy", "singular"])
def test_whole_rank_is_free_of_distortion(data: Corpus, order: str) -> None:
    obfuscator, w, z = parts(fit(data, RANK, order))
    with torch.no_grad():
        view = obfuscator(z.float()).double()
    assert (w @ (z - view).T).abs().max() <= 1e-5 * (w @ z.T).abs().max()
    assert (z - view).norm(dim=1).min() > 1e-3, "the null content stays at home"


@pytest.mark.parametrize("order", ["energy", "singular"])
def test_alpha_is_what_the_server_would_see(data: Corpus, order: str) -> None:
    """alpha_k = u_k^T W (z - z_bar) / s_k, with u_k = W v_k / s_k."""
    obfuscator, w, z = parts(fit(data, 5, order))
    image = w @ obfuscator.basis.double()
    s = image.norm(dim=0)
    wanted = (z - obfuscator.mean.double()) @ w.T @ (image / s) / s
    with torch.no_grad():
        alpha = obfuscator.encode(z.float())[0].double()
    torch.testing.assert_close(alpha, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["energy", "singular"])
@pytest.mark.parametrize("keep", [1, 3, 7])
def test_distortion_is_the_dropped_energy(data: Corpus, keep: int, order: str) -> None:
    obfuscator, w, z = parts(fit(data, keep, order))
    _, s, vt = torch.linalg.svd(w, full_matrices=False)
    kept = (vt @ obfuscator.basis.double()).abs().max(dim=1).values > 0.999
    assert int(kept.sum()) == keep
    alpha = (z - obfuscator.mean.double()) @ vt.T
    dropped = (s[~kept] ** 2 * alpha[:, ~kept] ** 2).sum(1)
    with torch.no_grad():
        view = obfuscator(z.float()).double()
    torch.testing.assert_close(((z - view) @ w.T).pow(2).sum(1), dropped, atol=1e-5, rtol=1e-4)


def test_folded_server_equals_unfolded(data: Corpus) -> None:
    defended = fit(data, 4)
    assert not isinstance(defended.server_half, ServerHalf)
    assert defended.server_half[0].weight.shape == (10, 4)
    payload = defended.encode(pictures(20))
    plain = ServerHalf(defended.obfuscator, defended.split.server).eval()
    with torch.no_grad():
        torch.testing.assert_close(defended.server(payload), plain(*defended.tensors(payload)), atol=1e-5, rtol=1e-5)


def test_folding_minds_mean_and_bias(data: Corpus) -> None:
    """Leaving W z_bar + b out of the fold changes the answer: the test above can fail."""
    defended = fit(data, 4)
    payload = defended.encode(pictures(20))
    before = defended.server(payload)
    with torch.no_grad():
        defended.server_half[0].bias.copy_(vector_split().server[0].bias)
    assert (defended.server(payload) - before).abs().max() > 1e-3


def test_orders(data: Corpus) -> None:
    """`singular` takes the largest s_k around zero, `energy` the largest s_k^2 Var(alpha_k) around the mean."""
    split = vector_split()
    w = split.server[0].weight.detach().double()
    _, s, vt = torch.linalg.svd(w, full_matrices=False)
    z = predict(split.edge, data.task_train.x).double()
    energy = s**2 * ((z - z.mean(0)) @ vt.T).var(0)
    by_energy, by_s = fit(data, 4).obfuscator, fit(data, 4, "singular").obfuscator

    def chosen(obfuscator: Any) -> list[int]:
        return (vt @ obfuscator.basis.double()).abs().argmax(dim=0).tolist()

    assert chosen(by_s) == [0, 1, 2, 3]
    assert chosen(by_energy) == energy.argsort(descending=True)[:4].tolist() != chosen(by_s)
    assert torch.equal(by_s.mean, torch.zeros(12))
    torch.testing.assert_close(by_energy.mean.double(), z.mean(0), atol=1e-6, rtol=0)


def test_share_of_the_rank(data: Corpus) -> None:
    assert fit(data, 0.5).obfuscator.basis.shape == (12, 5)
    assert fit(data, 0.41).obfuscator.basis.shape == (12, 5)
    assert fit(data, 1.0).log["kept"] == RANK
    assert fit(data, 4).log == {**fit(data, 4).log, "rank": RANK, "null_dimension": 2, "kept": 4}


def test_keep_above_the_rank_refused(data: Corpus) -> None:
    with pytest.raises(SpecError, match="keep=11 exceeds the rank 10"):
        fit(data, RANK + 1)
    server = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    with torch.no_grad():
        server[0].weight.copy_(torch.ones(10, 1) @ torch.arange(1.0, 13).reshape(1, 12))
    poor = Split(vector_split().edge, server.eval(), "cut", (12,))
    with pytest.raises(SpecError, match="the rank 1 "):
        fit(data, 2, given=poor)


@pytest.mark.parametrize(
    ("front", "named"),
    [
        ([nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)], "ReLU"),
        ([nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)], "MaxPool2d"),
        ([nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)], "BatchNorm2d"),
        ([nn.Conv2d(4, 1, 6), nn.Flatten(), nn.Linear(1, 2)], "Conv2d"),
    ],
)
def test_other_operators_in_front_refused(data: Corpus, front: list[nn.Module], named: str) -> None:
    given = Split(conv_split().edge, nn.Sequential(*front).eval(), "cut", (4, 6, 6))
    with pytest.raises(CutError, match=f"stands {named}"):
        fit(data, 1, given=given)


def test_branches_and_misfits_refused(data: Corpus) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(12, 2), nn.Linear(12, 2)

        def forward(self, z: Tensor) -> Tensor:
            return self.one(z) + self.two(z)

    with pytest.raises(CutError, match="2 operators"):
        first_linear(Branch())
    rows = Split(
        conv_split().edge, nn.Sequential(nn.Linear(6, 2), nn.Flatten(), nn.Linear(48, 2)).eval(), "cut", (4, 6, 6)
    )
    with pytest.raises(CutError, match="takes 6 values"):
        fit(data, 1, given=rows)


def test_a_flattened_map_is_legal(data: Corpus) -> None:
    server = seeded(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 6), nn.ReLU(), nn.Linear(6, 2)), 5)
    defended = fit(data, 6, given=Split(conv_split().edge, server, "cut", (4, 6, 6)))
    payload = defended.encode(pictures(5))
    assert payload.tensors["alpha"].shape == (5, 6)
    assert defended.decode(payload).shape == (5, 4, 6, 6)
    with torch.no_grad():
        wanted = server(conv_split().edge(pictures(5)))
    torch.testing.assert_close(defended.server(payload), wanted, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("tracer", ["fx", "export"])
def test_traced_splits(data: Corpus, tracer: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    given = split(seeded(model), pictures(2), "2", tracer=tracer)
    defended = fit(data, RANK, given=given)
    with torch.no_grad():
        wanted = model(pictures(5))
    torch.testing.assert_close(defended.server(defended.encode(pictures(5))), wanted, atol=5e-3, rtol=1e-2)


def test_digits_keep_their_accuracy() -> None:
    """Digits, target digit >= 5: eight of 128 directions keep the target within two points (the method's point)."""
    from sklearn.datasets import load_digits

    raw, digit = load_digits(return_X_y=True)
    x = np.round(raw * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(x))
    edges = [0, 1000, 1200, 1300, 1400, len(x)]
    roles = ("task_train", "task_val", "aux_train", "aux_val", "victim")
    made = {}
    for role, start, stop in zip(roles, edges, edges[1:], strict=False):
        rows = order[start:stop]
        ids = np.array([f"{i:016x}" for i in rows])
        made[role] = Part(
            ids,
            rows.astype(np.int64),
            x[rows],
            (digit[rows] >= 5).astype(np.int64),
            {"digit": digit[rows].astype(np.int64)},
        )
    classes = {"high": ("0-4", "5-9"), "digit": tuple("0123456789")}
    digits = Corpus("digits", "image", "high", ("digit",), (), classes, made)
    model = seeded(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 2))
    )
    fit_task(model, digits, effort=replace(EFFORT, task_epochs=30, batch=64), seed=0)
    whole = accuracy(model, digits.victim)
    given = Split(model[:3], model[3:], "2", (128,))
    defended = SignalContent(8).fit(given, digits, effort=EFFORT, seed=0)
    pruned = nn.Sequential(defended.edge_half, _First(), defended.server_half)
    assert defended.log["rank"] == 32
    assert defended.payload_bytes == 16 + 2 * 8
    assert whole > 0.93
    assert accuracy(pruned, digits.victim) >= whole - 0.02
    wrong = SignalContent(1, "singular").fit(given, digits, effort=EFFORT, seed=0)
    assert accuracy(nn.Sequential(wrong.edge_half, _First(), wrong.server_half), digits.victim) < whole


class _First(nn.Module):
    def forward(self, tensors: tuple[Tensor, ...]) -> Tensor:
        return tensors[0]
