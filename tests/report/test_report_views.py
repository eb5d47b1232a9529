"""Sentences, figures and tables say what the rows say, and no more."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import fixtures
import pytest
from rich.console import Console

from privet.auditing.checks import BATTERY, Check
from privet.auditing.threat import SLOW, Threat, portfolio
from privet.errors import RunError
from privet.report import figures, html, sentences, tables, words
from privet.report.place import Box, place
from privet.report.results import Results
from privet.report.view import View


def told(results: Results) -> str:
    """The lead and all headline sentences, plain, with ordinary spaces."""
    view = View(results)
    verdicts = sentences.headline(view)
    said = [sentences.lead(view), *(s for v in verdicts for s in (*v.doubts, *v.sentences))]
    return words.unmarked("\n".join(said)).replace(words.NBSP, " ")


def test_the_headline_says_how_much_leaks_over_what() -> None:
    said = told(fixtures.utk())
    assert (
        "With signal_content:keep=8 the server still recognizes race in 61 % of victims (59\u201363), 18 points above "
        "the 43 % it reaches without the payload; undefended 63 %." in said
    )
    assert "With signal_content:keep=8 it stays at 88 % (87\u201389); undefended 88 %." in said
    assert "With gaussian:sigma=.5 it falls to 84 % (83\u201385), 4 points below the undefended 88 %." in said
    assert "not distinguishable from the 43 % it reaches without the payload" in said
    assert "rebuilt at 21.1 dB PSNR (20.9\u201321.4), 6.9 dB above the 14.2 dB" in said


def test_a_collapsed_target_is_called_so() -> None:
    said = told(fixtures.table())
    assert "With gaussian:sigma=4 it collapses to 77 % (76\u201378) from 85 %" in said
    assert "Income collapses under 1 of 2 defenses." in said
    assert "collapses" not in told(fixtures.utk())


def test_nothing_to_hide_credits_no_defense() -> None:
    said = told(fixtures.empty())
    assert "Source is not shown to leak, with 4,626 victims." in said
    assert "No defense can be credited" in said
    assert "no defense is needed" not in said
    assert not re.search(r"leaks|still", said)


def changed(results: Results, **pick: Any) -> Results:
    """The rows that `pick` names by their fields, with the fields under `to` replaced."""
    to = pick.pop("to")
    rows = [
        dataclasses.replace(r, **to) if all(getattr(r, k) == v for k, v in pick.items()) else r for r in results.rows
    ]
    return dataclasses.replace(results, rows=tuple(rows))


def test_nothing_is_safe_where_another_metric_of_the_undefended_network_leaks() -> None:
    raw = fixtures.rate(0.82, 0.02)
    results = changed(
        fixtures.empty(),
        metric="auc",
        to={"value": raw, "floor": fixtures.rate(0.59), "advantage": fixtures.free(0.23, 0.03)},
    )
    said = told(results)
    assert "Accuracy cannot resolve source here; AUC 0.820 (0.800\u20130.840) over 0.590: it leaks" in said
    assert "not shown to leak" not in said
    assert "Source leaks most under none (AUC 0.820 over a floor of 0.590); defended it leaks under gaussian" in said
    assert (
        View(results).tone(View(results).variants[1], View(results).headline(View(results).variants[1], "source"))
        == "open"
    )


def test_the_paired_interval_decides_and_not_that_of_the_value() -> None:
    picked = {"defense": "label_only", "attribute": "race", "metric": "accuracy"}
    assert "leaks under 3 of 3" not in told(fixtures.utk())
    paired = changed(fixtures.utk(), **picked, to={"advantage": fixtures.free(0.01, 0.005)})
    assert {v.short for v in sentences.headline(View(paired)) if v.attribute == "race"} == {"leaks under every defense"}


@pytest.mark.parametrize(
    ("mean", "half", "state", "said"),
    [
        (0.3, 0.1, "safe", "less than 0.5 dB above the 14.2 dB of a picture made without the payload: a failed"),
        (0.6, 0.1, "leak", "0.6 dB above"),
        (1.0, 1.5, "open", "undecided against the 14.2 dB"),
        (0.1, 0.2, "safe", "not distinguishable from the 14.2 dB"),
    ],
)
def test_a_reconstruction_is_failed_undecided_or_shown(mean: float, half: float, state: str, said: str) -> None:
    to = {"advantage": fixtures.free(mean, half), "value": fixtures.free(14.2 + mean, half)}
    results = changed(fixtures.utk(), defense="label_only", attribute="input", metric="psnr", to=to)
    view = View(results)
    row = view.headline(view.variants[3], "input")
    assert row is not None
    assert view.tone(view.variants[3], row) == state
    assert said in told(results)


def test_an_attack_that_missed_a_planted_bit_acquits_nobody() -> None:
    quiet = {"value": fixtures.rate(0.43), "advantage": fixtures.free(0, 0.01), "flags": ("weak_attack",)}
    results = fixtures.utk()
    for defense in results.defenses[1:]:
        results = changed(results, defense=defense, attribute="race", to=quiet)
    verdict = next(v for v in sentences.headline(View(results)) if v.attribute == "race")
    assert (verdict.tone, verdict.short) == ("open", "cannot be judged: the attack missed a planted bit")
    assert "at the floor" not in told(results)


def test_a_network_that_never_learned_is_not_said_to_collapse() -> None:
    results = changed(fixtures.table(), to={"flags": ("utility_lost",), "utility": fixtures.rate(0.76, 0.02)})
    said = told(results)
    assert "The undefended model already does not beat the majority (76.0 %): wrong weights, or too few people?" in said
    assert "collapse" not in said


def test_a_drop_within_the_interval_is_no_collapse() -> None:
    results = changed(fixtures.table(), defense="gaussian:sigma=4", to={"utility": fixtures.rate(0.78, 0.08)})
    assert "collapse" not in told(results)


def test_a_table_has_records_and_no_pictures() -> None:
    results = fixtures.table()
    rows = [dataclasses.replace(r, data="adult") for r in fixtures.utk().rows if r.attribute == "input"]
    mixed = dataclasses.replace(results, rows=(*results.rows, *rows), defenses=fixtures.utk().defenses)
    assert "records are rebuilt at 14.2 dB" in told(mixed)
    assert "of a record made without the payload" in told(mixed)
    assert "picture" not in told(mixed)


def test_the_lead_names_the_worst_and_the_leaking_defenses() -> None:
    said = words.unmarked(sentences.lead(View(fixtures.table()))).replace(words.NBSP, " ")
    assert said.startswith(
        "Sex leaks most under none (79 % over a floor of 67 %); defended it leaks under disco:ratio=.6 (1 of 2"
    )
    assert "and 5 more (9 of 11 defenses)" in sentences.lead(View(fixtures.crowded()))


def test_logs_are_told_as_short_scalars() -> None:
    log = {"sigma": 0.123456789012, "kept": [1, 2], "rank": 4, "more": {"a": 1}}
    page = html.render(dataclasses.replace(fixtures.table(), logs={"none": log}))
    assert "sigma: 0.123, rank: 4<" in page
    assert "[1, 2]" not in page


def test_a_failed_calibration_is_said_before_any_number() -> None:
    said = told(fixtures.uncalibrated())
    assert said.startswith("Do not trust the numbers on race.")
    assert "linear_probe failed its calibration planted_bit (61.3 %, wanted at least 90.0 %)" in said


def test_the_attacks_together_are_named_in_words() -> None:
    checks = tuple(
        Check(kind, BATTERY, "race", "accuracy", 0.6, "at least 0.980", False, 0)
        for kind in ("planted_bit", "shuffled_labels")
    )
    results = fixtures.utk(checks=checks)
    assert "the attack that is selected on aux_val failed its calibration planted_bit" in told(results)
    page = html.render(results)
    assert "(selected on aux_val)" not in page
    assert "that is selected on aux_val: 60.0" in page
    assert "dealt out anew" in page


def test_slow_attacks_are_not_called_refused() -> None:
    _, left_out = portfolio(Threat.named("eavesdropper"), effort="quick")
    page = html.render(fixtures.utk(left_out=left_out))
    refused, slow = page.split("Attacks that this adversary is not granted")[1].split(
        "Attacks that this adversary is granted"
    )
    assert "<code>server_probe</code> needs architecture" in refused
    assert "slow" not in refused
    assert left_out
    assert all((f"<code>{a}</code>" in slow) is (why == SLOW) for a, why in left_out.items())
    assert SLOW in left_out.values()
    assert "not run at this effort" not in html.render(fixtures.utk())


def test_accuracy_at_the_floor_does_not_hide_another_metric_that_leaks() -> None:
    results = fixtures.utk()
    rows = tuple(
        dataclasses.replace(r, value=fixtures.rate(0.71), advantage=fixtures.free(0.21, 0.03))
        if (r.defense, r.metric, r.attribute) == ("label_only", "auc", "race")
        else r
        for r in results.rows
    )
    assert "But AUC is 0.710" in told(dataclasses.replace(results, rows=rows))
    assert "But AUC" not in told(results)


def test_many_defenses_are_summed_up_and_counted() -> None:
    view = View(fixtures.crowded())
    assert all(len(v.sentences) <= 2 for v in sentences.headline(view))
    assert sentences.left_over(view) == 9


def test_unfinished_trials_and_a_single_seed_stand_at_the_top() -> None:
    page = html.render(fixtures.unfinished())
    top = page[: page.index('id="tradeoff"')]
    assert "Not all trials ended (2 noted below)" in top
    assert "One seed only" in top
    assert "All trials of seed 2 did not start." in page


def test_no_attack_at_all_still_makes_a_page() -> None:
    page = html.render(dataclasses.replace(fixtures.utk(), rows=(), checks=(), reconstructions={}))
    assert "Nothing is known about" in page
    assert "No calibration ran" in page


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("accuracy", 0.612, "61.2 %"),
        ("psnr", 17.44, "17.4 dB"),
        ("bits", 0.2134, "0.213 bits"),
        ("auc", 0.7129, "0.713"),
        ("bits", -0.0001, "0.000 bits"),
    ],
)
def test_numbers_carry_their_unit(metric: str, value: float, shown: str) -> None:
    assert words.number(metric, value).replace(words.NBSP, " ") == shown


def test_printed_differences_are_differences_of_printed_numbers() -> None:
    for value, floor in re.findall(
        r"in (\d+) % of victims \(.*?\), (\d+ points above the \d+) %", told(fixtures.crowded())
    ):
        points, base = re.findall(r"\d+", floor)
        assert int(value) - int(base) == int(points)


def test_page_is_small_and_reproducible() -> None:
    page = html.render(fixtures.utk())
    assert len(page.encode()) < 1_000_000
    assert page == html.render(fixtures.utk())
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_hostile_names_are_escaped_everywhere() -> None:
    results = fixtures.hostile()
    assert html.render(results).count("<script>") == 1
    for view in (
        tables.notebook_html(results),
        figures.utility_leakage_svg(results, results.data["hidden"][0]["name"]),
    ):
        assert "<script>" not in view
        assert "window.hacked" in view


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = html.write(fixtures.table(), tmp_path / "report.html")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match=r"is full; free some space or choose another --out"):
        html.write(fixtures.utk(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_figures_are_files_of_their_own_and_the_same_twice(tmp_path: Path) -> None:
    results = fixtures.utk()
    paths = figures.write_figures(results, tmp_path / "a")
    assert [p.name for p in paths] == [f"utility-leakage-{a}.svg" for a in ("race", "age_group", "input")]
    for path, again in zip(paths, figures.write_figures(results, tmp_path / "b"), strict=True):
        assert path.read_bytes() == again.read_bytes()
        root = ElementTree.fromstring(path.read_text())
        labels = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        assert set(results.defenses) <= set(labels)


def test_a_point_stands_where_its_numbers_say() -> None:
    svg = figures.utility_leakage_svg(fixtures.utk(), "race")
    heights = [float(y) for y in re.findall(r'class="mark (?:base|leak)" cx="[\d.]+" cy="([\d.]+)" r="5"', svg)]
    none, content, gaussian = heights
    assert (content - none) / (gaussian - none) == pytest.approx((0.63 - 0.61) / (0.63 - 0.54), abs=0.01)


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    frame = Box(0, 0, 400, 300)
    points = [(200.0, 150.0 + i, f"defense {i}") for i in range(6)]
    boxes = [label.box for label in place(points, frame, ())]
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.outside(frame) == 0 for box in boxes)


def test_csv_holds_every_row_unrounded() -> None:
    results = fixtures.uncalibrated()
    lines = list(csv.DictReader(io.StringIO(tables.rows_csv(results))))
    assert len(lines) == len(results.rows)
    assert float(lines[7]["value"]) == results.rows[7].value.mean
    assert {line["calibrated"] for line in lines if line["attribute"] == "race"} == {"no"}
    assert {line["calibrated"] for line in lines if line["attribute"] != "race"} == {"yes"}


def test_csv_holds_no_formula() -> None:
    results = fixtures.table()
    rows = tuple(dataclasses.replace(r, defense="=cmd()") for r in results.rows[:1])
    assert "'=cmd()" in tables.rows_csv(dataclasses.replace(results, rows=rows))


def test_latex_is_balanced_and_escaped() -> None:
    text = tables.latex(fixtures.uncalibrated())
    assert text.count("{") == text.count("}")
    assert r"signal\_content:keep=8" in text
    assert r"63.0~\%" in text
    assert "calibration failed" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\") and "dagger$ cal" not in line]
    assert {line.count(" & ") for line in body} == {7}
    hostile = tables.latex(fixtures.hostile())
    assert r"\textless{}script\textgreater{}" in hostile


@pytest.mark.parametrize("name", ["utk", "uncalibrated", "table", "crowded", "hostile"])
def test_console_table_fits_a_narrow_terminal(name: str) -> None:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(tables.console(fixtures.ALL[name]()))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines).replace(words.NBSP, " ")
    assert "(" in text
    assert "\u2026" not in text
    if name == "utk":
        assert re.search(
            r"signal_content:keep=8 +88\.1 % +61\.0 % \(59\.4\u201362\.6\) +43\.0 % +63\.0 % +0\.90 +4,187", text
        )
    if name == "uncalibrated":
        assert "do not trust" in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_console_table_keeps_attack_and_flags_whole_at_any_width(width: int) -> None:
    flags = ("one_seed", "quick_effort", "underfit")
    results = changed(fixtures.utk(), attribute="race", metric="accuracy", to={"flags": flags})
    results = changed(results, attribute="race", metric="auc", to={"flags": ("saturated",)})
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(tables.console(results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert text.count(f"probe, {', '.join(flags)}") == 4
    assert "saturated" not in text
    assert ("4,648  linear_probe, one_seed" in text) == (width == 140)


def test_notebook_fragment_strikes_what_is_not_to_be_trusted() -> None:
    fragment = tables.notebook_html(fixtures.uncalibrated())
    assert fragment.count("<s>") == 4 * 4
    assert "<s>" not in tables.notebook_html(fixtures.utk())
    assert "<script" not in fragment


def test_several_cuts_are_told_apart() -> None:
    results = fixtures.table()
    rows = results.rows + tuple(dataclasses.replace(r, at="conv2") for r in results.rows)
    labels = [v.label for v in View(dataclasses.replace(results, rows=rows)).variants]
    assert "none @ flatten" in labels
    assert "none @ conv2" in labels
    assert len(set(labels)) == 6
