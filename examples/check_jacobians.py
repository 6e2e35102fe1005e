"""How well do the Jacobians of a system predict?

    python examples/check_jacobians.py examples/arm_mjcf.py:arm

States and actions come from random episodes. Each state is moved by a hundredth of its typical
size, at random; the change of the next state is compared with the one that A predicts.
"""

import sys

import numpy as np

from sims import registry

ROWS, STEPS = 100, 20

system = registry.get(sys.argv[1])
model, rng = system.model("nominal"), np.random.default_rng(0)
state = system.reset(rng, "nominal", ROWS)
for _ in range(STEPS):
    action = rng.uniform(system.action.low, system.action.high, (ROWS, system.action.size))
    action = action.astype(np.float32)
    before, state = state, model.step(state, action)
jacobian = model.linearize(before, action, state)

scale = system.state.scale
moved = 0.01 * scale * rng.normal(size=before.shape).astype(np.float32)
predicted = np.einsum("bij,bj->bi", jacobian.A, moved)
found = system.align(model.step(before + moved, action), state) - state
good = jacobian.valid & np.isfinite(found).all(axis=-1)
size = np.linalg.norm(predicted[good] / scale, axis=-1)
error = np.linalg.norm((found - predicted)[good] / scale, axis=-1) / size
low, high = np.quantile(error, [0.5, 0.9])
print(f"{system.name}: {good.mean():.0%} valid; error of prediction: median {low:.1%}, "
      f"nine of ten below {high:.1%}")  # fmt: skip
