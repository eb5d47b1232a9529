"""View: a study as its tables, figures and sentences ask for it: which row speaks for what, and what to believe."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from privet.auditing.estimate import Estimate
from privet.report.results import Check, Results, Row

INPUT = "input"  # the attribute of reconstruction
PREFERRED = ("accuracy", "balanced_accuracy", "auc", "psnr", "ssim")  # the first one present makes the headline
COLLAPSE = 0.5  # of the lead over the majority class: a defense that loses more has destroyed the answer
FAILED_RECONSTRUCTION = 0.5  # dB above the mean input below which a reconstruction counts as failed
WIDE = {"psnr": 2.0, "ssim": 0.1, "bits": 0.5}  # an interval that reaches so far above the floor decides nothing
WIDE_RATE = 0.1  # the same for rates and AUC


@dataclass(frozen=True)
class Variant:
    """One defended split of the study; the label names cut and threat only where they differ."""

    index: int
    defense: str
    at: str
    threat: str
    label: str


@dataclass(frozen=True)
class Terms:
    """What a study's lines are called: one line, the level that gives every number its scale (empty where there is
    none), and the first line, as a label and in a sentence."""

    line: str
    scale: str
    base: str
    without: str


DEFENSES = Terms("defense", "undefended", "no defense", "without a defense")


class View:
    """Questions to one Results; nothing is computed anew, only found."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._rows: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in results.rows:
            self._rows[row.defense, row.at, row.threat].append(row)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Every defended split with rows, in the order of the study, the reference first."""
        order = {d: i for i, d in enumerate(self.results.defenses)}
        keys = sorted(self._rows, key=lambda k: order.get(k[0], len(order)))
        cuts, threats = len({k[1] for k in keys}) > 1, len({k[2] for k in keys}) > 1
        return tuple(
            Variant(i, d, at, t, d + (f" @ {at}" if cuts else "") + (f" [{t}]" if threats else ""))
            for i, (d, at, t) in enumerate(keys)
        )

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The hidden attributes in the order asked, then `input` where pictures were rebuilt."""
        asked = [str(a["name"]) for a in self.results.data.get("hidden", ())]
        present = [r.attribute for r in self.results.rows]
        names = tuple(dict.fromkeys(a for a in [*asked, *present] if a != INPUT))
        return (*names, INPUT) if INPUT in present else names

    @cached_property
    def failed(self) -> dict[str, tuple[Check, ...]]:
        """Attribute -> the calibrations that failed; its numbers are not to be trusted."""
        found: dict[str, tuple[Check, ...]] = {}
        for check in self.results.checks:
            if check.decisive and not check.passed:
                found[check.attribute] = (*found.get(check.attribute, ()), check)
        return found

    def rows(self, variant: Variant, attribute: str | None = None) -> list[Row]:
        """All rows of a variant, or those about one attribute."""
        rows = self._rows[variant.defense, variant.at, variant.threat]
        return rows if attribute is None else [r for r in rows if r.attribute == attribute]

    @cached_property
    def _headlines(self) -> dict[tuple[int, str], list[Row]]:
        found: dict[tuple[int, str], list[Row]] = {}
        for variant in self.variants:
            for row in self.rows(variant):
                if row.headline:
                    found.setdefault((variant.index, row.attribute), []).append(row)
        return found

    def headlines(self, variant: Variant, attribute: str) -> list[Row]:
        """For each metric, the row of the attack that was selected for it on aux_val."""
        return self._headlines.get((variant.index, attribute), [])

    def metrics(self, attribute: str) -> tuple[str, ...]:
        """The headline's metric first (accuracy or PSNR where it exists), then the others in the order of the rows."""
        found = list(dict.fromkeys(r.metric for v in self.variants for r in self.headlines(v, attribute)))
        return tuple(sorted(found, key=lambda m: PREFERRED.index(m) if m in PREFERRED[:1] + PREFERRED[3:4] else 9))

    def headline(self, variant: Variant, attribute: str) -> Row | None:
        """The row that speaks for an attribute under a variant; None where no attack ended."""
        main = self.metrics(attribute)[:1]
        return next((r for r in self.headlines(variant, attribute) if r.metric in main), None)

    def utility(self, variant: Variant) -> Estimate | None:
        """Target accuracy of a variant on the victims."""
        return next((r.utility for r in self.rows(variant)), None)

    def utility_lost(self, variant: Variant) -> float:
        """Target accuracy of the reference minus that of the variant."""
        base, here = self.utility(self.variants[0]), self.utility(variant)
        return math.inf if base is None or here is None else base.mean - here.mean

    def mean_leakage(self, variant: Variant) -> float:
        """Mean normalized leakage over what can be trusted and has something to hide; 1 where nothing is known."""
        found = [self.headline(variant, a) for a in self.attributes if a not in self.failed]
        values = [r.normalized for r in found if r is not None and r.normalized is not None]
        return sum(values) / len(values) if values else 1.0

    @property
    def target(self) -> str:
        """The name of what the service answers; empty where nobody recorded it."""
        return str((self.results.data["target"] or {"name": ""})["name"])

    def target_majority(self) -> float:
        """What always naming the most frequent target class is right for, among the victims."""
        return max((self.results.data["target"] or {}).get("victim_frequencies", ()), default=0.0)

    def target_unlearned(self) -> bool:
        """Whether the undefended network itself does not beat naming the most frequent target class."""
        if not self.variants:
            return False
        return "utility_lost" in flags(self.rows(self.variants[0]))

    def collapsed(self, variant: Variant) -> bool:
        """Whether the defense destroyed the target: the accuracy surely fell, and most of the lead over the majority
        class is gone. A network that had no lead has nothing to lose."""
        base, here, start = self.utility(self.variants[0]), self.utility(variant), self.target_majority()
        if base is None or here is None or self.target_unlearned() or here.high >= base.mean:
            return False
        return here.mean - start < COLLAPSE * (base.mean - start)

    def name(self, attribute: str) -> str:
        """An attribute's name in prose; the input is what is rebuilt: pictures, or the records of a table."""
        return f"{self.thing}s" if attribute == INPUT else attribute.replace("_", " ")

    @property
    def recorded(self) -> bool:
        """Whether the payloads are somebody else's, so that none of them is undefended."""
        return self.results.scale != DEFENSES.scale

    @property
    def terms(self) -> Terms:
        """What the lines of this study are called."""
        name = self.results.scale or ""
        return Terms("recording", name, name, f"from `{name}`") if self.recorded else DEFENSES

    @property
    def judged(self) -> tuple[Variant, ...]:
        """The lines that verdicts speak of: all but the undefended one; of recordings all."""
        return self.variants if self.recorded else self.variants[1:]

    def who(self, variant: Variant) -> str:
        """A line at the beginning of a sentence."""
        if self.recorded:
            return f"From `{variant.label}`"
        return "Without a defense" if variant.defense == "none" else f"With `{variant.label}`"

    @property
    def thing(self) -> str:
        """What one input is called."""
        return "record" if self.results.data.get("kind") == "table" else "picture"

    def leaking(self, variant: Variant, attribute: str) -> bool:
        """Whether any headline of the attribute stands above its floor; a reconstruction is judged by its main one."""
        main = self.headline(variant, attribute)
        rows = self.headlines(variant, attribute) if attribute != INPUT else [r for r in (main,) if r]
        return any(leaks(r) for r in rows)

    def tone(self, variant: Variant, row: Row) -> str:
        """How a number is colored: as its state, but never as safe while another metric shows a leak."""
        here = state(row)
        return "open" if here == "weak" or (here == "safe" and self.leaking(variant, row.attribute)) else here


def over(row: Row) -> Estimate:
    """Value minus floor with its interval; without the paired one, that of the value alone."""
    if row.advantage is not None:
        return row.advantage
    value, floor = row.value, row.floor.mean
    return Estimate(value.mean - floor, value.low - floor, value.high - floor, value.n)


def reconstruction_failed(row: Row) -> bool:
    """Whether a reconstruction is too close to the mean input to count as one."""
    return row.metric == "psnr" and over(row).mean < FAILED_RECONSTRUCTION


def leaks(row: Row) -> bool:
    """Whether the paired interval stands above the floor, for a reconstruction by enough to see."""
    return over(row).low > 0 and not reconstruction_failed(row)


def state(row: Row) -> str:
    """`leak`; or, where none is shown, `weak` (the attack missed a planted bit), `open` (the interval is too wide to
    tell) or `safe` (not distinguishable from the floor)."""
    if leaks(row):
        return "leak"
    if "weak_attack" in row.flags:
        return "weak"
    return "open" if over(row).high > WIDE.get(row.metric, WIDE_RATE) else "safe"


def nothing_to_hide(row: Row) -> bool:
    """Whether, by this metric, even the undefended attack touches the floor."""
    if row.undefended is None:
        return False
    return "nothing_to_hide" in row.flags or row.normalized is None or row.undefended.low <= row.floor.mean


def flags(rows: Iterable[Row]) -> tuple[str, ...]:
    """The flags of several rows, each once, in order."""
    return tuple(dict.fromkeys(f for r in rows for f in r.flags))
