"""The report file: self-contained, escaped, well formed, and right about its numbers."""

import io
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from marnet.comparison.tables import Column, Shown, Table
from marnet.errors import RunDirectoryError
from marnet.evaluation.analysis import CASE_RULE, choose_cases
from marnet.metrics import percent
from marnet.reports.blocks import (
    CaseStudies,
    CaseStudy,
    Gap,
    Gaps,
    KeyMetric,
    NamedPrediction,
    Panel,
    Plots,
    Report,
    Section,
)
from marnet.reports.page import (
    check_report_target,
    encode_jpeg,
    format_confidence,
    make_case_study,
    render_report,
    write_plots,
    write_report,
)
from marnet.reports.plots.embedding import embedding_panels
from marnet.reports.plots.training import training_curves

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7 * 6 }}"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The tags, the texts and the attributes of a page; refuses tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def attributes(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.tags if name in attrs]


def make_report(word: str = "plain") -> Report:
    """Every kind of block once, with `word` wherever a user's word can come in."""
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    labels = torch.tensor([1, 1])
    studies = [
        make_case_study(
            case,
            basic=probabilities,
            cdr=probabilities.flip(1),
            classes=[word, f"{word} 2"],
            image=encode_jpeg(Image.new("RGB", (8, 8), "teal")),
            name=f"{word}.jpg",
            text=word,
        )
        for case in choose_cases(probabilities, probabilities.flip(1), labels)
    ]
    curves = training_curves({word: [{"epoch": 1, "val/top1": 0.5}]}, loss=word)
    pair = embedding_panels({word: np.eye(2), f"{word} 2": np.eye(2)}, np.array([0, 1]), [word, word])
    plots = [
        Plots(panels=[Panel(curves.loss, word, "loss")], legend=curves.legend, caption=word),
        Plots(
            panels=[Panel(figure, word, f"features-{i}") for i, figure in enumerate(pair.figures)],
            legend=pair.legend,
            caption=word,
            layout="small",
        ),
        Plots(panels=[Panel(curves.accuracy, word, "accuracy")], caption=word, layout="wide"),
    ]
    table = Table(title=word, columns=[Column(word), Column(word, percent, "max")], rows=[[word, 0.5]], note=word)
    return Report(
        title=word,
        summary=[word, "Second sentence."],
        key_metrics=[KeyMetric(word, word, word)],
        sections=[
            Section(title=word, text=[word], blocks=[table, *plots]),
            Section(title="Cases", blocks=[CaseStudies(cases=studies)]),
            Section(title="Missing", blocks=[Gaps(gaps=[Gap(word, word, word), Gap("Maps", "No map.")])]),
        ],
        configuration=word,
        environment={word: word},
    )


def test_the_file_asks_for_nothing_from_outside(tmp_path: Path):
    html = write_report(make_report(), tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) == {"#"}
    page = Page(html)
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    for target in page.attributes("src") + page.attributes("href"):
        assert target.startswith(("data:", "#"))
    policies = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]


def test_the_page_is_well_formed_and_accessible():
    page = Page(render_report(make_report()))
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert tags["img"]["alt"] == "Image plain.jpg, true class plain 2"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = page.attributes("id")
    assert len(set(ids)) == len(ids)
    for target in page.attributes("href"):
        assert not target.startswith("#") or target[1:] in ids
    for names in page.attributes("aria-labelledby"):
        assert names in ids


def test_words_of_users_stay_words(tmp_path: Path):
    page = Page(write_report(make_report(HOSTILE), tmp_path / "report.html").read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert tags.count("img") == 2  # the two cases
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert page.texts.count(HOSTILE) >= 15
    assert f"Image {HOSTILE}.jpg, true class {HOSTILE} 2" in page.attributes("alt")


def test_names_that_are_no_utf8_are_written(tmp_path: Path):
    path = write_report(Report(title="caf\udce9.jpg"), tmp_path / "report.html")
    assert "caf\\udce9.jpg" in path.read_text(encoding="utf-8")


def test_the_same_report_gives_the_same_file():
    assert render_report(make_report()) == render_report(make_report())


def test_an_empty_report_is_a_page():
    page = Page(render_report(Report(title="Nothing yet")))
    assert "Nothing yet" in page.texts
    assert "section" not in [tag for tag, _ in page.tags]


def test_a_table_marks_every_value_that_reads_as_the_best():
    table = Table(
        title="t",
        columns=[Column("method"), Column("top-1", percent, "max"), Column("nll", "{:.2f}".format, "min"), Column("n")],
        rows=[["a", 0.7341, 0.5, 10], ["b", 0.7339, float("nan"), 10], ["c", 0.1, None, 10], ["d", "n/a", 0.25, 10]],
    )
    cells = table.cells()
    assert [[cell.text for cell in row] for row in cells] == [
        ["a", "73.4 %", "0.50", "10"],
        ["b", "73.4 %", "–", "10"],  # noqa: RUF001
        ["c", "10.0 %", "–", "10"],  # noqa: RUF001
        ["d", "n/a", "0.25", "10"],
    ]
    assert [[cell.best for cell in row] for row in cells] == [
        [False, True, False, False],
        [False, True, False, False],
        [False, False, False, False],
        [False, False, True, False],
    ]
    assert [cell.numeric for cell in cells[0]] == [False, True, True, False]


def test_words_of_their_own_are_ranked_by_their_number():
    table = Table(
        title="t",
        columns=[Column("method"), Column("top-1", "{:.1f}".format, "max"), Column("d", "{:.1f}".format)],
        rows=[
            ["a", Shown(9.96, "10.0 ± 3.0"), Shown(1, "+1 [0, 2]")],
            ["b", Shown(10.01, "10.0 ± 1.0"), None],
            ["c", Shown(9.0, "9.0 ± 0.1"), "n/a"],
            ["d", Shown(float("nan"), "?"), None],
        ],
    )
    cells = table.cells()
    assert [row[1].text for row in cells] == ["10.0 ± 3.0", "10.0 ± 1.0", "9.0 ± 0.1", "?"]
    assert [row[1].best for row in cells] == [True, True, False, False]
    assert [row[2].text for row in cells] == ["+1 [0, 2]", "–", "n/a", "–"]  # noqa: RUF001
    assert all(row[1].numeric and row[2].numeric and not row[2].best for row in cells)


def test_what_is_missing_is_named_with_the_command_that_makes_it():
    page = Page(render_report(make_report()))
    assert [page.texts[i] for i, text in enumerate(page.texts) if text in ("Maps", "No map.")] == ["Maps", "No map."]
    assert [tag for tag, _ in page.tags].count("code") == 1


def test_a_wide_drawing_scrolls_in_a_box_of_its_own():
    page = Page(render_report(make_report()))
    boxes = [attrs for tag, attrs in page.tags if str(attrs.get("class")) == "panels wide scroll"]
    assert boxes == [{"class": "panels wide scroll", "role": "region", "tabindex": "0", "aria-label": "plain"}]
    assert "panels small" in page.attributes("class")


def test_every_drawing_becomes_two_files(tmp_path: Path):
    report = make_report()
    before = render_report(report)
    names = write_plots(report, tmp_path / "plots")
    assert names == ["loss", "features-0", "features-1", "accuracy"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
        f"{name}.{ending}" for name in names for ending in ("svg", "png")
    )
    with Image.open(tmp_path / "plots" / "loss.png") as picture:
        assert 800 < picture.size[0] <= 1000  # 4.6 inches at 200 dpi, about
        assert picture.size[1] > 560  # 3 inches, and the legend below
    assert render_report(report) == before
    first = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    write_plots(report, tmp_path / "plots")
    assert {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()} == first


def test_a_plot_of_a_run_in_a_folder_lies_beside_the_others(tmp_path: Path):
    panel = Panel(training_curves({}).loss, "alt", "loss-A/seed-0")
    report = Report(title="t", sections=[Section(title="s", blocks=[Plots(panels=[panel], caption="")])])
    assert write_plots(report, tmp_path) == ["loss-A-seed-0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss-A-seed-0.png", "loss-A-seed-0.svg"]


def test_two_plots_of_one_name_are_refused(tmp_path: Path):
    panel = Panel(training_curves({}).loss, "alt", "loss")
    report = Report(title="t", sections=[Section(title="s", blocks=[Plots(panels=[panel, panel], caption="")])])
    with pytest.raises(ValueError, match=r"Several plots are called loss\. Give each its own name"):
        write_plots(report, tmp_path)


def test_only_reports_are_replaced(tmp_path: Path):
    page = write_report(make_report(), tmp_path / "report.html")
    check_report_target(page)
    check_report_target(tmp_path / "new.html")
    with pytest.raises(RunDirectoryError, match=r"is a folder\. Name an HTML file, such as .*report\.html"):
        check_report_target(tmp_path)
    page.write_text("<html>my thesis</html>")
    with pytest.raises(RunDirectoryError, match=r"report\.html is not a report of marnet\. Nothing was changed"):
        check_report_target(page)


def test_a_single_value_is_no_winner():
    table = Table(title="t", columns=[Column("m"), Column("top-1", percent, "max")], rows=[["a", 0.5], ["b", None]])
    assert not any(cell.best for row in table.cells() for cell in row)


def test_a_table_refuses_rows_that_do_not_fit():
    table = Table(title="Accuracy", columns=[Column("m"), Column("top-1")], rows=[["a"]])
    with pytest.raises(ValueError, match="A row of table 'Accuracy' has 1 cells, but there are 2 columns"):
        table.cells()


@pytest.mark.parametrize(
    ("confidence", "text"),
    [
        (0.0, "0.00"),
        (6.4e-3, "6.4e-3"),
        (1.23e-12, "1.2e-12"),
        (0.01, "0.01"),
        (0.64, "0.64"),
        (0.994, "0.99"),
        (0.9951, "> 0.99"),
        (1.0, "1.00"),
    ],
)
def test_confidences_read_as_in_the_paper(confidence: float, text: str):
    assert format_confidence(confidence) == text


def test_a_case_study_lists_the_true_class_and_its_rank():
    basic = torch.tensor([[0.40, 0.30, 0.20, 0.06, 0.04]])
    cdr = torch.tensor([[0.10, 0.05, 0.02, 0.80, 0.03]])
    (case,) = choose_cases(basic, cdr, torch.tensor([3]))
    study = make_case_study(case, basic=basic, cdr=cdr, classes=list("abcde"), image=b"\xff\xd8\xff", top=2)
    assert study.kind == "repaired"
    assert study.true_label == "d"
    assert study.basic == (
        NamedPrediction("a", pytest.approx(0.40), 1, False),
        NamedPrediction("b", pytest.approx(0.30), 2, False),
        NamedPrediction("d", pytest.approx(0.06), 4, True),
    )
    assert [prediction.label for prediction in study.cdr] == ["d", "a"]
    html = render_report(Report(title="t", sections=[Section(title="s", blocks=[CaseStudies(cases=[study])])]))
    page = Page(html)
    assert "rank 4" in page.texts
    assert "width:80.00%" in html
    assert "↑ repaired" in page.texts
    assert CASE_RULE in page.texts


def test_a_case_study_refuses_what_is_no_image():
    study = CaseStudy(kind="broken", image=b"GIF89a..", true_label="a", basic=(), cdr=(), name="x.gif")
    report = Report(title="t", sections=[Section(title="s", blocks=[CaseStudies(cases=[study])])])
    with pytest.raises(
        ValueError, match=r"The image of case 'x\.gif' begins with b'GIF89a\.\.', but must be a JPEG or PNG"
    ):
        render_report(report)


def test_pictures_are_reduced_and_lose_their_metadata():
    picture = Image.new("RGBA", (640, 320), "teal")
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", exif=exif)
    for source in (picture, Image.open(buffer)):
        encoded = Image.open(io.BytesIO(encode_jpeg(source, side=100)))
        assert encoded.format == "JPEG"
        assert encoded.size == (100, 50)
        assert not encoded.getexif()
    assert Image.open(io.BytesIO(encode_jpeg(Image.new("L", (10, 20))))).size == (10, 20)


def test_the_look_at_a_page_notices_what_is_wrong(tmp_path: Path, look: Callable[[Path, int], Any]):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><p>fine</p><div style='width:900px'>wide</div><div class='scroll' style='overflow:auto'>"
        "<div style='width:900px'>in a box</div></div><script>console.error('a mistake')</script>"
    )
    found = look(page, 375)
    (wide,) = found.too_wide
    assert wide.endswith(">wide</div>")
    assert found.widths[0] > found.widths[1]
    assert "CONSOLE" in found.log
