"""Results: everything that a finished study says, as plain values. The table, the JSON lines and the page are views
of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.auditing.checks import Check
from privet.auditing.estimate import Estimate
from privet.report.groups import Analysis
from privet.report.judged import Judged
from privet.report.persons import Linked, Many
from privet.report.spending import Curve, Purse


@dataclass(frozen=True)
class Row:
    """One finding: an attack on one defended split, scored by one metric. For every metric more means more leakage.

    `floor` is what an adversary reaches without the payload, `undefended` the headline attack on the raw
    representation (of recordings on the first one, None where there is one alone), `normalized` = (value - floor) /
    (undefended - floor), None where there is nothing to hide or no such scale.
    `headline` marks the attack that was selected for this metric on aux_val.
    """

    data: str
    model: str
    at: str
    defense: str
    attack: str
    goal: str  # "attribute" | "reconstruct"
    threat: str
    attribute: str  # the hidden attribute; "input" for reconstruction
    metric: str  # a key of privet.metrics.METRICS | psnr ssim
    value: Estimate
    floor: Estimate
    undefended: Estimate | None
    normalized: float | None
    utility: Estimate | None  # target accuracy on victims; None where answers or target were not recorded
    payload_bytes: int
    edge_macs: int | None  # None where nobody knows what made the payload
    seeds: int
    flags: tuple[str, ...]
    headline: bool
    certified: float | None = None  # no attacker exceeds it: only for payloads of a few bits, accuracy and balanced
    advantage: Estimate | None = None  # value - floor, paired over victims and seeds; not a key of the JSON object
    groups: Analysis | None = None  # group by group, where this row is the headline of accuracy
    judged: tuple[Judged, ...] = ()  # what judges say of the pictures that this attack rebuilt, where this row is PSNR

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it."""
        whole = asdict(self) | {"flags": list(self.flags)}
        del whole["advantage"]
        return whole


@dataclass(frozen=True)
class Bound:
    """A ceiling on every attacker of one defense (for the squared error of `input`: a floor), worst over the seeds.

    among: the value of the target within which it holds, None for everybody. strongest: the mean over seeds of the
    selected attack's score on the victims. in_sample: what the best rule made for these very people reaches."""

    defense: str
    attribute: str
    metric: str  # accuracy balanced_accuracy | squared_error
    among: str | None
    bound: float
    in_sample: float
    attack: str
    strongest: float
    confidence: float
    people: int
    groups: int
    messages: int
    bits: int
    informative: bool
    scope: str
    known_people: bool = False  # the people are what is hidden, and stand in every part


@dataclass(frozen=True)
class Results:
    """A whole study. `floors` names, for an attribute and metric, every floor; the largest is the one in the rows."""

    title: str
    command: str  # how to reproduce
    folder: str
    data: dict[str, Any]  # privet.data.describe: name kind shape counts target hidden notes flags dependence (nats)
    model: str
    at: str
    cut_shape: tuple[int, ...]
    threat: dict[str, str]  # name, paragraph
    effort: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    floors: dict[
        str, dict[str, dict[str, Estimate]]
    ]  # attribute -> metric -> {majority, label_only, imputation | mean_image}
    checks: tuple[Check, ...]
    flags: dict[str, dict[str, str]]  # flag -> {explanation, what_to_do}, only those raised
    defenses: tuple[str, ...]  # as given, in order, the reference first
    guarantees: dict[str, str]  # defense -> statement, or why there is none
    logs: dict[str, dict[str, Any]]  # defense -> what fitting it logged (rank, kept, ...), of the first seed
    originals: npt.NDArray[np.uint8] | None  # [n, C, H, W]; None for tables
    reconstructions: dict[str, npt.NDArray[np.uint8]]  # defense -> [n, C, H, W] by the headline attack
    reconstruction_by: dict[str, str]  # defense -> the attack that made them
    unfinished: tuple[str, ...]  # trials that did not end, as sentences
    seconds: float
    versions: dict[str, str]
    digest: str  # over results only
    left_out: dict[str, str] = field(default_factory=dict)  # attack -> why the threat does not grant it
    bounds: tuple[Bound, ...] = ()  # on every attacker, for the defenses whose payload has few bits
    refused: tuple[str, ...] = ()  # trials that could not be, each with its reason, as sentences
    purses: tuple[Purse, ...] = ()  # what the attacks reach by the seconds they take
    curves: tuple[Curve, ...] = ()  # the strongest attacks by the people they learn from, where that was asked for
    many: tuple[Many, ...] = ()  # what several payloads of one person tell
    linked: tuple[Linked, ...] = ()  # whether payloads of one person are recognized as such
    groups: tuple[Analysis, ...] = ()  # per attribute and defense: who is served worse, who is exposed
    scale: str | None = "undefended"  # what `undefended` is called; None where there is no such scale


__all__ = ["Bound", "Check", "Results", "Row"]
