"""Launches of Warp kernels over memory that is allocated once, with numpy on either side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import warp as wp


class Column:
    """Rows of one kind on the device, with numpy access."""

    def __init__(self, rows: int, width: int, kind: Any, dimensions: int, device: Any) -> None:
        length = getattr(kind, "_length_", 1)
        shape = (rows, width // length)[:dimensions]
        self.array = wp.zeros(shape, dtype=kind, device=device)
        self._staging = None
        if device.is_cpu:
            numbers = self.array.numpy()  # the memory itself, not a copy
        else:
            self._staging = wp.zeros(shape, dtype=kind, device="cpu", pinned=True)
            numbers = self._staging.numpy()
        self.rows = numbers.reshape(rows, width)
        self._per_row = int(np.prod(shape[1:], dtype=int))

    def numbers(self, *shape: int) -> Any:
        """The same memory as an array of float32, with these dimensions after that of the rows."""
        return wp.array(
            ptr=self.array.ptr,
            dtype=wp.float32,
            shape=(len(self.rows), *shape),
            device=self.array.device,
        )

    def send(self, count: int) -> None:
        """Makes the first rows known to the device."""
        if self._staging is not None:
            wp.copy(self.array, self._staging, count=count * self._per_row)

    def fetch(self, count: int) -> None:
        """Fetches the first rows from the device."""
        if self._staging is not None:
            wp.copy(self._staging, self.array, count=count * self._per_row)
            wp.synchronize_stream(self.array.device)


class Launch:
    """Recorded launches of kernels, one after the other, over preallocated columns."""

    def __init__(
        self,
        device: Any,
        capacity: int,
        inputs: Sequence[Column],
        outputs: Sequence[Column],
        *kernels: tuple[Any, Sequence[Any]],
    ) -> None:
        """Records the launches of kernels, which come with their arguments."""
        self.capacity, self.inputs, self.outputs = capacity, inputs, outputs
        self._commands = [
            wp.launch(kernel, dim=capacity, inputs=arguments, device=device, record_cmd=True)
            for kernel, arguments in kernels
        ]
        self._dim = capacity

    def run(self, count: int, *values: np.ndarray) -> None:
        """Fills the first `count` rows of all inputs, launches, and fetches the outputs."""
        for column, value in zip(self.inputs, values, strict=True):
            column.rows[:count] = value
            column.send(count)
        if count != self._dim:
            for command in self._commands:
                command.set_dim(count)
            self._dim = count
        for command in self._commands:
            command.launch()
        for column in self.outputs:
            column.fetch(count)


def capacity_for(count: int) -> int:
    """Smallest power of two that holds `count`, so that buffers are rarely made anew."""
    return 1 << max(count - 1, 0).bit_length()
