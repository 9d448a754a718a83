"""Every place where accelerate takes another way because an NPU or a Gaudi was found.

Each is entered here once on every device, on the one where nothing may change too. A process group
has one member, which is enough to see what is wrapped, asked for and called; several processes are
devices.py's. What only a vendor's call shows (memory given back, seeds set) is seen by standing in
for that call.
"""

from __future__ import annotations

import contextlib
import os
import random
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from porter.verify.probe import Probe, ProbeError

VENDORS = ("npu", "hpu")
VISIBLE = {
    "npu": "ASCEND_RT_VISIBLE_DEVICES",
    "hpu": "HABANA_VISIBLE_MODULES",
    "cuda": "CUDA_VISIBLE_DEVICES",
    "cpu": "CUDA_VISIBLE_DEVICES",
    "xpu": "ZE_AFFINITY_MASK",
}
HALF = {"npu": "fp16", "cuda": "fp16", "hpu": "bf16", "cpu": "bf16"}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "no": torch.float32}


def run(probe: Probe) -> None:
    """Record a model's outputs, in full and in half precision; check everything else."""
    import accelerate.utils

    kind = probe.device.type
    knows = hasattr(accelerate.utils, "hccl_device")
    _record_outputs(probe, kind, checked=knows)
    if not knows:
        return
    checks: dict[str, Callable[[], None]] = {
        "presence": lambda: _check_presence(kind),
        "state": lambda: _check_state(kind),
        "memory": lambda: _check_memory(kind),
        "seeds": lambda: _check_seeds(kind),
        "checkpoint": lambda: _check_checkpoint(probe),
        "checkpoint-folders": _check_where_checkpoints_go,
        "launch": lambda: _check_launch(kind),
        "forked-launch": _check_forked_launch,
    }
    if kind in VENDORS:
        checks["group"] = lambda: _check_group(kind)
        checks["in-group"] = lambda: _check_in_group(kind)
    for name, check in checks.items():
        with probe.attempt(f"check/{name}"):
            check()


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ProbeError(f"{what}: expected {expected}, found {found}")


@contextlib.contextmanager
def _environ(**variables: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, variables):
        yield


@contextlib.contextmanager
def _fresh() -> Iterator[None]:
    """No state and no process group, before and after."""
    from accelerate.state import AcceleratorState

    def forget() -> None:
        AcceleratorState._reset_state(True)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    forget()
    try:
        yield
    finally:
        forget()


def _record_outputs(probe: Probe, kind: str, *, checked: bool) -> None:
    from accelerate import Accelerator

    given = probe.normal("x", 4, 8)
    for name, mode in (("full", "no"), ("half", HALF[kind])):
        with probe.attempt(name), _fresh():
            accelerator = Accelerator(mixed_precision=mode if checked else "no", cpu=kind == "cpu")
            model = probe.alive(torch.nn.Sequential(torch.nn.Linear(8, 4)).float())
            seen = []
            model[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))  # noqa: B023
            model = accelerator.prepare(model)
            probe.record(name, model(given.float().to(accelerator.device)))
            if checked:
                _expect(f"dtype inside under {mode}", seen, [DTYPES[mode]])


def _check_presence(kind: str) -> None:
    from accelerate.utils import imports

    known = {"npu": imports.is_npu_available, "hpu": imports.is_hpu_available}

    def found() -> dict[str, object]:
        for ask in known.values():
            ask.cache_clear()
        return {name: ask() for name, ask in known.items()} | {"hccl": imports.hccl_device()}

    nothing = {"npu": False, "hpu": False, "hccl": None}
    there = nothing | ({kind: True, "hccl": kind} if kind in VENDORS else {})
    _expect("devices", found(), there)
    _expect("bfloat16", imports.is_bf16_available(), True)
    with mock.patch.object(torch.cuda, "is_available", return_value=True):
        _expect("devices where CUDA is", found(), there | {"hccl": None})
    if kind in VENDORS:
        with mock.patch.object(getattr(torch, kind), "is_available", return_value=False):
            _expect("devices without a card", found(), nothing)
        with mock.patch.object(torch, kind):
            delattr(torch, kind)
            _expect("devices of an empty plugin", found(), nothing)
        _expect("devices afterwards", found(), there)
    if kind == "npu":
        with mock.patch.object(torch.npu, "is_bf16_supported", return_value=False):
            _expect("bfloat16 of an older NPU", imports.is_bf16_available(), False)


def _told(state: Any) -> dict[str, object]:
    return {
        "type": state.distributed_type.value,
        "backend": state.backend,
        "device": str(state.device),
    }


def _check_state(kind: str) -> None:
    """A process on its own; one told to use the CPU; one of a group where CUDA is."""
    from accelerate.state import PartialState

    with _fresh():
        state = PartialState()
        _expect("alone", _told(state), {"type": "NO", "backend": None, "device": kind})
        with mock.patch.object(torch.distributed, "barrier") as barrier:
            state.wait_for_everyone()
        _expect("barriers alone", barrier.call_count, 0)
    with _fresh(), _environ(LOCAL_RANK="1"):
        state = PartialState(cpu=True)
        _expect("on the CPU", _told(state), {"type": "NO", "backend": None, "device": "cpu"})
    if kind == "cuda":
        with _fresh(), _environ(LOCAL_RANK="1"):
            state = PartialState(**_group(), backend="gloo")
            expected = {"type": "MULTI_GPU", "backend": "gloo", "device": "cuda:1"}
            _expect("in a group of GPUs", _told(state), expected)


def _group() -> dict[str, Any]:
    """A process group of one, which meets nobody."""
    return {"store": torch.distributed.HashStore(), "rank": 0, "world_size": 1}


def _check_memory(kind: str) -> None:
    from accelerate.utils import memory

    calls = {"cuda": 0, "npu": 0, "xpu": 0}

    def counting(name: str) -> Any:
        def empty() -> None:
            calls[name] += 1

        return mock.patch.object(getattr(torch, name), "empty_cache", empty)

    @memory.find_executable_batch_size(starting_batch_size=4)
    def fitting(batch_size: int) -> int:
        if batch_size > 1:
            raise RuntimeError("CUDA out of memory.")
        return batch_size

    with contextlib.ExitStack() as stack:
        for name in calls:
            if hasattr(torch, name):
                stack.enter_context(counting(name))
        memory.release_memory(object())
        _expect("the batch that fits", fitting(), 1)
        # once when released, once before the first attempt, once after each of two failed ones
        own = {"cpu": "cuda", "cuda": "cuda", "npu": "npu"}.get(kind)
        _expect("memory given back", calls, {name: 4 * (name == own) for name in calls})
        if kind == "cpu":
            stack.enter_context(mock.patch.object(memory, "is_xpu_available", return_value=True))
            memory.release_memory(object())
            _expect("memory given back on an XPU", calls, {"cuda": 4, "npu": 0, "xpu": 1})


def _check_seeds(kind: str) -> None:
    from accelerate import Accelerator
    from accelerate.utils import RNGType, set_seed
    from accelerate.utils import random as random_states

    if kind in VENDORS:
        seeding = mock.Mock()
        with (
            mock.patch.object(torch, "manual_seed"),  # which seeds every device by itself
            mock.patch.object(getattr(torch, kind), "manual_seed_all", seeding),
        ):
            set_seed(7)
        _expect("seeds of the device", [call.args for call in seeding.call_args_list], [(7,)])
    else:
        set_seed(7)
    with _fresh():
        Accelerator(cpu=kind == "cpu")
        generator = torch.Generator().manual_seed(1)
        state = generator.get_state()
        random_states.synchronize_rng_state(RNGType.GENERATOR, generator)
        _expect("generator alone", torch.equal(generator.get_state(), state), True)
        for other in VENDORS:
            if other == kind:
                continue
            try:
                random_states.synchronize_rng_state(RNGType(other))
            except AssertionError:
                continue
            raise ProbeError(f"random state of {other}: expected to be refused on {kind}")


def _check_checkpoint(probe: Probe) -> None:
    """Python's, NumPy's, torch's and the device's random states come back."""
    from accelerate import Accelerator

    kind = probe.device.type
    kept = kind if kind in VENDORS else "cuda"

    def drawn() -> list[object]:
        device = torch.rand(2, device=probe.device).tolist()
        return [random.random(), float(np.random.rand()), torch.rand(2).tolist(), device]

    with _fresh():
        accelerator = Accelerator(cpu=kind == "cpu")
        accelerator.save_state("state")
        stored = torch.load("state/random_states_0.pkl", weights_only=True)
        names = sorted(name for name in stored if name.endswith("_manual_seed"))
        _expect("random states", names, sorted([f"torch_{kept}_manual_seed", "torch_manual_seed"]))
        first = drawn()
        module = getattr(torch, kept)
        with mock.patch.object(
            module, "set_rng_state_all", wraps=module.set_rng_state_all
        ) as restoring:
            accelerator.load_state("state")
        _expect("the device's random state restored", restoring.call_count, 1)
        _expect("draws after a checkpoint", drawn(), first)


def _check_where_checkpoints_go() -> None:
    """Checkpoints are loaded to the device by several processes on cards, else to the CPU."""
    from accelerate import Accelerator
    from accelerate import accelerator as module
    from accelerate.utils import DistributedType

    for several, processes, expected in (
        ("NO", 1, "cpu"),
        ("MULTI_NPU", 1, "cpu"),
        ("MULTI_NPU", 2, "on_device"),
        ("MULTI_HPU", 2, "on_device"),
        ("MULTI_GPU", 2, "on_device"),
        ("MULTI_CPU", 2, "cpu"),
        ("MULTI_XPU", 2, "cpu"),
    ):
        with _fresh(), mock.patch.object(module, "load_accelerator_state") as loading:
            accelerator = Accelerator(cpu=True)
            accelerator.state.distributed_type = DistributedType(several)
            accelerator.state.num_processes = processes
            Path("state").mkdir(exist_ok=True)
            accelerator.load_state("state")
            found = loading.call_args.args[6]
            _expect(f"checkpoints of {processes} x {several}", found, expected)


def _check_launch(kind: str) -> None:
    from accelerate.commands import launch
    from accelerate.utils import launch as environments

    owner = getattr(torch, kind if kind in VENDORS else "cuda")

    def validated(count: int, *options: str) -> tuple[types.SimpleNamespace, list[str]]:
        args = launch.launch_command_parser().parse_args([*options, "script.py"])
        with (
            mock.patch.object(owner, "device_count", return_value=count),
            mock.patch.object(launch.logger, "warning") as warning,
        ):
            launch._validate_launch_command(args)
        return args, [str(call.args[0]) for call in warning.call_args_list]

    for count in (1, 2, 3):
        args, told = validated(count)
        found = (args.num_processes, args.multi_gpu, "More than one" in "".join(told))
        _expect(f"processes of {count} cards", found, (count, count > 1, count > 1))
    args, told = validated(2, "--multi_gpu")
    found = (args.num_processes, args.multi_gpu, "More than one" in "".join(told))
    _expect("processes of 2 cards, asked for", found, (2, True, False))
    for several, is_several in (("MULTI_NPU", True), ("MULTI_HPU", True), ("NO", False)):
        Path("config.yaml").write_text(
            "compute_environment: LOCAL_MACHINE\nmixed_precision: 'no'\nuse_cpu: false\n"
            f"distributed_type: {several}\nnum_processes: 2\nmachine_rank: 0\nnum_machines: 1\n"
        )
        args, _ = validated(2, "--config_file", "config.yaml")
        _expect(f"several cards by a file that says {several}", args.multi_gpu, is_several)
    args, _ = validated(2, "--multi_gpu", "--gpu_ids", "1,0")
    _expect("cards shown", _shown(environments.prepare_multi_gpu_env(args)), [VISIBLE[kind]])
    if kind == "cpu":
        with mock.patch.object(environments, "is_xpu_available", return_value=True):
            shown = _shown(environments.prepare_multi_gpu_env(args))
            _expect("cards shown of an XPU", shown, [VISIBLE["xpu"]])


def _shown(environ: dict[str, str]) -> list[str]:
    return [name for name in sorted(set(VISIBLE.values())) if environ.get(name) == "1,0"]


def _check_forked_launch() -> None:
    from accelerate.utils import PrepareForLaunch

    for several in ("MULTI_NPU", "MULTI_HPU", "MULTI_GPU", "NO"):
        found: list[object] = []
        with _environ():
            os.environ.pop("LOCAL_RANK", None)
            PrepareForLaunch(lambda: found.append(os.environ.get("LOCAL_RANK")), several)(3)  # noqa: B023
        _expect(f"rank under {several}", found, [None if several == "NO" else "3"])


def _check_group(kind: str) -> None:
    """What a process of a group finds: its device, its backend."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import TorchDynamoPlugin

    several = f"MULTI_{kind.upper()}"
    own = "npu:1" if kind == "npu" else "hpu"
    with _fresh(), _environ(LOCAL_RANK="1"):
        state = PartialState(**_group())
        _expect("in a group", _told(state), {"type": several, "backend": "hccl", "device": own})
        _expect("ranks", (state.local_process_index, state.process_index), (1, 0))
        _expect("members", state.num_processes, 1)
        if kind == "npu":
            _expect("card", torch.npu.current_device(), 1)
            torch.npu.set_device(0)
        with mock.patch.object(torch.distributed, "barrier") as barrier:
            state.wait_for_everyone()
        _expect("barriers in a group", barrier.call_count, 1)
    with _fresh(), _environ(LOCAL_RANK="1", ACCELERATE_TORCH_DEVICE=f"{kind}:0"):
        _expect("device asked for", str(PartialState(**_group()).device), f"{kind}:0")
    for given, expected in (("gloo", "gloo"), (None, "hccl")):
        with _fresh(), _environ(LOCAL_RANK="0"):
            state = PartialState(**_group(), backend=given)
            _expect(f"backend when given {given}", state.backend, expected)
    with _fresh(), _environ(LOCAL_RANK="0"):
        torch.distributed.init_process_group("gloo", **_group())
        state = PartialState()
        found = (state.distributed_type.value, state.num_processes)
        _expect("in a group that was there", found, (several, 1))
    with _fresh(), _environ(LOCAL_RANK="0", ACCELERATE_USE_FSDP="true"):
        PartialState(**_group())
        whole = AcceleratorState(dynamo_plugin=TorchDynamoPlugin(), _from_accelerator=True)
        found = whole.distributed_type.value
        _expect("sharded", found, "FSDP" if kind == "npu" else several)


def _check_in_group(kind: str) -> None:
    """What an Accelerator does in a group: wrapping, joining, autocast, random states."""
    from accelerate import Accelerator
    from accelerate import accelerator as module
    from accelerate.local_sgd import LocalSGD
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    with _fresh(), _environ(LOCAL_RANK="0"):
        PartialState(**_group())
        accelerator = Accelerator()
        model = accelerator.prepare(torch.nn.Linear(2, 2))
        _expect("wrapped", type(model).__name__, "DistributedDataParallel")
        _expect("devices of the wrapper", model.device_ids, [0] if kind == "npu" else None)
        bare = accelerator.prepare_model(torch.nn.Linear(2, 2), evaluation_mode=True)
        _expect("wrapped for evaluation", type(bare).__name__, "Linear")
        for even, enabled in ((False, True), (True, False)):
            accelerator.even_batches = even
            with mock.patch.object(module, "Join") as join, warnings.catch_warnings():
                warnings.simplefilter("error")
                with accelerator.join_uneven_inputs([model]):
                    pass
            _expect("joined", [call.kwargs["enable"] for call in join.call_args_list], [enabled])
        LocalSGD(accelerator, model, local_sgd_steps=2)
        accelerator.state.distributed_type = DistributedType.FSDP
        try:
            LocalSGD(accelerator, model, local_sgd_steps=2)
        except NotImplementedError:
            pass
        else:
            raise ProbeError("local SGD: expected to be refused with sharded models")
        accelerator.state.distributed_type = DistributedType.NO
        with mock.patch.object(module, "Join") as join, accelerator.join_uneven_inputs([model]):
            pass
        _expect("joined alone", join.call_count, 0)
    with _fresh(), _environ(LOCAL_RANK="0"):
        PartialState(**_group())
        _check_autocast(kind, Accelerator().state)
    with _fresh(), _environ(LOCAL_RANK="0"):
        PartialState(**_group())
        Accelerator()
        _check_random_state(kind)


def _check_autocast(kind: str, state: Any) -> None:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from accelerate.utils.modeling import get_mixed_precision_context_manager

    several = f"MULTI_{kind.upper()}"
    own = torch.get_autocast_dtype(kind)
    for mode, found_type, expected in (
        ("no", several, own),
        ("fp16", several, torch.float16),
        ("bf16", several, torch.bfloat16),
        ("bf16", "NO", torch.bfloat16),
        ("bf16", "FSDP", own),
    ):
        state._mixed_precision = mode
        PartialState().distributed_type = DistributedType(found_type)
        context = get_mixed_precision_context_manager(native_amp=True)
        _expect(f"autocast of {mode} under {found_type}", context.fast_dtype, expected)


def _check_random_state(kind: str) -> None:
    """The state that the first member sends is the one that is drawn from."""
    from accelerate.utils import RNGType
    from accelerate.utils import random as random_states

    owner = getattr(torch, kind)
    owner.manual_seed(1)
    sent = owner.get_rng_state()
    expected = torch.rand(2, device=kind).tolist()
    owner.manual_seed(2)

    def receive(tensor: torch.Tensor, source: int) -> None:
        _expect("where random states are sent", (tensor.device.type, source), (kind, 0))
        tensor.copy_(sent)

    with mock.patch.object(torch.distributed, "broadcast", receive):
        random_states.synchronize_rng_state(RNGType(kind))
        _expect("draws from the state that was sent", torch.rand(2, device=kind).tolist(), expected)
        sent = torch.Generator().manual_seed(3).get_state()
        generator = torch.Generator()
        random_states.synchronize_rng_state(RNGType.GENERATOR, generator)
        _expect("generator", torch.equal(generator.get_state(), sent), True)
