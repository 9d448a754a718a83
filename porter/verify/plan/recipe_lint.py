"""What ``porter lint`` says of a port's recipes: whether they judge other trees, and all of a run.

- ``contract`` (a note): a recipe without a contract claim, by which no foreign tree is judged, and
  without ``ours``, which says why.
- ``invented``: a probe of a contract claim imports a module that only a patch of the series adds.
  Other ports of the upstream do not have it: reach the code by the upstream's own names, or mark
  the claims ``contract: false``.
- ``parts``: a probe whose first failing part hides the others
  (:mod:`porter.verify.plan.probe_parts`), and no ``one_part`` that says why; or the reverse.

An import counts if ``run`` comes to it without ``if`` and ``try`` on the way: below these the probe
goes another way where the module is absent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import BadInput
from porter.finding import Finding
from porter.git.quoting import show_path
from porter.places import recipes_dir
from porter.verify.plan.probe_parts import hidden_parts
from porter.verify.plan.select import Filters, RecipePlan, make_plan
from porter.verify.plan.trees import SeriesTrees
from porter.verify.recipe.load import LoadedRecipe
from porter.verify.recipe.probe_files import probe_files

_GUARDS = (ast.If, ast.IfExp, ast.Try)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lint_recipes(root: Path, port: str) -> list[Finding]:
    """Return what is wrong with the recipes of a port; an invalid one is the only finding."""
    if not any(recipes_dir(root, port).glob("*.yaml")):
        return []
    trees = SeriesTrees(root)
    try:
        plan = make_plan(root, [port], trees, Filters())
        added = trees.series(port).added_files()
    except BadInput as error:
        text = f"not looked at: {error}"  # the level that it names may be about to be written
        return [Finding(f"recipes/{port}", 0, "coverage", text, "note")]
    found: list[Finding] = []
    for planned in plan.recipes:
        where = f"recipes/{port}/{planned.loaded.name}.yaml"
        recipe = planned.loaded.recipe
        if any(claim.contract for claim in recipe.claims):
            found += _invented(planned, where, added)
        elif recipe.ours is None:
            text = (
                "no claim is contract: no tree but the port's own levels is judged by it; if that"
                " is meant, say why: `ours: REASON`"
            )
            found.append(Finding(where, 0, "contract", text, "note"))
        found += _parts(planned.loaded, where)
    return found


def _parts(loaded: LoadedRecipe, where: str) -> Iterator[Finding]:
    files = [path for path in probe_files(loaded) if path.suffix == ".py"]
    hidden = hidden_parts(loaded.probe, files)
    if hidden is None and loaded.recipe.one_part is not None:
        text = "`one_part` excuses nothing: no part of the probe is hidden by another; take it out"
        yield Finding(where, 0, "parts", text)
    if hidden is None or loaded.recipe.one_part is not None:
        return
    first, second = hidden
    at = [f"{part.call} at {part.file.name}:{part.line}" for part in hidden]
    what = f"{at[0]}, in a loop" if first == second else f"{at[0]}, then {at[1]}"
    text = (
        f"where one part of the probe fails, the others are not judged ({what}): put each below"
        " `with probe.attempt(NAME)`, or say why they are one: `one_part: REASON`"
    )
    yield Finding(where, 0, "parts", text)


def _invented(planned: RecipePlan, where: str, added: Mapping[bytes, str]) -> Iterator[Finding]:
    loaded = planned.loaded
    files = [path for path in probe_files(loaded) if path.suffix == ".py"]
    own = {path.stem for path in files}
    told: set[bytes] = set()
    for path, line, name in _imports(loaded.probe, files):
        file = _file_of(name, added)
        if file is None or file in told or name.partition(".")[0] in own:
            continue
        told.add(file)
        text = (
            f"the probe imports {name} ({path.name}:{line}): expected upstream's own names, found"
            f" {show_path(file)}, which level {added[file]} adds; import it below `if` or `try`, or"
            " write `contract: false`"
        )
        yield Finding(where, 0, "invented", text)


def _file_of(module: str, added: Mapping[bytes, str]) -> bytes | None:
    """Return the added file that a module's dotted name leads to, from any folder of the tree."""
    inside = b"/" + module.replace(".", "/").encode()
    ends = (inside + b".py", inside + b"/__init__.py")
    return next((path for path in added if (b"/" + path).endswith(ends)), None)


@dataclass
class _Block:
    """A function, or a file's statements outside functions: what it imports and names."""

    imports: list[tuple[Path, int, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def _imports(probe: Path, files: Sequence[Path]) -> Iterator[tuple[Path, int, str]]:
    """Yield the imports that ``run`` of a probe comes to: file, line and module.

    A neighbour is followed once something reached imports it; a name leads to every function of
    that name in the probe and such neighbours.
    """
    beside = {path.stem: path for path in files}
    functions: dict[str, list[_Block]] = {}
    followed: set[Path] = set()
    reached = [_read(probe, functions)]
    reached += functions.pop("run", [])
    names: set[str] = set()
    while reached:
        block = reached.pop()
        yield from block.imports
        for _, _, module in block.imports:
            path = beside.get(module.partition(".")[0])
            if path is not None and path != probe and path not in followed:
                followed.add(path)
                reached.append(_read(path, functions))
        names |= block.names
        for name in names & functions.keys():
            reached += functions.pop(name)


def _read(path: Path, functions: dict[str, list[_Block]]) -> _Block:
    """Return a file's statements outside functions, and add its functions."""
    top = _Block()
    try:
        _walk(ast.parse(path.read_bytes(), str(path)), path, top, functions)
    except (OSError, SyntaxError, ValueError):
        return _Block()  # the run says what is wrong with it
    return top


def _walk(node: ast.AST, path: Path, block: _Block, functions: dict[str, list[_Block]]) -> None:
    """Add what a node's parts import and name to ``block``, what functions do to ``functions``.

    Of a guard, ``if`` or ``try``, only the condition counts.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            inner = _Block()
            functions.setdefault(child.name, []).append(inner)
            _walk(child, path, inner, functions)
            continue
        if isinstance(node, _GUARDS) and child is not getattr(node, "test", None):
            _walk(child, path, _Block(), functions)  # for the functions in it
            continue
        block.imports += [(path, line, name) for line, name in _modules(child)]
        if isinstance(child, ast.Name):
            block.names.add(child.id)
        elif isinstance(child, ast.Attribute):
            block.names.add(child.attr)
        _walk(child, path, block, functions)


def _modules(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the modules that one statement or call imports, with its line."""
    match node:
        case ast.Import(names=names):
            yield from ((node.lineno, alias.name) for alias in names)
        case ast.ImportFrom(module=str() as module, names=names):
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
            args=[ast.Constant(value=str() as module), *_],
        ):
            yield node.lineno, module
