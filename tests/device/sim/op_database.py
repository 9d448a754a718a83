"""PyTorch's own operator database (``torch.testing``'s OpInfo), run on a simulated device and on
the CPU.

A sample agrees when its outputs and gradients have the same bits and every tensor computed from
device tensors is on the device. ``python -m tests.device.sim.op_database --help`` runs all of the
database; the test suite runs a part (:mod:`tests.device.sim.test_op_database`).
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._pytree import tree_flatten

from porter.device.sim.activate import simulated
from porter.device.sim.core.tensor import DeviceTensor
from porter.device.sim.core.transfer import host_alias, move

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_RANDOM = "draws random numbers: the device has its own stream"
_UNSET = "returns unwritten memory"

_DRAWING = """
    bernoulli cauchy exponential geometric log_normal multinomial normal randint randint_like
    randn randn_like rand_like uniform pca_lowrank svd_lowrank nn.functional.alpha_dropout
    nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d
    nn.functional.feature_alpha_dropout nn.functional.fractional_max_pool2d
    nn.functional.fractional_max_pool3d nn.functional.multi_head_attention_forward
    nn.functional.rrelu
"""
_UNWRITTEN = "empty empty_like empty_permuted empty_strided new_empty new_empty_strided"
OUT: dict[str, str] = dict.fromkeys(_DRAWING.split(), _RANDOM)
OUT |= dict.fromkeys(_UNWRITTEN.split(), _UNSET)
"""Ops whose values are not compared, with the reason. Their shapes, dtypes and placement are."""


@dataclass
class Result:
    """The result for one op in one dtype."""

    op: str
    dtype: str
    samples: int = 0
    gradients: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str = ""


class NotOnTheCpu(Exception):
    """The sample fails on the plain CPU."""


def op_key(op: Any) -> str:
    """An op's name with its variant, as OpInfo prints it."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else str(op.name)


def _clone(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return value


def _to_device(value: Any, cls: type[DeviceTensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return move(value.detach(), cls).requires_grad_(value.requires_grad)
    return cls.device if isinstance(value, torch.device) else value


def _sample_on(sample: Any, cls: type[DeviceTensor], makes_tensors: bool) -> Any:
    """The sample with its tensors on the device; a factory gets the device as an argument."""
    moved = sample.transform(lambda value: _to_device(value, cls))
    if any(str(arg).startswith(cls.device.type) for arg in sample.args):
        raise NotOnTheCpu("the sample names the device itself")
    moved.args = tuple(
        cls.device if isinstance(arg, (str, torch.device)) and str(arg) == "cpu" else arg
        for arg in moved.args
    )
    has_tensors = _tensors((sample.input, sample.args, sample.kwargs))
    if "device" in moved.kwargs or (makes_tensors and not has_tensors):
        moved.kwargs = {**moved.kwargs, "device": cls.device}
    return moved


def same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal dtype, shape and bits; NaN equals NaN whatever its payload."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape or ours.layout != theirs.layout:
        return False
    if ours.layout != torch.strided:
        return same_bits(ours.to_dense(), theirs.to_dense())
    ours, theirs = ours.resolve_conj().resolve_neg(), theirs.resolve_conj().resolve_neg()
    if ours.is_complex():
        ours, theirs = torch.view_as_real(ours), torch.view_as_real(theirs)
    if not ours.is_floating_point():
        return torch.equal(ours, theirs)
    width = {2: torch.int16, 4: torch.int32, 8: torch.int64, 1: torch.int8}[ours.element_size()]
    equal = ours.contiguous().view(width) == theirs.contiguous().view(width)
    return bool((equal | (ours.isnan() & theirs.isnan())).all())


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(value)[0] if isinstance(leaf, torch.Tensor)]


CLOSE: dict[str, str] = {
    "prod": "autograd takes the path for zeros with any tensor subclass; a last bit differs",
    "linalg.lstsq": "LAPACK's last bits change from run to run on the CPU itself",
    "nn.functional.linear_cross_entropy": "accumulates in another dtype on an accelerator",
}
"""Ops whose values are compared to a tolerance, with the reason."""


Replaced = Mapping[Any, Any]
"""The simulation's replacements, by the functions of torch that the database holds."""


def _replaced() -> Replaced:
    return {
        each.__wrapped__: each
        for module in (torch, torch.linalg, torch.nn.functional, torch._C._nn)
        for each in vars(module).values()
        if isinstance(each, FunctionType)
        and "porter" in each.__code__.co_filename
        and hasattr(each, "__wrapped__")
    }


def _run(op: Any, sample: Any, replaced: Replaced) -> tuple[Any, list[torch.Tensor | None] | None]:
    """Run a sample; return (output, gradients of its inputs or None)."""
    torch.manual_seed(0)
    function = replaced.get(op.op, op)
    out = function(sample.input, *sample.args, **sample.kwargs)
    wanted = [t for t in _tensors((sample.input, sample.args, sample.kwargs)) if t.requires_grad]
    if sample.output_process_fn_grad is not None:
        out_grad = sample.output_process_fn_grad(out)
    results = [t for t in _tensors(out_grad) if t.requires_grad]
    if not wanted or not results:
        return out, None
    ones = [torch.ones_like(t) for t in results]
    return out, list(torch.autograd.grad(results, wanted, ones, allow_unused=True))


CAST = torch.float32, torch.float64
"""What an NPU gives where an op converts to float64, and what the CPU gives (rule casts_double)."""


def _difference(
    kind: str, ours: Any, theirs: Any, cls: type[DeviceTensor], values: str
) -> str | None:
    ours, theirs = _tensors(ours), _tensors(theirs)
    if len(ours) != len(theirs):
        return f"{kind}: {len(ours)} tensors, the CPU has {len(theirs)}"
    for our, their in zip(ours, theirs, strict=True):
        if not isinstance(our, cls):
            return f"{kind}: a tensor is on {our.device}"
        if our.device.type == "npu" and (our.dtype, their.dtype) == CAST:
            if values != "none" and not torch.allclose(host_alias(our), their.float()):
                return f"{kind}: values far apart"
            continue
        if (our.dtype, our.shape) != (their.dtype, their.shape):
            return f"{kind}: {our.dtype} {tuple(our.shape)}, the CPU has {their.dtype}"
        if values == "bits" and not same_bits(host_alias(our), their.detach()):
            return f"{kind}: other values"
        if values == "close" and not torch.allclose(host_alias(our), their, rtol=0.1, atol=0.05):
            return f"{kind}: values far apart"
    return None


def compare_sample(
    op: Any, sample: Any, cls: type[DeviceTensor], replaced: Replaced
) -> tuple[str | None, bool]:
    """Return (what differs or None, whether gradients were compared)."""
    plain = sample.transform(_clone)
    try:
        expected, expected_grads = _run(op, plain, replaced)
    except Exception as error:
        raise NotOnTheCpu(str(error)) from error
    ours = _sample_on(sample, cls, makes_tensors=bool(_tensors(expected)))
    got, grads = _run(op, ours, replaced)
    drawn = op.name in OUT or sample.kwargs.get("dropout_p")
    values = "none" if drawn else "close" if op.name in CLOSE else "bits"
    found = _difference("output", got, expected, cls, values)
    if found is None and expected_grads is not None:
        found = _difference("gradient", grads, expected_grads, cls, values)
    return found, expected_grads is not None


def compare_op(
    op: Any, dtype: torch.dtype, cls: type[DeviceTensor], most: int, replaced: Replaced
) -> Result:
    """Compare up to ``most`` samples of an op in one dtype."""
    result = Result(op_key(op), str(dtype).removeprefix("torch."))
    if dtype not in op.supported_dtypes("cpu"):
        result.skipped = "the CPU has no kernel for this dtype"
        return result
    grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    refused = 0
    for number, sample in enumerate(op.sample_inputs("cpu", dtype, requires_grad=grad)):
        if number == most:
            break
        try:
            found, with_grad = compare_sample(op, sample, cls, replaced)
        except NotOnTheCpu:
            refused += 1
            continue
        except Exception as error:
            found, with_grad = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", False
        result.samples += 1
        result.gradients += with_grad
        if found is not None:
            result.failures.append(f"sample {number}: {found}")
    if refused and not result.samples:
        result.skipped = "no sample runs on the CPU"
    return result


@contextmanager
def _no_stack_read() -> Iterator[None]:
    """Keep torch from reading the source of the whole stack, which is deep under pytest.

    Each sample searches it for a TestCase, and there is none. Each seeding stores its text for
    every absent accelerator.
    """
    from torch.testing._internal import common_utils
    from torch.testing._internal.opinfo import core

    with (
        patch.object(common_utils, "extract_test_fn", lambda: None),
        patch.object(core, "extract_test_fn", lambda: None),
        patch.object(traceback, "format_stack", list),
    ):
        yield


def compare_all(
    device: str,
    dtypes: tuple[torch.dtype, ...],
    most: int,
    shard: tuple[int, int],
    *,
    match: str = "",
) -> Iterator[Result]:
    """Compare the ops of this shard of the database whose name contains ``match``."""
    from torch.testing._internal.common_methods_invocations import op_db

    with _no_stack_read(), simulated(device) as machine:
        replaced = _replaced()
        for number, op in enumerate(op_db):
            if number % shard[1] != shard[0] or match not in op_key(op):
                continue
            for dtype in dtypes:
                yield compare_op(op, dtype, machine.classes[0], most, replaced)


def main() -> int:
    """Run and report; exit code 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="sim:hpu")
    parser.add_argument("--samples", type=int, default=10, help="at most this many for each op")
    parser.add_argument("--shard", default="0/1", help="which part: NUMBER/PARTS")
    parser.add_argument("--match", default="", help="only ops whose name contains this")
    parser.add_argument("--dtypes", default="float32,float16,bfloat16")
    parser.add_argument("--json", help="write every result here")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    part, parts = (int(word) for word in args.shard.split("/"))
    dtypes = tuple(getattr(torch, name) for name in args.dtypes.split(","))
    results = []
    for result in compare_all(args.device, dtypes, args.samples, (part, parts), match=args.match):
        results.append(result)
        if result.failures:
            print(f"{result.op} {result.dtype}: {result.failures[0]}", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump([vars(result) for result in results], file, indent=1)
    tally = Counter[str]()
    for result in results:
        state = "skipped" if result.skipped else "failed" if result.failures else "passed"
        tally[f"{result.dtype} {state}"] += 1
        tally[f"{result.dtype} samples"] += result.samples
        tally[f"{result.dtype} gradients"] += result.gradients
    print(f"simulated device {args.device}:", dict(sorted(tally.items())))
    return 1 if any(result.failures for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
