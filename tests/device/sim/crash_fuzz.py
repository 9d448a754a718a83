"""Call public functions of torch with arguments that fit nothing, and see that no process dies.

``python -m tests.device.sim.crash_fuzz --device npu --calls 10000 --seed 0`` prints the calls that
ended their process by a signal. A child makes the calls and writes each to a file first, so that
the parent knows which one killed it, and starts another child after it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_EXCLUDED = {
    # They wait for input, for the network, for a debugger or for another process, or leave on
    # purpose.
    "compile", "set_flush_denormal", "_sync", "hub", "set_num_threads", "set_num_interop_threads",
    "multiprocessing", "set_default_device", "set_default_dtype", "set_default_tensor_type",
    "load", "save", "import_ir_module", "set_printoptions", "fork", "wait", "from_file",
    "set_grad_enabled", "inference_mode", "autograd", "exec", "sleep", "busy_wait",
    "set_vital", "unify_type_list", "set_warn_always", "init_num_threads", "reset_to_default",
    # Any object without the methods of a file ends plain PyTorch's process, too.
    "PyTorchFileWriter", "PyTorchFileReader",
    # Deliberate crashes and pointers as integers.
    "_sleep", "caching_allocator_delete", "change_current_allocator", "tunable",
}  # fmt: skip
_MEMORY = 6 * 2**30


def functions(device: str) -> list[tuple[str, Callable[..., Any]]]:
    """Return the public callables of torch, torch.accelerator, the device's module, and Tensor."""
    import torch

    found: dict[str, Callable[..., Any]] = {}
    owners: dict[str, Any] = {
        "torch": torch,
        "torch.accelerator": torch.accelerator,
        "torch.accelerator.memory": torch.accelerator.memory,
        f"torch.{device}": getattr(torch, device),
        "torch.Tensor": torch.Tensor,
        "torch.nn.functional": torch.nn.functional,
        "torch.nn.parallel.comm": torch.nn.parallel.comm,
        "torch.nn.parallel": torch.nn.parallel,
    }
    for owner, thing in owners.items():
        for name in sorted(dir(thing)):
            value = getattr(thing, name, None)
            public = not name.startswith("_") and name not in _EXCLUDED
            if public and callable(value) and not inspect.ismodule(value):
                found[f"{owner}.{name}"] = value
    return list(found.items())


def _values(device: str) -> list[Callable[[], Any]]:
    import torch

    module = getattr(torch, device)
    return [
        lambda: torch.randn(3, 4, device=device),
        lambda: torch.randn(3, 4, device=device),
        lambda: torch.randn(4, 4, device=device, requires_grad=True),
        lambda: torch.randn(2, 3, 4, 4, device=device),
        lambda: torch.arange(4, device=device),
        lambda: torch.ones(3, dtype=torch.bool, device=device),
        lambda: torch.ones(2, dtype=torch.bfloat16, device=f"{device}:1"),
        lambda: torch.ones((), device=device),
        lambda: torch.ones(3, 4),
        lambda: [torch.ones(2, device=device), torch.ones(2, device=device)],
        lambda: 0, lambda: 1, lambda: 2, lambda: -1, lambda: 0.5, lambda: True, lambda: None,
        lambda: (2, 3), lambda: [0, 1], lambda: device, lambda: f"{device}:1", lambda: "cpu",
        lambda: torch.device(device, 1), lambda: torch.float16, lambda: torch.float32,
        lambda: torch.channels_last, lambda: torch.Generator(device=device),
        lambda: torch.Stream(device), lambda: torch.Event(device), lambda: module.current_stream(),
        lambda: torch.nn.Linear(4, 4).to(device), lambda: "sum",
    ]  # fmt: skip


_KEYWORDS = ("device", "dtype", "out", "generator", "dim", "stream", "non_blocking",
             "requires_grad", "memory_format", "destination")  # fmt: skip


def call(choice: random.Random, pool: list[Callable[[], Any]]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments for one call."""
    args = [choice.choice(pool)() for _ in range(choice.choice((0, 1, 1, 2, 2, 3, 4)))]
    kwargs = {}
    if choice.random() < 0.3:
        kwargs[choice.choice(_KEYWORDS)] = choice.choice(pool)()
    return args, kwargs


def child(device: str, seed: int, first: int, last: int, note: Path) -> None:
    """Make calls ``first`` to ``last`` of a seed, writing the name of each before it is made."""
    import torch

    from porter.device import open_device

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    open_device(f"sim:{device}").prepare()
    names, pool = functions(device), _values(device)
    silent, done = [], 0
    with note.open("w") as file:
        for number in range(first, last):
            choice = random.Random(f"{seed}:{number}")
            name, function = choice.choice(names)
            file.seek(0)
            file.write(json.dumps([number, name]).ljust(200))
            file.flush()
            try:
                args, kwargs = call(choice, pool)
                function(*args, **kwargs)
                done += 1
            except BaseException as error:
                text = str(error)
                if isinstance(error, (SystemExit, KeyboardInterrupt)) or not text.strip():
                    silent.append(f"{number} {name}: {type(error).__name__}({text!r})")
    print(json.dumps({"silent": silent, "returned": done}))


def deaths(device: str, calls: int, seed: int) -> Iterator[str]:
    """Yield a line for each call that ended its process, and for each refusal without a text."""
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "call"
        while first < calls:
            done = subprocess.run(
                [sys.executable, "-m", __name__ if __name__ != "__main__" else _MODULE, "--child",
                 f"--device={device}", f"--seed={seed}", f"--first={first}", f"--calls={calls}",
                 f"--note={note}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                yield from json.loads(done.stdout.splitlines()[-1])["silent"]
                return
            if not note.exists():
                raise RuntimeError(f"the child did not start: {done.stderr[-2000:]}")
            number, name = json.loads(note.read_text())
            reason = (done.stderr.strip().splitlines() or [""])[-1][:200]
            yield f"{number} {name}: ended with {done.returncode}: {reason}"
            first = number + 1


_MODULE = "tests.device.sim.crash_fuzz"


def main() -> None:
    """Run the fuzz, or one child of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True, choices=("cuda", "hpu", "npu"))
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--note", type=Path)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.child:
        child(options.device, options.seed, options.first, options.calls, options.note)
        return
    found = []
    for line in deaths(options.device, options.calls, options.seed):
        found.append(line)
        print(line, flush=True)
    print(f"sim:{options.device}: {options.calls:,} calls, {len(found)} to look at")


if __name__ == "__main__":
    main()
