"""Ship a defended split: write a bundle, then run its edge half where there is no PyTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from privet import shipping
from privet.runtime.edge import Edge
from privet.schedule import Source

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as room:
        bundle = Path(room) / "bundle"
        shipping.fit(Source("digits"), "gaussian:sigma=0.5", effort="quick", out=bundle)
        edge = Edge(bundle)
        picture = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
        payload = edge.payload(picture)
        print(f"{len(payload.to_bytes())} bytes travel instead of {picture.nbytes}; asked again, fresh noise:")
        print(payload.to_bytes() != edge.payload(picture).to_bytes())
