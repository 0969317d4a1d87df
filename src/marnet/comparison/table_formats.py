"""A table of a report as Markdown and as LaTeX (booktabs), for a README and for a paper."""

from marnet.comparison.tables import Table

_MARKDOWN = str.maketrans({"|": "\\|", "\\": "\\\\", "*": "\\*", "_": "\\_", "`": "\\`", "<": "&lt;", "\n": " "})
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$",
        "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$",
        "\N{EN DASH}": "--", "\n": " ",
    }
)  # fmt: skip


def markdown(table: Table) -> str:
    """Return the table as Markdown: title, rows with the best value of each column in bold, note."""
    aligned = ["---:" if column.show is not None else "---" for column in table.columns]
    lines = [
        f"**{table.title.translate(_MARKDOWN)}**",
        "",
        _markdown_row([column.title.translate(_MARKDOWN) for column in table.columns]),
        _markdown_row(aligned),
    ]
    for row in table.cells():
        texts = [cell.text.translate(_MARKDOWN) for cell in row]
        lines.append(
            _markdown_row([f"**{text}**" if cell.best else text for cell, text in zip(row, texts, strict=True)])
        )
    if table.note:
        lines += ["", table.note.translate(_MARKDOWN)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """Return the table as a LaTeX `table` with booktabs rules and the best value of each column in bold.

    The note becomes part of the caption.
    """
    columns = "".join("r" if column.show is not None else "l" for column in table.columns)
    caption = f"{table.title}. {table.note}".rstrip() if table.note else table.title
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption.translate(_LATEX)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([column.title.translate(_LATEX) for column in table.columns]),
        r"\midrule",
    ]
    for row in table.cells():
        texts = [cell.text.translate(_LATEX) for cell in row]
        lines.append(
            _latex_row([rf"\textbf{{{text}}}" if cell.best else text for cell, text in zip(row, texts, strict=True)])
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
