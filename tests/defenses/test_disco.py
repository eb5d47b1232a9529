"""DISCO: hard masks that are each example's own, a filter that learned, and a target that needs just these channels."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from people import crowd, strangers
from privet.channels import MaskedTokens, hard_mask
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.disco import Disco
from privet.errors import CutError, SpecError
from privet.split import Split
from privet.train import predict
from tiny import EFFORT, SHAPE, SPLITS, conv_split, corpus, pictures, seeded, vector_split

LONG = replace(EFFORT, task_epochs=30, batch=32)


@functools.lru_cache
def people() -> Corpus:
    return crowd()


def learned(epochs: int, **options: Any) -> Defended:
    """Thirty epochs are long enough to have something to choose."""
    return Disco(**options).fit(wide_split(), people(), effort=replace(LONG, task_epochs=epochs), seed=0)


def wide_split() -> Split:
    """z [B, 12, 6, 6] behind a convolution of twelve filters."""
    edge = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
    server = nn.Sequential(nn.Conv2d(12, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
    return Split(seeded(edge, 1), seeded(server, 2), "cut", (12, 6, 6))


def right(defended: Defended, data: Corpus, permuted: bool = False) -> float:
    """Accuracy on victims; with masks that were dealt to somebody else where `permuted`."""
    z = predict(defended.split.edge, data.victim.x)
    masks = hard_mask(defended.obfuscator.eval().scores(z), defended.obfuscator.keep)
    if permuted:
        masks = masks.roll(1, 0)
        masks = masks[torch.randperm(len(masks), generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        logits = defended.split.server.eval()(defended.obfuscator.prune(z, masks))
    return float((logits.argmax(1).numpy() == data.victim.y).mean())


def test_k_channels_alone_or_in_a_batch() -> None:
    """T1: K = C - floor(R C) for everybody, whoever else is in the batch."""
    defended = learned(3, ratio=0.7)
    x = torch.from_numpy(people().victim.x[:24]).float() / 255
    together = defended.encode(x)
    assert (together.tensors["mask"].sum(1) == 4).all()
    for i in range(24):
        alone = defended.encode(x[i : i + 1])
        assert np.array_equal(alone.tensors["mask"][0], together.tensors["mask"][i])
    assert len({len(defended.encode(x[i : i + 1]).to_bytes()) for i in range(24)}) == 1


@pytest.mark.parametrize("mode", ["ste", "gumbel", "soft"])
def test_the_filter_learns(mode: Any) -> None:
    """Its weights move in every mode, and different people get different masks."""
    before = {}

    class Watched(Disco):
        """Remembers the filter as it was drawn."""

        def chooser(self, shape: tuple[int, ...], axis: int) -> nn.Module:
            made = super().chooser(shape, axis)
            before.update({name: p.detach().clone() for name, p in made.named_parameters()})
            return made

    defended = Watched(ratio=0.5, mode=mode).fit(conv_split(), people(), effort=replace(LONG, task_epochs=6), seed=0)
    after = dict(defended.obfuscator.chooser.named_parameters())
    assert all((after[name].detach() - value).abs().max() > 1e-5 for name, value in before.items() if "weight" in name)
    assert defended.log["masks"] > 1
    assert not any(p.requires_grad for p in defended.obfuscator.parameters())


def test_somebody_elses_mask_costs_accuracy() -> None:
    """The control: masks dealt at random serve the target worse than one's own, so they say something of the person."""
    defended = learned(30, ratio=0.9, alpha=0.0)
    own, permuted = right(defended, people()), right(defended, people(), permuted=True)
    assert own > 0.9
    assert permuted < own - 0.05


def parted_split() -> Split:
    """Twelve units: the first two read what tells y, the next four what tells s, and six say nothing."""
    layer = nn.Linear(36, 12)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(0.5)
        for unit in range(6):
            layer.weight[unit, [18 * (unit > 1) + 6 * row + unit for row in range(3)]] = 1.0
    server = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    return Split(nn.Sequential(nn.Flatten(), layer).eval(), seeded(server, 4), "cut", (12,), frozen=frozenset({"edge"}))


def leak(defended: Defended, data: Corpus) -> float:
    """What logistic regression on the payload, fresh, knows of the victims' s."""

    def seen(part: Any) -> np.ndarray:
        x = torch.from_numpy(part.x).float() / 255
        return defended.decode(defended.encode(x)).flatten(1).numpy()

    scale = seen(data.aux_train).std(0) + 1e-6
    model = LogisticRegression(max_iter=2000).fit(seen(data.aux_train) / scale, data.aux_train.s["s"])
    return float(model.score(seen(data.victim) / scale, data.victim.s["s"]))


@pytest.mark.parametrize("hide", ["error", "prior", "entropy"])
def test_hiding_counts(hide: Any) -> None:
    """Where hiding is worth something, a fresh adversary finds less than where it is not, and the target is served as
    well. The rate is high because the steps are few."""
    data, found = people(), {}
    for alpha in (0.0, 0.8):
        defended = Disco(ratio=0.67, alpha=alpha, hide=hide, rate=0.01).fit(parted_split(), data, effort=LONG, seed=0)
        found[alpha] = leak(defended, data)
        assert right(defended, data) > 0.95
    assert found[0.8] < found[0.0] - 0.2


def test_what_the_filter_learned_serves_the_target() -> None:
    """Beside a filter that stays as it was drawn (`learn=false`), behind which the server learns as long."""
    data = people()
    trained, drawn = (
        Disco(ratio=0.84, alpha=0.0, learn=learn, rate=0.01).fit(parted_split(), data, effort=LONG, seed=0)
        for learn in (True, False)
    )
    assert right(trained, data) > right(drawn, data) + 0.05
    before = dict(trained.obfuscator.chooser.named_parameters())
    after = dict(drawn.obfuscator.chooser.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_filter_that_hardly_looks_is_labelled() -> None:
    """Ten people to a mask and more: a flag; not for channels that are meant to be the same for everybody."""
    few = learned(3, ratio=0.5, temperature=0.001, alpha=0.0)
    assert (few.log["masks"] * 10 < few.log["people"]) == ("hardly_dynamic" in few.flags)
    always = parse("disco:ratio=0.999,alpha=0").fit(parted_split(), people(), effort=EFFORT, seed=0)
    assert always.flags == ("hardly_dynamic",)
    assert parse("static_channels:ratio=0.9").fit(parted_split(), people(), effort=EFFORT, seed=0).flags == ()


def test_only_the_task_parts_are_read() -> None:
    data = corpus()
    one = Disco(0.5).fit(conv_split(), data, effort=EFFORT, seed=3)
    two = Disco(0.5).fit(conv_split(), strangers(data), effort=EFFORT, seed=3)
    assert one.encode(pictures(8)).to_bytes() == two.encode(pictures(8)).to_bytes()
    assert one.log == two.log


def test_several_attributes_and_several_adversaries() -> None:
    data = corpus()
    parts = {role: replace(part, s={**part.s, "t": (part.s["s"] + part.y) % 2}) for role, part in data.parts.items()}
    two = replace(data, hidden=("s", "t"), parts=parts, classes={**data.classes, "t": ("u", "v")}, digest="")
    both = parse("disco:attribute=s/t,adversaries=3").fit(conv_split(), two, effort=EFFORT, seed=0)
    assert both.log["attribute"] == "s/t"
    alone = [parse(f"disco:attribute={a}").fit(conv_split(), two, effort=EFFORT, seed=0) for a in "st"]
    assert both.log["prior_nats"] == pytest.approx(sum(a.log["prior_nats"] for a in alone) / 2)


def test_nothing_to_remove_sends_everything() -> None:
    for text in ("disco:ratio=0", "disco:ratio=0.2"):
        defended = parse(text).fit(conv_split(), corpus(), effort=EFFORT, seed=0)
        assert defended.flags == ("nothing_removed",)
        assert [f.name for f in defended.obfuscator.signature] == ["z"]


def test_one_channel_is_always_kept() -> None:
    defended = parse("disco:ratio=0.999").fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    assert defended.log["kept"] == 1


@pytest.mark.parametrize("half", ["edge", "server"])
def test_a_frozen_half_stays(half: str) -> None:
    given = conv_split(frozenset({half}))
    defended = Disco(0.5).fit(given, people(), effort=replace(EFFORT, task_epochs=3), seed=0)
    other = {"edge": "server", "server": "edge"}[half]
    moved = {}
    for name in ("edge", "server"):
        pairs = zip(
            getattr(given, name).state_dict().values(), getattr(defended.split, name).state_dict().values(), strict=True
        )
        moved[name] = max(float((a.float() - b.float()).abs().max()) for a, b in pairs)
    assert moved[half] == 0
    assert moved[other] > 1e-5


class Tokens(nn.Module):
    """Pictures as six tokens of six features, lifted to eight."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lift(x.flatten(1, 2)).tanh()


class Pool(nn.Module):
    """The mean over however many tokens there are."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.head(z.mean(1))


def test_features_and_tokens_of_a_sequence() -> None:
    split = Split(seeded(Tokens(), 1), seeded(Pool(), 2), "cut", (6, 8))
    features = parse("disco:ratio=0.5").fit(split, corpus(), effort=EFFORT, seed=0)
    assert [f.shape for f in features.obfuscator.signature] == [(8,), (6, 4)]
    tokens = parse("disco:ratio=0.5,prune=tokens").fit(split, corpus(), effort=EFFORT, seed=0)
    assert isinstance(tokens.obfuscator, MaskedTokens)
    assert [f.shape for f in tokens.obfuscator.signature] == [(3, 8)]
    assert tokens.split.shape == (3, 8)
    payload = tokens.encode(pictures(5))
    assert tokens.server(payload).shape == (5, 2)


def test_refusals() -> None:
    for text, said in (
        ("disco:ratio=1", "share of channels removed"), ("disco:ratio=-0.1", "share of channels removed"),
        ("disco:ratio=nan", "share of channels removed"), ("disco:alpha=1", "alpha weighs"),
        ("disco:alpha=nan", "alpha weighs"), ("disco:temperature=0", "temperature"),
        ("disco:adversaries=4", "1, 2 or 3"),
        ("disco:rate=0", "learning rate"), ("disco:hide=well", "error"), ("disco:mode=hard", "ste"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=said):
            parse(text)
    with pytest.raises(SpecError, match="no hidden attribute named 'age'"):
        parse("disco:attribute=age").fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    with pytest.raises(CutError, match="prune=tokens wants"):
        check(parse("disco:prune=tokens"), conv_split())
    narrow = Split(nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), nn.Linear(1, 2), "cut", (1,))
    with pytest.raises(CutError, match="one channel"):
        check(parse("disco"), narrow)
    data = corpus()
    same = {role: replace(part, s={"s": np.zeros_like(part.s["s"])}) for role, part in data.parts.items()}
    with pytest.raises(SpecError, match="everybody in task_train has the same 's'"):
        Disco().fit(vector_split(), replace(data, parts=same, digest=""), effort=EFFORT, seed=0)


def test_shape_of_the_corpus() -> None:
    assert SHAPE == (1, 6, 6)
    assert set(SPLITS) == {"conv", "vector"}
