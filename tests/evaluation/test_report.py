from __future__ import annotations

import base64
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoalign.errors import DataError, VideoError
from videoalign.evaluation.charts import Line, line_chart, nice_ticks, running_mean
from videoalign.evaluation.report import SECTIONS, ClipRow, ReportMedia, data_uri, write_report
from videoalign.evaluation.report_view import headline_view, percent, seconds, weights_text

build_run = runpy.run_path(str(Path(__file__).parents[1] / "report_example.py"))["build_run"]

VOID = {"meta", "link", "input", "br", "img"}
SVG_LEAVES = {"line", "circle", "polyline"}


class Page(HTMLParser):
    """The page's elements, with a check that every one is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SVG_LEAVES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "data":
            attributes = self.elements[-1][1]
            self.values.append((attributes["data-key"], attributes["value"], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    results, media = build_run(folder)
    path = write_report(folder, results, media)
    html = path.read_text(encoding="utf-8")
    return {"results": results, "media": media, "html": html, "page": Page(html), "path": path}


def look_up(results: Any, key: str) -> Any:
    for part in key.split("."):
        results = results[int(part)] if isinstance(results, list) else results[part]
    return results


def test_page_is_one_file_that_fetches_nothing(run):
    addresses = [
        value
        for _, attributes in run["page"].elements
        for name, value in attributes.items()
        if name in {"src", "href", "poster", "data", "srcset", "action", "xlink:href"}
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "http://" not in run["html"]
    assert "https://" not in run["html"]
    assert not re.search(r"@import|url\((?!data:)|\bfetch\(|XMLHttpRequest|import\(", run["html"])
    assert [path.name for path in run["path"].parent.glob(".*")] == []


def test_every_number_in_the_page_is_the_one_in_the_results(run):
    shown = run["page"].values
    for key, value, text in shown:
        want = look_up(run["results"], key)
        assert float(value) == want, key
        if key.startswith("seconds."):
            assert text == seconds(want)
        elif isinstance(want, float):
            assert text in (percent(want), percent(want, 0), percent(want, 0, "")), key
        else:
            assert text == str(want)
    keys = {key for key, _, _ in shown}
    for judge in ("alignment", "alignment_videoreward"):
        for method, comparison in run["results"][judge].items():
            for dimension in comparison:
                assert {f"{judge}.{method}.{dimension}.{name}" for name in ("win_rate", "low", "high")} <= keys
    assert {f"guidance.{i}.{name}" for i in range(3) for name in ("VQ", "MQ", "TA")} <= keys
    for name in ("with_ties", "without_ties", "low", "high", "random", "always_tie", "rater_agreement", "n"):
        assert f"reward.VQ.{name}" in keys
    assert {"seconds.align", "seed"} <= keys


def test_every_section_is_there_and_linked(run):
    ids = [attributes["id"] for _, attributes in run["page"].elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    assert [a["href"] for a in run["page"].all("a")] == [f"#{name}" for name in SECTIONS]


def test_clips_are_embedded_byte_by_byte_with_a_label_each(run):
    videos = run["page"].all("video")
    paths = [path for row in [*run["media"].comparisons, *run["media"].guidance] for path in row.clips.values()]
    assert len(videos) == len(paths) == 3 * 5 + 2
    for video, path in zip(videos, paths, strict=True):
        assert base64.b64decode(video["src"].removeprefix("data:video/mp4;base64,")) == path.read_bytes()
        assert run["media"].comparisons[int(path.name[0])].prompt in video["aria-label"]
        assert {"muted", "loop", "playsinline"} <= set(video)


def test_charts_tables_and_controls_speak_to_a_screen_reader(run):
    page = run["page"]
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert all(th["scope"] in ("col", "row", "colgroup") for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 5
    assert all(button["type"] == "button" for button in page.all("button"))
    assert all(control["aria-label"] for control in page.all("input"))
    assert page.all("html")[0]["lang"] == "en"
    assert "prefers-reduced-motion" in run["html"]


def test_text_from_outside_cannot_become_markup(run, tmp_path):
    clip = run["media"].comparisons[0].clips["base"]
    row = ClipRow(prompt='<script>alert("x")</script>', clips={"<b>arm</b>": clip})
    results = {**run["results"], "alignment": {"<i>m</i>": run["results"]["alignment"]["dpo"]}, "about": "<u>"}
    html = write_report(
        tmp_path, results, ReportMedia(comparisons=[row], histories={"<i>m</i>": [{"step": 1, "loss": 2.0}]})
    ).read_text()
    assert not re.search(r"<script>alert|<b>arm|<i>m|<u>", html)
    Page(html)


def test_sections_without_content_are_left_out(run, tmp_path):
    html = write_report(
        tmp_path, {"alignment": run["results"]["alignment"], "judge": "oracle"}, ReportMedia()
    ).read_text()
    page = Page(html)
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert ids == {"headline", "win-rates", "reproduce"}
    assert [a["href"] for a in page.all("a")] == ["#win-rates", "#reproduce"]


def test_headline_claims_no_more_than_the_interval_allows():
    def claim(low: float, win_rate: float, high: float) -> str:
        found = {"method": "dpo", "win_rate": win_rate, "low": low, "high": high, "num_methods": 1}
        return str(headline_view(found, {}, 0)["claim"])

    assert claim(0.88, 0.91, 0.94) == "Flow-DPO beats the base on 91% of clips."
    assert claim(0.45, 0.53, 0.6).startswith("No clear winner: Flow-DPO")
    assert claim(0.1, 0.2, 0.3).startswith("The base is better: Flow-DPO")


def test_headline_says_that_the_best_of_several_was_chosen(run, tmp_path):
    assert "95% interval, widened because it is the best of 4 methods" in run["html"]
    one = {"alignment": {"dpo": run["results"]["alignment"]["dpo"]}}
    html = write_report(tmp_path, one, ReportMedia()).read_text()
    assert "widened" not in html and "95% interval:" in html


def test_warnings_stand_at_the_top_and_above_every_table(run, tmp_path):
    warned = {**run["results"], "warnings": ["The judge taught the candidate."], "prompts_note": "Of its own prompts."}
    html = write_report(tmp_path, warned, run["media"]).read_text()
    captions = re.findall(r"<caption>(.*?)</caption>", html)
    win_rates = [caption for caption in captions if "Win rate" in caption]
    assert len(win_rates) == 3
    assert sum("The judge taught the candidate." in caption for caption in win_rates) == 2  # not by the second judge
    assert "Not independent:</strong> The judge taught the candidate." in html
    assert html.count("Of its own prompts.") == 2
    assert "Not independent" not in run["html"]


def test_collapse_is_announced(run, tmp_path):
    row = {"win_rate": 0.9, "low": 0.8, "high": 0.95, "n": 4, "num_prompts": 2, "wins": 3, "ties": 0, "losses": 1}
    fallen = {**row, "win_rate": 0.1, "low": 0.0, "high": 0.2}
    calm = write_report(
        tmp_path / "calm", {"alignment": {"dpo": {"TA": row, "overall": row}}}, ReportMedia()
    ).read_text()
    alarmed = write_report(
        tmp_path / "alarm", {"alignment": {"dpo": {"TA": fallen, "overall": row}}}, ReportMedia()
    ).read_text()
    assert "Collapse:" not in calm
    assert re.search(r"Collapse:</strong> under Flow-DPO, TA fell", alarmed)


def test_results_or_clips_that_cannot_be_shown_are_refused_and_leave_nothing(run, tmp_path):
    with pytest.raises(DataError, match="at least one method"):
        write_report(tmp_path, {"alignment": {}}, ReportMedia())
    whole = run["media"].comparisons[0].clips["base"]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:1500])
    for path in (cut, tmp_path / "missing.mp4"):
        with pytest.raises(VideoError):
            data_uri(path)
        with pytest.raises(VideoError):
            write_report(tmp_path, run["results"], ReportMedia(comparisons=[ClipRow(prompt="p", clips={"base": path})]))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (-0.013, 0.021, [-0.02, -0.01, 0, 0.01, 0.02, 0.03]),
        (0.0, 200.0, [0, 50, 100, 150, 200]),
        (3.0, 3.0, [2.5, 2.75, 3, 3.25, 3.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(low, high, ticks):
    assert nice_ticks(low, high, 4) == pytest.approx(ticks)


def test_running_mean_keeps_a_straight_line_and_the_ends_inside():
    np.testing.assert_allclose(running_mean([2.0] * 9, 5), 2.0)
    np.testing.assert_allclose(running_mean([0, 1, 2, 3, 4], 3), [0.5, 1, 2, 3, 3.5])


def test_line_chart_puts_its_points_inside_the_frame():
    svg = line_chart("t", [Line(label="a", x=list(range(1000)), y=[(-1) ** i * i for i in range(1000)], colour=0)])
    points = [
        tuple(map(float, pair.split(","))) for text in re.findall(r'points="([^"]*)"', svg) for pair in text.split()
    ]
    assert all(0 <= x <= 330 and 0 <= y <= 210 for x, y in points)
    assert len(points) <= 2 * 251


def test_words_for_numbers():
    assert (percent(0.91666), percent(0.91666, 0)) == ("91.7%", "92%")
    assert [seconds(value) for value in (7.24, 185.0, 3725.0)] == ["7.2 s", "3 min 05 s", "1 h 02 min"]
    assert weights_text({"VQ": 1.0, "MQ": 0.0, "TA": 0.5}) == "VQ 1, TA 0.5"
