"""Parameter sets in YAML files: a set of the system with some values replaced."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from sims.errors import UserError
from sims.parameters import check

SUFFIXES = (".yaml", ".yml")


def _number(value: Any) -> Any:
    """YAML takes 1e-3 for text; here it is the number that is meant."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def is_file(name: str) -> bool:
    """Whether `name` means a file rather than a set of the system."""
    return name.endswith(SUFFIXES)


def absolute(name: str) -> str:
    """The same parameters for a process with another working directory."""
    return str(Path(name).expanduser().resolve()) if is_file(name) else name


def load(path: str, sets: Mapping[str, Any]) -> Any:
    """The parameters in a file such as `{base: real, mass: 2.4}`.

    Args:
        path: YAML file. `base` names the set to start from (default: nominal); the other keys are
            fields of that set.
        sets: The system's parameter sets.

    Raises:
        UserError: The file cannot be read, or has an unknown base, an unknown field or a value that
            the set refuses.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read the parameters in {path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold 'name: value' lines of parameters, not {content!r}")
    values = {name: _number(value) for name, value in content.items()}
    base = values.pop("base", "nominal")
    if not isinstance(base, str) or base not in sets:
        raise UserError(f"{path}: base is {base!r}; use one of {', '.join(sets)}")
    allowed = [field.name for field in fields(sets[base])]
    unknown = [str(name) for name in values if name not in allowed]
    if unknown:
        raise UserError(
            f"{path}: there is no parameter {unknown[0]!r}; use some of {', '.join(allowed)}"
        )
    try:
        made = replace(sets[base], **values)
        check(made)  # a dataclass of one's own may not do so itself
        return made
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except TypeError as error:
        raise UserError(f"{path}: a value has the wrong type ({error})") from None
