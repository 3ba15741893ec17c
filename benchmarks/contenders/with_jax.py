"""JAX's side: single layers only, compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from benchmarks.contenders.contender import Base
from benchmarks.layers import Layer


class Contender(Base):
    """lax.conv_general_dilated in NCHW, and its transposes."""

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        self.geometry = layer
        self.x, self.w, self.gy = (jax.device_put(given[name]) for name in ("x", "w", "gy"))

    def kernel(self, part: str, algorithm: str) -> Callable[[], Any]:
        x, w, gy, layer = self.x, self.w, self.gy, self.geometry

        def conv(x: Any, w: Any) -> Any:
            return lax.conv_general_dilated(
                x,
                w,
                (layer.stride,) * 2,
                ((layer.padding,) * 2,) * 2,
                dimension_numbers=("NCHW", "OIHW", "NCHW"),
                feature_group_count=layer.groups,
            )

        if part == "forward":
            compiled, given = jax.jit(conv), (x, w)
        elif part == "grad_input":
            compiled = jax.jit(lambda gy, w: jax.linear_transpose(lambda x: conv(x, w), x)(gy)[0])
            given = (gy, w)
        else:
            compiled = jax.jit(lambda gy, x: jax.linear_transpose(lambda w: conv(x, w), w)(gy)[0])
            given = (gy, x)
        return lambda: compiled(*given).block_until_ready()

    def to_numpy(self, result: Any) -> np.ndarray:
        return np.asarray(result)
