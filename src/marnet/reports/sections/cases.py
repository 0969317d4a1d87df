"""Case studies: one image, the basic prediction beside CDR's (Figure 4 of the paper)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from marnet.data.images import read_image
from marnet.evaluation.analysis import choose_cases
from marnet.inference import SplitOutputs
from marnet.reports.blocks import CaseStudies, Gap, Section
from marnet.reports.page import encode_jpeg, make_case_study

TITLE = "Case studies"


def case_section(outputs: Mapping[str, SplitOutputs], classes: Sequence[str]) -> Section | Gap:
    """Where CDR repaired the basic prediction and where it broke it, for each run that has CDR.

    Raises:
        ImageError: the image of a case can no longer be read.
    """
    blocks = [
        _case_block(found, classes, name if len(outputs) > 1 else "")
        for name, found in outputs.items()
        if "reconstruction" in found.branch_logits
    ]
    if not blocks:
        return Gap(
            TITLE,
            "They show where CDR repaired or broke the basic prediction, and no run shown here has CDR. Train one:",
            "marnet train --method marnet --out RUN",
        )
    return Section(
        title=TITLE,
        text=["The basic prediction reads x_v alone, CDR's reads x_CDR alone; the fused one reads them and x_EMA."],
        blocks=blocks,
    )


def _case_block(outputs: SplitOutputs, classes: Sequence[str], run: str) -> CaseStudies:
    basic = outputs.branch_logits["visual"].softmax(-1)
    cdr = outputs.branch_logits["reconstruction"].softmax(-1)
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
    return CaseStudies(cases=studies)
