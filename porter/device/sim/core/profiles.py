"""The simulated devices as data: dispatch keys, dtypes, autocast lists.

A :class:`Profile` holds everything that differs between devices and is not code; nothing else in
the simulator asks "is this hpu?". Each fact names its source and the date it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from porter.device.sim.contract.releases import Release

OpNames = frozenset[str]
"""Qualified names, ``aten.addmm`` (every overload) or ``aten.addmm.default`` (that one)."""


@dataclass(frozen=True, slots=True)
class AutocastLists:
    """Which ops autocast runs in which precision.

    Names are those of ATen ops without ``aten.``; ``pow`` means every out-of-place overload of it,
    ``pow.Scalar`` that one. An op in several lists follows the first of: refused, low_first, low,
    float32, widest.
    """

    source: str
    low: OpNames = frozenset()
    """All floating tensors are cast to the low precision."""
    low_first: OpNames = frozenset()
    """Only the first argument is (norms whose weights stay in float32)."""
    float32: OpNames = frozenset()
    """All are cast to float32, unless the call names a dtype."""
    widest: OpNames = frozenset()
    """All are cast to the widest dtype among them."""
    refused: OpNames = frozenset()
    caches_weights: bool = True
    """Casts of leaf parameters are cached until the outermost context ends."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A device to simulate. ``name`` is the device type as scripts spell it ("hpu")."""

    name: str
    title: str
    dispatch_key: str
    """Key that factories with this device reach: "CUDA", "HPU" or "PrivateUse1"."""
    autocast_key: str
    autocast_dtypes: tuple[str, ...]
    """Dtypes autocast accepts; the first is the default."""
    autocast: AutocastLists
    device_count: int = 2
    unsupported_dtypes: dict[str, str] = field(default_factory=dict)
    """By dtype name: "refused" (an error), "cast:float32" (converted) or "counted" (kept and
    counted where it appears; what the device makes of it is not modelled)."""
    visible_by: str = ""
    """The environment variable that lists the devices which a process sees."""
    contiguous_only: bool = False
    """Memory formats other than contiguous are refused ("channels_last")."""
    casts_double: bool = False
    """``x.double()`` of a tensor on the device gives float32, with a warning."""
    int64_as_int32: bool = False
    """int64 is copied from the host as int32, in some modes
    (:mod:`porter.device.sim.accounting.int64`)."""
    e4m3_limit: float = 0.0
    """The largest float8_e4m3fn of the card, where it is not PyTorch's 448."""
    no_torchscript: bool = False
    """The vendor does not support TorchScript."""
    no_onnx: bool = False
    """The vendor does not support exports to ONNX."""
    after_fork: str = "refused"
    """What a use in a process means that was forked after the device was used: "refused", or
    "undefined" (a warning)."""
    takes_cpu_generators: bool = False
    """Random ops accept a CPU generator, and seed the device's kernel with a number it draws."""
    takes_flex_attention: bool = False
    """``flex_attention`` takes its tensors, though PyTorch's own check of devices lacks it."""
    seed_salt: int = 0
    """Mixed into seeds so that the device's random numbers are not the CPU's. 0 for sim:cuda, which
    draws real CUDA numbers (see :mod:`porter.device.sim.rng.philox`)."""
    release: Release | None = None
    """Of the vendor's software, where several are simulated; None means the newest."""


def visible_devices(profile: Profile, environ: Mapping[str, str]) -> int:
    """Return how many of a machine's devices a process sees.

    As on CUDA, the list ends at the first entry that is no device of the machine, and an empty list
    means none; that the other vendors' variables do the same is our reading.
    """
    listed = environ.get(profile.visible_by)
    if listed is None:
        return profile.device_count
    seen: list[str] = []
    for entry in (word.strip() for word in listed.split(",")):
        if not entry.isdigit() or int(entry) >= profile.device_count or entry in seen:
            break
        seen.append(entry)
    return len(seen)


def _names(text: str) -> OpNames:
    return frozenset(text.split())


_GPU_LOW = _names(
    """
    _convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d
    convolution prelu addmm addmv addr matmul einsum mm mv linear addbmm baddbmm bmm chain_matmul
    linalg_multi_dot _thnn_fused_lstm_cell _thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell
    rnn_relu_cell _scaled_dot_product_flash_attention scaled_dot_product_attention
    """
)
_GPU_FLOAT32 = _names(
    """
    acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus
    layer_norm native_layer_norm group_norm frobenius_norm.dim nuclear_norm cosine_similarity
    poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss
    smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss
    triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits dist pdist cdist renorm
    logsumexp prod softmax.int log_softmax.int cumprod cumsum linalg_vector_norm linalg_matrix_norm
    sum norm.Scalar norm.ScalarOpt_dim
    """
)
_GPU_WIDEST = _names(
    """
    addcdiv addcmul atan2 bilinear cross dot grid_sampler index_put tensordot scatter_add
    """
)
_REFUSED = _names("binary_cross_entropy")

CUDA = Profile(
    name="cuda",
    visible_by="CUDA_VISIBLE_DEVICES",
    title="NVIDIA GPU",
    dispatch_key="CUDA",
    autocast_key="AutocastCUDA",
    autocast_dtypes=("float16", "bfloat16"),
    autocast=AutocastLists(
        source="PyTorch 2.13, ATen/autocast_mode.h (AT_FORALL_* lists)",
        low=_GPU_LOW | {"linalg_vecdot"},
        float32=_GPU_FLOAT32
        | _names(
            """
            rms_norm upsample_nearest1d _upsample_nearest_exact1d upsample_nearest2d
            _upsample_nearest_exact2d upsample_nearest3d _upsample_nearest_exact3d
            upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d
            upsample_bicubic2d _upsample_bicubic2d_aa
            """
        ),
        widest=_GPU_WIDEST | {"vdot"},
        refused=_REFUSED,
    ),
)

HPU = Profile(
    name="hpu",
    visible_by="HABANA_VISIBLE_MODULES",
    title="Intel Gaudi",
    dispatch_key="HPU",
    autocast_key="AutocastHPU",
    autocast_dtypes=("bfloat16", "float16"),
    autocast=AutocastLists(
        source=(
            "docs.habana.ai, PyTorch Mixed Precision, registered operators (read November 2026); "
            "norms cast their first argument only and casts are not cached, as the plugin does"
        ),
        low=_names(
            """
            addmm addbmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d
            conv_transpose3d dot dropout feature_dropout leaky_relu linear matmul mean mm mul mv
            softmax log_softmax scaled_dot_product_attention
            """
        ),
        low_first=_names("batch_norm group_norm instance_norm layer_norm"),
        float32=_names(
            """
            acos addcdiv asin atan2 bilinear binary_cross_entropy binary_cross_entropy_with_logits
            cdist cosh cosine_embedding_loss cosine_similarity cross_entropy_loss dist div divide
            embedding embedding_bag erfinv exp expm1 hinge_embedding_loss huber_loss kl_div l1_loss
            log log10 log1p log2 logsumexp margin_ranking_loss mse_loss multi_margin_loss
            multilabel_margin_loss nll_loss pdist poisson_nll_loss pow reciprocal renorm rsqrt sinh
            smooth_l1_loss soft_margin_loss softplus tan topk triplet_margin_loss true_divide
            """
        ),
        widest=_names("add addcmul cat sub stack"),
        caches_weights=False,
    ),
    # docs.habana.ai, PyTorch Support Matrix, data types (read November 2026): Float64, Complex32
    # and Complex64 "No". The published bridge (1.19.0) computes doubles as floats without saying
    # so.
    unsupported_dtypes=dict.fromkeys(
        ("float64", "complex32", "complex64", "complex128"), "counted"
    ),
    # HabanaAI/gaudi-pytorch-bridge, get_seed_hpu in random_gen_kernels.cpp (read November 2026):
    # every generator there is a CPU generator, and a kernel's seed is its next random().
    takes_cpu_generators=True,
    int64_as_int32=True,
    after_fork="undefined",
    no_torchscript=True,
    no_onnx=True,
    # The simulated card is a Gaudi2 (``torch.hpu.get_device_name()``): its e4m3 ends at 240, by the
    # vendor's test_hpu_fp8_ops_any_mode.py; a Gaudi3's at 448.
    e4m3_limit=240.0,
    seed_salt=0x48_50_55,
)

NPU = Profile(
    name="npu",
    visible_by="ASCEND_RT_VISIBLE_DEVICES",
    title="Huawei Ascend",
    dispatch_key="PrivateUse1",
    autocast_key="AutocastPrivateUse1",
    autocast_dtypes=("float16", "bfloat16"),
    autocast=AutocastLists(
        source="Ascend/pytorch, torch_npu/csrc/aten/AutoCastOps.cpp (read November 2026)",
        low=_GPU_LOW,
        float32=_GPU_FLOAT32,
        widest=_GPU_WIDEST,
        refused=_REFUSED,
    ),
    # hiascend.com, NPU Tensor API table (read November 2026): DoubleTensor is supported.
    # Ascend/pytorch, torch_npu/csrc/aten/common (commit 9e73e708): TensorProperties.cpp,
    # ToKernelNpu.cpp and TensorFactories.cpp refuse other memory formats; _to_copy without a device
    # makes float32 of float64.
    contiguous_only=True,
    casts_double=True,
    takes_flex_attention=True,
    seed_salt=0x4E_50_55,
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (CUDA, HPU, NPU)}
"""The devices that can be simulated, by device type."""
