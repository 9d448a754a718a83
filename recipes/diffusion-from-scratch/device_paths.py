"""What the trainer asks of torch on each device: its name, its group, its wrapper, its log.

The process group is stood in for, so one process sees what each of two would ask for; that two
really train together is processes.py's.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from small import device_word, has, is_upstream, noise_of_the_cpu, prepare, small_model, stand_in
from training import DEFAULTS, flat, give_batches
from training_data import write_images

from porter.verify.probe import Probe, ProbeError

TYPES = {"gpu": "cuda", "hpu": "hpu", "npu": "npu"}
BACKENDS = {"cpu": "gloo", "cuda": "nccl", "hpu": "hccl", "npu": "hccl"}
PLUGINS = {"hpu": "habana_frameworks.torch", "npu": "torch_npu"}
STEPS = 4


@dataclass
class Asked:
    """What a trainer asked for, in order."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    cards: list[tuple[str, int]] = field(default_factory=list)
    wrappers: list[dict[str, Any]] = field(default_factory=list)
    barriers: int = 0


class Wrapper(torch.nn.Module):
    """In place of DistributedDataParallel."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def run(probe: Probe) -> None:
    """Record the losses of a first and a second process; check what each asked for."""
    prepare(probe)
    write_images(probe, probe.scratch / "data" / "ImageNet12", 3)
    if is_upstream(probe):
        _record_upstream(probe)
        return
    checks: dict[str, Callable[[Probe], None]] = {
        "names": _check_names,
        "backends": _check_backends,
        "copies": _check_copies,
        "alone": _check_alone,
        "other-backend": _check_other_backend,
    }
    if has(probe, "src/helpers/throughput.py"):
        checks["throughput"] = _check_throughput
    for name, check in checks.items():
        with probe.attempt(f"check/{name}"):
            check(probe)
    for name, rank, world in zip(NAMES, (0, 1, 0), (2, 2, 1), strict=True):
        with probe.attempt(name), noise_of_the_cpu():
            _check_member(probe, name, rank, world)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ProbeError(f"{what}: expected {expected}, found {found}")


@contextlib.contextmanager
def _importing() -> Iterator[list[str]]:
    """The modules that are imported by name inside."""
    names: list[str] = []
    native = importlib.import_module

    def note(name: str, package: str | None = None) -> Any:
        names.append(name)
        return native(name, package)

    with mock.patch.object(importlib, "import_module", note):
        yield names


def _check_names(probe: Probe) -> None:
    from src.helpers import device as helper  # type: ignore[import-not-found]

    for name in ("cpu", "gpu", "HPU", "npu"):
        kind = TYPES.get(name.lower())
        there = kind == probe.device.type
        if kind in PLUGINS and not there:  # asked_devices.py
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), _importing() as imported:
            found = helper.find_device(name, 1)
            first = helper.find_device(name)
        _expect(f"{name} 1", str(found), f"{kind}:{0 if kind == 'hpu' else 1}" if there else "cpu")
        _expect(f"{name} without a number", str(first), f"{kind}:0" if there else "cpu")
        _expect(f"plugin of {name}", set(imported), {PLUGINS[kind]} if kind in PLUGINS else set())
        notices = printed.getvalue().count(f"{name.upper()} not available")
        _expect(f"notices about {name}", notices, 2 * (kind is not None and not there))


def _check_backends(probe: Probe) -> None:
    from src.helpers import device as helper

    kind = probe.device.type
    with _importing() as imported:
        _expect("backend", helper.distributed_backend(torch.device(kind)), BACKENDS[kind])
    loaded = ["habana_frameworks.torch.distributed.hccl"] if kind == "hpu" else []
    _expect("imported for the backend", imported, loaded)


def _check_copies(probe: Probe) -> None:
    """A copy arrives whichever way it goes, and is none where it is there."""
    from src.helpers import device as helper

    if not hasattr(helper, "to_device"):
        return
    host = torch.arange(3.0)
    there = helper.to_device(host, probe.device)
    back = helper.to_device(there, torch.device("cpu"))
    _expect("copy to the device", there.device.type, probe.device.type)
    _expect("copy back", (back.device.type, back.tolist()), ("cpu", host.tolist()))
    _expect("copies where it is", helper.to_device(there, there.device) is there, True)


@contextlib.contextmanager
def _group(rank: int, world: int, *, refusals: int = 0) -> Iterator[Asked]:
    """A launcher's variables, and a group of ``world`` that notes what it is asked for."""
    module = importlib.import_module("src.model_trainer")
    dist, asked = module.dist, Asked()
    names = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}

    def join(**options: Any) -> None:
        asked.groups.append(options)
        if len(asked.groups) <= refusals:
            raise RuntimeError("no such backend")

    def wrap(model: torch.nn.Module, **options: Any) -> Wrapper:
        asked.wrappers.append(options)
        return Wrapper(model)

    def wait() -> None:
        asked.barriers += 1

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, names))
        for name, value in {
            "init_process_group": join,
            "barrier": wait,
            "get_world_size": lambda: world,
            "get_rank": lambda: rank,
        }.items():
            stack.enter_context(mock.patch.object(dist, name, value))
        stack.enter_context(mock.patch.object(module, "DDP", wrap))
        stack.enter_context(mock.patch.object(module, "is_main_process", return_value=rank == 0))
        for kind in TYPES.values():
            if (owner := getattr(torch, kind, None)) is not None:
                card = _card(asked, kind)
                stack.enter_context(mock.patch.object(owner, "set_device", card))
        yield asked


def _card(asked: Asked, kind: str) -> Any:
    return lambda index: asked.cards.append((kind, index))


def _trainer(probe: Probe, model: Any, **options: Any) -> Any:
    module = importlib.import_module("src.model_trainer")
    if not has(probe, "src/blocks/float32.py"):
        module.nullcontext = contextlib.nullcontext  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()):
        return module.model_trainer(model, device=device_word(probe), **(DEFAULTS | options))


def _log() -> list[str]:
    """Put a wandb in place, and return the list of what it is told."""
    told: list[str] = []
    wandb = stand_in(
        "wandb",
        init=lambda **_: told.append("init"),
        watch=lambda *_, **__: told.append("watch"),
        log=lambda *_, **__: told.append("log"),
    )
    wandb.run = type("Run", (), {"id": "run-of-a-probe"})  # type: ignore[attr-defined]
    importlib.import_module("src.model_trainer").wandb = wandb  # type: ignore[attr-defined]
    return told


def _train(probe: Probe, trainer: Any) -> None:
    give_batches(probe, STEPS, trainer.batchSize)
    torch.manual_seed(probe.seed + 1)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        trainer.train()


def _record(probe: Probe, name: str, trainer: Any) -> None:
    probe.record(f"{name}/loss", torch.tensor(trainer.losses_comb, dtype=torch.float32))
    probe.record(f"{name}/weights", flat(getattr(trainer.model, "module", trainer.model)))
    probe.record(f"{name}/average", flat(trainer.ema_model_cpu))


NAMES = ("first", "second", "only")


def _record_upstream(probe: Probe) -> None:
    """What one process computes: every one of several is given the same batches here."""
    from training import log_stand_in, make_trainer, process_group

    log_stand_in([])
    with noise_of_the_cpu(), process_group(probe, "cpu"):
        trainer = make_trainer(probe, small_model(probe), "cpu", log_steps=2)
        _train(probe, trainer)
    for name in NAMES:
        with probe.attempt(name):
            _record(probe, name, trainer)


def _refused(probe: Probe) -> str:
    try:
        _trainer(probe, small_model(probe))
    except KeyError as error:
        return str(error.args[0])
    return ""


def _check_alone(probe: Probe) -> None:
    if probe.device.type != "cpu":
        _expect("group of a device that is alone", _refused(probe), "RANK")
        return
    module = importlib.import_module("src.model_trainer")
    with mock.patch.object(module.dist, "init_process_group") as joining:
        trainer = _trainer(probe, small_model(probe))
    _expect("groups of a process that is alone", joining.call_count, 0)
    _expect("what it trains", trainer.model is trainer.diff_model, True)
    _expect("whether it is one of several", (trainer.is_distributed, trainer.dev), (False, "cpu"))


def _check_member(probe: Probe, name: str, rank: int, world: int) -> None:
    """Train as one of ``world``, and record what came of it below ``name``."""
    kind = probe.device.type
    by_number = kind in ("cuda", "npu")
    told = _log()
    with _group(rank, world) as asked:
        model = small_model(probe)
        index = {"cpu": "", "hpu": ":0"}.get(kind, f":{rank}")
        _expect("the model's device", str(model.device), f"{kind}{index}")
        trainer = _trainer(probe, model.to("cpu"), log_steps=2)
        own = trainer.diff_model
        _expect("the trainer's device", str(trainer.device), f"{kind}{index}")
        _expect("its kind", trainer.dev, "cpu" if kind == "cpu" else "gpu")
        _expect("where it trains", next(own.parameters()).device.type, kind)
        averaged = next(trainer.ema_model_cpu.parameters())
        _expect("where it averages", averaged.device.type, "cpu")
        _expect("one model for both", trainer.ema_model_cpu is own, False)
        wrapped = [
            {
                "device_ids": [rank] if by_number else None,
                "broadcast_buffers": False,
                "find_unused_parameters": False,
            }
        ]
        always = not has(probe, "src/helpers/optimizer.py")
        _expect("wrappers", asked.wrappers, wrapped if world > 1 or always else [])
        group = {
            "backend": BACKENDS[kind],
            "init_method": "env://",
            "world_size": world,
            "device_id": torch.device(kind, rank) if kind == "cuda" else None,
            "rank": rank,
        }
        _expect("groups", asked.groups, [group])
        _expect("cards", asked.cards, [(kind, rank)] if by_number else [])
        _expect("barriers before training", asked.barriers, 1)
        reported = _images_reported()
        _train(probe, trainer)
        _expect("barriers", asked.barriers, 2)
    if reported is not None:
        _expect("images of all processes", reported, [trainer.batchSize * world] * STEPS)
    logged = ["init", "watch", *["log"] * (STEPS // 2)]
    _expect("the log", told, logged if rank == 0 else [])
    _record(probe, name, trainer)


def _images_reported() -> list[float] | None:
    """What the next training counts as images of a step; None at a level that counts none."""
    module = importlib.import_module("src.model_trainer")
    if not hasattr(module, "throughput"):
        return None
    counted: list[float] = []

    class Counting(importlib.import_module("src.helpers.throughput").throughput):  # type: ignore[misc]
        def step(self, images: float) -> None:
            counted.append(images)
            super().step(images)

    module.throughput = Counting  # type: ignore[attr-defined]
    return counted


def _check_other_backend(probe: Probe) -> None:
    kind = probe.device.type
    with _group(1, 2, refusals=1) as asked:
        _trainer(probe, small_model(probe))
    found = [(group["backend"], group["device_id"]) for group in asked.groups]
    own = torch.device(kind, 1) if kind == "cuda" else None
    _expect("groups where the first is refused", found, [(BACKENDS[kind], own), ("gloo", own)])


def _check_throughput(probe: Probe) -> None:
    """Five steps: the first is told apart, and the host waits for the device before each look."""
    module = importlib.import_module("src.helpers.throughput")
    clock = [10.0, 13.0, 21.0]
    waits = 0

    def wait(*_: Any) -> None:
        nonlocal waits
        waits += 1

    owner = getattr(torch, probe.device.type)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(module.time, "perf_counter", side_effect=clock))
        if probe.device.type != "cpu":
            stack.enter_context(mock.patch.object(owner, "synchronize", wait))
        report = module.throughput(probe.device)
        _expect("before a step", report.report(), "No steps")
        report.step(100)
        _expect("after a step", report.report(), "first batch: 3.00 s")
        for _ in range(4):
            report.step(6)
        told = report.report("step")
    _expect("after five steps", told, "3.00 images/s, 0.50 steps/s, first step: 3.00 s")
    _expect("waits", waits, 0 if probe.device.type == "cpu" else 3)
