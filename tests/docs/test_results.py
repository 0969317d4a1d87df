"""The table of results is that of the committed records, and names every comparison whose records are committed."""

from write_results import COMPARISONS, PAGE, table, written


def test_the_page_holds_the_table_of_the_committed_records() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page
    assert "| `grocery-frozen` | EfficientNet-Lite0, frozen | 6 | 63.8 | +5.7 (4.9 to 6.6; 0.03) |" in table()


def test_every_committed_comparison_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [folder.name for folder in COMPARISONS.iterdir() if f"`{folder.name}`" not in page] == []
