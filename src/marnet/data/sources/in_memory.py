"""Data in memory: tables of pandas, polars and pyarrow, Hugging Face datasets, and lists of rows."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marnet.data.labels import LABEL_INDEX
from marnet.data.manifest import Manifest, list_columns, manifest_of_table
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.sources.holdout import hold_out_val
from marnet.data.sources.image_cells import ImageStore
from marnet.data.splits import UNLABELLED
from marnet.data.tables import match_columns, table_in_memory
from marnet.data.unlabelled import without_label_notes
from marnet.errors import DataError

_HF_SOURCE = "The Hugging Face dataset"
_HF_TYPES = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")


class _Columns(NamedTuple):
    """Data in memory as columns of equal length."""

    kind: str  # names it in messages: "The pandas table"
    names: list[str]
    values: dict[str, list[Any]]  # of the columns that are read
    rows: int


def read_in_memory(data: Any, options: ReadOptions, *, cache: Path) -> Manifest:
    """Read data in memory; cells count as those of table files do, and relative images as the working directory's.

    Images may be paths, the bytes of image files, Pillow images, arrays of pixels, or what `datasets` keeps of an
    image. All but paths are written below `cache`, each under a name that follows from its content.

    Args:
        data: see `marnet.data.sources.open_data`.
        options: columns, form of labels and shares of splits.
        cache: where images are written.

    Raises:
        DataError: the data is of another kind, or a column, a row or an image of it cannot be used; the message names
            the row, from 1, and the column.
    """
    store = ImageStore(cache)
    if _is(data, "datasets", *_HF_TYPES):
        return _read_dataset(data, options, store)
    wanted = [*options.columns, LABEL_INDEX]
    return _to_manifest(_to_columns(data, wanted), options, store)


def _to_columns(data: Any, wanted: Sequence[str]) -> _Columns:
    """Recognise a table by the package of its type, or by the Arrow interface; no package is imported for it."""
    if isinstance(data, list | tuple):
        return _columns_of_rows(data, wanted)
    if _is(data, "pandas", "DataFrame"):
        names = [str(name) for name in data.columns]
        return _read_columns("The pandas table", names, wanted, len(data), lambda at: data.iloc[:, at].tolist())
    if _is(data, "polars", "LazyFrame"):
        data = data.collect()
    if _is(data, "polars", "DataFrame"):
        return _read_columns("The polars table", data.columns, wanted, len(data), lambda at: data[:, at].to_list())
    table = _arrow_table(data)
    if table is None:
        raise DataError(
            f"Data of the type {_type_name(data)} cannot be read. Expected a path or the name of a source; a table of "
            f"pandas, polars or pyarrow; a datasets.Dataset or DatasetDict; a list of rows, each (image, text, "
            f"label[, split]) or a dictionary; or a marnet.Manifest."
        )
    kind = f"The {type(data).__module__.partition('.')[0]} table"
    return _read_columns(kind, table.column_names, wanted, table.num_rows, lambda at: table[at].to_pylist())


def _read_columns(
    kind: str, names: list[str], wanted: Sequence[str], rows: int, read: Callable[[int], list[Any]]
) -> _Columns:
    matched = match_columns(kind, names, wanted)
    return _Columns(kind, names, {name: read(names.index(name)) for name in matched}, rows)


def _arrow_table(data: Any) -> Any:
    """Return a pyarrow table of an object with the Arrow interface or that of data frames; None of another."""
    import pyarrow
    from pyarrow import interchange

    if isinstance(data, pyarrow.Table):
        return data
    if isinstance(data, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([data])
    if hasattr(data, "__arrow_c_stream__"):
        return pyarrow.table(data)
    return interchange.from_dataframe(data) if hasattr(data, "__dataframe__") else None


def _columns_of_rows(rows: Sequence[Any], wanted: Sequence[str]) -> _Columns:
    """Return rows as columns: dictionaries by their keys, tuples (`Record`s too) by position."""
    kind = "The list of rows"
    roles = wanted[: len(ColumnNames._fields)]
    read: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            read.append({str(name): value for name, value in row.items()})
        elif isinstance(row, list | tuple) and 3 <= len(row) <= len(roles):
            read.append(dict(zip(roles, row, strict=False)))
        else:
            found = f"{len(row)} entries" if isinstance(row, list | tuple) else f"the type {_type_name(row)}"
            raise DataError(
                f"{kind}, row {number}: found {found}. Expected a tuple (image, text, label) or (image, text, label, "
                f"split) or a Record, or a dictionary with the keys {', '.join(map(repr, roles))}."
            )
    names = list(dict.fromkeys(name for row in read for name in row))
    values = {name: [row.get(name) for row in read] for name in match_columns(kind, names, wanted)}
    return _Columns(kind, names, values, len(read))


def _read_dataset(data: Any, options: ReadOptions, store: ImageStore) -> Manifest:
    from marnet.data.sources.hf_rows import list_parts, of_split, open_part, read_rows

    parts, notes = list_parts(data, _HF_SOURCE)
    columns: dict[str, list[Any]] = {name: [] for name in ColumnNames()}
    for name, dataset in parts.items():
        part = open_part(dataset, name, options.columns, source=_HF_SOURCE)
        if part is None:
            continue
        notes += part.notes
        unlabelled = 0
        for row in read_rows(part, options, source=_HF_SOURCE):
            if row.label is None:
                unlabelled += 1
                continue
            image = store.path_of(row.image, f"{_HF_SOURCE}, row {row.number}{of_split(name)}")
            cells = (image, row.text, row.label, row.split, row.group)
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
        if unlabelled:
            notes.append(f"{_HF_SOURCE}: left out {unlabelled} rows without label{of_split(name)}.")
    notes += without_label_notes(_HF_SOURCE, columns["split"].count(UNLABELLED))
    read = _Columns(_HF_SOURCE, list(columns), columns, len(columns["image"]))
    manifest = _to_manifest(read, dataclasses.replace(options, columns=ColumnNames(), missing=()), store)
    manifest = dataclasses.replace(manifest, notes=(*notes, *manifest.notes))
    return hold_out_val(manifest, share=options.val_share, seed=options.split_seed)


def _to_manifest(data: _Columns, options: ReadOptions, store: ImageStore) -> Manifest:
    columns: dict[str, Sequence[Any]] = dict.fromkeys(data.names, ())
    for name, values in data.values.items():
        columns[name] = [_plain(value) for value in values]
    wanted = [*options.columns, LABEL_INDEX]
    matched = match_columns(data.kind, list(columns), wanted)
    for image in (name for name, role in matched.items() if role == options.columns.image):
        columns[image] = [
            store.path_of(cell, f"{data.kind}, row {number}, column {image!r}")
            for number, cell in enumerate(data.values[image], start=1)
        ]
    lists = list_columns(options)
    table = table_in_memory(data.kind, columns, wanted, rows=data.rows, lists=lists, missing=options.missing)
    return manifest_of_table(table, options, source=data.kind, folder=Path.cwd())


def _is(data: Any, package: str, *names: str) -> bool:
    """Return True where the type of some data, or a base of it, is one of a package's, which need not be installed."""
    return any(base.__module__.partition(".")[0] == package and base.__name__ in names for base in type(data).__mro__)


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any) -> Any:
    """Return a cell as plain Python holds it: a number for numpy's, a list for an array or a tuple, None for a gap."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, tuple):
        value = list(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    return [_plain(each) for each in value] if isinstance(value, list) else value
