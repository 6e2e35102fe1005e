"""Systems whose dynamics are Warp kernels: exact Jacobians, and differences of the same kernels."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sims.system import System

if TYPE_CHECKING:
    from sims.engines.finite_difference import FiniteDifferenceModel
    from sims.engines.warp_model import Kernels, WarpModel


class WarpSystem(System):
    """A system that supplies kernels; `sims.systems.cartpole` is the shortest example."""

    @abstractmethod
    def _kernels(self) -> "Kernels":
        """The system's kernels. Import their module here: naming a system must not load Warp."""

    def _exact_model(
        self, parameters: Sequence[Any], device: str, norm_bound: float
    ) -> "WarpModel":
        from sims.engines.warp_model import WarpModel

        return WarpModel(self, parameters, self._kernels(), device, norm_bound)

    def _finite_difference_model(
        self, parameters: Any, device: str, norm_bound: float
    ) -> "FiniteDifferenceModel":
        from sims.engines.finite_difference import FiniteDifferenceModel

        step = self._exact_model([parameters], device, norm_bound).step_float64
        reach = self._kernels().reach
        return FiniteDifferenceModel(self, step, parameters, norm_bound=norm_bound, reach=reach)
