"""Payloads larger than allowed: pieces and their components, no loss where pieces are simple, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from privet.auditing import audit, chunks, wire
from privet.auditing.chunks import Chunks
from privet.auditing.threat import Threat, portfolio
from privet.defense import parse
from studies import SMALL
from tiny import conv_split, corpus


def test_pieces_are_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "COLUMNS", 10)
    monkeypatch.setattr(chunks, "COMPONENTS", 3)
    rows = torch.randn(50, 25, generator=torch.Generator().manual_seed(0))
    made = Chunks.of([rows[:30], rows[30:]], 50, 0)
    reduced = made(rows)
    assert reduced.shape == (50, 9)
    for piece, start in enumerate((0, 10, 20)):
        part = rows[:, start : start + 10].numpy()
        wanted = PCA(3).fit_transform(part)
        got = reduced[:, 3 * piece : 3 * piece + 3].numpy()
        np.testing.assert_allclose(np.abs(got), np.abs(wanted), atol=1e-3)


def test_few_people_evenly_spaced_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PEOPLE", 20)
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    spaced, whole = Chunks.of([rows[:16], rows[16:29], rows[29:]], 50, 0), Chunks.of([rows[::3]], 17, 0)
    torch.testing.assert_close(spaced(rows), whole(rows))


def test_a_gibibyte_is_allowed() -> None:
    assert not chunks.too_large(4096, 65536)
    assert chunks.too_large(4097, 65536)


@pytest.mark.parametrize("text", ["none", "random_channels:ratio=0.5"])
def test_what_is_too_large_is_read_in_chunks_and_attacked_all_the_same(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, threat = corpus(), Threat.named("server")
    defended = parse(text).fit(conv_split(), people, effort=SMALL, seed=0)
    whole = wire.observe(defended, people, threat, 0)
    monkeypatch.setattr(chunks, "ALLOWED", 100)
    monkeypatch.setattr(chunks, "COMPONENTS", 2)
    observed = wire.observe(defended, people, threat, 0)
    assert observed.chunked
    assert not whole.chunked
    assert observed.victims.flat.shape[1] < whole.victims.flat.shape[1]
    assert observed.victims.masks == whole.victims.masks
    masks = whole.victims.masks
    torch.testing.assert_close(observed.victims.flat[:, :masks], whole.victims.flat[:, :masks])
    assert observed.victims.z is not None
    assert observed.victims.z.dtype == torch.float16
    torch.testing.assert_close(observed.victims.z.float(), whole.victims.z, rtol=1e-3, atol=1e-3)
    names = ("informed_probe", "server_probe", "wide_probe:width=8", "decoder", "inversion")
    attacks, _ = portfolio(threat, names)
    evidence = audit.attack(observed, people, threat, attacks, effort=SMALL, seed=0)
    for goal in (*people.hidden, "input"):
        assert all(np.isfinite(list(s.values())).all() for s in evidence.selection[goal].values())
