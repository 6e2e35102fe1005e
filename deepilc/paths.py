"""Where the files beside the code are: stack files, robot profiles and launch files.

`deepilc/share` links to the repository's `config/` and `launch/`; a wheel holds copies there.
"""

from pathlib import Path

from deepilc.errors import UserError, suggestion

SHARE = Path(__file__).resolve().parent / "share"
CONFIG = SHARE / "config"
PROFILES = CONFIG / "profiles"
LAUNCH = SHARE / "launch"


def stack_names() -> list[str]:
    """Names of the stack files that come with deepilc."""
    return sorted(path.stem for path in CONFIG.glob("*.yaml"))


def stack_file(name: str | Path) -> Path:
    """Find a stack file.

    Args:
        name: A name out of `stack_names()`, or a path to a YAML file of your own.

    Returns:
        The file.

    Raises:
        UserError: Neither is there; lists the names.
    """
    own = Path(name).expanduser()
    if own.suffix in (".yaml", ".yml"):
        if own.is_file():
            return own
        raise UserError(f"stack file {own} does not exist; give a path, or a name: {stack_names()}")
    shipped = CONFIG / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    raise UserError(f"no stack is named {str(name)!r}{suggestion(str(name), stack_names())}")
