"""The server's first operator: found whatever stands in front of it, folded exactly, factorized as NumPy would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.errors import CutError, ModelError
from privet.operators import LinearOperator, advance, factorize, find, spectrum
from privet.split import split
from tiny import SHAPE, pictures, seeded


def z_of(shape: tuple[int, ...], n: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def healthy(module: nn.Module) -> nn.Module:
    """Batch normalization that does something."""
    generator = torch.Generator().manual_seed(9)
    for m in seeded(module).modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            with torch.no_grad():
                for t in (m.running_mean, m.weight, m.bias):
                    t.copy_(torch.randn(t.shape, generator=generator))
                m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=generator))
    return module


CONV = (4, 6, 6)
SERVERS: dict[str, tuple[tuple[int, ...], list[nn.Module]]] = {
    "linear": ((12,), [nn.Linear(12, 5)]),
    "no bias": ((12,), [nn.Linear(12, 5, bias=False)]),
    "normalized": ((12,), [nn.BatchNorm1d(12), nn.Dropout(0.5), nn.Linear(12, 5)]),
    "flattened map": (CONV, [nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)]),
    "conv": (CONV, [nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.Linear(108, 5)]),
    "strided": (CONV, [nn.Conv2d(4, 3, 3, stride=2, dilation=2, padding=(2, 1)), nn.Flatten(), nn.LazyLinear(5)]),
    "grouped": (CONV, [nn.Conv2d(4, 8, 3, groups=2, padding="same"), nn.Flatten(), nn.LazyLinear(5)]),
    "normalized conv": (CONV, [nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.LazyLinear(5)]),
}


def server_of(name: str) -> tuple[tuple[int, ...], nn.Module]:
    shape, layers = SERVERS[name]
    network = nn.Sequential(*layers)
    network.eval()(z_of(shape))  # lazy layers find their size
    return shape, healthy(nn.Sequential(*network, nn.ReLU(), nn.Linear(5, 2)))


@pytest.mark.parametrize("name", SERVERS)
def test_rest_of_operator_is_the_server(name: str) -> None:
    shape, server = server_of(name)
    found = find(server, shape)
    z = z_of(shape)
    with torch.no_grad():
        torch.testing.assert_close(found.rest(found(z)), server(z), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found(z * 0)[0], found.constant.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SERVERS)
def test_matrix_is_the_operator(name: str) -> None:
    shape, server = server_of(name)
    found = find(server, shape)
    z = z_of(shape).double()
    matrix = found.matrix()
    assert matrix.shape == (found.outputs, found.inputs)
    torch.testing.assert_close(found.linear(z).flatten(1), z.flatten(1) @ matrix.T, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("tracer", ["fx", "export"])
@pytest.mark.parametrize("at", ["2", "4"])
def test_halves_of_both_tracers(tracer: Any, at: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 2),
    )  # fmt: skip
    halves = split(healthy(model), pictures(2), at, tracer=tracer)
    found = find(halves.server, halves.shape)
    z = halves.edge(pictures(4))
    with torch.no_grad():
        torch.testing.assert_close(found.rest(found(z)), model(pictures(4)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)], "relu"),
        ([nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)], "maxpool2d"),
        ([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2)], "avgpool2d"),
    ],
)
def test_what_is_not_linear_is_refused_by_name(layers: list[nn.Module], named: str) -> None:
    with pytest.raises(CutError, match=f"stands {named}"):
        find(nn.Sequential(*layers).eval(), CONV)


def test_other_servers_refused() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(12, 2), nn.Linear(12, 2)

        def forward(self, z: Tensor) -> Tensor:
            return self.one(z) + self.two(z)

    class Twice(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return F.linear(z * z, torch.ones(2, 12))

    with pytest.raises(CutError, match="2 operators"):
        find(Branch().eval(), (12,))
    with pytest.raises(CutError):
        find(Twice().eval(), (12,))
    with pytest.raises(CutError, match="takes 6 values, the cut sends 144"):
        find(nn.Sequential(nn.Linear(6, 2), nn.Flatten(), nn.Linear(48, 2)).eval(), CONV)
    with pytest.raises(CutError, match="reflect"):
        find(nn.Sequential(nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), nn.Flatten()).eval(), CONV)


def test_train_mode_refused() -> None:
    shape, server = server_of("normalized")
    with pytest.raises(ModelError, match=r"model\.eval"):
        find(server.train(), shape)
    server.eval()[0].train()
    with pytest.raises(ModelError, match="train mode"):
        find(server, shape)


def test_a_full_operator_that_is_too_large_says_what_it_would_take() -> None:
    server = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.Flatten(), nn.Linear(20000, 2)).eval()
    with pytest.raises(CutError, match=r"20000 x 10000 .* takes 4 GiB"):
        find(server, (16, 25, 25)).matrix()


# Null spaces of convolutions (METHODS 4.3): stride 1 with C_out >= C_in leaves none -----------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "null"),
    [(3, 16, 1, 0.0), (4, 8, 1, 0.0), (4, 4, 1, 0.0), (8, 4, 1, 0.5), (8, 8, 2, 0.75)],
)
def test_null_space_of_random_convolutions(inputs: int, outputs: int, stride: int, null: float) -> None:
    server = seeded(nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.Flatten()))
    found = factorize(find(server, (inputs, 6, 6)).matrix())
    assert found.null_dimension == null * inputs * 36
    assert found.rank + found.null_dimension == inputs * 36


# Factors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(7, 20), (20, 7), (12, 12)])
@pytest.mark.parametrize("direct", [1024, 0])
def test_factors_are_the_singular_value_decomposition(size: tuple[int, int], direct: int) -> None:
    matrix = np.random.default_rng(1).normal(size=size)
    found = factorize(torch.from_numpy(matrix), direct)
    _, s, vt = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(found.singular.numpy(), s, rtol=1e-9)
    right = found.right.numpy()
    np.testing.assert_allclose(np.abs((vt * right.T).sum(1)), 1, atol=1e-9)
    np.testing.assert_allclose(right.T @ right, np.eye(len(s)), atol=1e-8)
    assert (right[np.abs(right).argmax(0), np.arange(len(s))] > 0).all(), "signs are fixed"


@pytest.mark.parametrize("direct", [1024, 0])
def test_rank_and_null_dimension(direct: int) -> None:
    generator = np.random.default_rng(2)
    low = torch.from_numpy(generator.normal(size=(9, 3)) @ generator.normal(size=(3, 15)))
    found = factorize(low, direct)
    assert (found.rank, found.null_dimension) == (3, 12)
    torch.testing.assert_close(low @ found.right @ found.right.T, low, atol=1e-6, rtol=0)
    assert factorize(torch.zeros(4, 6), direct).rank == 0


def test_spectrum_is_that_of_the_circular_convolution() -> None:
    kernel = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    unit = torch.eye(2 * 25, dtype=torch.float64).reshape(-1, 2, 5, 5)
    padded = F.pad(unit, (1, 1, 1, 1), mode="circular")
    matrix = F.conv2d(padded, kernel).flatten(1).T
    torch.testing.assert_close(spectrum(kernel, 5, 5), torch.linalg.svdvals(matrix), atol=1e-10, rtol=0)
    zero = F.conv2d(unit, kernel, padding=1).flatten(1).T
    assert (spectrum(kernel, 5, 5) - torch.linalg.svdvals(zero)).abs().max() > 1e-3, "zero padding is another operator"


# The next layer -----------------------------------------------------------------------------------------------------


def test_advance_goes_behind_the_activation() -> None:
    server = healthy(nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 2)))
    found = find(server, (12,))
    front, back = advance(found.rest)
    z = z_of((12,))
    with torch.no_grad():
        sent = front(found(z))
        assert (sent >= 0).all()
        torch.testing.assert_close(back(sent), server(z))
    with pytest.raises(CutError, match="no activation"):
        advance(find(nn.Sequential(nn.Linear(12, 2)).eval(), (12,)).rest)


def test_operator_reports_its_work() -> None:
    found = find(server_of("conv")[1], CONV)
    assert isinstance(found, LinearOperator)
    assert (found.inputs, found.outputs, found.macs) == (144, 108, 108 * 36)
    assert SHAPE == (1, 6, 6)
