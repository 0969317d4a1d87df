"""The end of training by a signal: how to go on with the run."""

from pathlib import Path

from marnet.runs.layout import PREVIOUS_RESUME_POINT, REPLACED, RESUME_POINT


def way_on_of_run(run: Path) -> str:
    """Return how to go on with a run that was stopped."""
    if (run / REPLACED).is_dir():
        return f"The first epoch had not ended, so {run} holds the run that was there before. Start again."
    if any((run / point).is_file() for point in (RESUME_POINT, PREVIOUS_RESUME_POINT)):
        return f"Go on with the run in {run} by `resume=True`; the epochs that were finished are kept."
    return f"The first epoch had not ended, so {run} has nothing to resume. Start again with `overwrite=True`."
