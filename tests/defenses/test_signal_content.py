"""Signal content: the identities of Samragh et al. 2021, corrected where the paper is not (Lemma 4, Theorem 1)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.coefficients import Budgeted, CoefficientObfuscator, Flat, Local, lloyd
from privet.data.corpus import Corpus, Part
from privet.defense import Defended, parse
from privet.defenses.signal_content import SignalContent, quantizer
from privet.errors import CutError, ModelError, SpecError
from privet.operators import factorize, find
from privet.split import Split
from privet.train import accuracy, fit_task, predict
from tiny import EFFORT, SPLITS, conv_split, corpus, pictures, vector_split

RANK = 10
CASES = [("vector", ""), ("conv", ""), ("conv", ",conv=full")]
every_operator = pytest.mark.parametrize(("cut", "more"), CASES, ids=["fc", "conv", "full"])


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, text: str, given: Split | None = None) -> Defended:
    return parse(f"signal_content:{text}").fit(given or vector_split(), data, effort=EFFORT, seed=0)


def exact(data: Corpus, cut: str, text: str) -> tuple[CoefficientObfuscator, Tensor, Tensor]:
    """The obfuscator in float64, z [B, n], and a function's values W z [B, m] without constants."""
    defended = fit(data, text, SPLITS[cut]())
    obfuscator = defended.obfuscator
    assert isinstance(obfuscator, CoefficientObfuscator)
    with torch.no_grad():
        z = SPLITS[cut]().edge(pictures(40)).double()
    return obfuscator.double(), z, find(SPLITS[cut]().server, SPLITS[cut]().shape).linear(z).flatten(1)


def sent(obfuscator: CoefficientObfuscator, z: Tensor) -> Tensor:
    """u' [B, m] that the server computes from what travels, without rounding."""
    alpha = obfuscator.codec.decode(*obfuscator.encode(z))
    return obfuscator.projection.lift(alpha).flatten(1)


def distortion(data: Corpus, cut: str, text: str) -> tuple[Tensor, CoefficientObfuscator, Tensor]:
    """||W (z - z')|| for every sample."""
    obfuscator, z, _ = exact(data, cut, text)
    found = find(SPLITS[cut]().server, SPLITS[cut]().shape)
    return (found(z).flatten(1) - sent(obfuscator, z)).norm(dim=1), obfuscator, z


# Identities ---------------------------------------------------------------------------------------------------------


@every_operator
@pytest.mark.parametrize("order", ["energy", "singular", "sample"])
def test_free_leaves_the_server_as_it_was(data: Corpus, cut: str, more: str, order: str) -> None:
    given = SPLITS[cut]()
    defended = fit(data, f"keep=free,order={order},dtype=float32{more}", given)
    with torch.no_grad():
        wanted = given.server(given.edge(pictures(20)))
    torch.testing.assert_close(defended.server(defended.encode(pictures(20))), wanted, atol=1e-5, rtol=1e-5)


def test_float16_costs_little(data: Corpus) -> None:
    """The rounding of the payload's dtype is the whole error of `keep=free`, and it is not nothing."""
    given = vector_split()
    defended = fit(data, "keep=free", given)
    with torch.no_grad():
        wanted = given.server(given.edge(pictures(20)))
    error = (defended.server(defended.encode(pictures(20))) - wanted).abs().max()
    assert 1e-6 < error < 2e-3


@every_operator
@pytest.mark.parametrize("order", ["energy", "singular"])
@pytest.mark.parametrize("keep", [1, 2])
def test_distortion_is_the_dropped_energy(data: Corpus, cut: str, more: str, order: str, keep: int) -> None:
    """Lemma 4, sums over the rank: ||W (z - z')||^2 = sum_{k > m'} s_k^2 alpha_k^2 (by place, for a convolution)."""
    error, _, z = distortion(data, cut, f"keep={keep},order={order}{more}")
    whole, _, _ = exact(data, cut, f"keep=free,order={order}{more}")
    alpha = whole.projection(z).reshape(len(z), -1, whole.projection.places)
    parts = (alpha * whole.projection.singular[:, None]) ** 2
    torch.testing.assert_close(error**2, parts[:, keep:].sum((1, 2)), atol=1e-9, rtol=1e-5)


@every_operator
def test_alpha_is_what_the_server_would_see(data: Corpus, cut: str, more: str) -> None:
    """alpha_k = u_k^T W (z - z_bar) / s_k, with u_k = W v_k / s_k: sending alpha is sending W z."""
    obfuscator, z, wz = exact(data, cut, f"keep=2{more}")
    projection = obfuscator.projection
    center = find(SPLITS[cut]().server, SPLITS[cut]().shape).linear(z.mean(0, keepdim=True) * 0).flatten(1)
    assert center.abs().max() == 0
    if isinstance(projection, Flat):
        images = projection.weight  # row k is s_k u_k
        difference = wz - (projection.base.flatten() - find(SPLITS[cut]().server, z.shape[1:]).constant.flatten())
        wanted = difference @ images.T / projection.singular**2
        torch.testing.assert_close(projection(z), wanted, atol=1e-5, rtol=1e-4)
    else:
        assert isinstance(projection, Local)
        difference = wz.reshape(len(z), *projection.base.shape) - (
            projection.base - find(SPLITS[cut]().server, z.shape[1:]).constant
        )
        wanted = torch.einsum("ok,bohw->bkhw", projection.weight / projection.singular**2, difference).flatten(1)
        torch.testing.assert_close(projection(z), wanted, atol=1e-5, rtol=1e-4)


@every_operator
def test_server_side_is_the_public_view(data: Corpus, cut: str, more: str) -> None:
    """U_m' (s alpha') + W z_bar + b, without z', equals the server on z'."""
    defended = fit(data, f"keep=2{more}", SPLITS[cut]())
    payload = defended.encode(pictures(20))
    with torch.no_grad():
        view = defended.split.server(defended.decode(payload))
    torch.testing.assert_close(defended.server(payload), view, atol=1e-5, rtol=1e-5)
    if not (cut == "conv" and not more):
        assert defended.decode(payload).shape[1:] == SPLITS[cut]().shape, "z' stands where z stood"
        lifted = {name for name, _ in defended.server_half.named_parameters()}
        assert lifted < {f"rest.{n}" for n, _ in SPLITS[cut]().server.named_parameters()}, "the first layer is folded"


def test_orders(data: Corpus) -> None:
    """`singular` takes the largest s_k around zero, `energy` the largest s_k^2 Var(alpha_k) around the mean."""
    given = vector_split()
    found = factorize(find(given.server, given.shape).matrix())
    z = predict(given.edge, data.task_train.x).double()
    energy = found.singular**2 * ((z - z.mean(0)) @ found.right).var(0)
    by_energy = fit(data, "keep=4").obfuscator.projection
    by_s = fit(data, "keep=4,order=singular").obfuscator.projection

    def chosen(projection: Any) -> list[int]:
        return (found.right.T @ projection.basis.double()).abs().argmax(dim=0).tolist()

    assert chosen(by_s) == [0, 1, 2, 3]
    assert chosen(by_energy) == energy.argsort(descending=True)[:4].tolist() != chosen(by_s)
    assert torch.equal(by_s.mean, torch.zeros(12))
    torch.testing.assert_close(by_energy.mean.double(), z.mean(0), atol=1e-6, rtol=0)


def test_sample_order_keeps_each_samples_own(data: Corpus) -> None:
    """For the same number of coefficients no fixed order leaves less behind, for any sample."""
    own, obfuscator, z = distortion(data, "vector", "keep=3,order=sample")
    mask, values = obfuscator.encode(z)
    assert (mask.sum(1) == 3).all()
    assert len(torch.unique(mask, dim=0)) > 1
    energy = (obfuscator.projection(z) * obfuscator.projection.singular).abs()
    best = energy.sort(dim=1, descending=True).values[:, :3]
    torch.testing.assert_close((energy * mask).sort(dim=1, descending=True).values[:, :3], best)
    fixed, _, _ = distortion(data, "vector", "keep=3")
    assert (own <= fixed + 1e-9).all()
    assert own.mean() < fixed.mean()
    assert values.shape == (len(z), 3)


# Theorem 1 ----------------------------------------------------------------------------------------------------------


@every_operator
@pytest.mark.parametrize("order", ["singular", "energy"])
@pytest.mark.parametrize("eps", [0.05, 0.3, 1.0])
def test_theorem_1_spends_the_budget_exactly(data: Corpus, cut: str, more: str, order: str, eps: float) -> None:
    error, obfuscator, z = distortion(data, cut, f"eps={eps},order={order}{more}")
    kept = obfuscator.encode(z)[0].squeeze(1)
    spent = kept > 0
    torch.testing.assert_close(error[spent], torch.full_like(error[spent], eps), atol=0, rtol=2e-6)
    assert (error[~spent] <= eps).all()
    if eps == 0.3:
        assert spent.any()


def test_theorem_1_keeps_as_few_as_it_may(data: Corpus) -> None:
    """m' = min{k: e_k <= eps}: one fewer would exceed the budget, and nothing behind m' is sent."""
    obfuscator, z, _ = exact(data, "vector", "eps=0.3,order=singular")
    kept, alpha = obfuscator.encode(z)
    energy = (obfuscator.projection(z) * obfuscator.projection.singular) ** 2
    for count, row, own in zip(kept.squeeze(1).int().tolist(), energy, alpha, strict=True):
        assert row[count:].sum().sqrt() <= 0.3 * (1 + 1e-9)
        assert count == 0 or row[count - 1 :].sum().sqrt() > 0.3
        assert own[count:].abs().max() == 0 if count < RANK else True
    assert len(set(kept.squeeze(1).tolist())) > 1, "the number differs from person to person"


def test_theorem_1_of_a_huge_budget_sends_nothing(data: Corpus) -> None:
    obfuscator, z, _ = exact(data, "vector", "eps=1000")
    kept, alpha = obfuscator.encode(z)
    assert kept.abs().max() == 0
    assert alpha.abs().max() == 0


def test_theorem_1_beside_a_dominant_coefficient() -> None:
    """Around z_bar = 0 the first coefficient may be a thousand times the rest: the budget is met in float32, too."""
    codec = Budgeted(torch.linspace(3, 1, 10), 1, eps=0.01)
    alpha = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * 0.02
    alpha[:, 0] = 1000.0
    kept, sent = codec.encode(alpha)
    error = (codec.singular.double() * (alpha.double() - sent.double())).norm(dim=1)
    some = (kept.squeeze(1) > 1) & (kept.squeeze(1) < 10)
    assert some.sum() > 20
    torch.testing.assert_close(error[some], torch.full_like(error[some], 0.01), atol=0, rtol=1e-4)


def test_length_does_not_tell_m(data: Corpus) -> None:
    """The payload is padded to the rank, and m' travels in it: adversaries read it as a column."""
    defended = fit(data, "eps=0.3,order=singular")
    frames = {len(defended.encode(pictures(1, seed)).to_bytes()) for seed in range(20)}
    assert frames == {16 + 4 + 2 * RANK}
    kept = defended.encode(pictures(20)).floats()["kept"]
    assert len(np.unique(kept)) > 1


# How much is kept ---------------------------------------------------------------------------------------------------


def test_amounts(data: Corpus) -> None:
    assert fit(data, "keep=0.5").log["kept"] == 5
    assert fit(data, "keep=0.41").log["kept"] == 5
    assert fit(data, "keep=1.0").log["kept"] == fit(data, "keep=free").log["kept"] == RANK
    assert fit(data, "keep=4").log == {**fit(data, "keep=4").log, "rank": RANK, "null_dimension": 2, "kept": 4}
    assert fit(data, "keep=4").payload_bytes == 16 + 2 * 4


def test_tail_is_the_smallest_number_that_leaves_so_little(data: Corpus) -> None:
    kept = [fit(data, f"tail={tail}").log["kept"] for tail in (0.5, 0.1, 0.01)]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]
    for tail, m in zip((0.5, 0.1, 0.01), kept, strict=True):
        assert 1 - fit(data, f"keep={m}").log["share_of_signal"] <= tail + 1e-9
        assert m == 1 or 1 - fit(data, f"keep={m - 1}").log["share_of_signal"] > tail


def test_convolutions_report_what_they_do_not_remove(data: Corpus) -> None:
    """Four maps of 6 x 6 in, three of 2 x 2 out: something is removed. Expanding, nothing is, and the flag says so."""
    defended = fit(data, "keep=free", conv_split())
    assert defended.flags == ()
    assert defended.log["values"] == 12
    torch.manual_seed(3)
    wide = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
    given = Split(conv_split().edge, wide, "cut", (4, 6, 6))
    for more in ("", ",conv=full"):
        assert fit(data, f"keep=free{more}", given).flags == ("nothing_removed",)
    assert fit(data, "keep=free,conv=full", given).log["null_dimension"] == 0
    assert fit(data, "keep=2", given).flags == ()


# A payload of a few bits --------------------------------------------------------------------------------------------


@every_operator
@pytest.mark.parametrize("bits", [1, 3])
def test_bits(data: Corpus, cut: str, more: str, bits: int) -> None:
    defended = fit(data, f"keep=2,bits={bits}{more}", SPLITS[cut]())
    places = 4 if (cut, more) == ("conv", "") else 1
    assert defended.log["bits_in_all"] == 2 * places * bits
    assert defended.payload_bytes == 16 + math.ceil(2 * places * bits / 8)
    codec = defended.obfuscator.codec
    payload = defended.encode(pictures(30))
    alpha = codec.decode(*defended.tensors(payload))
    with torch.no_grad():
        own = defended.obfuscator.projection(defended.split.edge(pictures(30)))
    nearest = (own.reshape(30, 2, places, 1) - codec.levels[:, None]).abs().argmin(3)
    wanted = codec.levels.unsqueeze(0).expand(30, -1, -1).gather(2, nearest).flatten(1)
    assert (alpha == wanted).float().mean() > 0.99, "the nearest level, but for rounding at the border"


def test_quantizer_is_fitted_on_the_owner_alone(data: Corpus) -> None:
    """Nobody else's people may decide about the cells: the certificate rests on it."""
    other = {
        role: replace(part, x=255 - part.x) if role not in ("task_train",) else part
        for role, part in data.parts.items()
    }
    changed = replace(data, parts=other)
    a, b = (fit(d, "keep=2,bits=2").obfuscator.codec.levels for d in (data, changed))
    assert torch.equal(a, b)


def test_lloyd_levels() -> None:
    values = np.concatenate([np.full(50, -1.0), np.full(30, 0.0), np.full(20, 4.0)]) + np.tile([-0.1, 0.1], 50)
    np.testing.assert_allclose(lloyd(values, 3), [-1, 0, 4], atol=1e-9)
    np.testing.assert_allclose(lloyd(np.array([2.0, 2.0, 5.0]), 4), [2, 5, 5, 5])
    gauss = np.random.default_rng(0).normal(size=200_000)
    np.testing.assert_allclose(lloyd(gauss, 2), [-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)], atol=0.01)
    np.testing.assert_allclose(lloyd(gauss, 4), [-1.51, -0.453, 0.453, 1.51], atol=0.02)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep=0", "keep is"), ("keep=1.5", "keep is"), ("keep=-2", "keep is"), ("keep=nan", "keep is"),
        ("eps=0", "eps is"), ("eps=-1", "eps is"), ("eps=inf", "eps is"), ("eps=nan", "eps is"),
        ("tail=0", "tail is"), ("tail=1", "tail is"), ("bits=0", "bits is"), ("bits=9", "bits is"),
        ("keep=4,eps=1", "keep and eps both"), ("tail=.1,eps=1", "tail and eps both"),
        ("eps=1,bits=2", "cannot go with"), ("order=sample,bits=2", "cannot go with"),
        ("order=sample,tail=.1", "cannot go with"), ("keep=much", "keep"), ("order=random", "energy"),
    ],
)  # fmt: skip
def test_options_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse(f"signal_content:{text}")


def test_keep_above_the_rank_refused(data: Corpus) -> None:
    with pytest.raises(SpecError, match="keep=11 exceeds the rank 10"):
        fit(data, f"keep={RANK + 1}")
    with pytest.raises(SpecError, match="keep=4 exceeds the rank 3"):
        fit(data, "keep=4", conv_split())
    server = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    with torch.no_grad():
        server[0].weight.copy_(torch.ones(10, 1) @ torch.arange(1.0, 13).reshape(1, 12))
    poor = Split(vector_split().edge, server.eval(), "cut", (12,))
    with pytest.raises(SpecError, match="the rank 1 "):
        fit(data, "keep=2", poor)
    assert fit(data, "keep=1", poor).log["null_dimension"] == 11


def test_what_is_not_linear_is_refused_before_any_training(data: Corpus) -> None:
    server = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)).eval()
    given = Split(conv_split().edge, server, "cut", (4, 6, 6))
    for refuse in (lambda: SignalContent().check(given), lambda: fit(data, "keep=1", given)):
        with pytest.raises(CutError, match="stands maxpool2d"):
            refuse()


def test_broken_edges_and_modes_refused(data: Corpus) -> None:
    given = vector_split()
    with torch.no_grad():
        given.edge[1].bias[3] = math.nan
    with pytest.raises(ModelError, match="not finite for 40 of 40 people"):
        fit(data, "keep=2", given)
    given = Split(given.edge, nn.Sequential(nn.BatchNorm1d(12), *given.server), "cut", (12,))
    with pytest.raises(ModelError, match=r"model\.eval"):
        fit(data, "keep=2", given)


# Chains, tuning, accuracy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["gaussian:sigma=0.1+signal_content:keep=2", "signal_content:keep=2+gaussian:sigma=0.1"]
)
@pytest.mark.parametrize("cut", SPLITS)
def test_chains(data: Corpus, cut: str, text: str) -> None:
    defended = parse(text).fit(SPLITS[cut](), data, effort=EFFORT, seed=0)
    drawn = defended.draw(7, np.random.default_rng(0))
    payload = defended.encode(pictures(7), drawn)
    with torch.no_grad():
        view = defended.split.server.eval()(defended.decode(payload))
    torch.testing.assert_close(defended.server(payload), view, atol=1e-4, rtol=1e-4)


@every_operator
@pytest.mark.parametrize("bits", ["", ",bits=1"])
def test_tuning_changes_the_server_only(data: Corpus, cut: str, more: str, bits: str) -> None:
    """The payload stays as it was, cells included; the server that ships is the tuned one on the public view."""
    effort = replace(EFFORT, tune_epochs=4)
    given = SPLITS[cut]()
    tuned = parse(f"signal_content:keep=1,tune=true{more}{bits}").fit(given, data, effort=effort, seed=0)
    plain = fit(data, f"keep=1{more}{bits}", given)
    assert tuned.log["server_tuned"]
    payload = tuned.encode(pictures(5))
    with torch.no_grad():
        view = tuned.split.server.eval()(tuned.decode(payload))
    torch.testing.assert_close(tuned.server(payload), view, atol=1e-4, rtol=1e-4)
    for a, b in zip(
        tuned.encode(pictures(5)).tensors.values(), plain.encode(pictures(5)).tensors.values(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    x = torch.from_numpy(data.task_val.x).float() / 255
    right = [(d.server(d.encode(x)).argmax(1).numpy() == data.task_val.y).mean() for d in (plain, tuned)]
    assert right[1] >= right[0]


def test_adversaries_lose_no_layer_to_the_edge(data: Corpus) -> None:
    """By location the server's first operator moves to the edge; the network that attackers train has one again."""
    defended = fit(data, "keep=2", conv_split())
    assert defended.template is not None
    first = defended.template[0]
    assert isinstance(first, nn.Conv2d)
    assert first.kernel_size == (3, 3)
    view = defended.decode(defended.encode(pictures(4)))
    assert defended.template(view).shape == (4, 2)
    assert fit(data, "keep=2,conv=full", conv_split()).template is None


def test_a_quantizer_minds_the_answer(data: Corpus) -> None:
    """Levels gather where the server's answer turns: the same bits lose fewer answers than by squared error alone."""
    torch.manual_seed(0)
    server = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 2)).eval()
    with torch.no_grad():
        server[0].weight.fill_(1.0)
        server[0].bias.zero_()
        server[1].weight.copy_(torch.tensor([[20.0], [-20.0]]))
        server[1].bias.copy_(torch.tensor([-20.0, 20.0]))  # the answer turns at 1
    z = torch.cat([torch.randn(3000), torch.randn(1000) + 3])[:, None]
    operator = find(server, (1,))
    projection = Flat(operator, torch.ones(1, 1).double(), torch.ones(1).double(), torch.zeros(1).double())
    minding = quantizer(projection, operator.rest, z, 4)[0].numpy()
    plain = lloyd(z[:, 0].double().numpy(), 4)

    def lost(levels: np.ndarray) -> float:
        nearest = levels[np.abs(z.numpy() - levels).argmin(1)]
        return float(((nearest > 1) != (z[:, 0].numpy() > 1)).mean())

    assert 2 * lost(minding) < lost(plain)


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
        labels = {"digit": digit[rows].astype(np.int64)}
        made[role] = Part(ids, rows.astype(np.int64), x[rows], (digit[rows] >= 5).astype(np.int64), labels)
    classes = {"high": ("0-4", "5-9"), "digit": tuple("0123456789")}
    digits = Corpus("digits", "image", "high", ("digit",), (), classes, made)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 2))
    fit_task(model, digits, effort=replace(EFFORT, task_epochs=30, batch=64), seed=0)
    whole = accuracy(model, digits.victim)
    given = Split(model[:3], model[3:], "2", (128,))

    def right(text: str) -> float:
        defended = parse(f"signal_content:{text}").fit(given, digits, effort=EFFORT, seed=0)
        victim = torch.from_numpy(digits.victim.x).float() / 255
        return float((defended.server(defended.encode(victim)).argmax(1).numpy() == digits.victim.y).mean())

    assert whole > 0.93
    assert right("keep=8") >= whole - 0.02
    assert right("keep=1,bits=2") > 0.85, "two bits in all answer a yes-or-no question"
    wrong = parse("signal_content:keep=1,order=singular").fit(given, digits, effort=EFFORT, seed=0)
    least = wrong.obfuscator.projection.weight
    assert right("keep=1") > 0.9
    with torch.no_grad():
        least.copy_(least.flip(1))  # another direction of the server's space
    victim = torch.from_numpy(digits.victim.x).float() / 255
    assert (wrong.server(wrong.encode(victim)).argmax(1).numpy() == digits.victim.y).mean() < 0.85
