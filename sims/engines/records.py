"""Warp structs of parameters, in float32 and float64 from one list of fields."""

from collections.abc import Mapping
from typing import Any

import warp as wp

# kinds of fields: their types in either precision
NUMBER = (wp.float32, wp.float64)
FLAG = (wp.int32, wp.int32)
VECTOR = (wp.vec3, wp.vec3d)
MATRIX = (wp.mat33, wp.mat33d)


def records(fields: Mapping[str, tuple[Any, Any]], module: str) -> tuple[Any, Any]:
    """The structs of a system's parameters.

    Args:
        fields: Types by name, in float32 and in float64.
        module: Name of the Warp module to which they belong.
    """

    def record(name: str, precision: int) -> Any:
        annotations = {field: kinds[precision] for field, kinds in fields.items()}
        body = {"__annotations__": annotations, "__module__": module, "__qualname__": name}
        return wp.struct(type(name, (), body), module=wp.get_module(module))

    return record("Record", 0), record("Record64", 1)
