"""What judges said of rebuilt pictures, in rows, sentences and on the page."""

from __future__ import annotations

import json

import fixtures
import pytest

from privet.auditing.estimate import Estimate
from privet.report import html, opinions
from privet.report.judged import Judged
from privet.report.view import View
from studies import digits


def test_rows_of_psnr_carry_the_answers_and_others_none() -> None:
    results, folder = digits()[0].results, digits()[1]
    rows = [row for row in results.rows if row.judged]
    assert {(row.attribute, row.metric) for row in rows} == {("input", "psnr")}
    assert {row.defense for row in rows} == set(results.defenses)
    victims = int(results.data["examples"]["victim"])
    for row in rows:
        found = {one.question: one for one in row.judged}
        assert next(iter(found)).startswith("attribute:")
        assert {"found:judge", "found:pixels", "distance:judge"} <= set(found)
        assert found["found:judge"].original is None
        assert found["attribute:digit"].original is not None
        assert found["found:pixels"].floor.mean == pytest.approx(1 / min(100, victims), rel=0.2)
        assert row.json()["judged"][0]["value"]["n"] == row.value.n
        read = found["attribute:digit"]
        assert read.original is not None
        assert read.value.n == read.floor.n == read.original.n, "the same people"
    assert any(row.value.n < victims for row in rows)
    for file in folder.glob("runs/*/run.json"):
        chosen_by = json.loads(file.read_text())["results"]["selection"]["input"]
        assert all(set(scores) == {"psnr", "ssim"} for scores in chosen_by.values()), "judges choose no headline"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.43, 0.6, "can be read off"), (0.41, 0.6, "is perhaps read off"), (0.38, 0.46, "is not read off")],
)
def test_a_sentence_claims_what_the_interval_shows(low: float, high: float, said: str) -> None:
    view = View(digits()[0].results)
    one = Judged(
        "attribute:race", Estimate(0.45, low, high, 100), Estimate(0.73, 0.7, 0.8, 100), Estimate(0.42, 0.4, 0.5, 100)
    )
    told = opinions.sentence(view, "none", one).replace("\u00a0", " ")
    assert told == (
        f"Race {said} the pictures rebuilt from `none`: the judge is right for 45 % (originals 73 %, 42 % without)."
    )


def test_the_page_has_a_line_for_each_defense_and_older_runs_have_none() -> None:
    results = digits()[0].results
    table = opinions.opinions(View(results))
    assert table is not None
    assert [line["label"] for line in table["lines"]] == list(results.defenses)
    widths = {len(table["originals"]), len(table["floor"]), *(len(line["cells"]) for line in table["lines"])}
    assert widths == {len(table["metrics"]) + len(table["questions"])}
    page = html.render(results)
    assert "What a person would mind" in page
    assert opinions.opinions(View(fixtures.ALL[sorted(fixtures.ALL)[0]]())) is None
