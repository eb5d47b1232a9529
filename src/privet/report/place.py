"""Where the labels of points go: greedily, nearest free spot first, so that every point is named without a hover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER, LINE = 6.2, 13.0  # mean width of a character and height of a line of 11.5 px text
RINGS = (9.0, 20.0, 34.0, 50.0, 68.0, 88.0)
SIDES = ((1, 0), (0, -1), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1))


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in pixels, y downward."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Area in common."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, frame: Box) -> float:
        """Area outside of a frame."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(frame)


@dataclass(frozen=True)
class Label:
    """A text with its box and, where it stands apart from its point, the end of a thin leader line."""

    text: str
    box: Box
    leader: tuple[float, float] | None


def place(points: Sequence[tuple[float, float, str]], frame: Box, taken: Sequence[Box]) -> list[Label]:
    """One label per point (x, y, text) inside the frame, avoiding the points, each other and what is taken.

    Where nothing is free the least crowded spot is taken; the order of the points decides who chooses first."""
    blocked = [*taken, *(Box(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points)]
    labels = []
    for x, y, text in points:
        spots = [(_spot(x, y, text, ring, side), ring) for ring in RINGS for side in SIDES]
        best, ring = min(spots, key=lambda s: _cost(s[0], s[1], blocked, frame))
        blocked.append(best)
        labels.append(Label(text, best, _nearest(x, y, best) if ring > RINGS[0] else None))
    return labels


def _spot(x: float, y: float, text: str, ring: float, side: tuple[int, int]) -> Box:
    width = CHARACTER * len(text)
    across, down = side
    left = x - width / 2 if across == 0 else (x + ring * (0.8 if down else 1) if across > 0 else x - ring - width)
    top = y - LINE / 2 if down == 0 else (y + ring - 3 if down > 0 else y - ring - LINE + 3)
    return Box(left, top, left + width, top + LINE)


def _cost(box: Box, ring: float, blocked: Sequence[Box], frame: Box) -> float:
    return 3 * box.outside(frame) + sum(box.overlap(b) for b in blocked) + ring / 4


def _nearest(x: float, y: float, box: Box) -> tuple[float, float]:
    return min(max(x, box.left), box.right), min(max(y, box.top + 2), box.bottom - 2)
