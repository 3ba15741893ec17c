"""One rung of the ladder: the definition's loops, compiled, and no other idea."""

import numpy as np
from numba import njit


@njit(cache=True)
def convolution(x, w, stride, padding):
    """(N, C, H, W), (OC, C, K, K) -> (N, OC, OH, OW), on one core, product by product."""
    N, C, H, W = x.shape
    OC, _, K, _ = w.shape
    OH, OW = (H + 2 * padding - K) // stride + 1, (W + 2 * padding - K) // stride + 1
    y = np.zeros((N, OC, OH, OW), x.dtype)
    for n in range(N):
        for oc in range(OC):
            for oh in range(OH):
                for ow in range(OW):
                    for c in range(C):
                        for i in range(K):
                            for j in range(K):
                                h, v = oh * stride + i - padding, ow * stride + j - padding
                                if 0 <= h < H and 0 <= v < W:
                                    y[n, oc, oh, ow] += x[n, c, h, v] * w[oc, c, i, j]
    return y
