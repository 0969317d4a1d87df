"""`marnet data ...`: look at a data source, check it, measure its texts and labels, convert it; a file per command."""

import typer

from marnet.cli.data import cache, check, convert, download, info, label_errors, next, text_value

data_app = typer.Typer(
    help="Look at a data source, check it, measure its texts and labels, convert it, or fetch one.",
    no_args_is_help=True,
)
data_app.command()(info.info)
data_app.command()(check.check)
data_app.command()(text_value.text_value)
data_app.command()(label_errors.label_errors)
data_app.command("next")(next.next_)
data_app.command()(convert.convert)
data_app.command()(download.download)
data_app.command()(cache.cache)
