"""PrivyNet's claims: each margin on planted measurements that make it true and that make it false, then the whole
reproduction on digits, small."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, spearmanr, ttest_ind
from sklearn import config_context

from privet import recipes
from privet.attacks.irn import Irn
from privet.errors import MissingExtra, RunError, SpecError
from privet.planner import table as planner_table
from privet.planner.table import Row, Table
from privet.recipes import page, reproduce
from privet.recipes.claims import Both, Grid, Where
from privet.recipes.evidence import Evidence
from privet.recipes.measurement import Finding, Measurement, remembered
from privet.recipes.privynet import channels, estimates, grid, networks, sets, unknown
from privet.recipes.privynet.sizes import SIZES, Size
from privet.recipes.privynet.tables import Single
from privet.recipes.privynet.unknown import Width
from privet.train import EFFORTS


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """Tables are smoothed tens of thousands of times here: what scikit-learn is asked for is checked where smoothing is
    tested."""
    with config_context(skip_parameter_validation=True):
        yield


LAYERS, DEPTHS, DRAWS = (1, 3, 6), (2, 8, 32), 5
NOISE = np.random.default_rng(3)


def row(m: int, depth: int, draw: int, psnr: float, accuracy: float, **more: Any) -> Row:
    """What networks reach; the linear surrogates stay two dB and a tenth below."""
    channels = more.pop("channels", tuple(range(draw, draw + depth)))
    linear = more.pop("linear", psnr - 2)
    return Row("", "net", m, f"l{m}", depth, draw, channels, linear, accuracy - 0.1, psnr, accuracy, **more)


def table(psnr: Any, accuracy: Any, noise: float = 0.1) -> Table:
    """A grid whose figures are functions of layer and depth, with some noise for each draw of channels."""
    rows = []
    for m in LAYERS:
        for depth in DEPTHS:
            for draw in range(DRAWS):
                p, u = psnr(m, depth) + noise * NOISE.normal(), accuracy(m, depth) + 0.02 * noise * NOISE.normal()
                rows.append(row(m, depth, draw, p, u))
    return Table(tuple(rows))


def evidence(**found: Any) -> Evidence:
    """Measurements of a set called d."""
    return Evidence({}, findings={f"d/{key}": Finding("d", value, (1, 2)) for key, value in found.items()})


def holds(both: Both, there: Evidence) -> bool | None:
    """Whether the interval of the margin lies above 0 (True), at or below it (False), or on both sides (None), for
    both adversaries alike."""
    measure, tell = both
    said = set()
    for attacker in ("published", "fresh"):
        found = measure(there, attacker)
        assert tell(there, attacker)
        said.add(True if found.low > 0 else False if found.high <= 0 else None)
    assert len(said) == 1
    return said.pop()


PAPER = table(lambda m, d: 24 - 2 * m + 2 * np.log2(d), lambda m, d: 0.8 - (0.05 * (m - 1) * (5 - np.log2(d)) / 4))
OPPOSITE = table(lambda m, d: 14 + 2 * m - np.log2(d), lambda m, d: 0.5 + (0.05 * (m - 1) * (5 - np.log2(d)) / 4))


@pytest.mark.parametrize(
    "both",
    [
        grid.trend("d", "layer"),
        grid.trend("d", "depth"),
        grid.lost_where_deep("d"),
        grid.lost_with_depth("d"),
    ],
)
def test_trends_of_the_grid(both: Both) -> None:
    assert holds(both, evidence(grid=PAPER)) is True
    assert holds(both, evidence(grid=OPPOSITE)) is False


def test_a_strategy_that_has_one_layer_takes_no_shallower_one() -> None:
    assert holds(grid.plans("d"), evidence(grid=PAPER)) is True
    one = Table(tuple(r for r in PAPER.rows if r.layer == 1))
    assert holds(grid.plans("d"), evidence(grid=one)) is False


def test_ranks_are_spearman_s() -> None:
    x, y = NOISE.integers(0, 5, 40), NOISE.integers(0, 5, 40)
    assert estimates.rank(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert np.isnan(estimates.rank([1, 1], [1, 2]))


def test_deeper_is_worth_more_at_equal_loss() -> None:
    better = table(lambda m, d: 20 - m + np.log2(d), lambda m, d: 0.3 + 0.02 * m + 0.05 * np.log2(d), 0.01)
    worse = table(lambda m, d: 20 - m + np.log2(d), lambda m, d: 0.6 - 0.07 * m + 0.05 * np.log2(d), 0.01)
    assert holds(grid.envelope("d"), evidence(grid=better)) is True
    assert holds(grid.envelope("d"), evidence(grid=worse)) is False
    apart = table(lambda m, d: 40 - 6 * m + 0.1 * np.log2(d), lambda m, d: 0.5, 0.01)
    with pytest.raises(RunError, match="not defined"):
        grid.envelope("d")[0](evidence(grid=apart), "fresh")


def test_components_of_variance_by_hand() -> None:
    """Two layers, two depths, two draws: means of squares by hand."""
    made = {(1, 1): [0.0, 2.0], (1, 2): [4.0, 6.0], (2, 1): [10.0, 12.0], (2, 2): [14.0, 16.0]}
    cells = {k: np.array(v) for k, v in made.items()}
    assert estimates.components(cells) == pytest.approx((25 - 2 / 4 / 2, 4 - 2 / 4 / 2, 2)), "chance is taken off"
    more = cells | {(2, 4): np.array([99.0, 100.0])}  # a depth that the other layer has not
    assert estimates.components(more) == pytest.approx(estimates.components(cells))
    assert holds(grid.matters("d", 0, estimates.loss, "PSNR"), evidence(grid=PAPER)) is True
    chance = table(lambda m, d: 20, lambda m, d: 0.5, 3.0)
    assert holds(grid.matters("d", 0, estimates.loss, "PSNR"), evidence(grid=chance)) is not True


def alone(psnr: Any, accuracy: Any, channels: int = 64, judged: int = 10**6) -> dict[int, Single]:
    """Channels of two layers alone, all redrawn, the accuracy counted on so many people."""
    rows = Table(tuple(row(4, 1, c, psnr(c), accuracy(c), channels=(c,)) for c in range(channels)))
    return {m: Single(rows, rows, channels, judged) for m in (4, 6)}


def test_single_channels() -> None:
    order = NOISE.permutation(64)
    apart = alone(lambda c: 14 + 4 * c / 63, lambda c: 0.2 + 0.4 * order[c] / 63)
    alike = alone(lambda c: 14 + c / 63, lambda c: 0.3 + 0.05 * c / 63)
    for which in (0, 1):
        for figure in ("psnr", "accuracy"):
            assert holds(channels.spread("d", which, figure), evidence(single=apart)) is True
            assert holds(channels.spread("d", which, figure), evidence(single=alike)) is False
        assert holds(channels.unrelated("d", which), evidence(single=alike)) is False
    many = np.random.default_rng(0).permutation(2000)
    free = alone(lambda c: 14 + c / 500, lambda c: 0.3 + many[c] / 5000, 2000)
    assert holds(channels.unrelated("d", 0), evidence(single=free)) is True


def test_extremes_are_those_of_all_channels_and_not_of_counting() -> None:
    """Channels that are all alike differ when they are told on few people; of some channels the extremes lie nearer."""
    told = np.random.default_rng(1).binomial(200, 0.25, 128) / 200
    assert told.max() / told.min() > 1.5
    alike = alone(lambda c: 14, lambda c: told[c], 128, 200)
    assert holds(channels.spread("d", 0, "accuracy"), evidence(single=alike)) is not True
    leaks = 14 + 0.41 * norm.ppf((np.arange(32) + 0.5) / 32)  # of 128 such channels: 2.1 dB
    some = Table(tuple(row(4, 1, c, leaks[c], 0.5, channels=(c,)) for c in range(32)))
    assert np.ptp(leaks) < 1.8
    part = {4: Single(some, some, 128, 200), 6: alike[6]}
    assert holds(channels.spread("d", 0, "psnr"), evidence(single=part)) is None, "32 channels do not refute it"
    assert estimates.expected_range(1.0, 128) == pytest.approx(5.2, abs=0.1)
    with pytest.raises(RunError, match="trained for 32 of 128 channels"):
        estimates.leaking(some, alike[4].named, "published")


LEVELS = [(m, d) for m in range(4) for d in range(3)]


def test_intervals_hold_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two to four draws a cell: the contrast of four cells is where its interval says in nine of ten, and components
    that are equal are not told apart."""
    generator = np.random.default_rng(4)
    monkeypatch.setattr(estimates, "REPLICATES", 150)
    for draws in (2, 4):
        covered = 0
        for _ in range(100):
            strata = [generator.normal(mean, 1.0, draws) for mean in (0.0, 1.0, 3.0, 2.0, 5.0, 1.0)]
            found = estimates.over_draws(strata, lambda s: float(s[3].mean() - s[2].mean() - s[1].mean() + s[0].mean()))
            covered += found.low <= -2 <= found.high
        assert covered >= 88, draws
    told = 0
    for _ in range(30):
        level = np.array([-1.0, -1.0, 1.0, 1.0])  # variance 1, as of the choice
        cells = {(m, d): level[m] + generator.normal(0, 1.0, 3) for m, d in LEVELS}
        found = estimates.over_draws(
            list(cells.values()),
            lambda s: float(np.subtract(*np.array(estimates.components(dict(zip(LEVELS, s, strict=True))))[[0, 2]])),
        )
        told += found.low > 0
    assert told <= 4
    with pytest.raises(RunError, match="one draw of each cell"):
        estimates.over_draws([np.ones(1), np.zeros(1)], lambda s: 1.0)


def test_leaking_and_useless_channels() -> None:
    same = alone(lambda c: 20 - c / 10, lambda c: 0.2 + c / 100)  # what leaks most is worth least
    other = alone(lambda c: 14 + c / 10, lambda c: 0.2 + c / 100)
    assert holds(channels.independent("d"), evidence(single=other)) is True
    assert holds(channels.independent("d"), evidence(single=same)) is False
    assert "16 of the 16" in channels.independent("d")[1](evidence(single=same), "fresh")


def test_fisher_finds_and_settles() -> None:
    single = alone(lambda c: 14 + c / 10, lambda c: 0.2 + c / 100)
    right = {2: np.arange(64.0), 50: np.arange(64.0)}
    wrong = {2: NOISE.permutation(64).astype(float), 50: -np.arange(64.0)}
    assert holds(channels.fisher_finds("d"), evidence(single=single, fisher=right)) is True
    assert holds(channels.fisher_finds("d"), evidence(single=single, fisher=wrong)) is False
    assert holds(channels.fisher_settles("d"), evidence(fisher=right)) is True
    assert holds(channels.fisher_settles("d"), evidence(fisher=wrong)) is False
    with pytest.raises(RunError, match="compares with nothing"):
        channels.fisher_settles("d")[0](evidence(fisher={50: np.arange(64.0)}), "fresh")


def test_pruned_channels_beside_random_ones() -> None:
    def ways(psnr: float, accuracy: float) -> list[Table]:
        made = [[(18, 0.6)], [(psnr, accuracy)], [(psnr, accuracy)]]
        return [
            Table(tuple(row(6, 8, i, p + 0.1 * NOISE.normal(), u + 0.001 * NOISE.normal()) for i in range(8)))
            for ((p, u),) in made
        ]

    for which in (1, 2):
        for figure in ("psnr", "accuracy"):
            assert holds(channels.better("d", which, figure), evidence(settings=ways(17, 0.62))) is True
            assert holds(channels.better("d", which, figure), evidence(settings=ways(19, 0.5))) is False


def widths(psnr: float, accuracy: float, ms: float, rate: float) -> list[Width]:
    def of(p: float, u: float) -> Table:
        return Table(tuple(row(6, 8, i, p + 0.01 * i, u + 0.001 * i) for i in range(4)))

    return [
        Width((1.0, 1.0), of(16, 0.5), 100, [1.0, 1.01], [1.0, 1.0, 0.9, 1.0] * 3),
        Width((0.5, 1.0), of(psnr, accuracy), 50, [ms, ms], [rate, rate, rate, min(1.0, rate + 0.05)] * 3),
        Width((0.5, 0.5), of(psnr - 5, accuracy - 0.3), 50, [ms, ms], [rate] * 12),
    ]


def test_half_of_the_inner_filters() -> None:
    good, bad = evidence(widths=widths(16.3, 0.51, 0.5, 0.2)), evidence(widths=widths(13, 0.4, 0.95, 1.0))
    for both in (
        networks.unharmed("d", "psnr"),
        networks.unharmed("d", "accuracy"),
        networks.faster("d"),
        networks.harder_to_guess("d"),
    ):
        assert holds(both, good) is True
        assert holds(both, bad) is not True
    assert holds(networks.unharmed("d", "psnr"), bad) is False
    assert holds(networks.faster("d"), bad) is False
    assert holds(networks.unharmed("d", "psnr", every=True), good) is False, "every inner layer is another width"
    alike = evidence(widths=[replace(one, rates=[1.0] * 6) for one in good.found("d/widths")])
    assert holds(networks.harder_to_guess("d"), alike) is None, "six draws that agree do not decide it"
    with pytest.raises(RunError, match="half of the filters of every layer"):
        networks.faster("d", every=True)[0](evidence(widths=good.found("d/widths")[:2]), "fresh")


def test_samples_and_clusters() -> None:
    def of(*psnr: float) -> Table:
        return Table(tuple(row(6, 8, i, p, 0.5) for i, p in enumerate(psnr)))

    settled = {250: of(14, 14.1), 1000: of(15, 15.1), 4000: of(15.1, 15.2)}
    rising = {250: of(14, 14.1), 1000: of(15, 15.1), 4000: of(17, 17.1)}
    assert holds(grid.enough("d"), evidence(samples=settled)) is True
    assert holds(grid.enough("d"), evidence(samples=rising)) is False
    flat = {1: of(14, 14.1, 14), 2: of(15, 15.1, 15), 3: of(15.1, 15.2, 15.1)}
    steep = {1: of(14, 14.1, 14), 2: of(14.1, 14.2, 14.1), 3: of(15, 15.1, 15)}
    lost = {1: of(14, 14.1, 14), 2: of(14, 14.1, 14), 3: of(13, 13.1, 13.2)}
    for gains in (True, False):
        assert holds(networks.saturates("d", gains), evidence(clusters=flat)) is True
    assert holds(networks.saturates("d", False), evidence(clusters=steep)) is False
    assert holds(networks.saturates("d", True), evidence(clusters=lost)) is not True, (
        "a third that fails proves nothing"
    )


def test_another_set_of_people() -> None:
    """Extractors are the same by layer and channels, whatever the order of the rows."""
    rows = [row(m, d, i, 10.0 + 3 * i + m + d / 10, 0.5) for m in LAYERS for d in DEPTHS for i in range(DRAWS)]
    there = Table(tuple(replace(r, psnr=(r.psnr or 0) - 1) for r in reversed(rows)))
    against = Table(tuple(replace(r, psnr=40 - (r.psnr or 0), linear_psnr=0.0) for r in rows))
    both = grid.transfers_to("d", "e")
    for other, expected in ((there, True), (against, False)):
        found = Evidence({}, findings={"d/grid": Finding("d", Table(tuple(rows))), "e/grid": Finding("e", other)})
        assert holds(both, found) is expected
    assert holds(grid.transfers("d"), evidence(halves=[Table(tuple(rows)), Table(tuple(rows))])) is True
    assert "differs by 1.00 dB on average, 1.00 at most" in both[1](
        Evidence({}, findings={"d/grid": Finding("d", Table(tuple(rows))), "e/grid": Finding("e", there)}), "published"
    )


def test_anonymity_on_all_and_nothing() -> None:
    """Eight draws that were all guessed refute it; eight that were not confirm it; three of neither say anything."""

    def guesses(rate: float, draws: int = 8) -> dict[float, list[list[dict[str, Any]]]]:
        return {0.5: [[{"pairs": 10, "named": rate > 0, "rate": rate, "correlation": 1.0}]] * draws}

    both = networks.anonymous("d", 0.5, 10)
    assert holds(both, evidence(guesses=guesses(1.0))) is False
    assert holds(both, evidence(guesses=guesses(0.0))) is True
    assert holds(both, evidence(guesses=guesses(0.0, 3))) is None
    with pytest.raises(RunError, match="no 1,000 pictures"):
        networks.anonymous("d", 0.5, 1000)[0](evidence(guesses=guesses(1.0)), "fresh")


def test_knowing_the_network() -> None:
    def of(mean: float) -> dict[str, Any]:
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 16}

    def told(aware: float) -> dict[int, dict[str, Any]]:
        shallow = {"by": "inversion", "aware": of(aware), "unaware": of(20), "gain": of(aware - 20)}
        return {1: shallow, 6: {"by": "least_squares", "aware": of(14), "unaware": of(14), "gain": of(0)}}

    assert holds(networks.knowing_helps_not("d", 0), evidence(known=told(30))) is False
    assert holds(networks.knowing_helps_not("d", 0), evidence(known=told(20.1))) is True
    assert holds(networks.knowing_helps_not("d", 1), evidence(known=told(30))) is True


def costs(conv: float, fc: dict[str, float]) -> Evidence:
    sides = {
        side: [{"block": "conv1", "ms": conv, "bytes": 10.0}, {"block": "fc", "ms": 1.0, "bytes": size}]
        for side, size in fc.items()
    }
    return Evidence({}, findings={"vgg16/cost": Finding("", {"sides": sides})})


def test_costs_by_block() -> None:
    right, wrong = costs(4.0, {"224": 90.0, "32": 20.0, "64": 40.0}), costs(0.5, {"32": 9.0, "64": 8.0, "224": 7.0})
    for both in (networks.dominates("ms"), networks.dominates("bytes"), networks.dense_grows()):
        assert holds(both, right) is True
        assert holds(both, wrong) is False


def test_exponents() -> None:
    there = Evidence(
        {}, findings={"fisher/cost": Finding("", {"people": [1.0, 1.02, 0.98], "values": [3.4, 3.5, 3.45]})}
    )
    assert holds(networks.grows_as("people", 1.2), there) is True
    assert holds(networks.grows_as("values", 2.5), there) is False


def test_nothing_is_read_from_networks_that_were_not_trained() -> None:
    bare = replace(row(6, 8, 0, 15, 0.5), psnr=None, accuracy=None)
    with pytest.raises(RunError, match="no reconstruction network"):
        estimates.loss(bare, "fresh")
    with pytest.raises(RunError, match="no classification network"):
        estimates.utility(bare, "published")
    better = replace(bare, psnr=15.0, linear_psnr=17.0)
    assert (estimates.loss(better, "published"), estimates.loss(better, "fresh")) == (15.0, 17.0)


def test_intervals_against_known_ones() -> None:
    """Welch's interval is scipy's; |difference| reaches 0 where the interval does."""
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.5, 1.0])
    found = estimates.welch(a, b)
    theirs = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, theirs.low, theirs.high))
    assert estimates.welch(np.ones(3), np.zeros(2)).low == 1.0
    assert estimates.size(replace(found, mean=-0.2, low=-1.0, high=0.5)).low == 0.0
    assert estimates.size(replace(found, mean=-0.7, low=-1.0, high=-0.5)).low == 0.5
    assert estimates.rate([1.0] * 8).low == pytest.approx(0.676, abs=1e-3)


def test_what_was_measured_is_remembered(tmp_path: Path) -> None:
    asked: list[int] = []

    def measure() -> list[int]:
        asked.append(1)
        return [len(asked)]

    assert remembered(tmp_path, "x", {"a": 1}, measure) == remembered(tmp_path, "x", {"a": 1}, measure) == [1]
    assert remembered(tmp_path, "x", {"a": 2}, measure) == [2]
    for file in tmp_path.iterdir():
        file.write_text("{")
    assert remembered(tmp_path, "x", {"a": 1}, measure) == [3]


SMALL = Size(
    data="digits", target="digit", other="", layers=None, depths=(1, 4), depth=2, draws=2, again=1, pictures=80,
    epochs=1, irn=Irn(width=4, units=1), named=(80, 1), redrawn=(3, 3), samples=(40, 80), batches=(1, 2), settings=2,
    widths=2, guessed=3, units=1,
)  # fmt: skip


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Few cells, few epochs; intervals and smooth tables, which are judged above as they are, from fewer rounds."""
    patch.setitem(SIZES, "quick", SMALL)
    patch.setattr(estimates, "REPLICATES", 100)
    patch.setattr(planner_table, "ROUNDS", 50)
    patch.setitem(EFFORTS, "quick", replace(EFFORTS["quick"], task_epochs=2))
    patch.setattr(unknown, "SHARES", ((1.0, 1.0, 1.0), (0.5, 1.0, 1.0), (0.5, 0.5, 0.5)))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> reproduce.Reproduction:
    """All of it but the searches through a known network, on a few digits."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(sets.costs, "SIDES", (32, 64))
        recipe = recipes.load("privynet")
        where = Where(None, tmp_path_factory.mktemp("privynet"), 1)
        only = [c.id for c in recipe.claims if c.id not in ("2m", "2n", "2o")]
        return reproduce.reproduce(recipe, Grid.named("quick"), where, only=only)


def test_every_part_on_digits_is_measured(done: reproduce.Reproduction) -> None:
    expected = ("not defined", "were trained for 3 of")  # by the paper's network, which speaks for no others
    for judged in done.judgements:
        for found in judged.outcomes.values():
            for outcome in found:
                defined = outcome.margin is not None and outcome.told
                assert outcome.outside or defined or any(why in outcome.missing for why in expected), (
                    judged.claim.id,
                    outcome.missing,
                )
    parts = [o for j in done.judgements for o in j.outcomes["fresh"] if not o.outside]
    assert sum(o.margin is not None for o in parts) > 0.8 * len(parts)
    told = json.dumps([judged.json() for judged in done.judgements], allow_nan=False)
    assert '"verdict"' in told


def test_the_page_holds_the_pictures_and_every_figure(
    done: reproduce.Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    html = page.render(done)
    assert html.count("<image x=") == 6 * (1 + 2 * len(SMALL.depths))
    for figure in ("3a", "4", "7a", "8", "10", "13", "19", "20"):
        assert f"Figure {figure}" in html
    assert "extractors" in html
    assert " draws</li>" in html
    assert " seeds</li>" not in html


def test_it_finds_what_it_measured(done: reproduce.Reproduction, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command measures nothing again."""
    from privet.planner import characterize
    from privet.recipes.privynet import costs as costing

    def never(*args: object, **more: object) -> None:
        raise AssertionError("measured again")

    shrink(monkeypatch)
    monkeypatch.setattr(characterize, "measure", never)
    monkeypatch.setattr(costing, "of", never)
    again = reproduce.reproduce(done.recipe, done.grid, done.where, only=done.only)
    assert [j.verdict for j in again.judgements] == [j.verdict for j in done.judgements]
    assert not again.changes


def test_an_early_end_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    recipe = recipes.load("privynet")
    heard = []

    def stop(event: Any) -> None:
        heard.append(event)
        if event.done == 3:
            raise KeyboardInterrupt

    found = reproduce.reproduce(recipe, Grid.named("quick"), Where(None, tmp_path, 1), only=["2a"], listen=stop)
    missing = {o.missing for o in found.judgements[0].outcomes["fresh"] if not o.outside}
    assert missing == {f"digits/grid: {reproduce.UNFINISHED}"}
    assert heard[-1].text == "stopped"
    assert "2a" in (tmp_path / "claims.json").read_text()
    assert (tmp_path / "measured" / "tables.parquet").is_file()


def test_it_is_not_run_as_published(tmp_path: Path) -> None:
    """Nothing of the recipe would be the paper's own optimizer or network."""
    with pytest.raises(SpecError, match="privynet cannot be run as published"):
        reproduce.plan(recipes.load("privynet"), Grid.named("full", as_published=True), Where(None, tmp_path, 1))


def test_what_cannot_be_measured_here_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    def needs(report: object) -> Finding:
        raise MissingExtra("torchvision", "zoo")

    heard = []
    found, lacking = reproduce.measure(
        {"a": Measurement("", "one", needs), "b": Measurement("", "two", lambda report: Finding("", 3))},
        tmp_path, math.inf, lambda event: heard.append(event.text),
    )  # fmt: skip
    assert {key: one.value for key, one in found.items()} == {"b": 3}
    assert "pip install" in lacking["a"]
    assert heard[0].startswith("not run: ")
