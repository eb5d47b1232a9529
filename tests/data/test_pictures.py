"""Pictures: sizes, colors, hostile files, the cache that never fails a load."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from privet.data import Corpus, load
from privet.data.images import Resize, decode, parse_resize
from privet.data.source import Decoded, Pictures
from privet.errors import DataError, SpecError


def read(pictures: list[bytes], resize: str | None = None) -> Decoded:
    return decode(Pictures(len(pictures), pictures.__getitem__, "key", "here"), parse_resize(resize))


def bomb(width: int, height: int, filled: bool = False) -> bytes:
    """A PNG that promises width x height pixels and holds next to nothing, or (filled) all of them in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes((width + 1) * height if filled else 1)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("native", "resize", "shape"),
    [
        ((64, 64), None, (50, 50)),
        ((112, 92), None, (61, 50)),
        ((40, 64), None, (40, 64)),
        ((50, 200), None, (50, 200)),
        ((51, 102), None, (50, 100)),
        ((64, 64), "none", (64, 64)),
        ((64, 64), "32", (32, 32)),
        ((12, 10), "20x30", (20, 30)),
        ((1, 1), None, (1, 1)),
    ],
)
def test_sizes(native: tuple[int, int], resize: str | None, shape: tuple[int, int], make: Any) -> None:
    assert read(make.noise(3, size=native), resize).x.shape == (3, 3, *shape)


@pytest.mark.parametrize("text", ["", "fifty", "0", "50x", "5x5x5", "-3", "1000000", "5.0", "\u0665\u0660"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(SpecError, match="is not a size"):
        parse_resize(text)


def test_mixed_sizes_take_the_most_common(make: Any) -> None:
    decoded = read([*make.noise(5, size=(12, 10)), *make.noise(2, 1, size=(30, 30))])
    assert decoded.x.shape == (7, 3, 12, 10)
    assert decoded.odd == 2


def test_gray_stays_gray_unless_one_is_not(make: Any) -> None:
    gray, color = make.noise(3, channels=1), make.noise(1, 9)
    assert read(gray).x.shape[1] == 1
    mixed = read([*gray, *color])
    assert mixed.x.shape[1] == 3
    assert np.array_equal(mixed.x[:3, 0], read(gray).x[:, 0])
    assert np.array_equal(mixed.x[:3, 0], mixed.x[:3, 2])


def test_pixels_survive_and_ids_follow_contents_not_encoding(make: Any) -> None:
    array = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    decoded = read([make.png(array), make.png(array, "BMP"), make.png(255 - array)])
    assert np.array_equal(decoded.x[0], array.transpose(2, 0, 1))
    assert decoded.ids[0] == decoded.ids[1] != decoded.ids[2]
    assert read([make.png(array)], "5").ids[0] == decoded.ids[0]
    gray = np.asarray(Image.fromarray(array).convert("L"))
    assert read([make.png(gray)]).ids[0] == read([make.png(np.repeat(gray[..., None], 3, 2))]).ids[0]


def test_sixteen_bits_and_palettes(make: Any) -> None:
    deep = (np.arange(100, dtype=np.uint16) * 600).reshape(10, 10)
    assert np.array_equal(read([make.png(deep)]).x[0, 0], deep >> 8)
    stream = io.BytesIO()
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).convert("P").save(stream, "GIF")
    assert read([stream.getvalue()]).x.shape == (1, 3, 10, 10)


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "bomb": bomb(9_000, 9_000),
    "65k": bomb(65_535, 65_535),
    "int32": bomb(2**31 - 1, 2**31 - 1),
    "zero": bomb(0, 10),
    "script": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


@pytest.mark.parametrize("name", [*HOSTILE, "truncated", "null"])
def test_hostile_pictures_are_skipped_and_counted(name: str, tmp_path: Path, make: Any) -> None:
    pictures: list[bytes | None] = list(make.noise(80))
    data = {**HOSTILE, "truncated": pictures[7][:150], "null": None}[name]  # type: ignore[index]
    pictures[7] = data
    rng = np.random.default_rng(0)
    file = make.images(tmp_path / "a.parquet", pictures, y=rng.integers(0, 2, 80), s=rng.integers(0, 2, 80))
    c = load(str(file), target="y", hidden=["s"])
    assert sum(map(len, c.parts.values())) == 79
    assert "rows_skipped" in c.flags
    assert any("1 pictures in" in note and "row 7" in note for note in c.notes)
    with pytest.raises(DataError, match="row 7"):
        load(str(file), target="y", hidden=["s"], on_bad="stop")


def test_a_real_bomb_is_refused_by_its_header(make: Any) -> None:
    decoded = read([*make.noise(2), bomb(9_000, 9_000, filled=True)])
    assert decoded.why.tolist() == ["9000x9000 pixels, more than 64 million"]
    assert read([bomb(7_000, 70, filled=True)], "10").x.shape == (1, 1, 10, 10)


def test_mostly_bad_is_refused(make: Any) -> None:
    with pytest.raises(DataError, match="3 of 5 pictures in here cannot be decoded; the first is row 2"):
        read([*make.noise(2), b"", b"x", b"y"])
    with pytest.raises(DataError, match="1 of 1"):
        read([b"x"])


def test_labels_stay_with_their_pictures_when_rows_are_skipped(tmp_path: Path, make: Any) -> None:
    pictures = [make.png(np.full((6, 6), i, np.uint8)) for i in range(100)]
    pictures[13] = pictures[50] = b"bad"
    y, s = np.arange(100) // 10 % 2, np.arange(100)
    make.images(tmp_path / "train.parquet", pictures[:60], y=y[:60], s=s[:60])
    make.images(tmp_path / "test.parquet", pictures[60:], y=y[60:], s=s[60:])
    c = load(str(tmp_path), target="y", hidden=["s"])
    for part in c.parts.values():
        value = part.x[:, 0, 0, 0].astype(np.int64)
        assert np.array_equal(part.s["s"], value)
        assert np.array_equal(part.y, value // 10 % 2)


def test_mutated_pictures_never_raise(make: Any) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    bases = [make.png(array, fmt) for fmt in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
    mutants = []
    for _ in range(700):
        data = bytearray(bases[rng.integers(len(bases))])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        mutants.append(bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data))
    decoded = read(bases * 120 + mutants)
    assert decoded.x.shape[0] + len(decoded.bad) == len(bases) * 120 + 700
    assert 0 < len(decoded.bad) < 700
    assert decoded.bad.min() >= len(bases) * 120


def small(tmp_path: Path, make: Any) -> str:
    rng = np.random.default_rng(0)
    file = tmp_path / "small.parquet"
    return str(make.images(file, make.noise(60), y=rng.integers(0, 2, 60), s=rng.integers(0, 2, 60)))


def ask(file: str, cache: Path | None, **options: Any) -> Corpus:
    return load(file, target="y", hidden=["s"], cache=cache, **options)


def test_the_cache_is_used(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small(tmp_path, make)
    first = ask(file, tmp_path / "c")
    monkeypatch.setattr("privet.data.images._decode", lambda *_: pytest.fail("decoded again"))
    assert ask(file, tmp_path / "c").digest == first.digest
    with pytest.raises(BaseException, match="decoded again"):
        ask(file, tmp_path / "c", resize="5")


def test_a_changed_file_is_decoded_again(tmp_path: Path, make: Any) -> None:
    file = small(tmp_path, make)
    first = ask(file, tmp_path / "c")
    rng = np.random.default_rng(0)
    make.images(Path(file), make.noise(60, 1), y=rng.integers(0, 2, 60), s=rng.integers(0, 2, 60))
    assert ask(file, tmp_path / "c").digest != first.digest


@pytest.mark.parametrize("fault", ["flip", "truncate", "empty", "manifest", "pickle", "gone", "shape"])
def test_a_damaged_cache_is_decoded_again(fault: str, tmp_path: Path, make: Any) -> None:
    file, cache = small(tmp_path, make), tmp_path / "c"
    first = ask(file, cache)
    (entry,) = cache.iterdir()
    x = entry / "x.npy"
    if fault == "flip":
        x.write_bytes(x.read_bytes()[:-1] + bytes([x.read_bytes()[-1] ^ 1]))
    elif fault == "truncate":
        x.write_bytes(x.read_bytes()[:500])
    elif fault == "empty":
        x.write_bytes(b"")
    elif fault == "manifest":
        (entry / "manifest.json").write_text("[]")
    elif fault == "pickle":
        np.save(x, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif fault == "gone":
        x.unlink()
    else:
        manifest = json.loads((entry / "manifest.json").read_text())
        wrong = np.zeros((60, 3), np.uint8)
        np.save(x, wrong)
        manifest["crc32"]["x"] = zlib.crc32(wrong.data)
        (entry / "manifest.json").write_text(json.dumps(manifest))
    assert ask(file, cache).digest == first.digest
    assert ask(file, cache).digest == first.digest
    assert [p.name for p in cache.iterdir()] == [entry.name]


def test_an_unwritable_cache_is_no_error(tmp_path: Path, make: Any) -> None:
    file = small(tmp_path, make)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    assert ask(file, blocked).digest == ask(file, tmp_path / "c").digest


def test_where_the_cache_is(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = small(tmp_path, make)
    monkeypatch.delenv("PRIVET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    ask(file, None)
    assert len(list((tmp_path / "xdg" / "privet").iterdir())) == 1
    monkeypatch.setenv("PRIVET_CACHE", str(tmp_path / "own"))
    ask(file, None)
    assert len(list((tmp_path / "own").iterdir())) == 1


def test_progress_counts_all_splits(tmp_path: Path, make: Any) -> None:
    y, s = np.arange(200) % 2, np.arange(200) // 2 % 2
    pictures = make.noise(200)
    make.images(tmp_path / "train.parquet", pictures[:150], y=y[:150], s=s[:150])
    make.images(tmp_path / "test.parquet", pictures[150:], y=y[150:], s=s[150:])
    for _ in range(2):
        seen: list[tuple[int, int]] = []
        load(
            str(tmp_path), target="y", hidden=["s"], progress=lambda done, total, seen=seen: seen.append((done, total))
        )
        assert seen == sorted(seen)
        assert seen[-1] == (200, 200)


def test_an_unknown_way_to_treat_bad_pictures(tmp_path: Path, make: Any) -> None:
    with pytest.raises(SpecError, match="'skp'; did you mean 'skip'"):
        ask(small(tmp_path, make), None, on_bad="skp")


def test_memory_is_asked_for_before_it_is_taken() -> None:
    many = Pictures(2**16, lambda _: b"", "k", "here")
    with pytest.raises(DataError, match="do not fit in memory"):
        decode(many, Resize("fixed", (9999, 9999)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_large_pictures_take_bounded_memory(tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    Image.new("RGB", (8000, 7900)).save(big, compress_level=1)
    code = (
        "import sys, pathlib\n"
        "from privet.data.images import decode, Resize\n"
        "from privet.data.source import Pictures\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "d = decode(Pictures(3, lambda i: data, 'k', 'here'), Resize('fixed', (50, 50)))\n"
        "assert d.x.shape == (3, 3, 50, 50), d\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    run = [sys.executable, "-c", code, str(big)]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=120)
    assert int(done.stdout) < 512 << 10, f"{int(done.stdout) >> 10} MiB"
