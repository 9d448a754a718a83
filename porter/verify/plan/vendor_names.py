"""The vendors' names that patches and probes use, held to what the vendors publish.

A name of ``torch_npu`` or ``habana_frameworks`` that no contract has (:mod:`porter.device.sim
.contract`) fails on a card, however many recipes pass with something else in its place. So
``porter lint`` looks up every such name in the lines that a patch adds, prose included, and in the
Python files of a port's recipes; with it the arguments of a call, where the contract knows them,
and what a probe puts into a vendor's module of its own making.

Names are found in the text: dotted ones, those of ``import`` statements, and attributes of what
these bind. A name that is put together at run time is not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.device.sim import contract
from porter.finding import Finding
from porter.git.quoting import show_path
from porter.places import recipes_dir
from porter.series.series import Patch

RULE = "vendor"

ALSO_PUBLISHED: Mapping[str, str] = {
    "habana_frameworks.torch.gpu_migration": (
        "a package of its own, which gaudi-pytorch-bridge 1.19.0 imports when "
        "PT_HPU_GPU_MIGRATION is set (habana_frameworks/torch/__init__.py)"
    ),
    "torch_npu.contrib.transfer_to_npu": "torch-npu 2.13.0, torch_npu/contrib/transfer_to_npu.py",
    "torch_npu.npu.amp.sharded_grad_scaler._ShardedGradScaler": (
        "torch-npu 2.13.0, torch_npu/npu/amp/sharded_grad_scaler.py"
    ),
}
"""Names that the contracts leave out, each with where the vendor publishes it."""

SIGNATURES: Mapping[str, str] = {
    "torch_npu.npu.amp.sharded_grad_scaler._ShardedGradScaler": (
        "(self, device='npu', init_scale=2.0 ** 16, backoff_factor=0.5, growth_factor=2.0,"
        " growth_interval=2000, enabled=True, process_group=None)"
    ),
}
"""Of names in ``ALSO_PUBLISHED``."""

_ROOTS = ("torch_npu", "habana_frameworks")
_MODULES = {"torch.npu": "torch_npu.npu", "torch.hpu": "habana_frameworks.torch.hpu"}
"""What the vendors' packages put into torch, and where they have it themselves."""
_DOTTED = re.compile(
    r"(?<![\w./-])(torch_npu|habana_frameworks|torch\.[nh]pu(?=\.))((?:\.[A-Za-z_]\w*)*)(?![/\w-])"
)
_FROM = re.compile(
    r"^[ \t]*from[ \t]+((?:torch_npu|habana_frameworks)[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.+)",
    re.M,
)
_IMPORT = re.compile(r"^[ \t]*import\s+((?:torch_npu|habana_frameworks)[\w.]*)\s+as\s+(\w+)", re.M)


@dataclass(frozen=True)
class Use:
    """A vendor's name in a text: the line (from 1), and the text of the arguments of a call."""

    line: int
    name: str
    arguments: str | None = None


def lint_vendor_names(root: Path, port: str, patches: Sequence[Patch]) -> list[Finding]:
    """Return the vendors' names in a port's patches and recipes that the vendors do not publish."""
    found: list[Finding] = []
    for patch in patches:
        for line, text in _in_patch(patch):
            found.append(Finding(f"patches/{port}/{patch.name}", line, RULE, text))
    for path in sorted(recipes_dir(root, port).glob("*.py")):
        content = path.read_text(encoding="utf-8", errors="replace")
        for use in [*uses(content), *stand_ins(content)]:
            if said := problem(use):
                found.append(Finding(f"recipes/{port}/{path.name}", use.line, RULE, said))
    return found


def _in_patch(patch: Patch) -> Iterator[tuple[int, str]]:
    for file in patch.files:
        lines: list[tuple[int, bool, str]] = []  # number in the patch, is it added, the line
        for hunk in file.hunks:
            for number, line in enumerate(hunk.lines, hunk.line + 1):
                if line[:1] in (b"+", b" "):
                    text = line[1:].decode("utf-8", "replace").rstrip("\r\n")
                    lines.append((number, line[:1] == b"+", text))
        for use in uses("\n".join(text for *_, text in lines)):
            number, is_added, _ = lines[use.line - 1]
            if is_added and (said := problem(use)):
                yield number, f"{show_path(file.path)}: {said}"


def uses(text: str) -> list[Use]:
    """Return every vendor's name that a Python text uses, in the order of its lines."""
    found = [*_dotted(text)]
    bound = {alias: name for name, alias in _IMPORT.findall(text)}
    for match in _FROM.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        for name, alias in _imported(match[2]):
            found.append(Use(line, f"{match[1]}.{name}"))
            bound[alias] = f"{match[1]}.{name}"
    for alias, name in bound.items():
        for match in re.finditer(rf"(?<![\w.]){alias}((?:\.[A-Za-z_]\w*)*)(?=[\s(\[,.)])", text):
            if match[1] or text[match.end() : match.end() + 1] == "(":
                found.append(_use(text, match, name + match[1]))
    return sorted(set(found), key=lambda use: (use.line, use.name))


def _dotted(text: str) -> Iterator[Use]:
    for match in _DOTTED.finditer(text):
        yield _use(text, match, _MODULES.get(match[1], match[1]) + match[2])


def _use(text: str, match: re.Match[str], name: str) -> Use:
    return Use(text.count("\n", 0, match.start()) + 1, name, _arguments(text, match.end()))


def _imported(names: str) -> Iterator[tuple[str, str]]:
    """Yield name and alias of ``a, b as c  # comment``, also in parentheses on several lines."""
    bare = re.sub(r"#.*", "", names).strip(" ()\\\n")
    for part in bare.split(","):
        name, _, alias = part.strip().partition(" as ")
        if name.strip().isidentifier():
            yield name.strip(), (alias or name).strip()


def _arguments(text: str, start: int) -> str | None:
    """Return what stands in the parentheses that open at ``start``; None without a whole call."""
    if text[start : start + 1] != "(":
        return None
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] in "([{") - (text[end] in ")]}")
        if depth == 0:
            return text[start + 1 : end]
    return None


def stand_ins(text: str) -> list[Use]:
    """Return the names that a probe puts into vendor modules which it makes itself.

    Those are ``module.NAME = ...`` where ``module`` is ``types.ModuleType("a.vendor.module")``, and
    ``sys.modules["a.vendor.module"].NAME = ...``.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []  # the run says so
    assigned = [
        (node, target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    made: dict[str, str] = {}
    for node, target in assigned:
        value = node.value
        if isinstance(target, ast.Name) and isinstance(value, ast.Call) and value.args:
            name = _module(value.args[0])
            made[target.id] = name if ast.unparse(value.func).endswith("ModuleType") else ""
    found = []
    for node, target in assigned:
        if not isinstance(target, ast.Attribute) or target.attr.startswith("__"):
            continue
        owner = target.value
        module = made.get(owner.id, "") if isinstance(owner, ast.Name) else ""
        if isinstance(owner, ast.Subscript) and ast.unparse(owner.value) == "sys.modules":
            module = _module(owner.slice)
        if module:
            found.append(Use(node.lineno, f"{module}.{target.attr}"))
    return found


def _module(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    named = isinstance(value, str) and value.partition(".")[0] in _ROOTS
    return str(value) if named else ""


def problem(use: Use) -> str | None:
    """Return what is wrong with a use in one sentence; None if the vendor publishes it so."""
    contracts = contract.contracts_of(use.name)
    source = f"{contracts[0]['package']} {contracts[0]['version']}"
    known = [*(name for each in contracts for name in each["symbols"]), *ALSO_PUBLISHED]
    if use.name in known or any(name.startswith(f"{use.name}.") for name in known):
        symbol = contract.symbol_of(use.name) or {}
        return _call_problem(use, symbol, source) if use.arguments is not None else None
    owner, _, member = use.name.rpartition(".")
    row = contract.symbol_of(owner)
    if row is not None and (row.get("kind") == "value" or member in row.get("members", ())):
        return None
    text = f"expected a name that the vendor publishes, found {use.name}, which {source} does not"
    last = use.name.rpartition(".")[2]
    alike = sorted(name for name in known if name.rpartition(".")[2].lstrip("_") == last)
    return f"{text} have; did you mean {alike[0]}?" if alike else f"{text} have"


def _call_problem(use: Use, symbol: Mapping[str, object], source: str) -> str | None:
    """Return what is wrong with the arguments of a call, as far as they are known."""
    try:
        call = ast.parse(f"f({use.arguments})", mode="eval").body
    except SyntaxError:
        return None  # prose, or a call that the patch shows in part
    if not isinstance(call, ast.Call):
        return None
    signature = symbol.get("signature") or SIGNATURES.get(use.name)
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    keywords = [keyword.arg for keyword in call.keywords if keyword.arg]
    if isinstance(signature, str):
        most, names = _of_signature(signature, is_class=symbol.get("kind") == "class")
    elif calls := symbol.get("calls"):  # as its client calls it
        assert isinstance(calls, list)
        most = max(count for count, _ in calls)
        names = {name for _, given in calls for name in given}
        most, names = (None, None) if "**" in names else (most, names)
    else:
        return None
    for keyword in keywords:
        if names is not None and keyword not in names:
            takes = ", ".join(sorted(names)) or "no keywords"
            return f"{use.name}: expected an argument of {source} ({takes}), found {keyword}="
    if most is not None and not starred and len(call.args) > most:
        return f"{use.name}: expected at most {most} positional arguments, found {len(call.args)}"
    return None


def _of_signature(signature: str, *, is_class: bool) -> tuple[int | None, set[str] | None]:
    """Return the number of positional arguments and the names; None where any is taken."""
    function = ast.parse(f"def f{signature}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    if is_class and positional[:1] == ["self"]:
        positional = positional[1:]
    names = {*positional, *(argument.arg for argument in given.kwonlyargs)}
    return None if given.vararg else len(positional), None if given.kwarg else names
