"""The Riccati recursion that solves the paper's Eq. 4, batched, with bounds on the actions."""

import numpy as np

from deepilc.ilc.expansion import Expansion


def backward(expansion: Expansion, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Feed-forward and feedback updates that minimise the linear-quadratic problem.

    With z = (s', a) and z = G (ds, da), G = [[A, B], [0, I]], the cost to go of a step is quadratic
    in (ds, da), with gradient q = G' (gradient + (v, 0)) and matrix Q = G' (hessian + (V, 0)) G,
    where v, V belong to the step after it. Its minimum over da within the bounds is
    da = k + K ds, and inserting that gives v and V of this step.

    Args:
        expansion: B rows of T steps.
        damping: (B,) positive weight of |z|^2 / 2, in typical sizes: what keeps the answer close to
            what was recorded (Levenberg, Marquardt).

    Returns:
        k (B, T, m) and K (B, T, m, n), in units of typical sizes.
    """
    rows, horizon, n, m = expansion.B.shape
    feedforward, gain = np.zeros((rows, horizon, m)), np.zeros((rows, horizon, m, n))
    v, V = np.zeros((rows, n)), np.zeros((rows, n, n))
    G = np.zeros((rows, n + m, n + m))
    G[:, n:, n:] = np.eye(m)
    damper = damping[:, None, None] * np.eye(n + m)
    for t in reversed(range(horizon)):
        G[:, :n, :n], G[:, :n, n:] = expansion.A[:, t], expansion.B[:, t]
        gradient, hessian = expansion.gradient[:, t].copy(), expansion.hessian[:, t] + damper
        gradient[:, :n] += v
        hessian[:, :n, :n] += V
        G_t = np.swapaxes(G, 1, 2)
        q, Q = np.einsum("bij,bj->bi", G_t, gradient), G_t @ hessian @ G
        q_s, q_a = q[:, :n], q[:, n:]
        Q_ss, Q_sa, Q_as, Q_aa = Q[:, :n, :n], Q[:, :n, n:], Q[:, n:, :n], Q[:, n:, n:]
        k, K = bounded_minimum(Q_aa, q_a, Q_as, expansion.low[:, t], expansion.high[:, t])
        K_t = np.swapaxes(K, 1, 2)
        v = q_s + np.einsum("bij,bj->bi", K_t @ Q_aa + Q_sa, k) + np.einsum("bij,bj->bi", K_t, q_a)
        V = Q_ss + K_t @ Q_aa @ K + K_t @ Q_as + Q_sa @ K
        V = 0.5 * (V + np.swapaxes(V, 1, 2))
        feedforward[:, t], gain[:, t] = k, K
    return feedforward, gain


def bounded_minimum(
    Q_aa: np.ndarray, q_a: np.ndarray, Q_as: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimises a . Q_aa a / 2 + a . (q_a + Q_as s) within bounds, as a = k + K s.

    Coordinates beyond a bound are held at it, and the others are found anew, until none is beyond;
    those that are held have no feedback. For one action this is the exact minimum.

    Args:
        Q_aa: (B, m, m) positive definite.
        q_a: (B, m)
        Q_as: (B, m, n)
        low: (B, m) bounds of k.
        high: (B, m)
    """
    m = q_a.shape[1]
    k, held = np.zeros_like(q_a), np.zeros(q_a.shape, bool)
    for _ in range(m + 1):
        free = ~held
        both = free[:, :, None] & free[:, None, :]
        matrix = np.where(both, Q_aa, np.eye(m))
        pull = q_a + np.einsum("bij,bj->bi", Q_aa, np.where(held, k, 0.0))
        k = np.linalg.solve(matrix, np.where(held, k, -pull)[:, :, None])[:, :, 0]
        beyond = free & ((k < low) | (k > high))
        k = np.clip(k, low, high)
        if not beyond.any():
            break
        held = held | beyond
    return k, np.linalg.solve(matrix, np.where(held[:, :, None], 0.0, -Q_as))
