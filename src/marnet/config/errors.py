"""What is wrong with a configuration, in words: pydantic's findings as lines that say what was found and what fits."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from marnet.errors import suggest


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """One line for each problem: the dotted key, what was found, what is allowed.

    Args:
        error: of pydantic.
        root: the model that refused its values.
    """
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "configuration"
        if problem["type"] == "extra_forbidden":
            known = _known_keys(root, problem["loc"][:-1])
            name = str(problem["loc"][-1])
            elsewhere = " or ".join(repr(each) for each in _sections_with(root, name))
            hint = f" Did you mean {elsewhere}?" if elsewhere else suggest(name, known)
            lines.append(f"{key}: unknown key.{hint} Known keys here: {', '.join(known)}.")
        else:
            found = problem["input"]
            hint = suggest(found, _choices(problem)) if isinstance(found, str) else ""
            lines.append(f"{key}: found {found!r}; {problem['msg'][:1].lower()}{problem['msg'][1:]}.{hint}")
    return "The configuration cannot be used:\n  " + "\n  ".join(lines)


def _known_keys(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    section = root
    for part in location:
        if isinstance(part, str):  # a number is a position in a list
            annotation = section.model_fields[part].annotation
            held = [each for each in get_args(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
            section = held[0] if held else annotation  # type: ignore[assignment]  # of a list, what it holds
    return list(section.model_fields)


def _sections_with(root: type[BaseModel], name: str) -> list[str]:
    """The dotted keys of sections that have a setting of that name, which was given in another place."""
    sections = {key: field.annotation for key, field in root.model_fields.items()}
    return [
        f"{key}.{name}"
        for key, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel) and name in section.model_fields
    ]


def _choices(problem: Any) -> list[str]:
    """The allowed words of a `Literal` field, read from pydantic's own account of what it expected."""
    return [
        word.strip("'") for word in str(problem.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")
    ]
