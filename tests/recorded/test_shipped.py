"""A bundle audited by what its own ONNX halves send."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

import privet
from privet import data, shipping
from privet.auditing.threat import Threat
from privet.auditing.wire import Wire
from privet.defense import Defended, parse
from privet.errors import DataError
from privet.recorded import shipped
from privet.recorded.shipped import Shipped, spread
from privet.recorded.system import Recordings
from privet.schedule import Source
from privet.split import Split
from studies import privet as command_line
from tiny import EFFORT, conv_split, corpus

DIGITS, FEW = Source("digits"), "signal_content:keep=2,bits=2"
Capture = pytest.CaptureFixture[str]


@cache
def bundle(defense: str = "gaussian:sigma=1") -> str:
    folder = Path(mkdtemp(prefix="privet-shipped-")) / "bundle"
    shipping.fit(DIGITS, defense, effort="tiny", out=folder)
    return str(folder)


def recording(defense: str = "gaussian:sigma=1") -> tuple[Recordings, Shipped]:
    corpus = shipped.load(bundle(defense), DIGITS)
    system = next(iter(corpus.systems.values()))
    assert isinstance(system, Shipped)
    return corpus, system


def test_people_that_it_was_fitted_on_take_no_part() -> None:
    corpus, _ = recording()
    whole = data.load("digits")
    owners = set(whole.task_train.ids) | set(whole.task_val.ids)
    assert not owners & {name for part in corpus.parts.values() for name in part.ids}
    assert shipped.UNCHECKED not in corpus.flags
    other = shipped.load(bundle(), Source("digits", limit=300))
    assert shipped.UNCHECKED in other.flags
    assert any("does not name these people" in note for note in other.notes)


def test_persons_of_the_data_are_those_of_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(data.load("digits"), person="writer")
    monkeypatch.setattr(Source, "load", lambda *_: whole)
    assert shipped.load(bundle(), DIGITS).person == "writer"


def test_noise_is_drawn_anew_for_everybody_and_repeats_with_the_seed() -> None:
    corpus, system = recording()
    threat = Threat.named("server").of_recording(system.held)
    seen = [system.observe(corpus, threat, seed) for seed in (0, 0, 1)]
    assert torch.equal(seen[0].victims.flat, seen[1].victims.flat)
    assert not torch.equal(seen[0].victims.flat, seen[2].victims.flat)
    assert len(seen[0].train) == 12
    assert not torch.equal(seen[0].train[0].flat, seen[0].train[1].flat)
    assert torch.equal(seen[0].train[3].flat, seen[1].train[3].flat)
    noise = seen[0].train[0].flat - seen[0].train[1].flat
    assert len(torch.unique(noise[:300, 0].round(decimals=3))) > 100  # not one draw for a whole frame


def test_payloads_and_answers_are_those_of_the_runtime() -> None:
    corpus, system = recording(FEW)
    threat = Threat.named("server").of_recording(system.held)
    seen = system.observe(corpus, threat, 0)
    sent = system.edge.payload(corpus.victim.x[:5]).floats()
    assert np.array_equal(seen.victims.flat[:5, : system.width].numpy(), sent["code"])
    logits = system.server.run(None, sent)[0]
    assert np.array_equal(seen.victims.flat[:5, system.width :].numpy(), logits)
    assert np.array_equal(seen.answers["victim"][:5], logits.argmax(1))
    swapped = replace(corpus, classes=corpus.classes | {"parity": corpus.classes["parity"][::-1]})
    assert np.array_equal(system.observe(swapped, threat, 0).answers["victim"], 1 - seen.answers["victim"])
    heard = system.observe(corpus, Threat.named("eavesdropper").of_recording(system.held), 0)
    assert heard.victims.flat.shape[1] == system.width


def test_few_bits_are_counted_and_certified(tmp_path: Path) -> None:
    corpus, system = recording(FEW)
    seen = system.observe(corpus, Threat.named("server").of_recording(system.held), 0)
    assert seen.message_bits == 4
    assert seen.messages is not None
    assert seen.messages.max() < 16
    answer = privet.audit(
        bundle=system.folder, effort="tiny", seeds=1, jobs=1, attacks=["linear_probe"], out=tmp_path / "out"
    )
    row = answer.headline("digit")[FEW]
    assert row.certified is not None
    assert row.value.mean <= row.certified
    assert row.utility is not None
    assert row.undefended is None


def masked(split: Split, defense: str) -> Defended:
    return parse(defense).fit(split, corpus(), effort=EFFORT, seed=0)


@pytest.mark.parametrize("defense", ["random_channels:ratio=0.5", "disco:ratio=0.5,attribute=s"])
def test_kept_values_go_back_to_their_places(defense: str) -> None:
    """As the obfuscator itself puts them."""
    defended = masked(conv_split(), defense)
    z = torch.randn(7, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    frames, _ = Wire(defended, corpus(), Threat.named("server")).send(z, np.random.default_rng(0))
    payload = defended.pack(z, defended.draw(7, np.random.default_rng(0)))
    assert frames
    fields = [payload.floats()[field.name] for field in payload.signature]
    columns, masks = spread(fields, [field.dtype == "bits" for field in payload.signature])
    assert masks == 4
    assert np.array_equal(columns[1], defended.decode(payload, "cpu").flatten(1).numpy())


def test_fields_that_are_no_mask_stay_as_they_are() -> None:
    generator = np.random.default_rng(0)
    coin, z = (generator.random((9, 1)) < 0.5).astype(np.float32), generator.normal(size=(9, 3))
    columns, masks = spread([coin, z], [True, False])
    assert masks == 0
    assert np.array_equal(columns[1], z)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "digit", "hidden": ("parity",)}, "name with --target what the bundle was fitted for"),
    ({"resize": "6x6"}, "add --resize 8x8"),
]


@pytest.mark.parametrize(("asked", "message"), REFUSED)
def test_people_it_was_not_made_for(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        shipped.load(bundle(), Source("digits", **asked))


def test_the_command_takes_a_bundle(tmp_path: Path, capsys: Capture) -> None:
    asked = ["--effort", "tiny", "--seeds", 1, "--jobs", 1, "--attack", "linear_probe", "--limit", 150]
    assert command_line("audit", bundle(), *asked, "--out", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "gaussian" in out
    assert "fitted_on_unknown" in out  # a limit deals other people
    assert command_line("audit", bundle(), *asked, "--defense", "none", "--out", tmp_path / "no") == 2
    assert "--defense cannot be given" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert err
