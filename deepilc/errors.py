"""Mistakes of the user, and how a command reports them: one line, exit code 2, no traceback."""

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches

from sims.errors import UserError

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_USER_ERROR",
    "UserError",
    "nobody_reads",
    "report",
    "suggestion",
]

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: `, did you mean 'x'? Allowed: a, b, x`.

    Args:
        word: What was given.
        allowed: What may be given.
    """
    options = sorted(allowed)
    near = get_close_matches(word, options, n=1, cutoff=0.6)
    question = f"; did you mean {near[0]!r}?" if near else "."
    return f"{question} Allowed: {', '.join(options) or 'nothing'}"


def report(error: BaseException) -> int:
    """Print `error: ...` on one line of stderr.

    Returns:
        The exit code of a user error.
    """
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return EXIT_USER_ERROR


def nobody_reads() -> None:
    """Drops what is printed from now on, and what is left to be printed.

    Call it when printing has failed since the reader is gone: a closed terminal, `| head`. Else the
    last flush fails too, and Python ends with code 120 whatever the exit code was.
    """
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
