"""Claims: what a paper asserts, as criteria that are written down before anything is measured.

A recipe is a file (or a folder) of this folder, named as the paper's method, with

    PAPER = Paper("Title", "Samragh et al. 2021", "2104.11413")
    EXACT = False  # where --as-published is refused
    def studies(grid: Grid, where: Where) -> dict[str, Study | Measurement]: ...  # keys such as "utkface/flatten"
    CLAIMS = (Claim("3d", statement, "Figure 5", reported, criterion, (Part(statement, measure, needs), ...)), ...)
    FIGURES = (Figure("5", title, draw, needs), ...)

A part measures a margin that is positive exactly where the claim holds. Its verdict is read off the 95 % interval,
under the paper's own adversary (the server probe, or what the recipe names in PUBLISHED) and under the headline
adversary of an audit. A part that could not be measured is said
to be so and never counts for a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from privet.auditing.estimate import Estimate
from privet.errors import PrivetError, SpecError, unknown
from privet.recipes.evidence import PUBLISHED, Attacker, Evidence
from privet.recipes.measurement import Measurement
from privet.report.chart import Chart
from privet.schedule import Source, Study
from privet.setting import Setting

Verdict = Literal["reproduced", "not reproduced", "inconclusive", "differs", "not run"]
ATTACKERS: tuple[Attacker, ...] = get_args(Attacker)
Measure = Callable[[Evidence, Attacker], Estimate]
Tell = Callable[[Evidence, Attacker], str]
Both = tuple[Measure, Tell]
Drawing = Chart | str  # a chart, or a figure that is drawn already, as SVG
Draw = Callable[[Evidence, Attacker], Drawing]


@dataclass(frozen=True)
class Paper:
    """Where the claims come from; arxiv is the bare number."""

    title: str
    citation: str
    arxiv: str = ""

    def __str__(self) -> str:
        return f"{self.citation}, arXiv:{self.arxiv}" if self.arxiv else self.citation


@dataclass(frozen=True)
class Part:
    """One testable sentence. `measure` gives the estimated margin, positive exactly where the sentence is true; `needs`
    are the keys of the studies and measurements that it reads; `tell` says the measured numbers themselves."""

    statement: str
    measure: Measure
    needs: tuple[str, ...]
    tell: Tell | None = None


@dataclass(frozen=True)
class Claim:
    """What a paper asserts: `where` is its figure or table, `reported` what it printed, `criterion` what is to be
    found here, in one sentence; `figures` are ids of the recipe's figures."""

    id: str
    statement: str
    where: str
    reported: str
    criterion: str
    parts: tuple[Part, ...]
    figures: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The studies that its parts read."""
        return tuple(dict.fromkeys(key for part in self.parts for key in part.needs))


@dataclass(frozen=True)
class Figure:
    """A figure of the page, drawn from the evidence under one attacker."""

    id: str
    title: str
    draw: Draw
    needs: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Grid:
    """How much is run: `quick` (digits, a smoke test), `standard` (a reduced grid), `full` (the paper's); as_published
    asks for the paper's own architecture, optimizer and epochs."""

    name: str
    effort: str
    seeds: int
    as_published: bool = False

    @classmethod
    def named(cls, name: str, seeds: int | None = None, as_published: bool = False) -> Grid:
        """A grid with the number of seeds that was asked for."""
        if name not in GRIDS:
            raise SpecError(unknown("effort", name, GRIDS))
        if seeds is not None and not 1 <= seeds <= 1000:
            raise SpecError(f"--seeds must be at least 1 and at most 1000, got {seeds}")
        return cls(name, name, seeds or GRIDS[name], as_published)


GRIDS = {"quick": 1, "standard": 3, "full": 5}  # name -> seeds; two seeds make hopeless intervals


@dataclass(frozen=True)
class Where:
    """Where the named data sets lie and the runs go; what every study of a recipe shares."""

    data: Path | None
    out: Path
    jobs: int = 0
    device: str = "cpu"
    any_version: bool = False

    def place(self, name: str) -> str:
        """The --data of a named set; digits comes with the library."""
        return name if name == "digits" or self.data is None else str(self.data / name)

    def study(self, source: Source, setting: Setting, defenses: Sequence[str], grid: Grid) -> Study:
        """A study of this recipe: its own people, network, cut and defenses, the seeds of the grid."""
        return Study(source, setting, tuple(defenses), grid.seeds, self.out, self.jobs, any_version=self.any_version)

    def lacks(self, study: Study | Measurement) -> str | None:
        """Why a study cannot be run here, or None: its data set is not in the folder."""
        data = study.data if isinstance(study, Measurement) else study.source.data
        if data in ("digits", "") or data.startswith("hub:"):
            return None
        if self.data is None:
            return f"needs the data set {data}; give --data DIR, a folder that holds it"
        path = Path(data)
        if path.exists() or any(path.parent.glob(f"{path.name}.*")):
            return None
        return f"there is no {path.name} in {self.data}"


@dataclass(frozen=True)
class Recipe:
    """A paper's claims with the studies that they are judged on; `file` holds its code, together with the files beside
    it where the recipe is a folder. `exact`: it can be run as published, with the paper's own network and optimizer."""

    name: str
    paper: Paper
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    studies: Callable[[Grid, Where], Mapping[str, Study | Measurement]]
    file: Path
    published: tuple[str, ...] = PUBLISHED
    exact: bool = True

    @property
    def whole(self) -> bool:
        """Whether the recipe is a folder of its own."""
        return self.file.name == "__init__.py"

    def chosen(self, only: Sequence[str]) -> tuple[Claim, ...]:
        """The claims of these ids, or beside these figures; all where none is named. SpecError for unknown names."""
        legal = {c.id for c in self.claims} | {f.id for f in self.figures}
        for name in only:
            if name not in legal:
                raise SpecError(unknown(f"claim or figure of {self.name}", name, legal))
        return tuple(c for c in self.claims if not only or c.id in only or set(c.figures) & set(only))


@dataclass(frozen=True)
class Outcome:
    """One part under one attacker: its margin, or why there is none. `outside` marks a part whose studies do not belong
    to this grid; it has no say in the verdict."""

    part: Part
    margin: Estimate | None
    missing: str = ""
    told: str = ""
    outside: bool = False

    @property
    def verdict(self) -> Verdict:
        """Read off the interval."""
        if self.margin is None:
            return "not run"
        return "reproduced" if self.margin.low > 0 else "not reproduced" if self.margin.high <= 0 else "inconclusive"

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "part": self.part.statement,
            "studies": list(self.part.needs),
            "margin": self.margin.json() if self.margin else None,
            "verdict": self.verdict,
            "told": self.told or None,
            "missing": self.missing or None,
        }


@dataclass(frozen=True)
class Judgement:
    """A claim judged under both attackers."""

    recipe: str
    claim: Claim
    outcomes: Mapping[Attacker, tuple[Outcome, ...]]
    data: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def verdict(self) -> Verdict:
        """Under fresh adversaries: the attack selected on aux_val over all."""
        return verdict(self.outcomes["fresh"])

    @property
    def verdict_as_published(self) -> Verdict:
        """Under the paper's own adversary."""
        return verdict(self.outcomes["published"])

    @property
    def ran(self) -> bool:
        """Whether anything was measured."""
        return any(o.margin for found in self.outcomes.values() for o in found)

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it. A claim of which nothing ran is inconclusive, and its parts say why."""
        return {
            "claim": self.claim.id,
            "paper": self.recipe,
            "data": ", ".join(self.data),
            "criterion": self.claim.criterion,
            "reported": self.claim.reported,
            "measured": {a: [o.json() for o in self.outcomes[a]] for a in ATTACKERS},
            "verdict": _decided(self.verdict),
            "verdict_as_published": _decided(self.verdict_as_published),
            "seeds": list(self.seeds),
        }


def _decided(found: Verdict) -> Verdict:
    return "inconclusive" if found == "not run" else found


def verdict(outcomes: Sequence[Outcome]) -> Verdict:
    """All parts reproduced, or none; `differs` where some are and some are not. What could not be measured is
    undecided: it never makes a claim reproduced."""
    found = {o.verdict for o in outcomes if not o.outside}
    if found <= {"not run"}:
        return "not run"
    if {"reproduced", "not reproduced"} <= found:
        return "differs"
    return found.pop() if len(found) == 1 else "inconclusive"


def judge(recipe: Recipe, evidence: Evidence, only: Sequence[str] = ()) -> list[Judgement]:
    """Every claim (or the chosen ones) on this evidence, in the recipe's order."""
    grid = {*evidence.keys, *evidence.absent}
    judged = []
    for claim in recipe.chosen(only):
        outcomes = {a: tuple(_outcome(part, evidence, a, grid) for part in claim.parts) for a in ATTACKERS}
        read = [key for key in claim.needs if key in evidence.keys]
        named = [evidence.data(k) if k in read else k.split("/")[0] for k in claim.needs if k in grid]
        seeds = sorted(set.intersection(*(set(evidence.seeds(key)) for key in read))) if read else []
        judged.append(Judgement(recipe.name, claim, outcomes, tuple(dict.fromkeys(named)), tuple(seeds)))
    return judged


def _outcome(part: Part, evidence: Evidence, attacker: Attacker, grid: set[str]) -> Outcome:
    outside = [key for key in part.needs if key not in grid]
    if outside:
        return Outcome(part, None, f"{', '.join(outside)} is not in this grid", outside=True)
    try:
        for key in part.needs:
            evidence.check(key)
        margin = part.measure(evidence, attacker)
        return Outcome(part, margin, told=part.tell(evidence, attacker) if part.tell else "")
    except PrivetError as missing:  # an arm that is not there, or a statistic that is not defined
        return Outcome(part, None, str(missing))
