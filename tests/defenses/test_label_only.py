"""Label only: the payload is the prediction in ceil(log2 K) bits, and nothing else."""

from __future__ import annotations

import pytest
import torch

from privet.defenses.label_only import LabelObfuscator, LabelOnly
from tiny import EFFORT, conv_split, corpus, pictures


@pytest.mark.parametrize(("classes", "bits"), [(2, 1), (3, 2), (8, 3), (9, 4), (1000, 10)])
def test_every_class_survives_its_bits(classes: int, bits: int) -> None:
    obfuscator = LabelObfuscator(classes)
    assert obfuscator.signature[0].shape == (bits,)
    logits = torch.eye(classes) * 7 - 3
    code = obfuscator.encode(logits)[0]
    assert set(code.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(obfuscator.decode(code), torch.eye(classes))


def test_the_prediction_and_nothing_else() -> None:
    given = conv_split()
    defended = LabelOnly().fit(given, corpus(), effort=EFFORT, seed=0)
    x = pictures(60)
    with torch.no_grad():
        wanted = given.server(given.edge(x)).argmax(1)
    payload = defended.encode(x)
    assert torch.equal(defended.server(payload).argmax(1), wanted)
    assert defended.payload_bytes == 16 + 1
    rows = {tuple(row) for row in payload.tensors["label"].astype(int).tolist()}
    assert len(rows) == len(set(wanted.tolist()))


def test_bits_are_lowest_first() -> None:
    code = LabelObfuscator(10).encode(torch.eye(10)[6:7])[0]
    assert code.tolist() == [[0.0, 1.0, 1.0, 0.0]]
