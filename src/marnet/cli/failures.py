"""The last net: errors that no function of the library has put into words, as one sentence without a traceback.

Functions name the file and the way out as near to the cause as they can. What they did not foresee ends here.
"""

import errno
import os

TRACEBACK = "MARNET_TRACEBACK"  # the environment variable that shows tracebacks

_WAYS_OUT = {
    errno.ENOSPC: "Free some space, or choose another folder.",
    errno.EDQUOT: "Free some space, or choose another folder.",
    errno.EACCES: "Check its permissions, or choose another one.",
    errno.EPERM: "Check its permissions, or choose another one.",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "A part of the path is a file, not a folder. Check the path.",
    errno.EISDIR: "Name a file.",
    errno.EEXIST: "Choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Its links lead in a circle. Mend them.",
    errno.EMFILE: "Raise the limit of open files ('ulimit -n').",
    errno.ENFILE: "Close some programs, and try again.",
}
_OUT_OF_MEMORY = (
    "Memory ran out{}. Close other programs, or take smaller batches, fewer images at once or smaller images."
)


def wants_traceback() -> bool:
    """Return whether the user asked for tracebacks."""
    return os.environ.get(TRACEBACK, "") not in ("", "0")


def describe_failure(error: BaseException) -> str:
    """Return what happened, and what to do about it.

    Args:
        error: any error that is not a `MarnetError`.
    """
    package = type(error).__module__.partition(".")[0]
    reason = _first_line(error)
    if isinstance(error, MemoryError):
        return _OUT_OF_MEMORY.format("")
    if _is_out_of_memory(error):
        return _OUT_OF_MEMORY.format(f" ({reason})")
    if isinstance(error, OSError):
        return _describe_os_error(error)
    if isinstance(error, RecursionError):
        sentence = "Something is nested too deeply to be read. Check the settings and the files that were named."
    elif isinstance(error, UnicodeError):
        sentence = f"Text cannot be read or written ({reason}). Save the files that were named as UTF-8."
    elif package in ("pyarrow", "safetensors", "yaml"):
        sentence = f"A file cannot be read or written: {package} says {reason}. Check the files that were named."
    else:
        sentence = (
            f"marnet failed in a way that it does not foresee ({type(error).__name__}: {reason}). That is a fault of "
            f"marnet; please report it with the traceback."
        )
    return f"{sentence} Set the environment variable {TRACEBACK}=1 to see the traceback."


def _describe_os_error(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    reason = error.strerror or _first_line(error)
    subject = f"{' or '.join(names)} cannot be used: {reason}" if names else f"A file cannot be used: {reason}"
    way_out = _WAYS_OUT.get(error.errno or 0, "Check it, and try again.")
    return f"{subject}. {way_out} Set the environment variable {TRACEBACK}=1 to see the traceback."


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether PyTorch or PyArrow ran out of memory, on a GPU or not."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & {"OutOfMemoryError", "ArrowMemoryError"}) or "not enough memory" in str(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0].strip().rstrip(".") if lines else type(error).__name__
    return line if len(line) <= 300 else f"{line[:297]}..."
