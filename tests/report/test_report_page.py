"""The page in a real browser: it asks the network for nothing, runs nothing that data brought, and it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fixtures
import pytest

from privet.report import html

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a study's page; afterwards fail on any message of the console, any error and any other request."""
    noise: list[str] = []
    pages = []

    def open_page(name: str, **view: Any) -> Any:
        path = html.write(fixtures.ALL[name](), tmp_path / "report.html")
        page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | view))
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda r: noise.append(r.url) if not r.url.startswith(("data:", path.as_uri())) else None)
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert noise == []


@pytest.mark.parametrize("name", sorted(fixtures.ALL))
def test_no_request_no_error_and_no_sideways_scrolling_on_a_phone(opened: Open, name: str) -> None:
    page = opened(name, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("window.hacked") is None
    pictures = page.locator("img").all()
    assert all(picture.evaluate("i => i.naturalWidth > 0 && i.alt.length > 5") for picture in pictures[:3])


def test_the_groups_unfold_on_a_phone_and_their_columns_sort(opened: Open) -> None:
    page = opened("utk", viewport={"width": 390, "height": 800})
    folded = page.locator("#groups details")
    assert folded.count() == 6
    assert folded.evaluate_all("all => all.every(d => !d.open)")
    folded.first.locator("summary").click()
    assert folded.first.locator("svg.groups").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    people = folded.first.locator("thead th", has_text="People")
    people.locator("button").click()
    sizes = folded.first.locator("tbody tr").evaluate_all("rows => rows.map(r => Number(r.cells[1].dataset.v))")
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 5


def test_pointing_at_a_defense_shows_its_numbers_and_leaving_hides_them(opened: Open) -> None:
    page = opened("utk")
    tip, point = page.locator("#tip"), page.locator("a.pt[data-row=row-0-1]")
    assert tip.is_hidden()
    point.hover()
    told = tip.inner_text()
    for part in (
        "signal_content:keep=8",
        "61.0\u00a0%",
        "59.4\u201362.6",
        "Floor 43.0",
        "undefended 63.0",
        "n = 4626",
        "3 seeds",
    ):
        assert part in told
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_keyboard_reaches_a_point_and_its_row(opened: Open) -> None:
    page = opened("utk")
    page.locator("a.pt[data-row=row-1-2]").focus()
    assert "gaussian:sigma=.5" in page.locator("#tip").inner_text()
    assert "gaussian:sigma=.5" in page.locator("a.pt[data-row=row-1-2]").get_attribute("aria-label")
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "row-1-2"


def test_choosing_a_point_highlights_its_row_alone(opened: Open) -> None:
    page = opened("utk")
    for row in ("row-0-1", "row-0-3"):
        page.locator(f"a.pt[data-row={row}]").click()
        assert page.locator("tr.hit").evaluate_all("rows => rows.map(r => r.id)") == [row]
    box = "document.querySelector('tr.hit').getBoundingClientRect()"
    page.wait_for_function(f"() => {box}.top > 0 && {box}.bottom < innerHeight")


def test_columns_sort_by_number_both_ways_and_say_so(opened: Open) -> None:
    page = opened("utk")
    table = page.locator("table.sortable").first
    head = table.locator("thead th", has_text="Target")
    values = "rows => rows.map(r => Number(r.cells[1].dataset.v))"
    original = table.locator("tbody tr").evaluate_all(values)
    head.locator("button").click()
    down = table.locator("tbody tr").evaluate_all(values)
    assert down == sorted(original, reverse=True)
    assert down != original
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert table.locator("tbody tr").evaluate_all(values) == sorted(original)
    assert head.get_attribute("aria-sort") == "ascending"


def test_numbers_of_a_failed_calibration_are_struck_and_others_are_not(opened: Open) -> None:
    page = opened("uncalibrated")
    race, age = page.locator("#row-0-1 td"), page.locator("#row-1-1 td")
    assert race.locator("s").count() == 10  # value, floor, over, undefended, share and five other metrics
    assert age.locator("s").count() == 0
    assert page.locator(".verdict.broken s").count() == 3
    assert page.locator(".verdict.leak s").count() == 0
    assert "do not trust" in page.locator("a.pt[data-row=row-0-1]").get_attribute("aria-label")
    assert page.locator("figure.broken text.struck").count() >= 4
    assert "failed" in page.locator("#trust tr.failed").inner_text()


def test_names_from_data_stay_text(opened: Open) -> None:
    page = opened("hostile")
    assert page.locator("script").count() == 1
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("h1").inner_text() == fixtures.HOSTILE
    page.locator("a.pt").nth(1).hover()
    assert page.locator("#tip script").count() == 0


def test_the_command_can_be_copied_or_selected(opened: Open) -> None:
    page = opened("table")
    page.locator("#copy").click()
    page.wait_for_function("() => ['Copied', 'Selected'].includes(document.getElementById('copy').textContent)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Open, scheme: str) -> None:
    page = opened("table", color_scheme=scheme)
    css = "getComputedStyle(document.documentElement).getPropertyValue"
    color = {
        n: page.evaluate(f"{css}('--{n}').trim()")
        for n in ("paper", "ink", "quiet", "leak", "hidden", "warn", "warn-paper")
    }
    pairs = [(n, "paper") for n in ("ink", "quiet", "leak", "hidden", "warn")] + [
        ("warn", "warn-paper"),
        ("ink", "warn-paper"),
    ]
    assert {pair: ratio for pair in pairs if (ratio := contrast(*(color[n] for n in pair))) < 4.5} == {}


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast of two #rrggbb colors."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    """WCAG 2 relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
