"""What the rating page looks like: all of it on a laptop, usable on a phone, readable in light and dark, by ear too."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

wait_until = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["wait_until"]

STYLES = Path(__file__).parents[2] / "videoalign/web/static/app.css"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
BOX = "e => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
UNNAMED = """() => [...document.querySelectorAll('#pair button, #pair input, #pair textarea, #pair select')].filter(e =>
  e.checkVisibility() && !e.ariaLabel && !e.textContent.trim() && ![...(e.labels ?? [])].some(l => l.textContent.trim())
).map(e => e.outerHTML)"""
SMALL_TARGETS = """() => [...document.querySelectorAll('#pair button, #pair select, .choice, #pair textarea')]
  .filter(e => e.checkVisibility()).map(e => [e.id || e.textContent.trim(), e.getBoundingClientRect()])
  .filter(([, box]) => box.height < 44 || box.width < 40).map(([name]) => name)"""
TEXTS = [
    ("ink", "paper"), ("ink", "card"), ("ink", "rail"), ("ink", "tint"), ("soft", "paper"), ("soft", "card"),
    ("soft", "rail"), ("accent", "paper"), ("accent", "card"), ("accent-ink", "accent"), ("warn", "warn-paper"),
    ("warn", "paper"), ("bad", "card"), ("bad-ink", "bad"), ("a-ink", "a"), ("b-ink", "b"), ("tie-ink", "tie"),
    ("a", "card"), ("b", "card"), ("accent", "tint"),
]  # fmt: skip
"""Colours of text and of what is behind it, by their names in the style sheet."""


@pytest.fixture(scope="module")
def programme(open_programme: Callable[..., Any], grey_dataset: Path) -> Any:
    return open_programme(grey_dataset, "min_watch=0.1", "ratings=true", "raters_per_pair=20")


@pytest.fixture(scope="module")
def laptop(programme: Any) -> Any:
    return programme.rater("Laptop")


@pytest.fixture
def page(laptop: Any) -> Iterator[Any]:
    yield laptop
    laptop.keyboard.press("Escape")


@pytest.fixture(scope="module")
def phone(programme: Any) -> Any:
    return programme.rater("Phone", color_scheme="dark", **PHONE)


def box(page: Any, selector: str) -> list[float]:
    return page.locator(selector).first.evaluate(BOX)


def test_a_laptop_shows_players_dimensions_and_submit_without_scrolling(page: Any) -> None:
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [1366, 768]
    assert page.locator(".dimension").count() == 3
    for selector in (".frame.left", ".frame.right", "#submit", "#prompt"):
        left, top, right, bottom = box(page, selector)
        assert 0 <= left < right <= 1366
        assert 0 <= top < bottom <= 768
    left, top, right, bottom = box(page, ".frame.left")
    assert bottom - top > 300
    assert right <= box(page, ".frame.right")[0]


def test_a_phone_needs_no_sideways_scrolling_and_keeps_submit_in_sight(phone: Any) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    left, top, right, bottom = box(phone, "#submit")
    assert bottom <= 844
    assert right - left >= 100
    phone.evaluate("scrollTo(0, 0)")
    above, below = box(phone, ".frame.left"), box(phone, ".frame.right")
    assert above[3] <= below[1]
    assert above[2] - above[0] > 350
    phone.evaluate("scrollTo(0, 9999)")
    assert box(phone, ".frame.right")[3] < box(phone, "#submit")[1]


def test_targets_for_a_thumb_are_44_pixels_high(phone: Any) -> None:
    assert phone.evaluate(SMALL_TARGETS) == []


@pytest.mark.parametrize(
    "path", ["", "/raters", "/invitations", "/pairs", "/pairs/1", "/agreement", "/leaderboard", "/audit"]
)
def test_a_page_of_admins_fits_a_phone_and_names_its_controls(programme: Any, phone: Any, path: str) -> None:
    page = programme.admin
    page.set_viewport_size(PHONE["viewport"])
    page.goto(f"{programme.url}/admin{path}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate(UNNAMED.replace("#pair ", "")) == []
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("nav [aria-current]").count() == (path != "/pairs/1")
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.scrollWidth <= innerWidth)")
    assert page.complaints == []


def test_every_control_has_a_name(page: Any) -> None:
    assert page.evaluate(UNNAMED) == []
    for name in ("One frame back", "One frame forward", "Zoom in", "Zoom out", "Keys", "Submit"):
        assert page.get_by_role("button", name=name).count() == 1
    assert page.get_by_role("slider", name="Position in both clips").count() == 1
    assert page.get_by_role("button", name=re.compile("^(Play|Pause)$")).count() == 1
    assert page.get_by_role("progressbar", name="Pairs judged").count() == 1
    assert page.locator("video").first.get_attribute("aria-label") == "Clip A"
    assert page.inner_text("#status").startswith("0 of 2 judged. Prompt: a grey sheet")


@pytest.mark.parametrize(("key", "dialog"), [("g", "Guideline"), ("?", "Keys"), ("s", "Why skip this pair?")])
def test_a_key_opens_a_dialog_and_escape_closes_it(page: Any, key: str, dialog: str) -> None:
    page.keyboard.press(key)
    wait_until(lambda: page.get_by_role("dialog", name=dialog).is_visible())
    page.keyboard.press("Escape")
    wait_until(lambda: page.locator("dialog[open]").count() == 0)


def test_the_guideline_says_what_each_dimension_means(page: Any) -> None:
    page.keyboard.press("g")
    wait_until(lambda: "Judge it with the prompt in mind." in page.inner_text("#guideline-text"))
    assert page.inner_text("#guideline-text").count("Judge it whatever the prompt asked for.") == 2


def test_wipe_lays_one_clip_over_the_other_and_zoom_moves_both_alike(page: Any) -> None:
    page.keyboard.press("w")
    wait_until(lambda: box(page, ".frame.left") == box(page, ".frame.right"))
    clip = "getComputedStyle(document.querySelector('.frame.left')).clipPath"
    assert "50%" in page.evaluate(clip)
    page.keyboard.press(";")
    wait_until(lambda: "45%" in page.evaluate(clip) or "55%" in page.evaluate(clip))
    page.keyboard.press("w")
    wait_until(lambda: page.evaluate(clip) == "none")
    for key in ("+", "+", "Shift+ArrowLeft", "Shift+ArrowDown"):
        page.keyboard.press(key)
    left, right = page.evaluate(
        "[...document.querySelectorAll('.frame video')].map(v => getComputedStyle(v).transform)"
    )
    assert left == right
    assert left.startswith("matrix(2.25, 0, 0, 2.25")
    assert "100%" not in page.inner_text("#zoom")
    page.keyboard.press("0")
    wait_until(lambda: page.inner_text("#zoom") == "100%")


def test_the_split_follows_the_pointer(page: Any) -> None:
    page.keyboard.press("w")
    left, top, right, bottom = box(page, "#stage")
    page.mouse.move((left + right) / 2, (top + bottom) / 2)
    page.mouse.down()
    page.mouse.move(left + 0.25 * (right - left), (top + bottom) / 2)
    page.mouse.up()
    wait_until(lambda: float(page.input_value("#split")) == pytest.approx(25, abs=1))
    page.keyboard.press("w")


def test_focus_is_seen(page: Any) -> None:
    page.locator("#comment").focus()
    page.keyboard.press("Tab")
    style = "(() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]; })()"
    wait_until(lambda: page.evaluate(style) == ["solid", "3px"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_pair_of_colours_has_the_contrast_of_wcag_aa(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLES.read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0] + (blocks[1] if scheme == "dark" else "")))
    low = {(ink, paper): contrast(colours[ink], colours[paper]) for ink, paper in TEXTS}
    assert {pair: round(value, 2) for pair, value in low.items() if value < 4.5} == {}
    for line in ("edge", "accent"):
        assert contrast(colours[line], colours["card"]) >= 3
        assert contrast(colours[line], colours["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two ``#rrggbb`` colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
