"""The tables of results are those of the committed records, and every comparison with records is named."""

from write_results import COMPARISONS, PAGE, tables, written


def test_the_page_holds_the_tables_of_the_committed_records() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page
    assert "| `ikea-finetuned` | IKEA products | Lite0, fine-tuned | 6 | 63.2 | +0.8 (0.1 to 1.9; 0.19) |" in tables()


def test_every_committed_comparison_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [folder.name for folder in COMPARISONS.iterdir() if f"`{folder.name}`" not in page] == []
