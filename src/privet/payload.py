"""The payload: named tensors, exactly what travels from the edge to the server, and their byte codec.

A `Signature` is fixed when a defense is fitted, so every payload of a defended split has the same length. A frame is

    "PVT1" | first 8 bytes of sha256(signature) | batch size, uint32 | field after field, each row-major, little-endian

Bits are packed eight to a byte for each example. Narrowing to float16 or int8 saturates, and the saturated values are
counted. Pure: no I/O, no torch.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from privet.errors import PayloadError, unknown

Array = npt.NDArray[Any]
Dtype = Literal["float32", "float16", "int8", "bits"]
Law = Literal["normal", "uniform", "discrete_gaussian", "discrete_laplace"]

MAGIC = b"PVT1"
HEADER = struct.Struct("<4s8sI")
_NUMPY: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "bits": np.dtype("?"),
}
_LIMITS = {"float16": 65504.0, "int8": 127.0}


@dataclass(frozen=True)
class Field:
    """One tensor of a payload: its name, its dtype on the wire and its shape for one example."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in _NUMPY:
            raise PayloadError(unknown("payload dtype", self.dtype, _NUMPY))
        if not self.name.isidentifier():
            raise PayloadError(f"a field needs a name that is one word, got {self.name!r}")
        if any(size < 1 for size in self.shape):
            raise PayloadError(f"field {self.name!r} has shape {self.shape}; every size must be at least 1")

    @property
    def size(self) -> int:
        """Values of one example."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one example on the wire."""
        return (self.size + 7) // 8 if self.dtype == "bits" else self.size * _NUMPY[self.dtype].itemsize


Signature = tuple[Field, ...]


@dataclass(frozen=True)
class Noise:
    """What an obfuscator wants drawn: shape for one example, law, and whether an example or a batch shares one draw.

    The graph that ships holds no random node; the runtime draws the noise and hands it in as an input.
    """

    name: str
    shape: tuple[int, ...]
    law: Law = "normal"
    per: Literal["sample", "batch"] = "sample"

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or any(size < 1 for size in self.shape):
            raise PayloadError(
                f"noise needs a name that is one word and sizes of at least 1, got {self.name!r}, {self.shape}"
            )
        if self.law not in get_args(Law):
            raise PayloadError(unknown("law of noise", self.law, get_args(Law)))
        if self.per not in ("sample", "batch"):
            raise PayloadError(f"noise {self.name!r} is drawn per 'sample' or per 'batch', got {self.per!r}")

    @property
    def middle(self) -> float:
        """The median of the law: what stands for noise that is not there."""
        return 0.5 if self.law == "uniform" else 0.0

    def draw(self, batch: int, generator: np.random.Generator) -> Array:
        """Float32 noise of shape [batch, *shape] ([1, *shape] where a batch shares it)."""
        size = (batch if self.per == "sample" else 1, *self.shape)
        if self.law == "normal":
            return generator.standard_normal(size, dtype=np.float32)
        if self.law == "uniform":
            return generator.random(size, dtype=np.float32)
        raise PayloadError(
            f"noise {self.name!r} follows {self.law}, which needs an exact sampler: only normal and "
            f"uniform are drawn here"
        )


def digest(signature: Signature) -> bytes:
    """The eight bytes by which a frame names its signature."""
    text = ";".join(f"{f.name}:{f.dtype}:{','.join(map(str, f.shape))}" for f in signature)
    return hashlib.sha256(text.encode()).digest()[:8]


@dataclass(frozen=True)
class Payload:
    """A batch of payloads: one array [B, *shape] for each field of the signature, already in its wire dtype."""

    signature: Signature
    tensors: Mapping[str, Array]
    saturated: int = 0

    @classmethod
    def pack(cls, signature: Signature, tensors: Mapping[str, Array]) -> Payload:
        """Cast real-valued arrays to the signature's dtypes, saturating and counting.

        Raises PayloadError where a field is missing or has another shape, or where a value is not a number.
        """
        batch = _batch(signature, tensors)
        packed: dict[str, Array] = {}
        saturated = 0
        for field in signature:
            value = np.asarray(tensors[field.name])
            if value.shape != (batch, *field.shape):
                raise PayloadError(
                    f"field {field.name!r} has shape {value.shape}, the signature says {(batch, *field.shape)}"
                )
            if value.dtype.kind == "f" and np.isnan(value).any():
                raise PayloadError(
                    f"field {field.name!r} holds NaN: the edge half produced a value that is not a number"
                )
            if field.dtype == "bits":
                packed[field.name] = value > 0.5
                continue
            limit = _LIMITS.get(field.dtype, float(np.finfo(np.float32).max))
            saturated += int(np.count_nonzero(np.abs(value) > limit))
            value = np.clip(value, -limit, limit)
            packed[field.name] = (np.rint(value) if field.dtype == "int8" else value).astype(_NUMPY[field.dtype])
        return cls(signature, packed, saturated)

    @property
    def batch(self) -> int:
        """Examples in this payload."""
        return _batch(self.signature, self.tensors)

    def to_bytes(self) -> bytes:
        """The frame that travels."""
        parts = [HEADER.pack(MAGIC, digest(self.signature), self.batch)]
        for field in self.signature:
            value = self.tensors[field.name]
            if field.dtype == "bits":
                value = np.packbits(value.reshape(self.batch, -1), axis=1)
            parts.append(np.ascontiguousarray(value).tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes, signature: Signature) -> Payload:
        """Read a frame; the inverse of `to_bytes`.

        Raises PayloadError where the frame is cut short, too long, of another signature, or holds a value that is
        not finite.
        """
        if len(data) < HEADER.size:
            raise PayloadError(f"a payload frame has at least {HEADER.size} bytes, got {len(data)}")
        magic, name, batch = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise PayloadError("these bytes are not a payload frame: they do not start with PVT1")
        if name != digest(signature):
            raise PayloadError(
                "this payload was made for another signature: use the edge and server halves of one bundle"
            )
        if not batch:
            raise PayloadError("this payload says that it holds no example; a frame holds at least one")
        wanted = HEADER.size + batch * sum(field.nbytes for field in signature)
        if len(data) != wanted:
            raise PayloadError(f"a payload of {batch} examples has {wanted} bytes, got {len(data)}")
        tensors: dict[str, Array] = {}
        start = HEADER.size
        for field in signature:
            stop = start + batch * field.nbytes
            tensors[field.name] = _read(field, data[start:stop], batch)
            start = stop
        return cls(signature, tensors)

    def floats(self) -> dict[str, Array]:
        """Every field as float32, bits as 0 and 1: what the server half and the adversaries compute with."""
        return {field.name: self.tensors[field.name].astype(np.float32) for field in self.signature}


def frame_bytes(signature: Signature) -> int:
    """Bytes that travel for one example sent alone, header included."""
    return HEADER.size + sum(field.nbytes for field in signature)


def _batch(signature: Signature, tensors: Mapping[str, Array]) -> int:
    missing = [field.name for field in signature if field.name not in tensors]
    if missing or not signature:
        raise PayloadError(f"a payload needs the fields {[f.name for f in signature]}, missing: {missing}")
    batch = np.asarray(tensors[signature[0].name]).shape[:1]
    if not batch or not batch[0]:
        raise PayloadError("a payload holds at least one example, the batch first")
    return int(batch[0])


def _read(field: Field, data: bytes, batch: int) -> Array:
    if field.dtype == "bits":
        rows = np.frombuffer(data, np.uint8).reshape(batch, field.nbytes)
        if field.size % 8 and (rows[:, -1] & (0xFF >> field.size % 8)).any():
            raise PayloadError(f"field {field.name!r} of the payload has bits set behind its last one")
        return np.unpackbits(rows, axis=1, count=field.size).astype(bool).reshape(batch, *field.shape)
    value: Array = np.frombuffer(data, _NUMPY[field.dtype]).reshape(batch, *field.shape)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise PayloadError(f"field {field.name!r} of the payload holds a value that is not finite")
    return value
