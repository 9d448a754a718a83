"""Make a vendor's package importable in a process that simulates its device.

A :class:`Package` lists its modules and the porter module that implements each. :func:`install`
puts an import finder for it first on ``sys.meta_path``; from then on ``import
habana_frameworks.torch.core as htcore`` gives a :class:`SimulatedModule`. A name that porter does
not implement raises an error that says so and whether the vendor has it. It is counted too:
programs catch ImportError to take another path, and a report must show that they did.
"""

from __future__ import annotations

import copy
import dis
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType, ModuleType
from typing import Any

import torch

from porter.device.sim.contract import HABANA, TORCH_NPU, known_to_vendor, load
from porter.device.sim.core.machine import machines
from porter.errors import PorterError

_SEEDING = (
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed",
    "seed_all", "set_rng_state", "set_rng_state_all",
)  # fmt: skip

missing: Counter[str] = Counter()
"""Dotted names that were looked up and are not simulated, with how often."""


LAZY_MODE_ONLY = frozenset(
    name
    for name, row in load(HABANA)["symbols"].items()
    if row.get("mode") == "lazy" and name.startswith("habana_frameworks.")
)
"""Names that the vendor's package has in lazy mode only."""


class NotSimulated(PorterError, AttributeError):
    """A name of a vendor's module that porter does not simulate."""


class NotSimulatedImport(PorterError, ImportError):
    """A name in an ``import`` statement that porter does not simulate."""


@dataclass(frozen=True)
class Package:
    """A vendor's package: its root name and the implementation of each module.

    ``contents`` maps a vendor's dotted module name to the modules of porter's package ``home`` that
    implement it: "kernels" for all public names defined there (or its ``__all__``), "kernels:A B"
    for some. ``acting`` modules call a function when imported, so they are not imported with the
    root. ``publish`` runs once all modules are loaded.
    """

    root: str
    home: str
    contents: Mapping[str, Sequence[str]]
    acting: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    publish: Callable[[Mapping[str, ModuleType]], None] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Attributes that are a module with another name: ``"x.core.hpu": "x.hpu"``."""

    def without(self, modules: Sequence[str]) -> Package:
        """Return the package without some modules, which a release does not have."""
        return replace(
            self,
            contents={k: v for k, v in self.contents.items() if k not in modules},
            acting={k: v for k, v in self.acting.items() if k not in modules},
        )


class SimulatedModule(ModuleType):
    """A module of a vendor's package, simulated. Its repr and its errors say so."""

    def __getattr__(self, name: str) -> Any:
        raise absent(self.__name__, name, sys._getframe(1))

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} (simulated by porter)>"


def absent(module: str, name: str, frame: FrameType) -> AttributeError | ImportError:
    """Return the error to raise for ``module.name`` to the code in ``frame``.

    ``from module import name`` gets an ImportError. Names with an underscore that no vendor's wheel
    has are looked up by Python and PyTorch themselves, and are not counted.
    """
    dotted = f"{module}.{name}"
    if _is_module(dotted):  # "from package import module" looks it up before importing
        return AttributeError(f"module {dotted!r} (simulated by porter) is not imported yet")
    if name.startswith("_") and known_to_vendor(dotted) is None:
        return AttributeError(f"module {module!r} (simulated by porter) has no attribute {name!r}")
    text = not_simulated(dotted)
    if dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM":
        return NotSimulatedImport(text, name=dotted)
    return NotSimulated(text)


def _is_module(dotted: str) -> bool:
    finders = (finder for finder in sys.meta_path if isinstance(finder, _Finder))
    return any(dotted in finder.package.contents for finder in finders)


def look_up(dotted: str) -> tuple[bool, Any]:
    """Return whether a dotted name exists, and what it is, without counting a missing one."""
    parts = dotted.split(".")
    if parts[:2] == ["torch", "ops"] and len(parts) > 3:
        found = getattr(getattr(torch.ops, parts[2]), parts[3], None)
        if found is not None and len(parts) > 4:  # an overload
            found = getattr(found, parts[4], None)
        return found is not None, found
    thing: Any = sys.modules.get(parts[0])
    if thing is None:
        thing = importlib.import_module(parts[0])
    for at, part in enumerate(parts[1:], 1):
        module = sys.modules.get(".".join(parts[: at + 1]))
        if part in vars(thing):
            thing = getattr(thing, part)
        elif module is not None:
            thing = module
        elif _is_module(".".join(parts[: at + 1])):
            return True, None  # importing it would act, as gpu_migration does
        elif isinstance(thing, type) and hasattr(thing, part):
            thing = getattr(thing, part)
        elif isinstance(thing, type | ModuleType):
            return False, None
        else:
            return True, None  # an attribute of a value: nobody knows before it runs
    return True, thing


def not_simulated(dotted: str) -> str:
    """Count a look-up of ``dotted`` and return the error's text."""
    missing[dotted] += 1
    machine = machines.get("hpu" if dotted.startswith("habana_frameworks") else "npu")
    if machine is not None:
        machine.counters.event("not_simulated", dotted)
    release = machine.profile.release if machine is not None else None
    if release is not None and dotted in release.absent:
        return f"{dotted}: no public source has it in release {release.name} of the software"
    if dotted in LAZY_MODE_ONLY:
        return (
            f"{dotted}: eager mode has none, as on the card; set PT_HPU_LAZY_MODE=1 for lazy mode"
        )
    known = known_to_vendor(dotted)
    vendor = f"{known} knows it" if known else "no published wheel porter has read knows it either"
    return (
        f"{dotted} is not in porter's simulated module ({vendor}); "
        "guard the use, or run on the real device"
    )


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the simulated modules of one package."""

    def __init__(self, package: Package) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname.split(".")[0] != self.package.root:
            return None
        if fullname not in self.package.contents:
            _refuse_unless_probing(fullname)
            return None
        is_package = any(other.startswith(f"{fullname}.") for other in self.package.contents)
        return importlib.machinery.ModuleSpec(
            fullname, self, origin="porter's simulated module", is_package=is_package
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return SimulatedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        for content in self.package.contents[name]:
            source, _, chosen = content.partition(":")
            fill(module, importlib.import_module(f"{self.package.home}.{source}"), chosen.split())
        if name in self.package.acting:
            self.package.acting[name]()
        if name == self.package.root:
            self._import_all()

    def _import_all(self) -> None:
        loaded = {
            name: importlib.import_module(name)
            for name in sorted(self.package.contents)
            if name not in self.package.acting
        }
        for dotted, target in self.package.aliases.items():
            parent, _, attribute = dotted.rpartition(".")
            setattr(loaded[parent], attribute, loaded[target])
        if self.package.publish is not None:
            self.package.publish(loaded)


def _refuse_unless_probing(fullname: str) -> None:
    """Raise for an ``import`` of a missing submodule, but not for ``find_spec``."""
    frame = sys._getframe(1)
    while frame is not None and (
        frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_globals is globals()
    ):
        if frame.f_code.co_name == "_handle_fromlist":
            return  # "from x import y": the attribute look-up that follows raises
        if frame.f_globals.get("__name__") == "importlib.util":
            return
        frame = frame.f_back  # type: ignore[assignment]
    raise NotSimulatedImport(not_simulated(fullname), name=fullname)


def merge_device_module(ours: ModuleType, kind: str, random: ModuleType) -> None:
    """Give the vendor's device module and ``torch.<kind>`` the same names, as on the card.

    The vendor's own names win, and names that both lack raise the vendor's error. ``random`` gets
    the seeding functions.
    """
    common = vars(torch)[kind]
    own = {name: value for name, value in vars(ours).items() if not name.startswith("__")}
    for name, value in vars(common).items():
        if not name.startswith("__") and name not in own:
            setattr(ours, name, value)
    for name, value in own.items():
        setattr(common, name, value)
    for name in _SEEDING:
        setattr(random, name, getattr(common, name))

    def look_up(name: str) -> Any:
        raise absent(ours.__name__, name, sys._getframe(1))

    common.__getattr__ = look_up


def fill(module: ModuleType, source: ModuleType, chosen: Sequence[str]) -> None:
    """Give a simulated module the chosen names of a porter module, or all that are public."""
    module.__doc__ = module.__doc__ or source.__doc__
    for name in chosen or vars(source).get("__all__") or _public(source):
        setattr(module, name, getattr(source, name))


def _public(source: ModuleType) -> list[str]:
    """Return the public functions, classes and operators that a module defines."""
    return [
        name
        for name, value in vars(source).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", None) == source.__name__
            or isinstance(value, torch._ops.OpOverloadPacket)
        )
    ]


def constant_functions(
    module: str, home: str, answers: Mapping[str, tuple[Any, str]], contract: str = TORCH_NPU
) -> dict[str, Callable[..., Any]]:
    """Return functions of a vendor's module that always give the same answer, by name.

    ``answers`` holds answer and docstring; ``home`` is the module of porter that defines them. They
    take the arguments that ``contract`` says.
    """
    found = {}
    for name, (answer, doc) in answers.items():
        parameters = load(contract)["symbols"][f"{module}.{name}"]["signature"][1:-1]
        names = {"copy": copy.copy, "answer": answer}
        found[name] = function = eval(f"lambda {parameters}: copy(answer)", names)
        function.__name__ = function.__qualname__ = name
        function.__module__, function.__doc__ = home, doc
    return found


def install(package: Package) -> None:
    """Make a package importable in this process, unless it is already.

    Raises PorterError if the real package is imported.
    """
    for finder in sys.meta_path:
        if isinstance(finder, _Finder) and finder.package.root == package.root:
            return
    found = sys.modules.get(package.root)
    if found is not None and not isinstance(found, SimulatedModule):
        raise PorterError(
            f"{package.root} is already imported from {getattr(found, '__file__', 'elsewhere')}; "
            "simulate its device before it is imported"
        )
    sys.meta_path.insert(0, _Finder(package))


def uninstall(root: str) -> None:
    """Undo :func:`install` (for tests)."""
    sys.meta_path[:] = [
        f for f in sys.meta_path if not (isinstance(f, _Finder) and f.package.root == root)
    ]
    for name in [n for n in sys.modules if n.split(".")[0] == root]:
        del sys.modules[name]
