"""Pydantic's findings on a configuration as lines for people: the setting, what was found, and what is allowed."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from marnet.errors import shorten, suggest

_EXAMPLES = 5  # problems that an error lists
_PLAIN = {
    "dict_type": "expected a mapping of settings",
    "model_type": "expected a mapping of settings",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
}


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """Return one line per problem: the dotted key in backticks, what was found, what is allowed.

    Args:
        error: from pydantic.
        root: the model that refused its values.
    """
    problems = error.errors()
    lines = [_line(problem, root) for problem in problems[:_EXAMPLES]]
    more = len(problems) - len(lines)
    lines += [f"... and {more} more"] if more > 0 else []
    return "The configuration cannot be used:\n  " + "\n  ".join(lines)


def _line(problem: Any, root: type[BaseModel]) -> str:
    location, kind, found = problem["loc"], problem["type"], problem["input"]
    key = f"`{shorten('.'.join(str(part) for part in location))}`" if location else "configuration"
    if kind == "extra_forbidden":
        return f"{key}: unknown key.{_hint_for_key(root, location)}"
    if kind == "value_error":  # a sentence of our own; the value is a whole section, which says nothing more
        sentence = str(problem["ctx"]["error"])
        sentence += "" if sentence.endswith((".", "?")) else "."
        names_it = not location or key.removesuffix("`") in sentence
        return sentence if names_it else f"{key}: {sentence}"
    expected = _PLAIN.get(kind, f"{problem['msg'][:1].lower()}{problem['msg'][1:]}")
    hint = suggest(found, _choices(root, location)) if isinstance(found, str) else ""
    return f"{key}: found {shorten(repr(found))}; {expected}.{hint}"


def _hint_for_key(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    name = str(location[-1])
    section = next(_models(_annotation(root, location[:-1])), root)
    known = list(section.model_fields)
    elsewhere = " or ".join(repr(each) for each in _sections_with(root, name))
    meant = f" Did you mean {elsewhere}?" if elsewhere else suggest(name, known)
    return f"{meant} Known keys here: {', '.join(known)}."


def _annotation(root: type[BaseModel], location: tuple[int | str, ...]) -> Any:
    """Return the annotation of the field at a location, None where the schema describes nothing."""
    annotation: Any = root
    for part in location:
        if isinstance(part, int):  # a position in a list, whose annotation leads to what it holds
            continue
        section = next(_models(annotation), None)
        if section is None or part not in section.model_fields:
            return None
        annotation = section.model_fields[part].annotation
    return annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation, such as those of `list[Arm]` and `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _choices(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the words that the field at a location allows, [] if it is not a `Literal`."""
    return list(_words(_annotation(root, location)))


def _words(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if get_origin(annotation) is Literal:
            yield str(part)
        else:
            yield from _words(part)


def _sections_with(root: type[BaseModel], name: str) -> list[str]:
    """Return the dotted keys of the sections that have a setting of that name, which was given in another place."""
    return [
        f"{key}.{name}"
        for key, field in root.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and name in field.annotation.model_fields
    ]
