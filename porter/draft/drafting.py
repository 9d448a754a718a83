"""Draft levels: the edits of each family, made on the files as the family before it left them.

A spot is mended where its rule has a mender in the family and the mender is sure; whatever it is
not sure of stays a finding of ``porter scan``. The result depends on the files alone, and drafting
its own result changes nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from porter.draft.edits import Mended
from porter.draft.families import FAMILIES, Family
from porter.draft.helpers import DEVICES, PROVIDES, helper_of, helper_text
from porter.draft.placement import Layout, import_edit, import_lines, place
from porter.errors import BadInput
from porter.scan.reading.module import Module, find_marking
from porter.scan.reading.rule import Device, Rule, ScanFinding, Spot
from porter.scan.rules.registry import RULES
from porter.scan.scanning import ABOUT, read_module, spots_of
from porter.scan.sources import CodeFile
from porter.source_text import TextEdit

_TESTS = frozenset({"test", "tests", "testing", "test_utils"})


@dataclass(frozen=True)
class DraftedLevel:
    """A level: the files that it changes or makes, with their new bytes, and what it mended."""

    family: Family
    files: Mapping[str, bytes]
    mended: tuple[ScanFinding, ...]
    left: tuple[ScanFinding, ...] = ()

    @property
    def codes(self) -> list[str]:
        """The codes of the rules whose spots it mended."""
        return sorted({finding.code for finding in self.mended})


@dataclass
class _Tree:
    """The files of a tree; ``modules`` are those that rules may hold against, parsed."""

    contents: dict[str, bytes]
    modules: dict[str, Module] = field(default_factory=dict)

    def read(self) -> None:
        for path, content in self.contents.items():
            if path in self.modules or not ABOUT.search(content):
                continue
            if module := _plain_module(CodeFile(path, content)):
                self.modules[path] = module
        find_marking(self.modules.values())

    def all_modules(self) -> dict[str, Module]:
        """Return the modules of all files."""
        for path, content in self.contents.items():
            if path not in self.modules and (module := _plain_module(CodeFile(path, content))):
                self.modules[path] = module
        return self.modules

    def write(self, files: Mapping[str, bytes]) -> None:
        self.contents.update(files)
        for path in files:
            self.modules.pop(path, None)
            if module := _plain_module(CodeFile(path, self.contents[path])):
                self.modules[path] = module
        self.read()


def chosen_families(names: Sequence[str]) -> list[Family]:
    """Return the families of these names, or all. Raises BadInput for a name that none has."""
    known = [family.name for family in FAMILIES]
    for name in names:
        if name not in known:
            raise BadInput(f"--family: expected one of {', '.join(known)}, found {name!r}")
    return [family for family in FAMILIES if not names or family.name in names]


def draft(files: Iterable[CodeFile], families: Sequence[Family]) -> list[DraftedLevel]:
    """Return the levels of ``families`` that change something, in order."""
    tree = _Tree({file.path: file.content for file in files})
    tree.read()
    served = {device for module in tree.modules.values() for device in module.serves}
    levels = []
    for family in families:
        level = _level(family, tree, served)
        if level.files:
            levels.append(level)
            tree.write(level.files)
    return levels


def _plain_module(file: CodeFile) -> Module | None:
    """Return a file as rules read it; None for one in another encoding, or that is no Python."""
    try:
        module = read_module(file)
    except (SyntaxError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return module if module.text.encode() == file.content else None


def _level(family: Family, tree: _Tree, served: set[Device]) -> DraftedLevel:
    rules = [rule for code, rule in RULES.items() if code in family.menders]
    new = _Tree(dict(tree.contents), dict(tree.modules))
    needs: dict[str, set[str]] = {}
    mended: list[ScanFinding] = []
    while True:  # edits that touch one another are made one after the other
        files, left = _round(family, rules, new, served, needs, mended)
        if not files:
            break
        new.write(files)
    changed = {path for path, text in new.contents.items() if text != tree.contents[path]}
    there = _helpers_there(tree)
    helpers = {**_place_helpers(needs, new), **there}
    layout = Layout(frozenset(new.contents))
    for path in sorted(needs):
        module = new.modules[path]
        lines = _import_lines(module, needs[path], helpers, layout, there)
        if lines:
            new.contents[path] = module.source.apply(import_edit(module, lines)).encode()
    files = {path: new.contents[path] for path in changed}
    used = {name for names in needs.values() for name in names}
    for module_name, place_ in helpers.items():
        before = tree.contents.get(str(place_), b"").decode()
        if used & set(PROVIDES[module_name]):
            files[str(place_)] = helper_text(module_name, used, before).encode()
    return DraftedLevel(family, dict(sorted(files.items())), tuple(mended), tuple(left))


def _round(
    family: Family,
    rules: Sequence[type[Rule]],
    tree: _Tree,
    served: set[Device],
    needs: dict[str, set[str]],
    mended: list[ScanFinding],
) -> tuple[dict[str, bytes], list[ScanFinding]]:
    """Return the files that one pass of edits changes, and the findings it leaves."""
    files: dict[str, bytes] = {}
    left: list[ScanFinding] = []
    there = DEVICES in _helpers_there(tree)
    for path, module in tree.modules.items():
        edits: list[TextEdit] = []
        for spot, finding in spots_of(module, rules, served=served):
            done = None
            if not _in_f_string(module, spot) and not is_test(path):
                done = family.menders[finding.code](module, spot)
            if done is None or _overlaps(edits, done):
                left.append(finding)
                continue
            edits += [_renamed(module, edit, there=there) for edit in done.edits]
            if done.needs:
                needs.setdefault(path, set()).update(done.needs)
            mended.append(finding)
        if edits:
            files[path] = module.source.apply(*edits).encode()
    return files, left


def is_test(path: str) -> bool:
    """Whether a file belongs to the upstream's own tests, which a draft leaves as they are."""
    parts = PurePosixPath(path).parts
    return any(part in _TESTS for part in parts[:-1]) or parts[-1].startswith("test_")


def _in_f_string(module: Module, spot: Spot) -> bool:
    """Whether a node is inside an f-string, where older Pythons give no exact positions."""
    return any(isinstance(parent, ast.JoinedStr) for parent, _ in module.ancestors(spot.node))


def _bound(module: Module, *, there: bool) -> str:
    """Return the name that the helper gets in a file, which the file uses for nothing else.

    ``there``: an earlier draft has put it into the tree, and the file may import it already.
    """
    used = {each.id for each in module.all(ast.Name)} | {each.arg for each in module.all(ast.arg)}
    ours = {each.value.id for each in module.all(ast.Attribute)
            if isinstance(each.value, ast.Name) and each.attr in PROVIDES[DEVICES]}  # fmt: skip
    if there and f"port_{DEVICES}" in module.imports:
        return f"port_{DEVICES}"
    is_own = there and DEVICES in ours
    own = not is_own and (DEVICES in module.imports or (DEVICES in used and DEVICES not in ours))
    return f"port_{DEVICES}" if own else DEVICES


def _renamed(module: Module, edit: TextEdit, *, there: bool) -> TextEdit:
    """Return an edit whose text calls the helper by the name that it gets in the file."""
    bound = _bound(module, there=there)
    if bound == DEVICES:
        return edit
    text = re.sub(rf"\b{DEVICES}\.(?=\w+\()", f"{bound}.", edit.replacement)
    return replace(edit, replacement=text)


def _helpers_there(tree: _Tree) -> dict[str, PurePosixPath]:
    """Return the helper modules that an earlier draft has put into the tree."""
    return {
        name: PurePosixPath(path)
        for path, content in sorted(tree.contents.items(), reverse=True)
        for name in PROVIDES
        if content.startswith(helper_text(name, ()).rstrip().encode())
    }


def _place_helpers(needs: Mapping[str, set[str]], tree: _Tree) -> dict[str, PurePosixPath]:
    """Return the path of each helper module that files need."""
    users: dict[str, set[str]] = {}
    for path, names in needs.items():
        for name in names:
            users.setdefault(helper_of(name), set()).add(path)
    return {
        name: place(name, paths, tree.contents, tree.all_modules)
        for name, paths in sorted(users.items())
    }


def _import_lines(
    module: Module,
    names: set[str],
    helpers: Mapping[str, PurePosixPath],
    layout: Layout,
    there: Mapping[str, PurePosixPath],
) -> list[str]:
    """Return the lines that import what a file needs, and does not import already."""
    lines = []
    for name, path in helpers.items():
        own = sorted(names & set(PROVIDES[name]))
        if own:
            taken = [] if name == DEVICES else own
            if name in there and {*(taken or [name])} <= module.imports.keys():
                continue
            lines += import_lines(module, path, taken, _bound_before(module), layout)
    return lines


def _bound_before(module: Module) -> str:
    """Return the name by which the edited file calls the helper."""
    called = {each.value.id for each in module.all(ast.Attribute)
              if isinstance(each.value, ast.Name) and each.attr in PROVIDES[DEVICES]}  # fmt: skip
    return f"port_{DEVICES}" if f"port_{DEVICES}" in called else DEVICES


def _overlaps(edits: Sequence[TextEdit], done: Mended) -> bool:
    """Whether an edit would change what another one changes already."""
    return any(
        (new.span[:2] < old.span[2:] and old.span[:2] < new.span[2:])
        or new.span[:2] == old.span[:2]
        for new in done.edits
        for old in edits
    )
