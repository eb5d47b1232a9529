"""Pictures: bytes to uint8 arrays, in threads, with hostile files counted and skipped.

A picture is known by the hash of its own pixels at its own size, so its id survives re-encoding and resizing."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from privet.data import cache as store
from privet.data.corpus import Pixels
from privet.data.source import Decoded, Pictures, Progress
from privet.errors import DataError, SpecError

MOST_PIXELS = 64_000_000
MOST_BYTES = 16 << 30
AUTO_SIDE = 50
CHUNK = 128
LARGE = 4_000_000
STRIP = 1_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
GRAY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"}
Size = tuple[int, int]
R = TypeVar("R")


@dataclass(frozen=True)
class Resize:
    """auto: the shorter side becomes 50 where both exceed 50; none: stay; fixed: exactly `size` (H, W)."""

    mode: str
    size: Size | None = None

    def of(self, native: Size) -> Size:
        """The (H, W) that pictures of this native size get."""
        if self.size is not None:
            return self.size
        shorter = min(native)
        if self.mode == "none" or shorter <= AUTO_SIDE:
            return native
        height, width = (max(1, round(side * AUTO_SIDE / shorter)) for side in native)
        return height, width


def parse_resize(text: str | None) -> Resize:
    """None -> automatic, "none", "50" -> 50x50, "HxW"; SpecError otherwise."""
    if text is None:
        return Resize("auto")
    if text == "none":
        return Resize("none")
    sides = text.lower().split("x")
    if len(sides) in (1, 2) and all(s.isascii() and s.isdigit() and int(s[:6]) > 0 and len(s) < 5 for s in sides):
        return Resize("fixed", (int(sides[0]), int(sides[-1])))
    raise SpecError(f"resize {text!r} is not a size; give '50', 'HxW' such as '40x64', or 'none'")


def content_id(image: Image.Image) -> str:
    """16 hex digits of the sha256 of a picture's size and RGB pixels, taken in strips to spare memory."""
    total = hashlib.sha256(f"{image.height}x{image.width} ".encode())
    step = max(1, STRIP // image.width)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        total.update(_in_mode(strip, "RGB").tobytes())
    return total.hexdigest()[:16]


def refit(decoded: Decoded, resize: Resize) -> Decoded:
    """Decoded pictures brought to another size."""
    size = resize.of((decoded.x.shape[2], decoded.x.shape[3]))
    if size == decoded.x.shape[2:]:
        return decoded
    x = np.zeros((*decoded.x.shape[:2], *size), np.uint8)
    for i, channel in np.ndindex(*x.shape[:2]):
        x[i, channel] = np.asarray(_fitted(Image.fromarray(decoded.x[i, channel]), size))
    return replace(decoded, x=x)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def pixels(data: bytes, shape: tuple[int, ...]) -> Pixels | None:
    """One encoded picture as uint8 [C, H, W] of a given shape, or None where it cannot be decoded."""
    one = _Opener(shape[1:], np.zeros((1, 3, *shape[1:]), np.uint8), np.zeros((1, 8, 9), np.uint8))  # type: ignore[arg-type]
    look = one(0, data, large=True)
    if look is None or look.bad is not None:
        return None
    if shape[0] == 3:
        return np.repeat(one.x[0, :1], 3, axis=0) if look.gray else one.x[0]
    return one.x[0, :1] if look.gray else one.x[0].mean(0, keepdims=True).round().astype(np.uint8)


def decode(pictures: Pictures, resize: Resize, cache: Path | None = None, progress: Progress | None = None) -> Decoded:
    """Decode all pictures, from the cache where it holds them. x is gray (C = 1) if every picture is, else RGB.

    Raises DataError where more than half of them cannot be decoded, or the result would not fit in memory."""
    key = hashlib.sha256(f"2 {pictures.key} {resize}".encode()).hexdigest()
    decoded = store.read(cache, key)
    if decoded is None:
        decoded = _decode(pictures, resize, progress)
        store.write(cache, key, decoded)
    elif progress is not None:
        progress(pictures.n, pictures.n)
    if 2 * len(decoded.bad) > pictures.n or not len(decoded.rows):
        first = f"; the first is row {decoded.bad[0]}: {decoded.why[0]}" if len(decoded.bad) else ""
        raise DataError(
            f"{len(decoded.bad)} of {pictures.n} pictures in {pictures.where} cannot be decoded{first}; mend them"
        )
    return decoded


def _decode(pictures: Pictures, resize: Resize, progress: Progress | None) -> Decoded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's advice on bombs, palettes, metadata: bad pictures are counted below
        sizes = Counter(size for size in _mapped(pictures, _header, None) if size is not None)
        common = min(sizes, key=lambda size: (-sizes[size], size)) if sizes else (1, 1)
        size = resize.of(common)
        if pictures.n * size[0] * size[1] * 3 > MOST_BYTES:
            raise DataError(f"{pictures.n} pictures of {size[0]}x{size[1]} do not fit in memory; give a smaller resize")
        one = _Opener(size, np.zeros((pictures.n, 3, *size), np.uint8), np.zeros((pictures.n, 8, 9), np.uint8))
        first = list(_mapped(pictures, one, progress))
        last = {i: one(i, pictures.read(i) or b"", large=True) for i, look in enumerate(first) if look is None}
        looks = [look or last[i] or _Look(bad="not a picture") for i, look in enumerate(first)]
    good = np.array([look.bad is None for look in looks], bool)
    rows = np.flatnonzero(good).astype(np.int64)
    x = one.x[:, :1] if all(look.gray for look in looks) else one.x
    ids = np.array([look.id for look in looks], "U16")
    why = np.array([look.bad for look in looks if look.bad is not None], str)
    odd = 0 if resize.size is not None else sum(sizes.values()) - sizes[common]
    x = np.ascontiguousarray(x) if good.all() else x[rows]
    return Decoded(rows, x, ids[rows], one.thumbs[rows], np.flatnonzero(~good).astype(np.int64), why, odd)


def _mapped(pictures: Pictures, work: Callable[[int, bytes], R], progress: Progress | None) -> Iterator[R]:
    """`work` over all pictures, in order, in threads (Pillow's decoders release the lock)."""

    def chunk(start: int) -> list[R]:
        return [work(i, pictures.read(i) or b"") for i in range(start, min(start + CHUNK, pictures.n))]

    finished = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for results in pool.map(chunk, range(0, pictures.n, CHUNK)):
            yield from results
            finished += len(results)
            if progress is not None:
                progress(finished, pictures.n)


def _header(i: int, data: bytes) -> Size | None:
    """(H, W) from the file's header, None where it has none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.height, image.width
    except Exception:  # a decoder fed hostile bytes may raise anything; the second pass says what
        return None


@dataclass(frozen=True)
class _Look:
    id: str = ""
    gray: bool = True
    bad: str | None = None


@dataclass(frozen=True)
class _Opener:
    """Decodes picture i into x[i] and thumbs[i]; every thread writes its own rows."""

    size: Size
    x: Pixels
    thumbs: Pixels

    def __call__(self, i: int, data: bytes, large: bool = False) -> _Look | None:
        """Decode, or say why not; None for a large picture that has to wait until it is alone."""
        if not data:
            return _Look(bad="no readable bytes")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                pixels = image.width * image.height
                if pixels > MOST_PIXELS:
                    return _Look(bad=f"{image.width}x{image.height} pixels, more than {MOST_PIXELS // 10**6} million")
                return self._fill(i, image) if large or pixels <= LARGE else None
        except Exception as error:  # a decoder fed hostile bytes may raise anything; each is counted and named
            unknown = isinstance(error, UnidentifiedImageError)
            return _Look(bad="not a picture" if unknown else (str(error) or type(error).__name__)[:120])

    def _fill(self, i: int, image: Image.Image) -> _Look:
        gray = image.mode in GRAY
        if image.mode == "F":
            return _Look(bad="floating-point pixels have no fixed range; save as 8 or 16 bits")
        if image.mode.startswith("I"):
            deep = np.asarray(image).astype(np.int64) >> 8
            image = Image.fromarray(deep.clip(0, 255).astype(np.uint8))
        image = _in_mode(image, "L" if gray else "RGB")
        pixels = np.asarray(_fitted(image, self.size))
        self.x[i] = pixels[None] if gray else pixels.transpose(2, 0, 1)
        self.thumbs[i] = np.asarray(_in_mode(_fitted(image, (8, 9)), "L"))
        return _Look(content_id(image), gray)
