"""`marnet data cache`."""

from typing import Annotated

import typer

from marnet.cli.output import say


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the decoded images; training decodes them again when needed.")
    ] = False,
) -> None:
    """List the decoded images that training keeps on disk, or remove them.

    Images that no training opened for 30 days are removed when new ones are written.
    """
    from marnet.cache import cache_directory
    from marnet.data.decoded import clear_cache, list_cache

    folder = cache_directory()
    found = list_cache(folder)
    for each in () if clear else found:
        say(f"{each.size / 1e6:10,.1f} MB  opened {each.days:5.1f} days ago  {each.file.name}")
    if clear:
        clear_cache(folder)
    sets = "1 set" if len(found) == 1 else f"{len(found)} sets"
    total = f"{sets} of decoded images, {sum(each.size for each in found) / 1e6:,.1f} MB"
    say(f"{'Removed ' if clear else ''}{total}, in {folder / 'images'}.")
