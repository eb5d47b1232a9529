"""The byte codec: what goes in comes out, nothing else is let in, and the bytes never change."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privet.errors import PayloadError
from privet.payload import HEADER, Field, Noise, Payload, digest, frame_bytes

MIXED = (
    Field("mask", "bits", (10,)),
    Field("kept", "float16", (2, 3)),
    Field("code", "int8", (4,)),
    Field("z", "float32", ()),
)
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
DTYPES = st.sampled_from(["float32", "float16", "int8", "bits"])
LIMITS = {"float32": 3.0e38, "float16": 65504.0, "int8": 127.0, "bits": 1.0}


@st.composite
def payloads(draw: Any) -> Payload:
    fields = tuple(Field(f"f{i}", draw(DTYPES), draw(SHAPES)) for i in range(draw(st.integers(1, 3))))
    batch = draw(st.integers(1, 4))
    tensors = {}
    for field in fields:
        limit = float(np.float32(LIMITS[field.dtype]))
        values = st.floats(-limit, limit, width=32)
        tensors[field.name] = draw(hnp.arrays(np.float32, (batch, *field.shape), elements=values))
    return Payload.pack(fields, tensors)


def mixed(batch: int = 2, seed: int = 0) -> Payload:
    generator = np.random.default_rng(seed)
    return Payload.pack(MIXED, {f.name: generator.normal(0, 2, (batch, *f.shape)).astype(np.float32) for f in MIXED})


@settings(max_examples=150, deadline=None)
@given(payloads())
def test_round_trip(payload: Payload) -> None:
    data = payload.to_bytes()
    again = Payload.from_bytes(data, payload.signature)
    assert len(data) == HEADER.size + payload.batch * (frame_bytes(payload.signature) - HEADER.size)
    for field in payload.signature:
        assert again.tensors[field.name].dtype == payload.tensors[field.name].dtype
        np.testing.assert_array_equal(again.tensors[field.name], payload.tensors[field.name])
    assert again.to_bytes() == data
    assert again.saturated == 0


def test_golden_bytes() -> None:
    signature = (
        Field("mask", "bits", (10,)),
        Field("kept", "float16", (2,)),
        Field("code", "int8", (1,)),
        Field("z", "float32", (1,)),
    )
    bits = np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]], np.float32)
    kept = np.array([[1.0, -2.0], [0.5, 65504.0]], np.float32)
    payload = Payload.pack(
        signature, {"mask": bits, "kept": kept, "code": np.array([[-1], [127]]), "z": np.array([[1.5], [-0.0]])}
    )
    name = hashlib.sha256(b"mask:bits:10;kept:float16:2;code:int8:1;z:float32:1").digest()[:8]
    body = "81804040003c00c00038ff7bff7f0000c03f00000080"
    assert digest(signature) == name
    assert payload.to_bytes() == b"PVT1" + name + struct.pack("<I", 2) + bytes.fromhex(body)


@pytest.mark.parametrize("length", range(len(mixed().to_bytes())))
def test_truncated_refused(length: int) -> None:
    with pytest.raises(PayloadError):
        Payload.from_bytes(mixed().to_bytes()[:length], MIXED)


@pytest.mark.parametrize("tail", [b"\0", b"PVT1", bytes(100)])
def test_trailing_refused(tail: bytes) -> None:
    with pytest.raises(PayloadError, match="bytes, got"):
        Payload.from_bytes(mixed().to_bytes() + tail, MIXED)


@pytest.mark.parametrize(
    "other",
    [
        (*MIXED[:3], Field("z", "float32", (1,))),
        (*MIXED[:3], Field("y", "float32", ())),
        (MIXED[1], MIXED[0], *MIXED[2:]),
        (MIXED[0], Field("kept", "float16", (3, 2)), *MIXED[2:]),
        (Field("mask", "bits", (11,)), *MIXED[1:]),
    ],
)
def test_other_signature_refused(other: tuple[Field, ...]) -> None:
    with pytest.raises(PayloadError, match="another signature"):
        Payload.from_bytes(mixed().to_bytes(), other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("offset", "kind"), [(-4, "<f4"), (HEADER.size + 4, "<f2")])
def test_frame_with_a_value_that_is_not_finite_refused(value: float, offset: int, kind: str) -> None:
    data = bytearray(mixed().to_bytes())
    raw = np.array([value], kind).tobytes()
    start = offset % len(data)
    data[start : start + len(raw)] = raw
    with pytest.raises(PayloadError, match="not finite"):
        Payload.from_bytes(bytes(data), MIXED)


def test_bits_behind_the_last_refused() -> None:
    data = bytearray(mixed().to_bytes())
    data[HEADER.size + 1] |= 1
    with pytest.raises(PayloadError, match="behind its last"):
        Payload.from_bytes(bytes(data), MIXED)


def test_wrong_magic_and_empty_batch_refused() -> None:
    data = mixed().to_bytes()
    with pytest.raises(PayloadError, match="PVT1"):
        Payload.from_bytes(b"PVT2" + data[4:], MIXED)
    with pytest.raises(PayloadError, match="no example"):
        Payload.from_bytes(data[:12] + bytes(4), MIXED)
    with pytest.raises(PayloadError, match="at least one"):
        Payload.pack((Field("z", "float16", (2,)),), {"z": np.zeros((0, 2), np.float32)})


def test_huge_batch_costs_nothing() -> None:
    with pytest.raises(PayloadError, match="4294967295 examples"):
        Payload.from_bytes(mixed().to_bytes()[:12] + b"\xff" * 4, MIXED)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.binary(max_size=6), st.booleans())
def test_mutations_are_read_exactly_or_refused(start: int, length: int, patch: bytes, insert: bool) -> None:
    data = mixed().to_bytes()
    start %= len(data)
    stop = start if insert else min(len(data), start + length % 8)
    bad = data[:start] + patch + data[stop:]
    try:
        payload = Payload.from_bytes(bad, MIXED)
    except PayloadError:
        return
    assert payload.to_bytes() == bad


def test_narrowing_saturates_and_counts() -> None:
    signature = (Field("h", "float16", (3,)), Field("i", "int8", (3,)))
    tensors = {"h": np.array([[1e6, -1e6, 65504.0]], np.float32), "i": np.array([[200.0, -128.0, 126.6]], np.float32)}
    payload = Payload.pack(signature, tensors)
    assert payload.saturated == 4
    np.testing.assert_array_equal(payload.tensors["h"], np.array([[65504, -65504, 65504]], np.float16))
    np.testing.assert_array_equal(payload.tensors["i"], np.array([[127, -127, 127]], np.int8))


def test_infinity_saturates_but_nan_is_refused() -> None:
    signature = (Field("h", "float16", (1,)),)
    assert Payload.pack(signature, {"h": np.array([[np.inf]], np.float32)}).saturated == 1
    with pytest.raises(PayloadError, match="NaN"):
        Payload.pack(signature, {"h": np.array([[np.nan]], np.float32)})


def test_missing_and_misshapen_fields_refused() -> None:
    signature = (Field("a", "float16", (2,)), Field("b", "bits", (3,)))
    with pytest.raises(PayloadError, match="missing"):
        Payload.pack(signature, {"a": np.zeros((1, 2))})
    with pytest.raises(PayloadError, match="shape"):
        Payload.pack(signature, {"a": np.zeros((1, 2)), "b": np.zeros((2, 3))})


@pytest.mark.parametrize(
    ("name", "dtype", "shape"), [("z", "float64", (1,)), ("z", "bits", (0,)), ("a:b", "bits", (1,)), ("", "bits", (1,))]
)
def test_impossible_fields_refused(name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(PayloadError):
        Field(name, dtype, shape)


def test_floats_are_what_networks_read() -> None:
    floats = mixed().floats()
    assert list(floats) == [f.name for f in MIXED]
    assert all(v.dtype == np.float32 for v in floats.values())
    assert set(np.unique(floats["mask"])) <= {0.0, 1.0}


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_noise_is_drawn_from_the_generator_given(law: Any, per: Any) -> None:
    noise = Noise("xi", (50, 20), law, per)
    draw = noise.draw(8, np.random.default_rng(3))
    assert draw.shape == ((8 if per == "sample" else 1), 50, 20)
    assert draw.dtype == np.float32
    np.testing.assert_array_equal(draw, noise.draw(8, np.random.default_rng(3)))
    mean, deviation = (0, 1) if law == "normal" else (0.5, 12**-0.5)
    assert abs(draw.mean() - mean) < 0.1
    assert abs(draw.std() - deviation) < 0.1


@pytest.mark.parametrize(
    ("name", "shape", "law", "per"),
    [
        ("x i", (1,), "normal", "sample"),
        ("xi", (0,), "normal", "sample"),
        ("xi", (1,), "cauchy", "sample"),
        ("xi", (1,), "normal", "day"),
    ],
)
def test_impossible_noise_refused(name: str, shape: tuple[int, ...], law: Any, per: Any) -> None:
    with pytest.raises(PayloadError):
        Noise(name, shape, law, per)


def test_exact_laws_are_not_imitated() -> None:
    with pytest.raises(PayloadError, match="exact sampler"):
        Noise("k", (1,), "discrete_laplace").draw(1, np.random.default_rng(0))
