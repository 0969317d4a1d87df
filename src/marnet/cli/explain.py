"""`marnet explain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.messages import translate
from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import as_json_value, on_one_line, print_json, say
from marnet.errors import ConfigError

if TYPE_CHECKING:
    from marnet.reports.explanation import ExplainedImage
    from marnet.semantic.reading.explain import ClassExplanation, Explainer, TextChange

_LONGEST_TEXT = 120  # characters of a training text in a table


def explain(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files.", metavar="IMAGES", show_default=False)
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", help="Explain a class in place of images: what tells it from its nearest neighbour."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Show what would change if the image did not say this, such as garlic; may be repeated."),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", help="Show what would change if the image said this as well; may be repeated."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes, texts and words to show of each kind.")] = 5,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Also write an HTML file, with the picture beside its map.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Read out what a run sees in images, in the words of its training texts.

    An image that cannot be read is reported and does not stop the others.
    """
    from marnet.inference import Predictor
    from marnet.reports.page import check_report_target
    from marnet.semantic.reading.explain import Explainer

    if (label is None) == (not images):
        found = "neither images nor" if label is None else "both images and"
        raise ConfigError(f"Found {found} --class. Name images, or a class with --class.")
    if label is not None and (without or with_):
        raise ConfigError("--without and --with change what an image says. Name images in place of --class.")
    if page is not None:
        check_report_target(page)
    explainer = Explainer(Predictor(run, with_text=True, allow_code=allow_code))
    if label is not None:
        _explain_class(run, explainer.explain_class(label, top=top), page, as_json)
        return
    explained, failures = _explain_images(explainer, images or [], without or [], with_ or [], top)
    if as_json:
        print_json([_as_dict(each) for each in explained])
    else:
        for each in explained:
            _print_image(each)
    if page is not None:
        from marnet.reports.explanation import write_image_page

        say(f"Page: {write_image_page(run, explained, page)}", error=as_json)
    if failures:
        raise typer.Exit(1)


def _explain_class(run: Path, found: "ClassExplanation", page: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(as_json_value(found))
    else:
        _print_class(found)
    if page is not None:
        from marnet.reports.explanation import write_class_page

        say(f"Page: {write_class_page(run, found, page)}", error=as_json)


def _explain_images(
    explainer: "Explainer", images: Sequence[Path], without: Sequence[str], with_: Sequence[str], top: int
) -> "tuple[list[ExplainedImage], int]":
    """Return the read-outs, and how many images could not be read; say once why there is no map."""
    from marnet.errors import EncoderError, ImageError
    from marnet.inference.activation import activation_map
    from marnet.reports.explanation import ExplainedImage

    predictor = explainer.predictor
    explained: list[ExplainedImage] = []
    failures, no_map = 0, ""
    for image in images:
        try:
            found = explainer.explain(image, top=top, without=without, with_=with_)
            pixels = predictor.transform.pixels(image).permute(1, 2, 0).numpy()
        except ImageError as error:
            failures += 1
            say(f"Error: {translate(str(error), 'explain')}", error=True)
            continue
        where = None
        if not no_map:
            try:
                where = activation_map(predictor, image, found.classes[0].label)
            except EncoderError as error:
                no_map = str(error)
                say(f"Note: {translate(no_map, 'explain')}", error=True)
        explained.append(ExplainedImage(found, pixels, where, no_map))
    return explained, failures


def _as_dict(image: "ExplainedImage") -> dict[str, Any]:
    where = image.where
    place = None if where is None else {"layer": where.layer, "place": where.place, "values": where.values.tolist()}
    return {**as_json_value(image.explanation), "where": place}


def _print_image(image: "ExplainedImage") -> None:
    from marnet.cli.tables import print_table
    from marnet.errors import shorten
    from marnet.semantic.reading.wording import SYMBOLS, list_words

    found = image.explanation
    symbol, first = SYMBOLS[found.branch], found.classes[0].label
    rows = [(each.label, *map(_share, (each.fused, each.semantic, each.basic))) for each in found.classes]
    say(on_one_line(found.image))
    print_table("Predictions", ("class", "fused", symbol, "backbone alone"), rows)
    say(f"The image asks for: {on_one_line(list_words(found.words))}")
    say(f"{on_one_line(first)} asks for: {on_one_line(list_words(found.class_words))}")
    if image.where is not None:
        say(f"Where {on_one_line(first)} is seen: {image.where.place or 'no place speaks for it'}")
    print_table(
        "Nearest training texts",
        ("text", "class", "cosine"),
        [
            (shorten(each.text, most=_LONGEST_TEXT), ", ".join(each.classes), f"{each.cosine:.2f}")
            for each in found.near_texts
        ],
    )
    if found.change is not None:
        _print_change(found.change, found.branch)


def _print_change(change: "TextChange", branch: str) -> None:
    from marnet.cli.tables import print_table
    from marnet.semantic.reading.wording import SYMBOLS, change_title, describe_change

    print_table(
        change_title(change),
        ("class", "fused, before", "after", f"{SYMBOLS[branch]}, before", "after"),
        [(each.label, *map(_share, (*each.fused, *(each.semantic or (None, None))))) for each in change.classes],
    )
    for sentence in describe_change(change, branch):
        say(on_one_line(sentence))


def _print_class(found: "ClassExplanation") -> None:
    from marnet.cli.tables import print_table
    from marnet.semantic.reading.wording import count_texts, list_words

    label, nearest = on_one_line(found.label), on_one_line(found.neighbours[0].label)
    say(f"{label}, {count_texts(found.texts)}")
    print_table(
        "Nearest classes, by their texts",
        ("class", "cosine"),
        [(each.label, f"{each.cosine:.2f}") for each in found.neighbours],
    )
    say(f"{label} asks for: {on_one_line(list_words(found.words))}")
    say(f"{label} rather than {nearest}: {on_one_line(list_words(found.more))}")
    say(f"{nearest} rather than {label}: {on_one_line(list_words(found.less))}")


def _share(probability: float | None) -> str:
    from marnet.metrics import percent

    return "-" if probability is None else percent(probability)
