"""Case studies: images with the basic prediction and CDR's side by side (Figure 4 of the paper)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from marnet.data.images import read_image
from marnet.errors import MarnetError
from marnet.evaluation.analysis import CASE_RULE, DECISION_RULE, choose_cases
from marnet.inference import SplitOutputs
from marnet.reports.blocks import CaseStudies, Section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.page import encode_jpeg, make_case_study
from marnet.tasks import task_of

TITLE = "Case studies"


def build(context: ReportContext) -> Section:
    """Build the section from the outputs of the arms that are shown in detail.

    Raises:
        Unavailable: there are no weights, no arm has CDR, or an image can no longer be read.
    """
    outputs = {name: found for name, found in context.outputs.items() if name in context.detailed}
    try:
        return case_section(outputs, context.classes)
    except MarnetError as error:
        raise Unavailable(str(error)) from None


def case_section(outputs: Mapping[str, SplitOutputs], classes: Sequence[str]) -> Section:
    """Return the cases that CDR repaired or broke most, for each run that has CDR.

    Args:
        outputs: by name of the run, its outputs on the same split.
        classes: names of the classes.

    Raises:
        Unavailable: no run has CDR.
        ImageError: the image of a case can no longer be read.
    """
    blocks = [
        _case_block(found, classes, name if len(outputs) > 1 else "")
        for name, found in outputs.items()
        if "reconstruction" in found.branch_logits
    ]
    if not blocks:
        raise Unavailable(
            "Case studies show the images whose basic prediction CDR repaired or broke, but no run shown here has CDR. "
            "Train one with the method marnet:",
            "marnet train",
        )
    return Section(
        title=TITLE,
        text=[
            "The basic prediction uses x_v alone and CDR's uses x_CDR alone. The fused prediction uses both and x_EMA."
        ],
        blocks=blocks,
    )


def _case_block(outputs: SplitOutputs, classes: Sequence[str], run: str) -> CaseStudies:
    several = outputs.labels.ndim == 2
    task = task_of("multi" if several else "single", len(classes))
    basic, cdr = (task.probabilities(outputs.branch_logits[name]) for name in ("visual", "reconstruction"))
    studies = []
    for case in choose_cases(basic, cdr, outputs.labels):
        record = outputs.records[case.row]
        name = Path(record.image).name
        studies.append(
            make_case_study(
                case,
                basic=basic,
                cdr=cdr,
                classes=classes,
                image=encode_jpeg(read_image(record.image)),
                name=f"{run}: {name}" if run else name,
                text=record.text,
            )
        )
    return CaseStudies(cases=studies, note=DECISION_RULE if several else CASE_RULE)
