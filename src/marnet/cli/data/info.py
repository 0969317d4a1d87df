"""`marnet data info`."""

from typing import TYPE_CHECKING

from marnet.cli.data.opening import open_manifest
from marnet.cli.options import AsJson, DataSets, Labels, Source
from marnet.cli.output import as_json_value, print_json, say

if TYPE_CHECKING:
    from marnet.data.tools.audit.statistics import SourceStatistics, SplitStatistics, Spread


def info(source: Source, labels: Labels = None, sets: DataSets = None, as_json: AsJson = False) -> None:
    """Print splits, classes, texts and image sizes. Only the headers of the images are read."""
    manifest = open_manifest("data info", source, labels, sets)

    from marnet.data.tools.audit.statistics import describe

    found = describe(manifest)
    if as_json:
        print_json(as_json_value(found))
    else:
        _print_info(found)


def _print_info(found: "SourceStatistics") -> None:
    from marnet.cli.tables import print_table

    several = found.label_form == "multi"
    columns = [_column(each, several=several) for each in (*found.splits.values(), found.total)]
    print_table(
        f"{found.source}: {found.total.images} images, {found.classes} classes",
        ("", *found.splits, "all"),
        [(name, *(column[name] for column in columns)) for name in columns[0]],
    )
    if found.sizes is not None:
        sizes = found.sizes
        say(
            f"Pixels (min / median / max): width {_spread(sizes.width)}, height {_spread(sizes.height)}, short side "
            f"{_spread(sizes.short_side)}"
        )
    if found.sizes is None or found.sizes.unreadable:
        count = found.total.images if found.sizes is None else found.sizes.unreadable
        say(f"Unreadable headers: {count}; 'marnet data check' lists them.")


def _column(rows: "SplitStatistics", *, several: bool) -> dict[str, str]:
    labels = {
        **_three_rows("classes per image", rows.classes_per_image),
        "images without a class": str(rows.without_class),
    }
    return {
        "images": str(rows.images),
        "classes": str(rows.classes),
        **_three_rows("images per class", rows.images_per_class),
        **(labels if several else {}),
        "unique texts": str(rows.texts.unique),
        "blank texts": str(rows.texts.blank),
        **_three_rows("words per text", rows.texts.words),
        "images with a text of their own": f"{100 * rows.texts.own_share:.1f} %",
    }


def _three_rows(name: str, values: "Spread | None") -> dict[str, str]:
    """Return the least, the median and the greatest value, one per row: so the columns stay narrow."""
    shown = ["-"] * 3 if not values else [f"{value:g}" for value in values]
    return {f"{name}, {which}": value for which, value in zip(("min", "median", "max"), shown, strict=True)}


def _spread(values: "Spread") -> str:
    return " / ".join(f"{value:g}" for value in values)
