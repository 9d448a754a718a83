"""Write the real devices' op tables as data files, from what their vendors publish.

    python -m porter.device.sim.accounting.op_tables npu torch_npu-2.13.0-cp311-...whl
    python -m porter.device.sim.accounting.op_tables hpu Pytorch_Operators.rst 1.19.0 2025-01-08

*npu*: the torch-npu wheel (``pip download --no-deps torch-npu``) ships the tables its own code was
generated from, ``torch_npu/csrc/aten/*.yaml``. They are read from the archive; nothing is installed
or run. They list its ops exactly, overload by overload.

*hpu*: the vendor documents operators by their public names (`PyTorch Operators
<https://docs.habana.ai/en/latest/Pytorch_Operators/Pytorch_Operators.html>`_), whose source is
``docs/Pytorch_Operators.rst`` of the published bridge. Which ATen ops a public name reaches is in
:data:`REACHED`; a documented op's backward counts as documented, since the vendor trains with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from porter.device.sim.accounting.cpu_fallback import DATA
from porter.device.sim.contract.published import Wheel
from porter.errors import BadInput

_NPU_TABLES = "torch_npu/csrc/aten/"

REACHED: dict[str, str] = {
    "adaptive_avg_pool": "_adaptive_avg_pool2d _adaptive_avg_pool3d",
    "batch_norm": "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
    "_batch_norm_with_update _batch_norm_no_update batch_norm_backward cudnn_batch_norm",
    "BatchNorm2d": "native_batch_norm_backward",
    "conv2d": "convolution _convolution convolution_backward convolution_overrideable "
    "convolution_backward_overrideable mkldnn_convolution _slow_conv2d_forward thnn_conv2d",
    "conv3d": "convolution slow_conv3d",
    "dropout": "native_dropout native_dropout_backward",
    "embedding_bag": "_embedding_bag _embedding_bag_forward_only",
    "bernoulli": "bernoulli_",
    "grid_sample": "grid_sampler_2d grid_sampler_2d_backward",
    "instance_norm": "native_batch_norm",
    "layer_norm": "native_layer_norm native_layer_norm_backward",
    "linear": "addmm mm linear",
    "log_softmax": "_log_softmax _log_softmax_backward_data",
    "logsigmoid": "log_sigmoid_forward log_sigmoid_backward",
    "matmul": "mm bmm mv dot addmm baddbmm",
    "max_pool2d": "max_pool2d_with_indices max_pool2d_with_indices_backward",
    "max_pool3d": "max_pool3d_with_indices max_pool3d_with_indices_backward",
    "nll_loss": "nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward",
    "one_hot": "scatter_ scatter",
    "pad": "constant_pad_nd",
    "prelu": "_prelu_kernel _prelu_kernel_backward",
    "rrelu": "rrelu_with_noise",
    "relu": "threshold_backward relu relu_",
    "softmax": "_softmax _softmax_backward_data",
    "upsample": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
    "upsample_linear1d upsample_bicubic2d",
    "UpsamplingNearest2d": "upsample_nearest2d",
    "norm": "linalg_vector_norm",
    "weight_norm": "_weight_norm_interface",
    "__and__": "bitwise_and",
    "count_nonzero": "sum ne",
    "expit": "sigmoid",
    "unique": "_unique _unique2 unique_consecutive",
    "std": "std var",
    "sort": "sort argsort",
    "to": "_to_copy copy_",
    "cumsum": "cumsum_",
    "index_put_": "_index_put_impl_ index_put",
    "index_select": "index_select index gather",
    "max": "max min amax amin",
    "split_with_sizes": "split_with_sizes split",
    "normal": "normal_ normal",
    "rand": "uniform_",
    "meshgrid": "expand view",
    "view": "view _unsafe_view as_strided",
    "clone": "clone copy_ _to_copy contiguous",
    "empty": "empty empty_like empty_strided new_empty new_empty_strided resize_ set_",
    "zeros": "zero_ fill_",
    "is_nonzero": "_local_scalar_dense item",
}
"""By public name, the ATen ops its forward and backward call besides the op of the same name."""

REGISTERED = """
    _add_relu _addmm_activation _aminmax _assert_async _cdist_forward _ctc_loss _ctc_loss_backward
    _logcumsumexp _pdist_forward _reshape_alias _scaled_mm _upsample_nearest_exact1d
    _upsample_nearest_exact1d_backward _upsample_nearest_exact2d _upsample_nearest_exact2d_backward
    batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt
    batch_norm_gather_stats_with_counts batch_norm_stats bincount bucketize cholesky complex
    grid_sampler_3d hardswish hardswish_backward index_reduce isin lgamma linalg_cholesky_ex
    multi_margin_loss multilabel_margin_loss_forward multilabel_margin_loss_backward multinomial
    _fused_adam_ _fused_adamw_ _fused_adagrad_ _fused_sgd_
    tril_indices triu_indices unique_dim upsample_trilinear3d special_erfcx
"""
"""Ops missing from the page that the published bridge (1.19.0) registers; and the fused optimizers,
for which PyTorch itself lists hpu (pytorch pull request 148666)."""

_SPECIAL_BACKWARDS = (
    "{0}_backward", "{0}_backward_data", "_{0}_backward_data", "_{0}_backward",
    "{0}_dense_backward",
)  # fmt: skip


def _known(packet: str) -> bool:
    return hasattr(torch.ops.aten, packet)


def _packets(public: str) -> set[str]:
    """Return the ATen ops behind a documented public name."""
    name = public.replace("\\", "")
    wanted = {name, name.rstrip("_"), re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()}
    wanted |= {f"special_{name}", f"linalg_{name}"}
    wanted |= set(REACHED.get(name, "").split())
    if name.startswith("adaptive_avg_pool"):
        wanted |= set(REACHED["adaptive_avg_pool"].split())
    plain = [each.rstrip("_") for each in wanted]
    wanted |= {form.format(each) for each in plain for form in _SPECIAL_BACKWARDS}
    return {each for each in wanted if each and _known(each)}


def hpu_table(page: str, version: str, date: str) -> dict[str, Any]:
    """Return the table from the text of the vendor's page (reStructuredText)."""
    rows = re.findall(
        r"^(\S+)(?:\s+(?:Yes|No)){4,9}\s+((?:torch|torchvision)\S*)\s*$", page, re.MULTILINE
    )
    if not rows:
        raise BadInput(
            "the page holds no operator table: expected rows of a name and Yes/No columns"
        )
    ops = {each for each in REGISTERED.split() if _known(each)}
    ops.update(*(_packets(name) for name, _ in rows))
    return {
        "device": "hpu",
        "source": "PyTorch Operators, Intel Gaudi documentation "
        "(docs.habana.ai/en/latest/Pytorch_Operators/Pytorch_Operators.html)",
        "version": version,
        "date": date,
        "sha256": hashlib.sha256(page.encode()).hexdigest(),
        "documented": len(set(rows)),
        "ops": sorted(f"aten.{each}" for each in ops),
    }


def npu_table(path: Path) -> dict[str, Any]:
    """Return the table from a torch-npu wheel, read statically."""
    wheel = Wheel.open(path)
    names = wheel.archive.namelist()
    tables = sorted(n for n in names if n.startswith(_NPU_TABLES) and n.endswith(".yaml"))
    if not tables:
        raise BadInput(f"{path}: expected torch_npu/csrc/aten/*.yaml inside, found none")
    found: set[str] = set()
    for name in tables:
        table = yaml.safe_load(wheel.text(name))
        for section in ("supported", "autograd", "quant", "custom"):
            for entry in table.get(section) or ():
                schema = entry if isinstance(entry, str) else str(entry["func"])
                packet, _, overload = schema.split("(", 1)[0].strip().partition(".")
                namespace = "npu" if section == "custom" else "aten"
                found.add(f"{namespace}.{packet}.{overload or 'default'}")
    return {
        "device": "npu",
        "source": f"torch-npu {wheel.version} wheel from PyPI, torch_npu/csrc/aten/*.yaml",
        "version": wheel.version,
        "tables": tables,
        "sha256": wheel.sha256(),
        "ops": sorted(found),
    }


def main(argv: list[str]) -> int:
    """Write ``data/<device>_ops.json``."""
    if argv[:1] == ["npu"] and len(argv) == 2:
        table = npu_table(Path(argv[1]))
    elif argv[:1] == ["hpu"] and len(argv) == 4:
        table = hpu_table(Path(argv[1]).read_text(encoding="utf-8"), argv[2], argv[3])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    path = DATA / f"{table['device']}_ops.json"
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(table['ops'])} ops from {table['source']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
