"""The page of a search: every picture and text is shown, escaped, and fits a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marnet.semantic.search.index import SearchIndex
from marnet.semantic.search.query import Query

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7 * 6 }}"


@pytest.fixture(scope="module")
def index(trained_run: Path, manifest_file: Path) -> SearchIndex:
    rows = [(str(manifest_file.parent / f"eel-{number}.png"), f"blue {HOSTILE}", "eel", "val") for number in range(5)]
    return SearchIndex.build(trained_run, data=rows, device="cpu")


def test_hostile_texts_are_escaped_and_lost_images_told(index: SearchIndex, tmp_path: Path) -> None:
    from marnet.reports.search_page import write_search_page

    query = Query(f"blue {HOSTILE}")
    found = index.search(query.text)
    lost = found._replace(images=(found.images[0]._replace(image=str(tmp_path / "gone.jpg")), *found.images[1:]))
    html = write_search_page(query, index, lost, tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "{{ 7 * 6 }}" in html
    assert html.count("<img") == html.count('src="data:image/jpeg;base64,') == 5
    assert "gone.jpg (the image can no longer be read)" in html
    assert "Nearest texts" not in html


def test_the_page_fits_a_phone_and_a_screen(
    index: SearchIndex, tmp_path: Path, look: Callable[[Path, int], Any]
) -> None:
    from marnet.reports.search_page import write_search_page

    image = index.collection.images[0]
    found = index.search("blue", image=image)
    page = write_search_page(Query("blue", image), index, found, tmp_path / "page.html")
    assert "Nearest texts" in page.read_text()
    for width in (375, 1280):
        seen = look(page, width)
        assert seen.widths[0] <= seen.widths[1], seen.too_wide
        assert seen.too_wide == []
