"""The API of probe files, which define ``def run(probe: Probe) -> None``.

A **class probe** builds the upstream's own classes from the level's tree (already on ``sys.path``),
gives them small random weights and inputs, and records named outputs. A **script probe** runs the
upstream's own script as a user would, with checkpoints, vocabularies and data that it writes first.
``docs/writing-a-port.md`` shows one of each.

A probe runs once per level, device, dtype, seed and variant, each time in a process and an empty
working folder (``probe.scratch``) of its own, with ``HOME`` and the caches of XDG and Hugging Face
in empty folders beside it, no network, a fixed hash seed, and a fixed number of threads. Random
numbers must come from the probe: they are drawn in float64 on the CPU and then cast, so every level
and dtype gets the same weights and inputs. ``torch``, ``random`` and (if imported) ``numpy`` are
also seeded before ``run``.

In a float64 run torch's default dtype is float64, so that constants upstream creates on the way
(``linspace``, ``tensor(0.5)``) are exact; in every other run it is torch's own default, float32. A
probe whose upstream fails with that may set it back. In a run of dtype ``native`` the probe or its
script chooses dtypes: ``probe.dtype`` is float32, in which numbers are drawn, and
``probe.is_native`` is true.

The counters of a simulated device are added to the trace, under the names of
:mod:`porter.verify.harness.counters`: for the whole run, and ``NAME/counter`` for each section.
Processes that a run starts are simulated too and counted separately (``launched/counter``).
Recording and checking are not counted.

This module runs in the probe's interpreter: torch and the standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from porter.verify.harness import recording
from porter.verify.harness.counters import (
    Number,
    counts_of,
    of_section,
    per_step,
    used_nothing,
)
from porter.verify.harness.liveness import LivenessCheck
from porter.verify.harness.recording import ProbeError as ProbeError
from porter.verify.harness.recording import expect_name
from porter.verify.harness.script import ScriptRun, expect_code, expect_text, run_script
from porter.verify.harness.shaken import by_one_ulp
from porter.verify.harness.subprocesses import launch
from porter.verify.harness.traceback_frames import frames_in_tree

if TYPE_CHECKING:
    from porter.device import Device
    from porter.verify.harness.activations import Recorder

_MOST_BYTES = 2**30

M = TypeVar("M", bound=torch.nn.Module)


class Probe:
    """One run: its settings, inputs and outputs.

    Attributes: ``level`` (its number) and ``level_name``, which make the runs of a probe that reads
    one of them the level's own; ``dtype`` (torch.dtype), ``is_native`` (the recipe's dtype is
    ``native``),
    ``device`` (torch.device, ready for use), ``device_name`` (porter's name: "sim:hpu"), ``seed``
    (int), ``parameters`` (the recipe's mapping), ``tree`` (the level's folder, read-only),
    ``companions`` (name -> folder), ``folder`` (of the probe file), ``scratch`` (the empty working
    folder, removed afterwards).
    """

    def __init__(
        self,
        *,
        dtype: torch.dtype,
        device: Device,
        seed: int,
        parameters: dict[str, Any],
        tree: Path,
        companions: dict[str, Path],
        folder: Path,
        scratch: Path,
        is_native: bool = False,
        shaken: bool = False,
        of_level: tuple[int, str] | None = None,
    ) -> None:
        self._of_level = of_level
        self.dtype = dtype
        self.is_native = is_native
        self.device = torch.device(device.kind)
        self.device_name = device.name
        self.seed = seed
        self.parameters = parameters
        self.tree = tree
        self.companions = companions
        self.folder = folder
        self.scratch = scratch
        self.outputs: dict[str, torch.Tensor] = {}
        self.kinds: dict[str, str] = {}
        self.counters: dict[str, Number] = {}
        self.events: list[dict[str, Any]] = []
        self.failures: dict[str, list[str]] = {}
        self.warnings: list[str] = []
        self.recorder: Recorder | None = None
        self._device = device
        self._shaken = shaken
        self._liveness = LivenessCheck(self.warnings)
        self._bytes = 0
        self._steps: dict[str, int] = {}
        self._entered: dict[str, int] = {}

    @property
    def level(self) -> int:
        """The level's number."""
        return self._own_level()[0]

    @property
    def level_name(self) -> str:
        """The level's name."""
        return self._own_level()[1]

    def _own_level(self) -> tuple[int, str]:
        """Return the level. Raises ProbeError where the trace's key does not hold it."""
        if self._of_level is None:
            raise ProbeError(
                "level: the trace of this run is for every level of the same tree; write"
                " `probe.level` or `probe.level_name` in the probe, so that porter sees it"
            )
        return self._of_level

    # Recording

    def record(self, name: str, value: torch.Tensor) -> None:
        """Record a CPU copy of ``value`` as the output ``name`` (any shape and real dtype).

        Raises ProbeError for a name used twice, a value that is not a dense real tensor, or more
        than 1 GiB of outputs.
        """
        self._expect_new(name)
        self._keep(name, recording.keepable(name, value))

    def record_image(self, name: str, image: Any) -> None:
        """Record an image file or a PIL image as uint8 of H x W x C, C being 1, 3 or 4."""
        self._expect_new(name)
        self._keep(name, recording.image_of(name, image), "image")

    def record_text(self, name: str, text: str) -> None:
        """Record a text as its UTF-8 bytes.

        The paths of this run's folders, which differ from run to run, are replaced by
        ``<scratch>``, ``<tree>`` and ``<probe>``.
        """
        self._expect_new(name)
        folders = {"<scratch>": self.scratch, "<tree>": self.tree, "<probe>": self.folder}
        for word, folder in folders.items():
            for path in {str(folder), str(folder.resolve())} - {".", "/"}:
                text = text.replace(path, word)
        self._keep(name, recording.bytes_of(text), "text")

    def record_files(self, name: str, folder: str | Path) -> None:
        """Record the relative paths of all files below ``folder``, sorted, one per line."""
        self._expect_new(name)
        text = recording.files_of(name, self._inside(folder))
        self._keep(name, recording.bytes_of(text), "files")

    def record_calls(self, name: str, values: Sequence[torch.Tensor], expect: int) -> None:
        """Record what a callback was given, one tensor a call, stacked.

        Raises ProbeError ("called 0 times, expected 10") for another number of calls.
        """
        if len(values) != expect:
            raise ProbeError(f"{name}: called {len(values)} times, expected {expect}")
        self.record(name, torch.stack(list(values)))

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Make an exception of the block the failure of ``name`` and of all below it, ``NAME/...``.

        The probe goes on after the block, and what is recorded elsewhere is judged. Each failure is
        an error of its run. Running out of memory, and the end of the process, end the run.
        """
        expect_name("attempt", name)
        if name in self.failures:
            raise ProbeError(f"attempt({name!r}): failed twice in one run; number the names")
        try:
            yield
        except (MemoryError, recording.Enough):
            raise
        except Exception as error:
            traceback.print_exc()
            said = traceback.format_exception_only(error)[-1].split()
            frames = frames_in_tree(traceback.format_exc(), self.tree)
            self.failures[name] = [" ".join(said)[:500], *frames.splitlines()]

    def count(self, name: str, number: Number) -> None:
        """Add ``number`` to the counter ``name``."""
        expect_name("count", name)
        if isinstance(number, float) and not math.isfinite(number):
            raise ProbeError(f"count({name!r}): expected a finite number, found {number}")
        added = number if isinstance(number, float) else int(number)
        self.counters[name] = self.counters.get(name, 0) + added

    @contextlib.contextmanager
    def section(self, name: str, per: int = 1) -> Iterator[None]:
        """Count the block's operations separately, as ``NAME/counter`` (simulated devices).

        ``per`` is the number of loop steps inside; above 1 there is also ``NAME/counter_per_step``.
        A section may be entered again: counts and steps add up. Entering and leaving does not
        synchronize or end a graph, so a graph is counted in the section in which it ends.
        """
        expect_name("section", name)
        if isinstance(per, bool) or not isinstance(per, int) or per < 1:
            raise ProbeError(f"section({name!r}): expected per to be 1 or more, found {per!r}")
        before = counts_of(self._device)
        try:
            yield
        finally:
            for counter, number in of_section(before, counts_of(self._device), name).items():
                self.counters[counter] = self.counters.get(counter, 0) + number
            self._steps[name] = self._steps.get(name, 0) + per
            self._entered[name] = self._entered.get(name, 0) + 1

    def finish(self) -> None:
        """Add the device's counters of the whole run; porter calls this after ``run``."""
        self.counters |= per_step(self.counters, self._steps)
        self.counters = counts_of(self._device) | self.counters
        self.events += [
            {"kind": "section", "name": name, "per": self._steps[name], "entered": entered}
            for name, entered in self._entered.items()
        ]

    # Running programs

    def script(
        self,
        script: str,
        arguments: Sequence[Any] = (),
        *,
        cwd: str | Path | None = None,
        expect: int | None = 0,
    ) -> ScriptRun:
        """Run a script of the level's tree in this process, as ``python SCRIPT ARGUMENTS`` would.

        ``script`` is relative to the tree. ``cwd`` is a folder inside ``scratch`` (the default),
        created if absent. Seeds are set again first. An exit code other than ``expect`` (None: any)
        raises ScriptFailed; an exception counts as exit code 1, its traceback on stderr. See
        :mod:`porter.verify.harness.script`.
        """
        path = self.tree / script
        if not path.is_file():
            raise ProbeError(f"script({script!r}): no such file in the level's tree")
        words = expect_text("script", arguments)
        self.seed_everything()
        event: dict[str, Any] = {"kind": "script", "what": " ".join([script, *words])}
        self.events.append(event)
        before = counts_of(self._device)
        done, error = run_script(path, script, words, self._inside(cwd or self.scratch))
        event["exit_code"] = done.exit_code
        if done.exit_code == 0 and used_nothing(before, counts_of(self._device)):
            self._tell_stayed(script)
        return expect_code(script, done, expect, error)

    def launch(
        self,
        arguments: Sequence[Any],
        *,
        cwd: str | Path | None = None,
        expect: int | None = 0,
    ) -> ScriptRun:
        """Run ``python ARGUMENTS`` as a process of its own, which may start others (torchrun).

        The run's device is simulated in all of them, and the sums of their counters are
        ``launched/counter``. The run's limits include them. ``cwd`` and ``expect`` are as in
        :meth:`script`; files of the tree need their full path: ``probe.tree / "train.py"``.
        Where none of the processes dispatched anything to a simulated device, a warning says so.
        """
        words = expect_text("launch", arguments)
        done, used_none = launch(words, self._inside(cwd or self.scratch))
        what = " ".join(["python", *words]).replace(str(self.tree), "<tree>")
        self.events.append({"kind": "launch", "what": what, "exit_code": done.exit_code})
        if done.exit_code == 0 and used_none:
            self._tell_stayed(what)
        return expect_code(what, done, expect)

    def _tell_stayed(self, what: str) -> None:
        self.warnings.append(
            f"{what} dispatched nothing to {self.device_name}: it stayed on the CPU"
        )

    def seed_everything(self) -> None:
        """Seed torch, ``random`` and numpy (if imported) with the run's seed."""
        torch.manual_seed(self.seed)
        random.seed(self.seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(self.seed % 2**32)

    # Drawing

    def generator(self, *labels: object) -> torch.Generator:
        """Return a CPU generator seeded with the run's seed and ``labels``."""
        text = repr((self.seed, *(str(label) for label in labels)))
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def normal(self, label: str, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Return normal numbers of deviation ``scale``, drawn in float64, cast, on the device.

        The same ``label`` and number of elements always give the same numbers.
        """
        drawn = self._draw(label, math.prod(shape)).reshape(shape)
        return self._rounded(label, drawn * scale).to(self.device, self.dtype)

    def uniform(self, label: str, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Return uniform numbers of [low, high), drawn in float64, cast, on the device."""
        drawn = torch.rand(math.prod(shape), generator=self.generator(label), dtype=torch.float64)
        drawn = low + (high - low) * drawn.reshape(shape)
        return self._rounded(label, drawn).to(self.device, self.dtype)

    def alive(self, module: M, label: str = "weights", gain: float = 1.0) -> M:
        """Draw every parameter of ``module`` anew, cast and move it, and set it to eval mode.

        Nothing stays zero (upstreams initialise last layers to zero, which hides every error before
        them). Numbers depend on the seed, ``label``, the parameter's name and its number of
        elements only, not on order or level: matrices and kernels are normal with deviation
        ``gain / sqrt(fan-in)``, so that activations keep their size; vectors are 1 + 0.1 normal if
        the name ends in ``weight`` (norms) and 0.1 normal otherwise (biases). Buffers keep their
        values, and so do parameters of a dtype that is not floating.

        The first call of the module is checked: a constant output fails the run (ProbeError), and
        submodules that give only zeros become a warning.
        """
        module = module.to("cpu", torch.float64)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.is_floating_point():
                    drawn = self._weights(f"{label}:{name}", parameter, gain)
                    parameter.copy_(self._rounded(f"{label}:{name}", drawn))
        self._liveness.first_call(module)
        return module.to(self.device, self.dtype).eval()

    def _weights(self, label: str, like: torch.Tensor, gain: float) -> torch.Tensor:
        drawn = self._draw(label, like.numel()).reshape(like.shape)
        if like.dim() >= 2:
            return drawn * (gain / math.sqrt(max(1, math.prod(like.shape[1:]))))
        return 1.0 + 0.1 * drawn if label.endswith("weight") else 0.1 * drawn

    def _rounded(self, label: str, drawn: torch.Tensor) -> torch.Tensor:
        """Return ``drawn``; in a shaken run, rounded to the run's dtype and moved by an ulp."""
        if not self._shaken:
            return drawn
        return by_one_ulp(drawn.to(self.dtype), self.generator("shaken", label))

    def _draw(self, label: str, number: int) -> torch.Tensor:
        return torch.randn(number, generator=self.generator(label), dtype=torch.float64)

    # Names and folders

    def _expect_new(self, name: str) -> None:
        expect_name("record", name)
        if name in self.outputs:
            raise ProbeError(f"record({name!r}): recorded twice in one run; number the names")

    def _keep(self, name: str, copy: torch.Tensor, kind: str = "tensor") -> None:
        self._bytes += copy.nbytes
        if self._bytes > _MOST_BYTES:
            raise ProbeError(
                f"record({name!r}): {self._bytes} bytes of outputs, at most {_MOST_BYTES}"
            )
        self.outputs[name] = copy
        self.kinds[name] = kind
        if self.recorder is not None:
            self.recorder.recorded(name, copy)

    def _inside(self, folder: str | Path) -> Path:
        """Return the path of a folder inside ``scratch``. Raises ProbeError for any other."""
        path = Path(self.scratch, folder)
        if not path.resolve().is_relative_to(self.scratch.resolve()):
            raise ProbeError(f"{folder}: expected a folder inside probe.scratch")
        return path
