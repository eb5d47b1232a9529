"""How much of the paper's grid is run."""

from __future__ import annotations

from dataclasses import dataclass

from privet.attacks.irn import Irn
from privet.planner.grid import Grid

SETS = ("digits", "cifar10")  # of the quick grid, and of the others
SHARES = ((1.0, 1.0, 1.0), (0.75, 1.0, 1.0), (0.5, 1.0, 1.0), (0.25, 1.0, 1.0), (0.5, 0.5, 1.0), (0.5, 0.5, 0.5))
HALF = 0.5  # of the inner filters
GUESSES = (1, 10, 100, 1000)  # pictures of an adversary's own
OTHER_TARGET, OTHER_SIDE = "gender", "32"


@dataclass(frozen=True)
class Size:
    """How much of the paper's grid is run. `pictures` and `epochs` are those of every network but where `named` (for
    the accuracy of single channels) and `samples` say otherwise; `redrawn` channels of the middle and of the deepest
    layer are given to reconstruction networks one by one (None: all); `units` are those of the networks of figure 19.
    The rest are numbers of random draws: of every cell (`draws`) and where cells are measured again on other people
    (`again`), of the ways to choose channels (`settings`), of inner filters left out (`widths`), and of extractors
    whose network is guessed, each in a second (`guessed`)."""

    data: str
    target: str
    other: str
    layers: tuple[int, ...] | None
    depths: tuple[int, ...]
    depth: int
    draws: int
    again: int
    pictures: int | None
    epochs: int
    named: tuple[int | None, int]
    redrawn: tuple[int | None, int | None]
    samples: tuple[int, ...]
    batches: tuple[int, ...]
    settings: int
    widths: int
    guessed: int
    units: int
    irn: Irn = Irn()  # noqa: RUF009

    def grid(self, name: str, pictures: int | None = -1, epochs: int = 0, irn: Irn | None = None) -> Grid:
        """The planner's grid of this size."""
        count = self.pictures if pictures == -1 else pictures
        return Grid(
            name, self.layers, self.depths, self.draws, self.draws, count, epochs or self.epochs, irn or self.irn
        )


SIZES = {
    "quick": Size(
        data="digits", target="digit", other="",
        layers=None, depths=(1, 2, 4, 8), depth=4, draws=2, again=2,
        pictures=400, epochs=6, irn=Irn(16, 1),
        named=(400, 10), redrawn=(8, 8), samples=(50, 100, 200, 400), batches=(1, 2, 4), settings=4, widths=2,
        guessed=8, units=1,
    ),
    "standard": Size(
        data="cifar10", target="label", other="utkface",
        layers=(1, 3, 4, 6), depths=(2, 8, 32), depth=8, draws=4, again=2,
        pictures=1000, epochs=8, irn=Irn(),
        named=(2000, 8), redrawn=(32, None), samples=(500, 1000, 2000, 4000), batches=(2, 5, 10, 20, 30, 40, 50),
        settings=16, widths=6, guessed=24, units=8,
    ),
    "full": Size(
        data="cifar10", target="label", other="utkface",
        layers=None, depths=(2, 4, 8, 16, 32, 64, 128), depth=8, draws=20, again=20,
        pictures=None, epochs=100, irn=Irn(width=64, units=8, transposed=True),
        named=(None, 100), redrawn=(None, None), samples=(500, 1000, 2000, 4000, 11000),
        batches=(2, 5, 10, 20, 30, 40, 50), settings=20, widths=10, guessed=100, units=8,
    ),
}  # fmt: skip
