"""`marnet data cache`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marnet.cli.output import on_one_line, say

if TYPE_CHECKING:
    from marnet.data.leftovers import Leftover


def cache(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of downloads or conversions, to look for leftovers there, too."),
    ] = None,
    clear: Annotated[
        bool,
        typer.Option(
            "--clear", help="Remove the decoded images, which training decodes again when needed, and the leftovers."
        ),
    ] = False,
) -> None:
    """List the decoded images that training keeps on disk, and what killed processes left half written; or remove them.

    Images that no training opened for 30 days are removed when new ones are written. Leftovers are files *.part and
    *.partial and folders .unpacking-*; those written to within the last hour may be in use and are kept.
    """
    from marnet.cache import cache_directory
    from marnet.data.decoded import clear_cache, list_cache
    from marnet.data.leftovers import list_leftovers, remove_leftovers

    folder = cache_directory()
    found, leftovers = list_cache(folder), list_leftovers(folder, folders or [])
    if clear:
        leftovers = remove_leftovers(leftovers)
        clear_cache(folder)
    else:
        for each in found:
            say(f"{each.size / 1e6:10,.1f} MB  opened {each.days:5.1f} days ago  {each.file.name}")
        for leftover in leftovers:
            say(_describe(leftover))
    sets = "1 set" if len(found) == 1 else f"{len(found)} sets"
    total = f"{sets} of decoded images, {sum(each.size for each in found) / 1e6:,.1f} MB"
    say(f"{'Removed ' if clear else ''}{total}, in {folder / 'images'}.")
    if leftovers:
        count = "1 leftover" if len(leftovers) == 1 else f"{len(leftovers)} leftovers"
        size = f"{sum(each.size for each in leftovers) / 1e6:,.1f} MB"
        say(f"Removed {count}, {size}." if clear else f"{count} of killed processes, {size}; --clear removes them.")


def _describe(leftover: "Leftover") -> str:
    state = "perhaps in use" if leftover.in_use else f"left {leftover.days:7.1f} days ago"
    return f"{leftover.size / 1e6:10,.1f} MB  {state}  {on_one_line(str(leftover.path))}"
