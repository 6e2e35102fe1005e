"""`python -m deepilc.blas [build]`: build the shared object, or tell whether it is in effect."""

import platform
import sys

from deepilc import blas


def main(arguments: list[str]) -> int:
    """Runs the command.

    Args:
        arguments: ["build"] or nothing.

    Returns:
        Exit code: 0, or 2 for an unknown argument.
    """
    if arguments == ["build"]:
        print(f"deepilc.blas: {blas.build()}")
        return 0
    if arguments:
        print(f"error: unknown argument {arguments[0]!r}; allowed: build", file=sys.stderr)
        return 2
    path = blas.library_path()
    wanted = "yes" if blas.wanted() else "no"
    print(f"library: {path if path.exists() else 'not built'}")
    print(f"wanted on this machine ({blas.vendor() or platform.machine()}): {wanted}")
    print(f"in effect: {'yes' if blas.load() else 'no'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
