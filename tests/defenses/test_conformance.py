"""What every defense promises by being a file of the folder, and proof that each check can fail.

A new file is picked up from the registry; whoever adds one adds only the test of its own equation.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet import registry
from privet.auditing.tables import OWN
from privet.auditing.threat import THREATS, Threat, portfolio
from privet.defense import FOLDER, Defended, Guarantee, Obfuscator, ServerHalf, parse, spell
from privet.errors import CutError, ModelError, SpecError
from privet.payload import Array, Field, Noise, Payload, frame_bytes
from privet.runtime.bundle import canonical
from privet.runtime.export import export_edge, export_server, random_nodes
from privet.split import Split
from privet.train import predict
from tiny import EFFORT, SHAPE, SPLITS, conv_split, corpus, pictures

NAMES = registry.names(FOLDER)
EXTRA = (
    ("conv", "random_channels:draw=fixed"),
    ("conv", "random_channels:draw=batch"),
    ("vector", "random_channels:draw=fixed,ratio=0.25"),
    ("vector", "signal_content:keep=0.5"),
    ("vector", "signal_content:keep=3,order=singular"),
    ("vector", "signal_content:keep=2,bits=2"),
    ("vector", "signal_content:eps=0.3,order=singular"),
    ("vector", "signal_content:keep=3,order=sample"),
    ("conv", "feature_l1:keep=2"),
    ("conv", "signal_content:keep=2"),
    ("conv", "signal_content:keep=2,bits=3"),
    ("conv", "signal_content:keep=4,conv=full"),
    ("conv", "signal_content:eps=0.3"),
    ("conv", "signal_content:keep=2,order=sample"),
    ("conv", "signal_content:keep=2+gaussian:sigma=0.1"),
    ("conv", "gaussian:sigma=0.1+random_channels"),
    ("vector", "gaussian:sigma=0.1+signal_content:keep=4"),
)
CASES = [(cut, name) for name in NAMES for cut in SPLITS] + list(EXTRA)
every_case = pytest.mark.parametrize(("cut", "text"), CASES, ids=[f"{c}-{t}" for c, t in CASES])
# the exporter takes a second or two a case: beside one cut of every file and the graphs that differ, the rest is heavy
QUICK = {("conv", name) for name in NAMES} | {("vector", "signal_content"), *EXTRA[:2], *EXTRA[5:8]}
exported_case = pytest.mark.parametrize(
    ("cut", "text"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.heavy, id="-".join(case)) for case in CASES],
)
data = functools.lru_cache(corpus)


@functools.lru_cache
def attempt(cut: str, text: str) -> Defended | CutError | SpecError:
    try:
        return parse(text).fit(SPLITS[cut](), data(), effort=EFFORT, seed=7)
    except (CutError, SpecError) as error:  # a cut or a rank that the method cannot take
        return error


def fitted(cut: str, text: str) -> Defended:
    found = attempt(cut, text)
    if isinstance(found, (CutError, SpecError)):
        pytest.skip(f"refuses this cut: {found}")
    return found


def noise(defended: Defended, batch: int, seed: int) -> tuple[Array, ...]:
    return defended.draw(batch, np.random.default_rng(seed))


def state(*modules: nn.Module) -> dict[str, Tensor]:
    return {f"{i}.{k}": v.clone() for i, m in enumerate(modules) for k, v in m.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


# The checks, as functions, so that the faults at the end can be held against them -----------------------------------


def check_noise_is_used(defended: Defended) -> None:
    x = pictures(16)
    first, second = noise(defended, 16, 1), noise(defended, 16, 2)
    sent = defended.encode(x, first).to_bytes()
    for i, declared in enumerate(defended.obfuscator.noise):
        mixed = (*first[:i], second[i], *first[i + 1 :])
        assert defended.encode(x, mixed).to_bytes() != sent, f"noise {declared.name!r} changes nothing"


@torch.no_grad()
def check_server_decodes(defended: Defended) -> None:
    payload = defended.encode(pictures(9), noise(defended, 9, 1))
    logits, view = defended.server(payload), defended.split.server.eval()(defended.decode(payload))
    assert (logits - view).abs().max() <= 1e-5 * max(1.0, float(view.abs().max()))


def check_card(defended: Defended, answered_by: tuple[str, ...]) -> None:
    """Every answer is in the portfolio of the curious server at standard effort, and answers what this defense does:
    fresh noise is asked for again, choices that travel are read for themselves."""
    attacks, _ = portfolio(Threat.named("server"), (), "standard")
    unknown = set(answered_by) - set(attacks) - set(THREATS) - set(OWN)
    assert not unknown, f"answered_by names {unknown}, which nobody runs"
    if any(n.per == "sample" for n in defended.obfuscator.noise):
        assert "repeated" in answered_by, "noise is drawn for every payload, and nobody asks again"
    chosen = {f.dtype for f in defended.obfuscator.signature}
    if "bits" in chosen and chosen != {"bits"}:
        assert "mask" in answered_by, "which values came tells as well, and nobody reads it"


def check_examples_stand_alone(defended: Defended) -> None:
    x, drawn = pictures(6), noise(defended, 6, 1)
    together = defended.encode(x, drawn)
    for i in range(6):
        own = tuple(d[i : i + 1] if len(d) == 6 else d for d in drawn)
        for name, value in defended.encode(x[i : i + 1], own).floats().items():
            np.testing.assert_allclose(value[0], together.floats()[name][i], rtol=2e-3, atol=2e-3)


# Every file of the folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_card(name: str) -> None:
    cls = registry.find(FOLDER, name)
    source = importlib.import_module(cls.__module__).__doc__ or ""
    assert re.search(r"et al\.|papers? \d{3}|arXiv|a reference, not a published method", source), "no source"
    assert "Deviations" in source
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert cls.summary.strip()
    assert cls.adaptive.strip()
    assert cls.__doc__
    for cut in SPLITS:
        if isinstance(made := attempt(cut, name), Defended):
            check_card(made, cls.answered_by)


def test_cards_are_enforced() -> None:
    made = attempt(next(iter(SPLITS)), "gaussian")
    assert isinstance(made, Defended)
    for wrong in (("server_probe",), ("repeated", "nobody_probe"), ("repeated", "wide_probe")):
        with pytest.raises(AssertionError):
            check_card(made, wrong)


@pytest.mark.parametrize("text", [*NAMES, *(text for _, text in EXTRA)])
def test_spelling_round_trip(text: str) -> None:
    defense = parse(text)
    assert parse(spell(defense)) == defense
    assert spell(parse(spell(defense))) == spell(defense)


@pytest.mark.parametrize("name", NAMES)
def test_fits_somewhere(name: str) -> None:
    assert any(isinstance(attempt(cut, name), Defended) for cut in SPLITS)


@exported_case
def test_onnx_equals_torch(cut: str, text: str, tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    defended = fitted(cut, text)
    export_edge(defended, tmp_path / "edge.onnx", SHAPE)
    export_server(defended, tmp_path / "server.onnx")
    assert capfd.readouterr() == ("", "")
    for name in ("edge", "server"):
        graph = onnx.load(tmp_path / f"{name}.onnx")
        assert random_nodes(graph) == []
        assert not any(n.metadata_props or n.doc_string for n in graph.graph.node)
    edge = onnxruntime.InferenceSession(tmp_path / "edge.onnx")
    server = onnxruntime.InferenceSession(tmp_path / "server.onnx")
    fields = [f.name for f in defended.obfuscator.signature]
    assert [i.name for i in edge.get_inputs()] == ["x", *(n.name for n in defended.obfuscator.noise)]
    assert [o.name for o in edge.get_outputs()] == [i.name for i in server.get_inputs()] == fields
    for batch in (1, 5):
        x, drawn = pictures(batch, batch), noise(defended, batch, batch)
        feed = {"x": x.numpy(), **dict(zip([n.name for n in defended.obfuscator.noise], drawn, strict=True))}
        with torch.no_grad():
            wanted = defended.edge_half.eval()(x, *map(torch.from_numpy, drawn))
        got = edge.run(fields, feed)
        for name, theirs, ours in zip(fields, got, wanted, strict=True):
            np.testing.assert_allclose(theirs, ours.float().numpy(), atol=1e-4, err_msg=name)
        payload = Payload.pack(defended.obfuscator.signature, dict(zip(fields, got, strict=True)))
        logits = server.run(["logits"], payload.floats())[0]
        np.testing.assert_allclose(logits, defended.server(payload).numpy(), atol=1e-4)


@every_case
def test_server_works_on_the_public_view(cut: str, text: str) -> None:
    check_server_decodes(fitted(cut, text))


@every_case
def test_length_says_nothing(cut: str, text: str) -> None:
    defended = fitted(cut, text)
    inputs = [torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE), *pictures(6).split(1)]
    lengths = {len(defended.encode(x, noise(defended, 1, i)).to_bytes()) for i, x in enumerate(inputs)}
    assert lengths == {defended.payload_bytes} == {frame_bytes(defended.obfuscator.signature)}


@every_case
def test_encode_is_a_function_of_x_and_noise(cut: str, text: str) -> None:
    defended = fitted(cut, text)
    x, drawn = pictures(5), noise(defended, 5, 3)
    torch.manual_seed(1)
    first = defended.encode(x, drawn)
    torch.manual_seed(2)
    assert defended.encode(x, drawn).to_bytes() == first.to_bytes()
    again = Payload.from_bytes(first.to_bytes(), defended.obfuscator.signature)
    assert all(np.array_equal(again.tensors[k], v) for k, v in first.tensors.items())


@every_case
def test_declared_noise_is_used(cut: str, text: str) -> None:
    check_noise_is_used(fitted(cut, text))


@every_case
def test_an_example_does_not_meet_its_batch(cut: str, text: str) -> None:
    check_examples_stand_alone(fitted(cut, text))


@every_case
def test_public_view_has_the_shape_of_z(cut: str, text: str) -> None:
    defended = fitted(cut, text)
    for batch in (1, 7):
        view = defended.decode(defended.encode(pictures(batch), noise(defended, batch, 1)))
        assert view.shape == (batch, *defended.split.shape)
        assert view.dtype == torch.float32
        assert view.isfinite().all()


def check_match(defended: Defended) -> None:
    """The sender's own z agrees with its payload, somebody else's agrees less, and the way back to z is open."""
    silent = tuple(np.full((6, *n.shape), 0.999 * n.middle, np.float32) for n in defended.obfuscator.noise)
    with torch.no_grad():
        z = defended.split.edge.eval()(pictures(6))
    tensors = defended.tensors(defended.pack(z, silent))
    z = z.requires_grad_()
    expected, seen = defended.obfuscator.match(z, *tensors)
    assert expected.shape == seen.shape == (6, *expected.shape[1:])
    assert seen.isfinite().all()
    own = (expected - seen).flatten(1).norm(dim=1)
    other = (defended.obfuscator.match(z.roll(1, 0), *tensors)[0] - seen).flatten(1).norm(dim=1)
    coarse = {f.dtype for f in defended.obfuscator.signature} <= {"int8", "bits"}  # a byte, or the largest class
    assert own.sum() <= other.sum()
    assert coarse or (own < 0.01 * seen.flatten(1).norm(dim=1) + 1e-3).all()
    (slope,) = torch.autograd.grad((expected - seen.detach() - 1).square().sum(), z)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    if defended.stochastic and not coarse:  # over fresh noise, the sender's own z is right on average
        with torch.no_grad():
            drawn = [defended.tensors(defended.pack(z, noise(defended, 6, seed))) for seed in range(60)]
            pairs = [defended.obfuscator.match(z, *seen) for seen in drawn]
        wrong = torch.stack([expected - seen for expected, seen in pairs]).flatten(2)
        size = torch.stack([seen for _, seen in pairs]).flatten(2).norm(dim=2).mean()
        assert wrong.mean(0).norm(dim=1).mean() < 0.4 * wrong.norm(dim=2).mean() + 0.02 * size


@every_case
def test_an_adversary_can_match_a_payload(cut: str, text: str) -> None:
    check_match(fitted(cut, text))


@every_case
def test_saturation_is_counted(cut: str, text: str) -> None:
    defended = fitted(cut, text)
    loud = dataclasses.replace(
        defended, split=dataclasses.replace(defended.split, edge=nn.Sequential(defended.split.edge, Loud()))
    )
    x, drawn = pictures(4), noise(defended, 4, 1)
    with torch.no_grad():
        raw = loud.edge_half.eval()(x, *map(torch.from_numpy, drawn))
    limits = {"float16": 65504.0, "int8": 127.0}
    fields = zip(loud.obfuscator.signature, raw, strict=True)
    wanted = sum(int((t.abs() > limits[f.dtype]).sum()) for f, t in fields if f.dtype in limits)
    payload = loud.encode(x, drawn)
    assert payload.saturated == wanted
    assert all(np.isfinite(v).all() for v in payload.floats().values())


@every_case
def test_seed_decides_the_fit_alone(cut: str, text: str) -> None:
    defended, given = fitted(cut, text), SPLITS[cut]()
    before = state(given.edge, given.server)
    torch.manual_seed(99)
    np.random.seed(99)
    states = torch.get_rng_state(), str(np.random.get_state())
    again = parse(text).fit(given, data(), effort=EFFORT, seed=7)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == str(np.random.get_state())
    assert equal(state(given.edge, given.server), before), "the split given was changed"
    assert equal(state(again.edge_half, again.server_half), state(defended.edge_half, defended.server_half))
    drawn = noise(defended, 4, 1)
    assert again.encode(pictures(4), drawn).to_bytes() == defended.encode(pictures(4), drawn).to_bytes()


@every_case
def test_frozen_halves_stay(cut: str, text: str) -> None:
    fitted(cut, text)
    given = SPLITS[cut](frozen=frozenset({"edge", "server"}))
    try:
        defended = parse(text).fit(given, data(), effort=EFFORT, seed=7)
    except (ModelError, SpecError) as refusal:
        pytest.skip(f"refuses frozen halves: {refusal}")
    x = pictures(5)
    if defended.obfuscator.takes:  # the server takes a view behind its own first operator
        assert torch.equal(predict(defended.split.edge, x), predict(given.edge, x))
        before, after = ([*half.state_dict().values()] for half in (given.server, defended.split.server))
        assert all(any(torch.equal(a, b) for b in before) for a in after)
        return
    whole, before = nn.Sequential(defended.split.edge, defended.split.server), nn.Sequential(given.edge, given.server)
    assert torch.equal(predict(whole, x), predict(before, x))


@every_case
def test_promise_or_its_absence(cut: str, text: str) -> None:
    defended = fitted(cut, text)
    assert isinstance(defended.guarantee, Guarantee)
    assert defended.guarantee.scope.strip()
    assert defended.guarantee.statement is None or defended.guarantee.statement.strip()
    canonical(defended.log)


# Faults: each is caught by the check above that it is held against ---------------------------------------------------


class Loud(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z * 1e6


class Faulty(Obfuscator):
    """z -> z with declared noise that it ignores; the ground for the other faults."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = (Field("z", "float16", (4, 6, 6)),)
        self.noise = (Noise("xi", (4, 6, 6)),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + 0 * noise[0],)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


class OwnNoise(Faulty):
    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + noise[0] + torch.randn_like(z),)


class Droops(Faulty):
    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (F.dropout(z + noise[0], 0.5, training=True),)


class BatchMean(Faulty):
    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + noise[0] - z.mean(0),)


class HostNoise(Faulty):
    """Noise drawn outside torch is baked into the graph as a constant."""

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        drawn = np.random.default_rng().standard_normal((4, 6, 6), dtype=np.float32)
        return (z + noise[0] + torch.from_numpy(drawn),)


class FirstOnly(Faulty):
    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return ((z + noise[0])[:1],)


class Coarse(Faulty):
    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0].round()


def with_fault(obfuscator: Obfuscator) -> Defended:
    return Defended.of(conv_split(), obfuscator, "a fault")


def test_fault_ignored_noise() -> None:
    with pytest.raises(AssertionError, match="changes nothing"):
        check_noise_is_used(with_fault(Faulty()))


def test_fault_lossy_codec() -> None:
    split = conv_split()
    defended = Defended(split, Faulty(), Guarantee.none("a fault"), ServerHalf(Coarse(), split.server))
    with pytest.raises(AssertionError):
        check_server_decodes(defended)
    check_server_decodes(with_fault(Coarse()))


def test_fault_batch_statistics() -> None:
    with pytest.raises(AssertionError):
        check_examples_stand_alone(with_fault(BatchMean()))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (OwnNoise, "RandomNormalLike"),
        (Droops, "Dropout"),
        (HostNoise, "differs from torch"),
        (FirstOnly, "keep the batch first"),
    ],
)
def test_fault_refused_at_export(fault: type[Faulty], says: str, tmp_path: Any) -> None:
    with pytest.raises(ModelError, match=says):
        export_edge(with_fault(fault()), tmp_path / "edge.onnx", SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_fault_random_server_refused(tmp_path: Any) -> None:
    split = conv_split()
    noisy = Split(split.edge, nn.Sequential(split.server, _Jitter()), "cut", (4, 6, 6))
    with pytest.raises(ModelError, match="RandomUniformLike"):
        export_server(Defended.of(noisy, Faulty(), "a fault"), tmp_path / "server.onnx")


class _Jitter(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.rand_like(logits)


def test_random_node_in_a_subgraph_is_found() -> None:
    made = onnx.helper
    value = made.make_tensor_value_info
    inner = made.make_graph(
        [made.make_node("RandomUniform", [], ["r"], shape=[1])], "b", [], [value("r", onnx.TensorProto.FLOAT, [1])]
    )
    fork = made.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    inputs, outputs = [value("c", onnx.TensorProto.BOOL, [])], [value("y", onnx.TensorProto.FLOAT, [1])]
    assert random_nodes(made.make_model(made.make_graph([fork], "g", inputs, outputs))) == ["RandomUniform"] * 2
    call = made.make_node("f", [], ["y"], domain="own")
    body = made.make_node("Bernoulli", ["y"], ["z"])
    function = made.make_function("own", "f", [], ["z"], [body], [made.make_opsetid("", 18)])
    model = made.make_model(made.make_graph([call], "g", [], outputs), functions=[function])
    assert random_nodes(model) == ["Bernoulli"]


def test_names_must_differ(tmp_path: Any) -> None:
    fault = Faulty()
    fault.noise = (Noise("z", (4, 6, 6)),)
    with pytest.raises(ModelError, match="a name of their own"):
        export_edge(with_fault(fault), tmp_path / "edge.onnx", SHAPE)


def test_chain_refuses_what_moves_the_cut() -> None:
    with pytest.raises(SpecError, match="moves the cut"):
        parse("label_only+gaussian").fit(conv_split(), data(), effort=EFFORT, seed=0)
