"""What is measured of an extractor that is to stay unknown: inner filters left out, guesses of who it is, and attacks
that know it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from privet.planner.characterize import Asked
from privet.planner.identify import anonymity
from privet.planner.known import known as white_box
from privet.planner.table import Table
from privet.planner.verifying import begin
from privet.recipes.measurement import Finding, remembered
from privet.recipes.privynet import costs
from privet.recipes.privynet.bench import SEED, Bench, counted
from privet.recipes.privynet.sizes import GUESSES, HALF, SHARES
from privet.setting import Report, among, stage
from privet.train import one_thread


@dataclass(frozen=True)
class Width:
    """Extractors with these shares of the filters of each inner layer: what networks make of them, what one of them
    costs (milliseconds several times), and the rate of channels that ten pictures name, for each of more draws."""

    shares: tuple[float, ...]
    table: Table
    macs: int
    ms: list[float]
    rates: list[float]


def widths(bench: Bench, report: Report) -> Finding:
    """Figures 14 and 15: inner filters left out."""
    public, made = bench.public(bench.size.pictures), []
    inner = bench.source.chain.inner(bench.deep)
    widths = list(dict.fromkeys(one[: len(inner)] for one in SHARES))
    for number, shares in enumerate(widths):
        asked = [bench.narrow(one, shares) for one in bench.random(bench.size.widths)]
        table = bench.table(asked, public, bench.size.grid("widths"), among(report, 2 * number, 2 * len(widths)))
        macs, ms = cost(bench, asked[0])
        others = guesses_of(bench, shares, among(report, 2 * number + 1, 2 * len(widths)), (10,))
        rates = [found[0]["rate"] for found in others]
        made.append(Width(shares, table, macs, ms, rates))
    told = (
        f"{len(made)} widths of {len(inner)} inner layers, {bench.size.widths} draws each and {bench.size.guessed} "
        "whose network is guessed"
    )
    return bench.found(made, [one.table for one in made], f"{told}; {counted(public)}", bench.size.widths)


def cost(bench: Bench, one: Asked) -> tuple[int, list[float]]:
    """(multiply-accumulates, milliseconds several times) of an extractor."""
    identity = bench.identity(one) | {"machine": platform.node()}
    found = remembered(bench.out, "cost", identity, lambda: costs.of(one.head(), bench.corpus.shape))
    return int(found[0]), [float(ms) for ms in found[1]]


def guessed(bench: Bench, one: Asked, counts: Sequence[int] = GUESSES) -> list[dict[str, Any]]:
    """What so many pictures of an adversary's own tell of an extractor of the deepest layer."""
    settings = bench.identity(one) | {"counts": list(counts), "pool": sorted(s.name for s in bench.pool)}

    def measure() -> list[dict[str, Any]]:
        found = anonymity(
            one.head(), one.source.name, one.layer, one.channels, bench.own_pictures, bench.pool, counts, bench.lookup
        )
        return [asdict(each) for each in found]

    return cast(list[dict[str, Any]], remembered(bench.out, "guess", settings, measure))


def guesses_of(
    bench: Bench, shares: Sequence[float], report: Report, counts: Sequence[int] = GUESSES
) -> list[list[dict[str, Any]]]:
    """The same of several draws of channels, with these shares of the inner filters."""
    made: list[list[dict[str, Any]]] = []
    left = "/".join(f"{share:g}" for share in (shares if len(set(shares)) > 1 else shares[:1]))
    for one in bench.random(bench.size.guessed):
        if report:
            report(f"guessing, {left} of the inner filters", len(made), bench.size.guessed)
        made.append(guessed(bench, bench.narrow(one, shares), counts))
    if report:
        report(f"guessed, {left} of the inner filters", len(made), len(made))
    return made


def guesses(bench: Bench, report: Report) -> Finding:
    """The attack that the paper lacks: {share of inner filters: guesses by number of pictures, for each draw}."""
    draws, layers = bench.size.guessed, len(bench.source.layers)
    shares = (1.0, 0.75, HALF, 0.25)
    made = {
        share: guesses_of(bench, [share] * layers, among(report, number, len(shares)))
        for number, share in enumerate(shares)
    }
    told = (
        f"{len(bench.pool)} networks, layer {bench.deep}, {bench.depth} channels, {len(bench.own_pictures):,} pictures"
    )
    return bench.found(made, [], told, draws)


def known(bench: Bench, report: Report) -> Finding:
    """What attacks draw that know the network, beside those that do not, on the same people: {layer: figures}."""
    made = {}
    for m in dict.fromkeys((bench.layers[0], bench.deep)):
        one = bench.random(1, layer=m)[0]

        def measure(one: Asked = one) -> dict[str, Any]:
            with one_thread():
                told = stage(report, f"decoders of layer {one.layer}")
                begun = begin(one.head(), bench.corpus, bench.size.grid("known"), progress=told)
                return asdict(white_box(one.head(), bench.corpus, begun, seed=SEED, report=report))

        identity = bench.identity(one) | {"grid": repr(bench.size.grid("known"))}
        made[m] = remembered(bench.out, "known", identity, measure)
    return bench.found(made, [], f"layers {' and '.join(map(str, made))}, {bench.depth} channels, sixteen people")
