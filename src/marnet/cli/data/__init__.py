"""`marnet data ...`: look at a data source, check it, measure its texts, convert it, fetch one; a file per command."""

import typer

from marnet.cli.data import cache, check, convert, download, info, text_value

data_app = typer.Typer(
    help="Look at a data source, check it, measure its texts, convert it, or fetch one.", no_args_is_help=True
)
data_app.command()(info.info)
data_app.command()(check.check)
data_app.command()(text_value.text_value)
data_app.command()(convert.convert)
data_app.command()(download.download)
data_app.command()(cache.cache)
