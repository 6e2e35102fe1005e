# Warp's language has Python's syntax but types of its own.
# mypy: ignore-errors
"""What all linearizations by Warp end with: the reward's derivatives, and whether a row is good."""

import warp as wp

wp.set_module_options({"enable_backward": False, "max_unroll": 1})


@wp.kernel
def complete(
    state: wp.array2d(dtype=wp.float32),
    action: wp.array2d(dtype=wp.float32),
    next_state: wp.array2d(dtype=wp.float32),
    reward_by_state: wp.array2d(dtype=wp.float32),
    reward_by_action: wp.array2d(dtype=wp.float32),
    sizes: wp.array(dtype=wp.float32),
    norm_bound: wp.float32,
    jacobian: wp.array3d(dtype=wp.float32),
    reward_gradient: wp.array2d(dtype=wp.float32),
    valid: wp.array2d(dtype=wp.uint8),
) -> None:
    """(r_s, r_a) = [A | B]^T dr/ds' + (0, dr/da); rows that are no good become zero.

    The norm is taken in typical sizes of states and actions, so that it does not depend on units.
    """
    i = wp.tid()
    n = jacobian.shape[1]
    columns = jacobian.shape[2]
    norm = wp.float32(0.0)
    finite = wp.float32(0.0)  # sum of squares, of which one is not finite if a number is not
    for j in range(n):
        finite += state[i, j] * state[i, j] + next_state[i, j] * next_state[i, j]
    for column in range(columns):
        total = wp.float32(0.0)
        for j in range(n):
            slope = jacobian[i, j, column]
            total += reward_by_state[i, j] * slope
            scaled = slope * sizes[column] / sizes[j]
            norm += scaled * scaled
        if column >= n:
            total += reward_by_action[i, column - n]
            finite += action[i, column - n] * action[i, column - n]
        reward_gradient[i, column] = total
        finite += total * total
    if wp.isfinite(finite) and norm <= norm_bound * norm_bound:
        valid[i, 0] = wp.uint8(1)
    else:
        valid[i, 0] = wp.uint8(0)
        for column in range(columns):
            reward_gradient[i, column] = 0.0
            for j in range(n):
                jacobian[i, j, column] = 0.0
