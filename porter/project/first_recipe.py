"""A first recipe for a new port: its top package imports, and its public names stay.

Chosen from the source alone, nothing is imported here: which modules, which folders they read, and
which packages their environment needs.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

_ASIDE = frozenset({
    "benchmark", "benchmarks", "conftest", "demo", "docs", "example", "examples", "scripts",
    "setup", "test", "tests", "tools", "utils",
})  # fmt: skip
PACKAGES = {
    "PIL": "pillow", "attr": "attrs", "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil", "huggingface_hub": "huggingface-hub",
    "pkg_resources": "setuptools",
    "pytorch_lightning": "pytorch-lightning",
    "ema_pytorch": "ema-pytorch", "pytorch_fid": "pytorch-fid",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml",
} | {
    name: name
    for name in (
        "accelerate", "click", "diffusers", "einops", "filelock", "ftfy", "h5py", "matplotlib",
        "numpy", "omegaconf", "packaging", "pandas", "psutil", "regex", "requests", "scipy", "timm",
        "torchaudio", "torchvision", "tqdm", "transformers", "blobfile", "datasets", "mpi4py",
        "peft", "tiktoken", "wandb",
    )
}  # fmt: skip
"""Packages that are certainly meant by an import of this name."""
LAYERED = frozenset({"torch", "habana_frameworks", "torch_npu", "safetensors"})
_MOST_MODULES = 3
_QUIET = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign,
    ast.AnnAssign, ast.If, ast.Try,
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What a first recipe imports: modules below ``root``, the entries of ``needs``.

    ``imports`` has the other packages that the modules import, each with its place.
    """

    root: str
    modules: tuple[str, ...]
    needs: tuple[str, ...]
    imports: Mapping[str, str]


class SourceTree:
    """The Python files below a source root (``""`` or ``src/``), and what they import."""

    def __init__(self, root: str, files: Mapping[str, bytes]) -> None:
        self.root = root
        self.files = {
            path[len(root) :]: text
            for path, text in files.items()
            if path.startswith(root) and path.endswith(".py")
        }
        self._parsed: dict[str, ast.Module | None] = {}

    def path(self, module: str) -> str | None:
        """Return the file of a module, or None: not in this tree, or a folder without one."""
        stem = module.replace(".", "/")
        return next((p for p in (f"{stem}/__init__.py", f"{stem}.py") if p in self.files), None)

    def holds(self, module: str) -> bool:
        """Return whether a module, or a folder of modules, is in the tree."""
        folder = module.replace(".", "/") + "/"
        return self.path(module) is not None or any(p.startswith(folder) for p in self.files)

    def parsed(self, path: str) -> ast.Module | None:
        """Return a file's syntax tree; None when today's Python cannot parse it."""
        if path not in self._parsed:
            try:
                self._parsed[path] = ast.parse(self.files[path])
            except (SyntaxError, ValueError, RecursionError):
                self._parsed[path] = None
        return self._parsed[path]

    def closure(self, modules: Iterable[str]) -> tuple[set[str], dict[str, str]]:
        """Return the files that importing ``modules`` reads, and the packages it needs besides.

        Only imports that always happen count: not those in functions, in ``if`` or in ``try``.
        """
        waiting = list(modules)
        read: set[str] = set()
        others: dict[str, str] = {}
        while waiting:
            module = waiting.pop()
            parents = module.split(".")
            for depth in range(1, len(parents) + 1):
                path = self.path(".".join(parents[:depth]))
                if path is None or path in read:
                    continue
                read.add(path)
                for name, line in self._imported(path):
                    if self.holds(name.split(".")[0]):
                        waiting.append(name)
                    else:
                        others.setdefault(name.split(".")[0], f"{self.root}{path}:{line}")
        return read, others

    def all_imports(self, path: str) -> Iterator[tuple[str, int]]:
        """Yield the top names of all absolute imports of a file, wherever they stand."""
        for node in ast.walk(self.parsed(path) or ast.Module([], [])):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.split(".")[0], node.lineno

    def _imported(self, path: str) -> Iterator[tuple[str, int]]:
        tree = self.parsed(path)
        package = path.split("/")[:-1]
        for node in tree.body if tree else ():
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level <= len(package):
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                if module:
                    yield module, node.lineno
                if self.holds(module.split(".")[0]):
                    inner = (f"{module}.{alias.name}".lstrip(".") for alias in node.names)
                    yield from ((name, node.lineno) for name in inner if self.path(name))


def choose_start(files: Mapping[str, bytes], names: Iterable[str]) -> Start | None:
    """Return what a first recipe imports, or None when nothing can safely be imported.

    ``files`` are the wanted Python files; ``names`` what the package may be called. A package whose
    ``__init__.py`` has names comes first, then modules that only define something.
    """
    wanted = {canonicalize_name(name) for name in names}
    found = []
    for root in ("src/", ""):
        tree = SourceTree(root, files)
        for folder, count in _folders(tree).items():
            if root == "" and folder in ("src", ""):
                continue
            modules = _modules(tree, folder)
            if modules:
                is_package = f"{folder}/__init__.py" in tree.files
                rank = (canonicalize_name(folder) in wanted, is_package, count)
                found.append((rank, tree, modules))
    for folder_root in ("src/", ""):
        tree = SourceTree(folder_root, files)
        if modules := _quiet_modules(tree, [p for p in tree.files if "/" not in p]):
            found.append(((False, False, 0), tree, modules))
    if not found:
        return None
    _, tree, modules = max(found, key=lambda each: each[0])
    read, others = tree.closure(modules)
    paths = {tree.root + path for path in read}
    needs = {f"{path.split('/')[0]}/" if "/" in path else path for path in paths}
    imports = {
        name: where
        for name, where in sorted(others.items())
        if name not in LAYERED and name not in sys.stdlib_module_names
    }
    return Start(tree.root.rstrip("/") or ".", modules, tuple(sorted(needs)), imports)


def _folders(tree: SourceTree) -> dict[str, int]:
    """Return the top folders that may hold the upstream's code, with their numbers of files."""
    counts: dict[str, int] = {}
    for path in tree.files:
        top, slash, _ = path.partition("/")
        if slash and top.isidentifier() and top.lower() not in _ASIDE:
            counts[top] = counts.get(top, 0) + 1
    return counts


def _modules(tree: SourceTree, folder: str) -> tuple[str, ...]:
    """Return the package itself if it has names, else modules below it that only define."""
    top = f"{folder}/__init__.py"
    if top in tree.files and _has_names(tree.parsed(top)):
        return (folder,)
    return _quiet_modules(tree, [p for p in tree.files if p.startswith(f"{folder}/")])


def _quiet_modules(tree: SourceTree, paths: Iterable[str]) -> tuple[str, ...]:
    chosen = []
    for path in sorted(paths, key=lambda p: (p.count("/"), p)):
        parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
        fit = all(part.isidentifier() and part.lower() not in _ASIDE for part in parts)
        if fit and _is_quiet(tree.parsed(path)) and _is_known(tree, ".".join(parts)):
            chosen.append(".".join(parts))
    return tuple(chosen[:_MOST_MODULES])


def _is_known(tree: SourceTree, module: str) -> bool:
    """Whether everything that a module imports is here, of Python, or a well-known package."""
    read, others = tree.closure([module])
    known = {*PACKAGES, *LAYERED, *sys.stdlib_module_names}
    return others.keys() <= known and all(_is_quiet(tree.parsed(path), True) for path in read)


def _is_quiet(tree: ast.Module | None, may_be_empty: bool = False) -> bool:
    """Whether a module only imports and defines; it must define a class or a function."""
    if tree is None:
        return False
    body = [node for node in tree.body if not isinstance(node, ast.Expr | ast.Pass)]
    calls = [
        n for n in tree.body if isinstance(n, ast.Expr) and not isinstance(n.value, ast.Constant)
    ]
    defines = any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in body)
    parses = any("parse_args" in ast.unparse(n) for n in body if isinstance(n, ast.Assign))
    quiet = all(isinstance(node, _QUIET) for node in body) and not calls and not parses
    return quiet and (defines or may_be_empty)


def _has_names(tree: ast.Module | None) -> bool:
    return tree is not None and any(not isinstance(n, ast.Expr | ast.Pass) for n in tree.body)


def recipe_files(port: str, start: Start, requirements: Iterable[str]) -> dict[str, str]:
    """Return the recipe, its probe and its environment: path below ``recipes/`` -> text."""
    return {
        f"{port}/imports.yaml": _recipe(port, start),
        f"{port}/imports.py": _PROBE,
        f"environments/{port}.txt": environment_text(port, start, requirements),
    }


def _recipe(port: str, start: Start) -> str:
    def flow(values: Iterable[str]) -> str:
        return f"[{', '.join(json.dumps(value) for value in values)}]"

    return f"""\
# yaml-language-server: $schema=../../.porter/recipe.schema.json
#
# A first recipe: the upstream's modules can be imported, and their public names stay. Recipes that
# run the model prove more: docs/writing-a-port.md in porter shows how to write them.
version: 1
title: public names of {", ".join(start.modules)}
probe: imports.py
environment: ../environments/{port}.txt
source_roots: {flow([start.root])}
needs: {flow(start.needs)}
parameters: {{modules: {flow(start.modules)}}}
dtypes: [native] # nothing is computed
claims:
  - outputs: "*"
    equal: {{}} # to level 0's; a level that adds a name needs a claim of its own
  - counters: "*"
    at_least: 1
tags: [quick]
"""


_PROBE = '''\
"""Import modules of the level's tree and record the names that they offer."""

import importlib


def run(probe):
    for name in probe.parameters["modules"]:
        with probe.attempt(f"names/{name}"):
            module = importlib.import_module(name)
            names = [each for each in sorted(dir(module)) if not each.startswith("_")]
            probe.record_text(f"names/{name}", "\\n".join(names))
            probe.count(f"names/{name}", len(names))
'''


def environment_text(port: str, start: Start, requirements: Iterable[str]) -> str:
    """Return a requirements file: what the modules import, then what the upstream lists.

    Only packages that the upstream lists, or that everybody knows by their import, are active; an
    unknown name may be another package on the index.
    """
    stated: dict[str, str] = {}
    for row in requirements:
        if found := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", row):
            stated.setdefault(canonicalize_name(found[0]), row)
    rows = [
        f"# Packages that the probes of {port} import. torch comes from the interpreter that runs",
        "# porter. Add exact versions (NAME==VERSION) once the recipes pass.",
    ]
    used = {canonicalize_name(name) for name in LAYERED}
    for name, where in start.imports.items():
        package = canonicalize_name(PACKAGES.get(name, name))
        used.add(package)
        if package in _ROWS:
            rows += _ROWS[package]
            used |= {canonicalize_name(row) for row in _ROWS[package]}
        elif package in stated:
            row = stated[package]
            rows.append(package if row.lower() == package else f"{package}  # upstream: {row}")
        elif name in PACKAGES:
            rows.append(package)
        else:
            rows.append(f"# {name}: imported at {where}; name its package here")
    if rest := [f"# {row}" for package, row in stated.items() if package not in used]:
        rows += ["# What the upstream lists besides:", *rest]
    return "\n".join(dict.fromkeys(rows)) + "\n"


_ROWS = {
    "torchvision": (
        "# porter: stub torchvision._meta_registrations",
        "torchvision  # porter: no-deps",
        "numpy",
        "pillow",
    ),
    "torchaudio": ("torchaudio  # porter: no-deps",),
    "setuptools": ("setuptools<80",),
    "mpi4py": ("mpi4py", "mpich"),
    "timm": (
        "# porter: stub torchvision._meta_registrations",
        "torchvision  # porter: no-deps",
        "timm  # porter: no-deps",
        "huggingface-hub",
        "pyyaml",
    ),
}
"""Packages that need more than their name: those that belong to one release of torch, with what
they import besides; the last setuptools that has pkg_resources for certain."""
