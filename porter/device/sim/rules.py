"""The rules of the simulated devices: what each rests on, and how far it can be trusted.

``docs/simulator-truth.md`` is made from this table, and a test holds both the page and the code to
it: every limit of a capture, every dtype policy and every switch of a profile has its rule here.

Confidence, from the best: "vendor's test" (a test of the vendor's asserts it), "vendor's source"
(the published code does it), "published log" (a card was seen to do it), "vendor's docs", and
"our reading" (it follows from these by our own judgement).
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = (
    "vendor's test", "vendor's source", "published log", "vendor's docs", "our reading",
)  # fmt: skip

_BRIDGE = "HabanaAI/gaudi-pytorch-bridge 1.19.0"
_WHEEL = "torch-npu 2.13.0 wheel"
_ASCEND = "Ascend/pytorch, commit 9e73e708"
_GAUDI_DOCS = "docs.habana.ai"
_GRAPH_DOCS = "each vendor's page on its graphs (simulator-accounting.md names them)"
_CUDA_DOCS = "PyTorch, CUDA graphs notes; NVIDIA, constraints of CUDA graphs"


@dataclass(frozen=True)
class Rule:
    """One rule: its name (``capture:h2d``), the devices, what happens, and on what it rests.

    ``where`` is the dotted name that implements it.
    """

    name: str
    devices: tuple[str, ...]
    what: str
    source: str
    confidence: str
    where: str


_PLACE = "porter.device.sim.core"
_GRAPHS = "porter.device.sim.graphs"
_COUNT = "porter.device.sim.accounting"
_PATCH = "porter.device.sim.torch_patches"
_ALL = ("cuda", "hpu", "npu")

RULES = (
    Rule("mixed_devices", _ALL, "operands on two devices are refused; 0-dim CPU tensors and CPU "
         "indices are taken", "PyTorch's dispatcher and error texts", "vendor's source",
         f"{_PLACE}.placement.settle"),
    Rule("no_cpu_kernel", ("hpu",), "an op that the CPU has no kernel for in half precision or in "
         "8 bits is computed in float32 and rounded once, unless it writes its arguments",
         f"{_BRIDGE}, test_hpu_cdist.py, test_hpu_pdist.py, test_hpu_fp8_ops_any_mode.py",
         "vendor's test", f"{_PLACE}.dispatch.compile_op"),
    Rule("no_cpu_kernel", ("cuda", "npu"), "likewise", "of which ops the cards have such kernels "
         "the dtype tables tell", "our reading", f"{_PLACE}.dispatch.compile_op"),
    Rule("visible_by", ("cuda",), "CUDA_VISIBLE_DEVICES lists the devices of a process",
         "NVIDIA, CUDA programming guide", "vendor's docs", f"{_PLACE}.profiles.visible_devices"),
    Rule("visible_by", ("hpu", "npu"), "HABANA_VISIBLE_MODULES and ASCEND_RT_VISIBLE_DEVICES do "
         "the same, by the rules of CUDA's", "the vendors' pages name the variables", "our reading",
         f"{_PLACE}.profiles.visible_devices"),
    Rule("dtype:float64", ("hpu",), "stays float64 and is counted (the card computes float32)",
         f"{_GAUDI_DOCS}, support matrix", "vendor's docs",
         f"{_PLACE}.machine.Machine.check_dtype"),
    Rule("dtype:complex", ("hpu",), "complex32, complex64 and complex128 stay and are counted",
         f"{_GAUDI_DOCS}, support matrix", "vendor's docs",
         f"{_PLACE}.machine.Machine.check_dtype"),
    Rule("int64_as_int32", ("hpu",), "without PT_ENABLE_INT64_SUPPORT (unset: in lazy mode only) a "
         "copy of int64 from the host is counted; values outside int32 are refused in lazy mode "
         "(unless PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK=0), else lose their high bits, with a "
         "warning", f"{_BRIDGE}, IsInt64Supported, validateDownCast, _copy_from_h2d",
         "vendor's source", f"{_COUNT}.int64.Int64AsInt32"),
    Rule("int64_results", ("hpu",), "where int64 is int32 on the card, ops whose int64 results "
         "leave int32 are counted, with a warning per line, and stay; what an op makes of them is "
         "not published", f"{_BRIDGE}, IsInt64Supported in create_tensor.cpp, habana_operator.cpp",
         "vendor's source", f"{_COUNT}.int64.Int64Results"),
    Rule("float64_range", ("hpu",), "lazy mode refuses copies of finite float64 values outside "
         "float32 (unless PT_HPU_ENABLE_VALID_DATA_RANGE_CHECK=0; NaN and infinities pass), else "
         "they are counted, with a warning per line, and stay", f"{_BRIDGE}, validateDownCast, "
         "preProcessIfLongorDouble", "vendor's source", f"{_COUNT}.int64.Float64AsFloat32"),
    Rule("operators:schema", ("hpu", "npu"), "operators for inference have the vendor's schema and "
         "the values of its documented formula, in float32 or wider, rounded once",
         f"{_BRIDGE}, its tests; Ascend/op-plugin, commit 517f2e7d, docs and test", "vendor's test",
         "porter.device.sim.vendors.fused_ops.kernel"),
    Rule("operators:later", ("hpu",), "block_softmax and its adjustment, mixture_of_experts in "
         "float8, convert_from_uint4's g_idx: names and meaning by their published callers",
         "vllm-gaudi, extension/ops.py; optimum-habana, modeling_deepseek_v3.py", "our reading",
         "porter.device.sim.habana.experts.block_softmax"),
    Rule("operators:order", ("npu",), "npu_nms_with_mask takes boxes in their order, float4 pairs "
         "have the first number low, npu_attention_update reads a log-sum-exp of +inf as a part "
         "without keys", "the vendor's pages do not say", "our reading",
         "porter.device.sim.ascend.boxes.npu_nms_with_mask"),
    Rule("capture:task_update", ("npu",), "graph_task_update gives a group's tasks their operands "
         "for the next replay; an operator in between runs here, too, and is recorded only on the "
         "card", f"{_ASCEND}, torch_npu/npu/graphs.py", "vendor's source",
         f"{_GRAPHS}.records.TaskGroup"),
    Rule("release:names", ("npu",), "sim:npu@1.8.1 alone has launch_graph, profile and "
         "utils.profiler, and lacks NPUGraph and torchair", "Ascend/pytorch, branch v1.8.1",
         "vendor's source", "porter.device.sim.contract.releases.NPU_RELEASES"),
    Rule("e4m3_limit", ("hpu",), "the card is a Gaudi2, whose float8_e4m3fn ends at 240 (a "
         "Gaudi3's at 448): Fp8Ops.cast_to_fp8_v2 saturates there",
         f"{_BRIDGE}, any_mode/test_hpu_fp8_ops_any_mode.py", "vendor's test",
         "porter.device.sim.habana.fp8.limit_of"),
    Rule("e4m3_limit:others", ("hpu",), "other conversions and copies to float8_e4m3fn keep values "
         "above 240, are counted, and warn once per line",
         "no public source says what the card makes of them", "our reading",
         f"{_COUNT}.fp8.Fp8Range"),
    Rule("no_torchscript", ("hpu",), "calls of scripted and traced functions with tensors on the "
         "device are counted, with a warning per line; what a card does is not documented",
         f"{_GAUDI_DOCS}, support matrix: torch.jit / TorchScript, No", "vendor's docs",
         f"{_PATCH}.torchscript.install_torchscript"),
    Rule("no_onnx", ("hpu",), "torch.onnx.export of what is on the device is counted, with a "
         "warning per line; what a card does is not documented",
         f"{_GAUDI_DOCS}, support matrix: ONNX, No", "vendor's docs",
         f"{_PATCH}.torchscript.install_onnx"),
    Rule("takes_flex_attention", ("npu",), "flex_attention takes tensors on npu, which PyTorch's "
         "own check refuses", f"{_ASCEND}, patch_flexattention.py", "vendor's source",
         f"{_PATCH}.higher_order.install_higher_order"),
    Rule("after_fork", ("npu",), "a device used before a fork is refused in the forked process",
         f"{_ASCEND}, test/npu/test_torch_npu.py", "vendor's test",
         f"{_PLACE}.forks.refuse_or_warn"),
    Rule("after_fork", ("cuda",), "a device used before a fork is refused in the forked process",
         "torch/cuda/__init__.py of PyTorch 2.13", "vendor's source",
         f"{_PLACE}.forks.refuse_or_warn"),
    Rule("after_fork", ("hpu",), "a device used before a fork warns once in the forked process: "
         "undefined behaviour", f"{_GAUDI_DOCS}, Getting Started, multiprocessing for DataLoaders "
         "(as quoted in optimum-habana's pull request 1721)", "vendor's docs",
         f"{_PLACE}.forks.refuse_or_warn"),
    Rule("casts_double", ("npu",), "a conversion to float64 on the device gives float32, with a "
         "warning", f"{_ASCEND}, ToKernelNpu.cpp", "vendor's source",
         f"{_PLACE}.placement._without_double"),
    Rule("unlisted_dtype", ("npu",), "float64 or complex operands of an op that the vendor does "
         "not list with them are counted; a card refuses some",
         f"{_ASCEND}, native_api pages of 2.11.0",
         "vendor's docs", f"{_COUNT}.dtype_tables.UnlistedDtypes"),
    Rule("jit_compile:complex", ("npu",), "with set_compile_mode(jit_compile=True) new complex "
         "tensors are refused", f"{_ASCEND}, TensorFactories.cpp", "vendor's source",
         "porter.device.sim.ascend.npu.set_compile_mode"),
    Rule("contiguous_only", ("npu",), "memory formats other than contiguous are refused",
         f"{_ASCEND}, TensorProperties.cpp, ToKernelNpu.cpp, TensorFactories.cpp",
         "vendor's source", f"{_PLACE}.transfer.check_memory_format"),
    Rule("takes_cpu_generators", ("hpu",), "a random op takes a CPU generator and seeds its kernel "
         "with the next number it draws", f"{_BRIDGE}, random_gen_kernels.cpp", "vendor's source",
         "porter.device.sim.rng.random_ops.install_rng"),
    Rule("seed_salt", ("hpu", "npu"), "random numbers are the device's own stream, and porter's",
         "the vendors publish no stream", "our reading", "porter.device.sim.rng.philox"),
    Rule("random:cuda", ("cuda",), "rand and randn of contiguous float32 are CUDA's, of an A100",
         "Random123 test vectors; published numbers of seeds 0 and 10", "published log",
         "porter.device.sim.rng.philox"),
    Rule("unwaited_copy", _ALL, "asynchronous copies to the host that nothing waited for are "
         "counted",
         "pytorch issues 127612 and 140296", "published log", f"{_COUNT}.unwaited.UnwaitedCopies"),
    Rule("host_sync", _ALL, "reads of values, blocking copies, shapes from data and synchronize "
         "make the host wait", "PyTorch's CUDA semantics; that hpu and npu do the same",
         "our reading", f"{_COUNT}.ledger.HostSyncs"),
    Rule("cpu_fallback", ("npu",), "ops outside the wheel's tables run on the CPU",
         f"{_WHEEL}, csrc/aten/*.yaml", "vendor's source", f"{_COUNT}.cpu_fallback.Fallbacks"),
    Rule("cpu_fallback", ("hpu",), "ops outside the operator page run on the CPU; which ATen ops a "
         "public name reaches is our reading", f"{_GAUDI_DOCS}, PyTorch Operators 1.19.0",
         "vendor's docs", f"{_COUNT}.cpu_fallback.Fallbacks"),
    Rule("lazy:default", ("hpu",), "PT_HPU_LAZY_MODE unset means eager (the bridge 1.19.0 says "
         "lazy; today's page says eager)", f"{_GAUDI_DOCS}, runtime flags", "vendor's docs",
         f"{_COUNT}.ledger.lazy_by_environment"),
    Rule("lazy:ends", ("hpu",), "what ends an accumulated graph besides mark_step",
         f"{_BRIDGE}, its debug messages", "vendor's source", f"{_COUNT}.ledger.DeviceAccounting"),
    Rule("lazy:signature", ("hpu",), "when two graphs are the same, and so the number of "
         "compilations", "the cache key is not published", "our reading",
         f"{_GRAPHS}.signature.Tape"),
    Rule("names:mode", ("hpu",), "names that exist in one mode only", f"{_BRIDGE}, if is_lazy()",
         "vendor's source", "porter.device.sim.vendors.stub_module.LAZY_MODE_ONLY"),
    Rule("compile:cuts", ("hpu",), "ops that hpu_backend runs eagerly and copies between devices "
         "cut a compiled graph", f"{_BRIDGE}, dynamo/compile_backend", "vendor's source",
         f"{_PATCH}.compile_counts.count_partitions"),
    Rule("compile:cuts_by_table", ("hpu",), "ops that no list of the backend names cut a graph if "
         "the table of ops lacks them, or their result's dtype is unsupported",
         "the bridge asks C++ that is not published", "our reading",
         f"{_COUNT}.compile_tables.CompileTable.refuses"),
    Rule("compile:cuts", ("npu",), "ops without a torchair converter are counted (a card refuses "
         "the graph)", f"{_WHEEL}, torchair ge_converter", "vendor's source",
         f"{_PATCH}.compile_counts.count_partitions"),
    Rule("compile:counts", _ALL, "graphs, breaks, recompilations and their guards",
         "PyTorch's Dynamo itself", "vendor's source",
         f"{_PATCH}.compile_counts.install_compile_counts"),
    Rule("autocast", ("cuda",), "lists of ops by precision", "ATen/autocast_mode.h of PyTorch 2.13",
         "vendor's source", f"{_PATCH}.autocast.install_autocast"),
    Rule("autocast", ("hpu",), "lists of ops by precision", f"{_GAUDI_DOCS}, Mixed Precision",
         "vendor's docs", f"{_PATCH}.autocast.install_autocast"),
    Rule("autocast", ("npu",), "lists of ops by precision", f"{_ASCEND}, AutoCastOps.cpp",
         "vendor's source", f"{_PATCH}.autocast.install_autocast"),
    Rule("migration", ("npu",), "what transfer_to_npu replaces", f"{_WHEEL}, transfer_to_npu.py",
         "vendor's source", "porter.migrate.migration.Migration"),
    Rule("migration:classes", ("npu",), "torch.cuda's classes are torch.npu's own, those of "
         "torch.cuda.amp are torch_npu.npu.amp's, ProcessGroupNCCL is hccl's class, and cuda has "
         "no default backend", f"{_ASCEND}, test/contrib/test_transfer_to_npu.py", "vendor's test",
         "porter.migrate.calls.CudaCalls.served_class"),
    Rule("capability", ("npu",), "get_device_capability is None unless TORCH_NPU_DEVICE_CAPABILITY "
         "is set", f"{_ASCEND}, test/npu/test_torch_npu.py", "vendor's test",
         "porter.device.sim.ascend.npu.get_device_capability"),
    Rule("properties", ("npu",), "get_device_properties has the vendor's names; those that a card "
         "lacks are None, and multi_processor_count is the number of vector cores",
         f"{_ASCEND}, test/npu/test_torch_npu.py, Module.cpp", "vendor's test",
         "porter.device.sim.ascend.npu.get_device_properties"),
    Rule("migration:broadcast", ("npu",), "torch.distributed.broadcast, and with it "
         "ZeroRedundancyOptimizer, fails under transfer_to_npu unless the capability is set: "
         "PyTorch 2.13 reads it where is_cuda is True",
         f"{_WHEEL}, transfer_to_npu.py; broadcast of PyTorch 2.13", "our reading",
         "porter.device.sim.ascend.npu.get_device_capability"),
    Rule("data_parallel", ("npu",), "torch.nn.DataParallel runs on every device of the process",
         f"{_ASCEND}, test/distributed/test_data_parallel.py (the vendor's list of APIs says no)",
         "vendor's test", f"{_PATCH}.comm.install_comm"),
    Rule("migration:data_parallel", ("npu",), "torch.nn.DataParallel fails under transfer_to_npu: "
         "it took the name of its device type from PyTorch before the wheel replaces it, and looks "
         "for parameters on cuda", f"{_WHEEL}, transfer_to_npu.py; data_parallel.py of PyTorch "
         "2.13", "our reading", "porter.migrate.torch_names.install_torch_names"),
    Rule("data_parallel", ("hpu",), "torch.nn.DataParallel fails under gpu_migration, and without "
         "it runs the module where it is: PyTorch knows no hpu there", f"{_GAUDI_DOCS}, "
         "distributed training: one worker has one accelerator", "our reading",
         "porter.migrate.torch_names.install_torch_names"),
    Rule("migration", ("hpu",), "how each torch.cuda name is served",
         "the vendor's migration logs (2023); 17 rows by its definitions", "published log",
         "porter.migrate.migration.Migration"),
    Rule("migration:torch_names", ("hpu",), "names outside torch.cuda are replaced as on npu, "
         "and torch.asarray and the sparse factories, too (on npu they raise with cuda)",
         "GPU Migration Toolkit's page could not be read in full", "our reading",
         "porter.migrate.torch_names.install_torch_names"),
    Rule("distributed", ("hpu", "npu"), "hccl is gloo: results are right, and gloo refuses what it "
         "lacks (int16)", "the libraries below the vendors' process groups are not published",
         "our reading", f"{_PATCH}.distributed"),
    Rule("distributed:dtypes", ("hpu",), "collectives but broadcast and alltoall refuse dtypes "
         "that hccl has no name for (int16, uint16 and larger); allreduce and reduce in other "
         "dtypes than float32 and bfloat16 are counted: the card computes them in float32; those "
         "with operands that float32 rounds are counted again",
         f"{_BRIDGE}, collective_utils.cpp, process_group_hccl_base.cpp", "vendor's source",
         f"{_COUNT}.hccl.HcclDtypes"),
    Rule("distributed:dtypes", ("npu",), "collectives refuse dtypes that hccl has no name for "
         "(float8 with fnuz), and those that reduce also float64 and uint16 and larger; "
         "reduce_scatter also bool and uint8: as on cards before Ascend950",
         f"{_ASCEND}, HCCLUtils.cpp, ProcessGroupHCCL.cpp", "vendor's source",
         f"{_COUNT}.hccl.HcclDtypes"),
    Rule("capture:cpu_op", ("hpu",), "an op that falls back is refused",
         f"{_GAUDI_DOCS}, HPU Graphs for Inference", "vendor's docs",
         f"{_COUNT}.cpu_fallback.Fallbacks"),
    Rule("capture:cpu_op", ("cuda", "npu"), "an op that falls back is refused", _CUDA_DOCS,
         "our reading", f"{_COUNT}.cpu_fallback.Fallbacks"),
    Rule("capture:host_read", _ALL, "a read of a value is refused", _GRAPH_DOCS, "vendor's docs",
         f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:dynamic_shape", _ALL, "a shape that depends on data is refused", _GRAPH_DOCS,
         "vendor's docs", f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:h2d", ("cuda", "npu"), "a copy from the host is refused unless pinned and "
         "asynchronous", _CUDA_DOCS, "vendor's docs", f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:h2d", ("hpu",), "a copy from the host is made once, counted, with a warning; "
         "replays do not repeat it", "HabanaAI/Model-References, stable-diffusion: cards took it",
         "our reading", f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:d2h", _ALL, "a copy to the host is refused", _GRAPH_DOCS, "vendor's docs",
         f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:synchronize", ("cuda", "npu"), "synchronize is refused", _CUDA_DOCS,
         "vendor's docs", f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:inplace_view_update", ("hpu",), "an in-place update of a view is refused",
         f"{_GAUDI_DOCS}, HPU Graphs for Training", "vendor's docs",
         f"{_GRAPHS}.capture.DeviceGraph"),
    Rule("capture:warms_up", ("cuda",), "ops whose first run is inside a capture are counted, with "
         "a warning per line", _CUDA_DOCS, "vendor's docs",
         f"{_GRAPHS}.capture._Capture._check_warm"),
    Rule("capture:warms_up", ("npu",), "ops whose first run is inside a capture are counted, with "
         "a warning per line", f"{_WHEEL}: its make_graphed_callables runs the functions before, "
         "as PyTorch's does; what a card does without is not documented", "our reading",
         f"{_GRAPHS}.capture._Capture._check_warm"),
    Rule("capture:lazy_mode_only", ("hpu",), "graphs need lazy mode", f"{_BRIDGE}, if is_lazy()",
         "vendor's source", f"{_COUNT}.ledger.DeviceAccounting"),
)  # fmt: skip

NOT_MODELLED = (
    (
        "what an int64 op on Gaudi makes of results outside int32 where int64 is not supported "
        "(int64_results counts them)",
        "not published",
    ),
    ("hccl's dtypes in calls from C++ (DistributedDataParallel's buckets)", "vendor's source"),
    (
        "Gaudi's allreduce and reduce round the sums of other dtypes than float32 and bfloat16 to "
        "float32 (reduced_inexactly counts where the operands are rounded)",
        "vendor's source",
    ),
    (
        "a read before an asynchronous copy has arrived gives the old values; a read is an op on a "
        "plain CPU tensor, which the simulator does not see (unwaited_copy counts where no wait "
        "follows)",
        "published log",
    ),
    (
        "which kernels of Ascend refuse float64 or complex: the wheel's op tables name no dtypes",
        "vendor's source",
    ),
)
"""Limits of real devices that no rule shows yet, with the source that states them."""


def page() -> str:
    """Return ``docs/simulator-truth.md``."""
    order = {name: at for at, name in enumerate(CONFIDENCE)}
    rules = sorted(RULES, key=lambda rule: (order[rule.confidence], rule.name, rule.devices))
    lines = [
        "# What the simulator's rules rest on",
        "",
        "Made from `porter/device/sim/rules.py`; a test holds this page and the code to it.",
        "Confidence, from the best: a test of the vendor's asserts it; the vendor's published "
        "source does it; a",
        "published log shows a card doing it; the vendor's documentation says it; our own reading.",
        "",
        "| rule | devices | what happens | source | confidence |",
        "| --- | --- | --- | --- | --- |",
    ]
    for rule in rules:
        devices = ", ".join(rule.devices)
        row = f"| `{rule.name}` | {devices} | {rule.what} | {rule.source} | {rule.confidence} |"
        lines.append(row)
    counts = ", ".join(f"{sum(r.confidence == c for r in RULES)} {c}" for c in CONFIDENCE)
    lines += ["", f"Rules: {len(RULES)} ({counts}).", "", "## Not shown yet", ""]
    lines += [f"- {what} ({source})" for what, source in NOT_MODELLED]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
