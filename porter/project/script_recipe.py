"""A first recipe for a command that works upstream: it runs on the CPU and on both accelerators.

Chosen from the command and the source alone, nothing is executed here: the script, the option that
numbers its steps, the files that it reads, and the packages of its environment.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from porter.draft.recipe_claims import CUDA_LINE, DRAFT_LINE
from porter.errors import BadInput
from porter.project.first_recipe import LAYERED, PACKAGES, SourceTree, Start, environment_text
from porter.scan.rules.registry import RULES
from porter.scan.scanning import scan_files
from porter.scan.sources import CodeFile
from porter.upstream.propose import Proposal

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z", re.DOTALL)
_STEPS = (
    "num_inference_steps", "num_sampling_steps", "sampling_steps", "sampling_timesteps",
    "timestep_respacing", "ddim_steps", "n_steps", "num_steps", "max_train_steps", "max_steps",
    "train_num_steps", "max_iters", "num_iters", "iterations", "iters", "steps", "n_iter",
    "num_timesteps", "timesteps",
)  # fmt: skip
"""What options that number the steps are called, the likeliest first."""
_SMALL = frozenset(
    {"PIL", "einops", "filelock", "ftfy", "numpy", "regex", "requests", "tqdm", "yaml"}
)
"""Packages that an environment gets even if only a function of a library imports them."""
_RUNNERS = ("python", "python3", "porter")


@dataclass(frozen=True)
class Command:
    """A command line: variables before it, the script, and its arguments with ``{steps}``."""

    script: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    steps: int | None = None
    option: str = ""
    content: bytes | None = None

    @property
    def name(self) -> str:
        """The name of its recipe."""
        stem = PurePosixPath(self.script).stem.lower()
        return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "script"

    @property
    def words(self) -> str:
        """The command as a person writes it."""
        given = {"steps": str(self.steps)}
        return " ".join(
            [self.script, *(w.replace("{steps}", given["steps"]) for w in self.arguments)]
        )


def read_command(words: Sequence[str], files: Mapping[str, bytes], steps: str = "") -> Command:
    """Read ``[NAME=VALUE...] python SCRIPT ARGUMENTS``; ``files`` are the upstream's.

    A script that the upstream does not have may be a file here: it becomes part of the recipe.
    Raises BadInput for a command without a script, and for an option ``steps`` that it lacks.
    """
    given = list(words[1:] if words[:1] == ["--"] else words)
    environ: dict[str, str] = {}
    while given and (found := _VARIABLE.match(given[0])):
        environ[found[1]] = found[2]
        del given[0]
    if given and PurePosixPath(given[0]).name in _RUNNERS:
        del given[0]
    if not given or not given[0].endswith(".py"):
        what = given[0] if given else "nothing"
        raise BadInput(f"-- COMMAND: expected python SCRIPT.py and its arguments, found {what!r}")
    script, content = given[0].removeprefix("./"), None
    if script not in files:
        if not Path(script).is_file():
            raise BadInput(f"{script}: the upstream has no such file, nor is there one here")
        content = Path(script).read_bytes()
        script = PurePosixPath(script).name
    arguments, option, number = _with_steps(given[1:], steps)
    return Command(script, tuple(arguments), environ, number, option, content)


def _with_steps(arguments: Sequence[str], wanted: str) -> tuple[list[str], str, int | None]:
    """Return the arguments with ``{steps}`` for the number of steps, its option and the number."""
    escaped = [word.replace("{", "{{").replace("}", "}}") for word in arguments]
    places: dict[str, tuple[int, str, int]] = {}
    for index, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if not equals and index + 1 < len(arguments):
            value = arguments[index + 1]
        name = option.lstrip("-").replace("-", "_")
        if option.startswith("-") and value.isdecimal():
            at, text = (index, f"{option}=") if equals else (index + 1, "")
            places.setdefault(name, (at, text, int(value)))
    name = wanted.lstrip("-").replace("-", "_")
    if name and name not in places:
        raise BadInput(f"--steps {wanted}: expected an option of the command that has a number")
    chosen = name or next((each for each in _STEPS if each in places), "")
    if not chosen:
        return escaped, "", None
    at, text, number = places[chosen]
    escaped[at] = f"{text}{{steps}}"
    return escaped, chosen, number


@dataclass(frozen=True)
class _Reads:
    """What a command reads, and whether it stops where there is no CUDA."""

    start: Start
    needs_cuda: bool


def command_files(
    port: str,
    command: Command,
    factories: Mapping[str, str],
    proposal: Proposal,
) -> dict[str, str | bytes]:
    """Return the recipe, its probe and its environment: path below ``recipes/`` -> content."""
    paths = [os.fsdecode(path) for path, entry in proposal.listing.items() if entry.is_blob]
    reads = _start(command, factories, proposal.files, paths)
    probe = Path(__file__).with_name("run_script.py.txt").read_bytes()
    done: dict[str, str | bytes] = {
        f"{port}/{command.name}.yaml": _recipe(port, command, factories, reads),
        f"{port}/run_script.py": probe,
        f"environments/{port}.txt": environment_text(
            port, reads.start, proposal.facts.requirements
        ),
    }
    if command.content is not None:
        done[f"{port}/scripts/{command.script}"] = command.content
    return done


def _start(
    command: Command, factories: Mapping[str, str], files: Mapping[str, bytes], paths: Sequence[str]
) -> _Reads:
    """Return which files of the upstream's ``paths`` the script reads, and which packages."""
    folder = PurePosixPath(command.script).parent.as_posix()
    python = {path: text for path, text in files.items() if path.endswith(".py")}
    if command.content is not None:
        python[command.script] = command.content
    for line in factories.values():
        python.setdefault("_factories.py", b"")
        python["_factories.py"] += "".join(f"import {name}\n" for name in _tops(line)).encode()
    # What the script imports, it finds beside itself, at the top, or in src/.
    places: dict[str, str] = {}
    for root in (f"{folder}/" if folder != "." else "", "", "src/"):
        for path in python:
            if path.startswith(root):
                places.setdefault(path[len(root) :], path)
    tree = SourceTree("", {inner: python[path] for inner, path in places.items()})
    found, others = tree.closure([PurePosixPath(command.script).stem, "_factories"])
    for inner in found:  # what a function imports counts too: in the script, or if it is small
        known = PACKAGES if places[inner] == command.script else _SMALL
        for name, number in tree.all_imports(inner):
            if name in known and not tree.holds(name):
                others.setdefault(name, f"{places[inner]}:{number}")
    read = {places[inner] for inner in found}
    read -= {"_factories.py"} | ({command.script} if command.content is not None else set())
    needs = set()
    for path in read:
        if folder != "." and path.startswith(f"{folder}/"):
            needs.add(f"{folder}/")
        else:
            needs.add(f"{path.split('/')[0]}/" if "/" in path else "*.py")
    for word in command.arguments:
        path = word.rpartition("=")[2].strip("/")
        if path in paths or any(each.startswith(f"{path}/") for each in paths if path):
            needs.add(path if path in paths else f"{path}/")
    imports = {
        name: where
        for name, where in sorted(others.items())
        if name not in LAYERED and name not in sys.stdlib_module_names
    }
    extra = {"PIL": "images"} | ({"numpy": "arrays"} if imports else {})
    packages = dict(sorted({**extra, **imports}.items()))
    root = "src" if "src/" in needs else "."
    return _Reads(Start(root, (), tuple(sorted(needs)), packages), _names_cuda(read, python))


def _names_cuda(paths: Iterable[str], python: Mapping[str, bytes]) -> bool:
    """Whether the code stops where there is no CUDA, as far as the text shows."""
    rules = [RULES[code] for code in ("PT101", "PT102")]
    found = scan_files((CodeFile(path, python[path]) for path in paths), rules).findings
    return any(each.gravest == "error" for each in found)


def _tops(line: str) -> list[str]:
    return sorted(set(re.findall(r"(?<![\w.'\"/])([A-Za-z_]\w*)\.", line)))


def _recipe(port: str, command: Command, factories: Mapping[str, str], reads: _Reads) -> str:
    def quoted(values: Iterable[str]) -> str:
        return ", ".join(json.dumps(value) for value in values)

    lines = [
        "# yaml-language-server: $schema=../../.porter/recipe.schema.json",
        "#",
        "# A command of upstream's, as a user runs it. Level 0 on the CPU is what every level must",
        "# keep, on every device. Widen a claim, or split it by outputs, where a reason is known.",
        "version: 1",
        f"title: {json.dumps(command.words)}",
        "probe: run_script.py",
        f"environment: ../environments/{port}.txt",
        *(['source_roots: [".", "src"]'] if reads.start.root == "src" else []),
        f"needs: [{quoted(reads.start.needs)}]",
        "parameters:",
        f"  script: {json.dumps(command.script)}",
        f"  arguments: [{quoted(command.arguments)}]",
    ]
    if command.content is not None:
        lines.append("  own_script: true # it stands in scripts/ beside this file")
    if factories:
        lines.append("  factories: # what the script reads, made small before it runs")
        lines += [f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in factories.items()]
    if command.steps is not None:
        lines.append(f"vary: {{steps: [{command.steps}, {command.steps + 2}]}}")
    lines += [
        'devices: [cpu, "sim:hpu", "sim:npu"]',
        "dtypes: [native]",
        *([CUDA_LINE] if reads.needs_cuda else []),
        "environ:",
        *(f"  {name}: {json.dumps(value)}" for name, value in command.environ.items()),
        '  "sim:hpu": {PT_HPU_LAZY_MODE: "1"}',
        "limits: {seconds: 600, memory_gib: 6}",
        "claims:",
        '  - outputs: "*" # files, texts, draws, pixels: equal; numbers: as near as level 0 is',
        *(['    devices: ["sim:hpu", "sim:npu"]'] if reads.needs_cuda else []),
        "    parity: {}",
        f"  {DRAFT_LINE}",
        "tags: [quick]",
    ]
    return "\n".join(lines) + "\n"
