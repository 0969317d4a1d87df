"""`marnet search`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import on_one_line, print_json, say
from marnet.errors import shorten

if TYPE_CHECKING:
    from marnet.semantic.search.index import SearchIndex
    from marnet.semantic.search.query import Query
    from marnet.semantic.search.result import SearchResult

_LONGEST_TEXT = 160  # characters that are printed


def search(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    query: Annotated[
        list[str] | None,
        typer.Argument(help="What to look for, in words.", show_default=False),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Look for what is like this image; with QUERY, for both together.")
    ] = None,
    without: Annotated[str | None, typer.Option(help="Subtract what this text says from the query.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Search this folder of images", show_default="the rows of the run")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Search the rows of a data source; see docs/data.md.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Search the features that 'marnet embed' wrote into this folder.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split of the rows to search: train, val or test", show_default="all")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Keep the vectors of the images in this file, which is written if it does not exist yet."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many images, and texts, to show.")] = 20,
    html: Annotated[Path | None, typer.Option(help="Also write a page with the pictures that were found.")] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Find images by a text, by an image or by both, in the space that a run has learned for images and texts.

    With an image as the query, the nearest texts are shown as well.
    """
    from marnet.reports.page import check_report_target
    from marnet.reports.search_page import write_search_page
    from marnet.semantic.search.index import SearchIndex
    from marnet.semantic.search.query import Query, query_vector
    from marnet.semantic.space import open_space

    if html is not None:
        check_report_target(html)
    asked = Query(" ".join(query) if query else None, image, without)
    space = open_space(run, allow_code=allow_code)
    vector = query_vector(space, asked)  # here, so that a query is refused before the images are read
    if index is None:
        searched = SearchIndex.build(
            space, images=images, data=data, features=features, split=split, allow_code=allow_code
        )
    else:
        searched = SearchIndex.open(
            index, space, images=images, data=data, features=features, split=split, allow_code=allow_code
        )
    found = searched.nearest_to(vector, top=top)
    if as_json:
        print_json(_as_dict(asked, searched, found))
    else:
        _print(asked, searched, found)
    if html is not None:
        say(f"Page: {write_search_page(asked, searched, found, html)}", error=as_json)


def _as_dict(query: "Query", index: "SearchIndex", found: "SearchResult") -> dict[str, Any]:
    collection = index.collection
    return {
        "query": {**query._asdict(), "image": None if query.image is None else str(query.image)},
        "searched": {
            "source": collection.source,
            "images": len(collection.images),
            "texts": len(index.texts),
            "unreadable": list(index.unreadable),
            "exact": not index.clusters,
        },
        "images": [{**hit._asdict(), "texts": list(hit.texts)} for hit in found.images],
        "texts": [hit._asdict() for hit in found.texts],
    }


def _print(query: "Query", index: "SearchIndex", found: "SearchResult") -> None:
    count, by = len(index.collection.images), ", by clusters," if index.clusters else ""
    say(f"The {len(found.images)} nearest of {count} images{by} to {on_one_line(query.describe())}:")
    for hit in found.images:
        say(f"  {hit.cosine:6.3f}  {on_one_line(hit.image)}")
        for text in hit.texts:
            say(f"          {on_one_line(shorten(text, most=_LONGEST_TEXT))}")
    if query.image is None:
        return
    if not found.texts:
        say("These images have no texts. Without --images, the rows of the run are searched, and their texts.")
        return
    say(f"The {len(found.texts)} nearest of {len(index.texts)} texts:")
    for nearest in found.texts:
        say(f"  {nearest.cosine:6.3f}  {on_one_line(shorten(nearest.text, most=_LONGEST_TEXT))}")
