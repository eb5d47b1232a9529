"""No defense: z travels as it is, at float16."""

from __future__ import annotations

import numpy as np
import torch

from privet.defenses.none import Nothing
from tiny import EFFORT, conv_split, corpus, pictures


def test_z_travels() -> None:
    given = conv_split()
    defended = Nothing().fit(given, corpus(), effort=EFFORT, seed=0)
    x = pictures(10)
    with torch.no_grad():
        z = given.edge(x)
    payload = defended.encode(x)
    assert np.array_equal(payload.tensors["z"], z.numpy().astype(np.float16))
    assert torch.equal(defended.decode(payload), z.half().float())
    assert not defended.stochastic
    assert defended.payload_bytes == 16 + 2 * 4 * 6 * 6
