"""The page group by group: pictures that stand where their numbers say, and sentences that claim no more."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree

import fixtures
import pytest

from privet.auditing.estimate import Estimate
from privet.report import bars, by_group, html, words
from privet.report.bars import LEFT, RIGHT, Lane
from privet.report.groups import Analysis
from privet.report.results import Results
from privet.report.view import View


def lanes(name: str = "a") -> list[Lane]:
    half, full = Estimate(0.5, 0.4, 0.6, 20), Estimate(1.0, 0.9, 1.0, 20)
    return [Lane(name, 20, half, full, 0.25, 0.75, f"{name}: half."), Lane("b", 5, None, half)]


def test_bars_and_marks_stand_where_their_numbers_say() -> None:
    drawn = bars.bars(lanes(), "title", "defended", kind="leak", mark="named")
    widths = [
        float(w) for w in re.findall(r'<rect class="rod leak(?: base)?" x="128.0" y="[\d.]+" width="([\d.]+)"', drawn)
    ]
    assert widths == pytest.approx([(RIGHT - LEFT) / 2, RIGHT - LEFT, (RIGHT - LEFT) / 2], abs=0.1)
    marks = [float(x) for x in re.findall(r'<line class="named" x1="([\d.]+)" y1="\d{2,}', drawn)]
    assert marks == pytest.approx([LEFT + (RIGHT - LEFT) * v for v in (0.25, 0.75)], abs=0.1)
    assert "nobody to count" in drawn


def test_without_a_defense_there_is_one_bar_a_group_and_no_legend() -> None:
    drawn = bars.bars(lanes(), "title", "", kind="answer")
    assert drawn.count('class="rod answer"') == 1
    assert "base" not in drawn
    assert "no defense" not in drawn


def test_the_matrix_shows_shares_of_a_row_and_what_is_named_beyond() -> None:
    drawn = bars.matrix(["a", "b"], [[8.0, 2.0], [1.0, 3.0]], [10, 5], "title")
    texts = [t.text for t in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert [t for t in texts if t and t.isdigit()] == ["80", "20", "0", "20", "60", "20"]
    assert "others" in texts
    shades = [float(v) for v in re.findall(r'fill-opacity="([\d.]+)"', drawn)]
    assert shades == pytest.approx([bars.DARKEST * v for v in (0.8, 0.2, 0, 0.2, 0.6, 0.2)], abs=0.01)
    assert "others" not in bars.matrix(["a", "b"], [[8.0, 2.0], [1.0, 4.0]], [10, 5], "title")


@pytest.mark.parametrize("name", sorted(fixtures.ALL))
def test_every_figure_is_well_formed_and_names_stay_text(name: str) -> None:
    for entry in by_group.by_group(View(fixtures.ALL[name]())):
        for detail in entry["details"]:
            for drawn in (detail["recall"], detail["accuracy"], *(svg for _, svg in detail["matrices"])):
                ElementTree.fromstring(drawn)
                assert "<script" not in drawn


def test_details_of_every_defense_beside_none_and_of_none_alone() -> None:
    results = fixtures.utk()
    race = by_group.by_group(View(results))[0]
    assert [d["label"] for d in race["details"]] == list(results.defenses[1:])
    assert [who for who, _ in race["details"][0]["matrices"]] == ["signal_content:keep=8", "no defense"]
    alone = dataclasses.replace(
        results,
        defenses=("none",),
        rows=tuple(r for r in results.rows if r.defense == "none"),
        groups=tuple(g for g in results.groups if g.defense == "none"),
    )
    (detail,) = by_group.by_group(View(alone))[0]["details"]
    assert [who for who, _ in detail["matrices"]] == ["none"]
    assert detail["lines"][0]["exposure_change"].text == words.DASH


def test_many_defenses_are_all_in_the_table_and_few_are_drawn() -> None:
    entry = by_group.by_group(View(fixtures.crowded()))[0]
    assert (len(entry["lines"]), len(entry["said"]), len(entry["details"]), entry["undrawn"]) == (12, 3, 6, 5)
    assert "5 more defenses stand in the table above" in html.render(fixtures.crowded())


def told(results: Results, attribute: int = 0) -> str:
    entry = by_group.by_group(View(results))[attribute]
    return words.unmarked("\n".join([*entry["doubts"], *entry["said"], *entry["notes"]])).replace(words.NBSP, " ")


def test_a_collapsed_adversary_is_called_so_where_it_collapsed() -> None:
    results = fixtures.utk()
    assert [g.collapsed for g in results.groups if g.attribute == "race"] == ["", "", "", "White"]
    said = told(results)
    assert said.startswith("Collapsed adversary. With label_only the attack names White for 100 % of the people: that")
    assert said.count("Collapsed") == 1
    page = html.render(results)
    assert page.count('<span class="badge">collapsed adversary</span>') == 2  # race and age
    assert "Fewer than 20 people, so that little can be said: Other." in page


def of(results: Results, defense: str, attribute: str = "race") -> Analysis:
    return next(g for g in results.groups if (g.defense, g.attribute) == (defense, attribute))


def changed(results: Results, defense: str, **fields: object) -> Results:
    found = dataclasses.replace(of(results, defense), **fields)  # type: ignore[arg-type]
    return dataclasses.replace(results, groups=tuple(found if g == of(results, defense) else g for g in results.groups))


def test_a_change_is_claimed_only_where_its_interval_excludes_zero() -> None:
    results = fixtures.utk()
    gap = of(results, "gaussian:sigma=.5").gap
    assert gap is not None
    for low, high, said in (
        (-0.02, 0.06, "the defense is not shown to change that (\u22122.0 to 6.0)"),
        (0.01, 0.06, "3.0 points more than without a defense (1.0\u20136.0)"),
        (-0.06, -0.01, "3.0 points less than without a defense"),
    ):
        mean = 0.03 if high > 0 else -0.03
        moved = dataclasses.replace(gap, change=Estimate(mean, low, high, 200))
        assert said in told(changed(results, "gaussian:sigma=.5", gap=moved))


def test_a_gap_is_held_against_luck() -> None:
    results, gap = fixtures.utk(), of(fixtures.utk(), "gaussian:sigma=.5").gap
    assert gap is not None
    for chance, said in ((gap.value.mean + 0.01, "no more than the"), (gap.value.mean - 0.01, ", more than the")):
        only = dataclasses.replace(gap, chance=chance)
        hit = next(s for s in told(changed(results, "gaussian:sigma=.5", gap=only)).splitlines() if "gaussian" in s)
        assert said in hit


def test_exposure_is_struck_and_untold_where_the_attacks_failed_calibration() -> None:
    said = told(fixtures.uncalibrated())
    assert "Most exposed" not in said
    assert "Most exposed" in told(fixtures.uncalibrated(), 1)
    page = html.render(fixtures.uncalibrated())
    section = page[page.index('id="groups"') :]
    race, age = section.split("<h3>")[1:3]
    assert race.count("<s>") > 10
    assert race.count("calibration failed: do not trust") == 3 * 3  # recall and two matrices of three defenses
    assert age.count("<s>") == 0


def test_many_groups_are_cut_to_the_largest_and_the_rest_is_counted() -> None:
    names = tuple(f"writer {i}" for i in range(15))
    found = fixtures.crowds("writer", names, (("none", 0.9), ("disco", 0.5)))
    results = fixtures.utk()
    hidden = fixtures.attribute("race", fixtures.RACE)
    data = results.data | {"hidden": [hidden]}
    groups = tuple(
        dataclasses.replace(g, attribute="race", defense=d) for g, d in zip(found, results.defenses, strict=False)
    )
    results = dataclasses.replace(results, data=data, groups=groups)
    (detail,) = by_group.by_group(View(results))[0]["details"]
    assert (len(detail["lines"]), detail["more"]) == (12, 3)
    assert [line["name"] for line in detail["lines"]] == sorted(
        (line["name"] for line in detail["lines"]), key=names.index
    )
    largest = sorted((g.people for g in groups[0].groups), reverse=True)[:12]
    assert sorted((line["people"].sort for line in detail["lines"]), reverse=True) == largest
    assert "others" in detail["matrices"][0][1]
    assert "3 smaller groups are not shown" in html.render(results)


def test_no_groups_no_section() -> None:
    page = html.render(dataclasses.replace(fixtures.utk(), groups=()))
    assert 'id="groups"' not in page
    assert 'href="#groups"' not in page
