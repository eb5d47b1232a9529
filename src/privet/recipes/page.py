"""The page of a reproduction: verdicts first, then each claim with what was reported, what was measured, and the
figure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privet import run
from privet.auditing.estimate import Estimate
from privet.errors import PrivetError
from privet.recipes.claims import ATTACKERS, Figure, Judgement, Outcome, Verdict
from privet.recipes.commitment import CODE, FILE
from privet.recipes.reproduce import Reproduction, study_name
from privet.report import chart, pages
from privet.report.words import DASH, MINUS

SHOWN = 6  # measurements of a claim that stand open on its card
SAID: dict[str, str] = {"published": "the paper's adversary", "fresh": "fresh adversaries"}
ORDER: tuple[Verdict, ...] = ("reproduced", "not reproduced", "differs", "inconclusive", "not run")


@dataclass(frozen=True)
class Panel:
    """A drawn figure."""

    anchor: str
    title: str
    svg: str
    caption: str


def write(done: Reproduction, path: Path) -> Path:
    """Write the page, whole or not at all; RunError where it cannot be written."""
    run.write_text(path, render(done))
    return path


def render(done: Reproduction) -> str:
    """One self-contained HTML page."""
    claimed = {f for j in done.judgements for f in j.claim.figures}
    loose = [f for f in done.recipe.figures if f.id not in claimed and (not done.only or f.id in done.only)]
    drawn: dict[str, list[Panel]] = {}
    studies = done.evidence.studies
    return pages.render(
        "claims.html.j2",
        title=done.recipe.paper.title,
        eyebrow="Privet reproduction",
        facts=_facts(done),
        lead=lead(done.judgements),
        cautions=cautions(done),
        cards=[_card(done, j, drawn) for j in done.judgements],
        figures=[p for f in loose for p in _panels(done, f)],
        committed=_committed(done),
        changes=[str(c) for c in done.changes],
        studies=[_study(done, key) for key in studies],
        findings=[{"key": k, "data": f.data, "facts": f.facts} for k, f in done.evidence.findings.items()],
        absent=list(done.evidence.absent.items()),
        notes=list(dict.fromkeys(n for r in studies.values() for n in r.plan["data"].get("notes", ()))),
        commands=[("The same again; finished trials are found, not computed:", done.command)],
        versions=list(run.versions().items()),
    )


def lead(judgements: tuple[Judgement, ...]) -> str:
    """The verdicts in a sentence."""
    ran = [j for j in judgements if j.ran]
    if not ran:
        return "None of these claims could be judged: nothing that they need was run."
    told = []
    for who, found in (
        ("fresh adversaries", [j.verdict for j in ran]),
        ("the paper's own", [j.verdict_as_published for j in ran]),
    ):
        counts = Counter(found)
        told.append(f"under {who} " + ", ".join(f"**{counts[v]} {v}**" for v in ORDER if counts[v]))
    rest = len(judgements) - len(ran)
    tail = f"; {rest} of {len(judgements)} could not be run." if rest else "."
    return f"Of {len(ran)} claim{'s' if len(ran) > 1 else ''}, {told[0]}; {told[1]}{tail}"


def cautions(done: Reproduction) -> list[str]:
    """What has to be known before the verdicts are read."""
    said = [f"{str(c)[:1].upper()}{str(c)[1:]}." if not str(c).endswith(".") else str(c) for c in done.changes]
    if done.grid.name == "quick":
        said.append("Quick effort: a smoke test on small data, with adversaries that learned little. Quote nothing.")
    if done.evidence.studies and done.grid.seeds == 1:
        said.append("One seed: every interval holds for that training only.")
    if done.grid.as_published:
        said.append("As published: the paper's own architecture, optimizer and epochs.")
    for key, runs in done.evidence.studies.items():
        refused = [r for r in runs.plan.get("refused", ()) if (r["defense"], r["seed"]) not in runs.runs]
        said += [f"{key}: {r['defense']}, seed {r['seed']}, was refused: {r['why']}." for r in refused]
        wanted = len(runs.plan["trials"]) - len(refused)
        if len(runs.runs) < wanted:
            said.append(f"{key}: {wanted - len(runs.runs)} of {wanted} trials are not finished; run the command again.")
        if any(
            not c["passed"] and c["decisive"] for r in runs.of(runs.reference) for c in r.record["results"]["checks"]
        ):
            said.append(f"{key}: a calibration of the attacks failed, so a low attack there may be a weak attack.")
    return said + [f"{key} was not run: {why}" for key, why in done.evidence.absent.items()]


def margin(found: Estimate | None) -> tuple[str, str]:
    """A margin and its interval as text."""
    if found is None:
        return DASH, ""
    mean, low, high = (f"{v:+.3f}".replace("-", MINUS) for v in (found.mean, found.low, found.high))
    return mean, f"{low} to {high}" if found.low < found.high or found.n > 1 else "exact"


def _facts(done: Reproduction) -> list[tuple[str, str]]:
    trials = {r.folder for runs in done.evidence.studies.values() for r in runs.runs.values()}
    names = dict.fromkeys(done.evidence.data(key) for key in done.evidence.keys)
    counted = [(len(trials), "trial"), (len(done.evidence.findings), "measurement")]
    told = " and ".join(f"{n} {what}{'s' if n > 1 else ''}" for n, what in counted if n)
    seeds = [("Seeds", str(done.grid.seeds))] if done.evidence.studies else []
    return [
        ("Paper", str(done.recipe.paper)),
        ("Grid", done.grid.name + (", as published" if done.grid.as_published else "")),
        ("Data", ", ".join(n for n in names if n) or DASH),
        *seeds,
        ("Computed", f"{told} in {done.seconds / 60:.0f} min" if told else "nothing"),
    ]


def _repeats(done: Reproduction, judged: Judgement) -> str:
    """Over how many seeds a claim was judged, or over how many draws of what was measured where that is one number."""
    count = len(judged.seeds)
    if any(key in done.evidence.studies for key in judged.claim.needs):
        return f"{count} seed{'s' if count != 1 else ''}" if count else ""
    counts = {len(done.evidence.seeds(key)) for key in judged.claim.needs if key in done.evidence.keys}
    return f"{count} draws" if len(counts) == 1 and count > 1 else ""


def _card(done: Reproduction, judged: Judgement, drawn: dict[str, list[Panel]]) -> dict[str, Any]:
    claim = judged.claim
    before = [p for name in claim.figures for p in drawn.get(name, ())[:1]]
    figures = [f for f in done.recipe.figures if f.id in claim.figures and f.id not in drawn]
    drawn |= {f.id: list(_panels(done, f)) for f in figures}
    pairs = zip(judged.outcomes["published"], judged.outcomes["fresh"], strict=True)
    told = list(_told(judged))
    return {
        "id": claim.id,
        "statement": claim.statement,
        "where": claim.where,
        "reported": claim.reported,
        "criterion": claim.criterion,
        "data": ", ".join(judged.data),
        "stands_on": ", ".join(filter(None, (*judged.data, _repeats(done, judged)))),
        "published": judged.verdict_as_published,
        "fresh": judged.verdict,
        "told": told[:SHOWN],
        "more": told[SHOWN:],
        "parts": [_part(published, fresh) for published, fresh in pairs],
        "panels": [p for f in figures for p in drawn[f.id]],
        "see": before,
        "outside": _outside(judged),
        "changes": [f"Criterion changed after the runs: {c}." for c in done.changes if c.claim == claim.id],
    }


def _told(judged: Judgement) -> Iterator[dict[str, Any]]:
    """What was measured, in words, part by part: said once where both adversaries agree; the margin where a part has
    no words of its own."""
    for published, fresh in zip(judged.outcomes["published"], judged.outcomes["fresh"], strict=True):
        texts = {SAID[a]: _words(o) for a, o in (("published", published), ("fresh", fresh)) if o.margin}
        if texts:
            agreed = len(texts) == 2 and len(set(texts.values())) == 1
            said = [("", next(iter(texts.values())))] if agreed else list(texts.items())
            yield {"part": fresh.part.statement, "said": said}


def _words(outcome: Outcome) -> str:
    mean, interval = margin(outcome.margin)
    return re.sub(r"(?<![\w.])-(?=[\d.])", MINUS, outcome.told) or f"margin {mean}, {interval}"


def _outside(judged: Judgement) -> str:
    """What the verdict does not speak of."""
    left = sum(o.outside for o in judged.outcomes["fresh"])
    rest = len(judged.claim.parts) - left
    if not left:
        return ""
    if not rest:
        return (
            f"None of its {left} part{'s' if left > 1 else ''} belongs to this grid; take a larger one with --effort."
        )
    return f"Judged on {rest} of its {rest + left} parts; the others belong to a larger grid."


def _part(published: Outcome, fresh: Outcome) -> dict[str, Any]:
    both = (published, fresh)
    texts = [margin(o.margin) for o in both]
    return {
        "statement": fresh.part.statement,
        "outside": fresh.outside,
        "missing": "; ".join(dict.fromkeys(o.missing for o in both if o.missing)),
        "margins": [{"text": t, "under": u, "verdict": o.verdict} for (t, u), o in zip(texts, both, strict=True)],
    }


def _panels(done: Reproduction, figure: Figure) -> Iterator[Panel]:
    """The figure under each adversary; once where they agree, not at all where its runs are missing."""
    made: dict[str, str] = {}
    for attacker, said in ((a, SAID[a]) for a in ATTACKERS):
        try:
            for key in figure.needs:
                done.evidence.check(key)
            drawing = figure.draw(done.evidence, attacker)
        except PrivetError:  # the card says what is missing
            continue
        if isinstance(drawing, str):
            made.setdefault(drawing, said)
        elif any(s.points for s in drawing.series):
            made.setdefault(chart.svg(drawing, f"{figure.title}: {drawing.y} against {drawing.x}"), said)
    for index, (svg, said) in enumerate(made.items()):
        title = figure.title + (f", {said}" if len(made) > 1 else "")
        yield Panel(f"figure-{figure.id}-{index}", title, svg, figure.caption)


def _committed(done: Reproduction) -> str:
    told = f"The criteria, the grid and the hash of the code stand in {FILE}, written before the first trial."
    if not done.changes:
        return f"{told} Nothing has changed since."
    only = all(c.claim == CODE for c in done.changes)
    return told + (" The criteria are the same since, their code is not." if only else " They have changed since:")


def _study(done: Reproduction, key: str) -> dict[str, Any]:
    runs = done.evidence.studies[key]
    plan, data = runs.plan, runs.plan["data"]
    return {
        "key": key,
        "data": data["name"],
        "question": f"{data['target']['name']}, hiding {', '.join(str(h['name']) for h in data['hidden'])}",
        "model": plan["model"],
        "at": plan["at"],
        "victims": f"{len(runs.first.arrays['victim/groups']):,}",
        "defenses": len(plan["defenses"]),
        "trials": f"{len(runs.runs)} of {len(plan['trials'])}",
        "plan": str(done.where.out / f"{study_name(key)}.json"),
    }
