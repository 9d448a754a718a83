"""Direct Python bindings for the ops that models call most.

``torch.add(x, y)`` parses its arguments with a generated parser; ``torch.ops.aten.add.Tensor(x,
y)`` boxes them and matches the schema, which costs about one microsecond more. Only ops whose
binding takes its arguments in the schema's order are listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.device.sim.core.op_schema import OpFacts

_FUNCTIONS = """
    add.Tensor sub.Tensor mul.Tensor div.Tensor mm.default bmm.default addmm.default baddbmm.default
    exp.default log.default sin.default cos.default sqrt.default rsqrt.default neg.default
    tanh.default sigmoid.default relu.default abs.default reciprocal.default addcmul.default
    addcdiv.default convolution.default native_group_norm.default native_layer_norm.default
    _softmax.default cat.default t.default transpose.int permute.default unsqueeze.default
    squeeze.dim select.int native_batch_norm.default pow.Tensor_Scalar where.self
    sqrt_.default lerp.Scalar maximum.default minimum.default
"""

_METHODS = """
    add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor view.default expand.default detach.default
    addcmul_.default addcdiv_.default lerp_.Scalar zero_.default copy_.default
"""

_ACTIVATIONS = "silu.default gelu.default leaky_relu.default softplus.default"

_HOT = frozenset(_FUNCTIONS.split())
_HOT_METHODS = frozenset(_METHODS.split())
_HOT_ACTIVATIONS = frozenset(_ACTIVATIONS.split())


def direct_binding(facts: OpFacts) -> Callable[..., Any] | None:
    """Return the generated binding of a hot op, or None."""
    short = facts.name.removeprefix("aten.")
    name = short.split(".", 1)[0]
    if short in _HOT:
        return getattr(torch._C._VariableFunctions, name, None)
    if short in _HOT_ACTIVATIONS:
        return getattr(torch._C._nn, name, None)
    if short in _HOT_METHODS:
        return getattr(torch._C.TensorBase, name, None)
    return None
