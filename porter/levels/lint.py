"""``porter lint``: judge whether every patch of a series is fit for review.

:func:`lint_files` reads the patch files alone and needs no upstream. :func:`lint_built` applies
them on the pinned tree and finds hunks that moved, links out of the tree, ids that differ from
those stated, and patches that git would write differently. What both pass, ``porter export
--check`` of the untouched tree leaves as it is: name, header and diff are compared with what an
export writes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput, SourceUnavailable
from porter.finding import Finding
from porter.git.objects import MODE_LINK, MODE_SUBMODULE
from porter.git.quoting import show_path
from porter.git.safepath import escapes, is_dot_git
from porter.levels.build import Builder, Step
from porter.levels.rediff import export_diffs
from porter.places import patches_dir
from porter.series.diff import FilePatch
from porter.series.header import FIELDS, MAIL_FIELDS, UNKNOWN
from porter.series.rendering import mail_date, render_header
from porter.series.series import SERIES_FILE, Patch, read_patch, read_series_file
from porter.terminal import counted
from porter.upstream.pins import Pin
from porter.upstream.store import open_upstream

if TYPE_CHECKING:
    from porter.levels.build import UpstreamObjects


NOT_LOOKED_AT = (
    "not looked at are whether the hunks apply, and where, the results' ids and links, and whether"
    " git writes the patches so"
)


def lint_port(
    root: Path, pin: Pin, *, files_only: bool = False
) -> tuple[list[Finding], list[Patch]]:
    """Return everything wrong with a port's series; with ``files_only``, in the files alone. Return
    its patches too, for other rules on them.

    An upstream that no source serves gives a note: what needs it was not checked.
    """
    findings, patches = lint_files(root, pin.name)
    usable = [p for p in patches if not any(problem.blocks for problem in p.problems)]
    if files_only or not patches:
        return findings, patches
    try:
        with open_upstream(root, pin) as upstream:
            findings += lint_built(upstream, pin.name, usable)
    except SourceUnavailable as error:
        text = f"not applied on the pin ({error.reason}): {NOT_LOOKED_AT}"
        findings.append(Finding(f"patches/{pin.name}/series", 0, "coverage", text, "note"))
    return findings, patches


def lint_files(root: Path, port: str) -> tuple[list[Finding], list[Patch]]:
    """Check the series file and each patch by itself; return the findings and the patches.

    Raises BadInput when there is no series file.
    """
    folder = patches_dir(root, port)
    lines, problems = read_series_file(folder / SERIES_FILE)
    where = f"patches/{port}"
    findings = [Finding(f"{where}/{SERIES_FILE}", p.line, "series", p.text) for p in problems]
    patches: list[Patch] = []
    levels: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            patch = read_patch(folder / line.name, off=line.off)
        except BadInput:
            text = f"{line.name}: expected a patch file in this folder, found none"
            findings.append(Finding(f"{where}/{SERIES_FILE}", line.line, "series", text))
            continue
        patches.append(patch)
        rows = [(problem.line, "header", problem.text) for problem in patch.problems]
        if not patch.header.bare:
            place = patch.name[:4] if problems else f"{number:04}"  # unknown beside a wrong line
            rows += [*_judge(patch, place), *_recipes(patch, root, port)]
            rows.sort(key=lambda row: row[:2])
        findings += [Finding(f"{where}/{patch.name}", *row) for row in rows]
        if first := levels.get(patch.level):
            at = patch.header.lines.get("Level", 0)
            text = f"Level: {first} already has the name {patch.level!r}"
            findings.append(Finding(f"{where}/{patch.name}", at, "series", text))
        elif patch.level:
            levels[patch.level] = patch.name
    listed = {line.name for line in lines}
    for path in sorted(folder.glob("*.patch")) + sorted(folder.glob("*.diff")):
        if path.name not in listed:
            text = "not named in the series; add it there or delete the file"
            findings.append(Finding(f"{where}/{path.name}", 0, "series", text))
    return findings, patches


_Row = tuple[int, str, str]
_OPEN = re.compile(rf"(?:({'|'.join((*MAIL_FIELDS, *FIELDS))}): (?:\[PATCH\] )?)?{UNKNOWN}\b")


def _judge(patch: Patch, place: str) -> Iterator[_Row]:
    name = f"{place}-{patch.level}.patch"
    if patch.level and patch.path.name != name:
        yield 0, "name", f"expected the file name {name}, after its place and its level"
    yield from _unknown(patch)
    yield from _header_as_exported(patch)
    yield from _around(patch)
    if not patch.diff.files and not patch.diff.doubtful:
        yield 0, "diff", "no `diff --git` section: the patch changes nothing"
    for file in patch.diff.files:
        yield from _paths(file)
        yield from _link(file)
        yield from _index_line(file)
        yield from _white_space(file)


def _unknown(patch: Patch) -> Iterator[_Row]:
    """Yield what the header still leaves open, as `porter import` writes it."""
    head = patch.raw.split(b"\n")[: patch.header.end]
    for number, line in enumerate(head, 1):
        if match := _OPEN.match(line.decode("utf-8", "replace")):
            yield number, "header", f"{match[1] or 'the reason'}: not stated yet, found {UNKNOWN}"


def _header_as_exported(patch: Patch) -> Iterator[_Row]:
    """Yield the first line of the header that an export writes otherwise."""
    who = patch.header.author
    if patch.problems:
        return
    date = mail_date(who.seconds, who.zone)
    ours = patch.raw.split(b"\n")[: patch.header.end]
    theirs = render_header(f"{who.name} <{who.email}>", date, patch.header.message).split(b"\n")[
        :-1
    ]
    for number, (our, their) in enumerate(zip_longest(ours, theirs), 1):
        if our != their:
            found, written = (_shown(line) for line in (our, their))
            yield number, "header", f"`porter export` writes {written} here, found {found}"
            return


def _recipes(patch: Patch, root: Path, port: str) -> Iterator[_Row]:
    """Yield the recipes named by Keeps and Gains that do not exist.

    They stand in parentheses: ``(recipes/toy/one.yaml, two.yaml)``. A name without a folder means
    that of the name before it, else the port's.
    """
    for field, text in (("Keeps", patch.header.keeps), ("Gains", patch.header.gains)):
        folder = f"recipes/{port}"
        for name in re.findall(r"[^\s,;()]+\.yaml\b", " ".join(re.findall(r"\([^)]*", text))):
            above, slash, file = name.rpartition("/")
            folder = above if slash else folder
            path = f"{folder}/{file}"
            if not (root / path).is_file():
                yield patch.header.lines.get(field, 0), "recipe", _no_recipe(root, field, path)


def _no_recipe(root: Path, field: str, path: str) -> str:
    folder = Path(path).parent
    there = sorted(file.name for file in (root / folder).glob("*.yaml"))
    near = difflib.get_close_matches(Path(path).name, there, n=1)
    hint = f"did you mean {folder}/{near[0]}?" if near else "write it, or name another"
    return f"{field}: expected a recipe, found {path}, which does not exist; {hint}"


def _shown(line: bytes | None) -> str:
    if line is None:
        return "the header's end"
    return repr(line.decode("utf-8", "replace")) if line else "an empty line"


def _around(patch: Patch) -> Iterator[_Row]:
    """Yield text that is neither header nor diff, once for each run of lines."""
    lines = patch.raw.split(b"\n")
    if patch.diff.files and patch.header.end < patch.diff.first_line - 1:
        text = "text between the `---` line and the diff (a diffstat?)"
        yield patch.header.end + 1, "garbage", text
    marks = (odd.line for odd in patch.diff.oddities if odd.ignored)  # `-- ` and git's version
    signature = next((line for line in marks if lines[line - 1] in (b"-- ", b"--")), 0)
    last = 0
    for odd in patch.diff.oddities:
        if signature and odd.line >= signature:
            continue
        if not odd.ignored:
            yield odd.line, "diff", odd.text
        elif odd.line != last + 1:
            yield odd.line, "garbage", odd.text
        last = odd.line if odd.ignored else 0
    if signature:
        yield signature, "signature", "a git version signature; export with --no-signature"


def _paths(file: FilePatch) -> Iterator[_Row]:
    for path in file.paths:
        if escapes(path):
            yield file.line, "path", f"{show_path(path)} leaves the tree"
        elif any(is_dot_git(part) for part in path.split(b"/")):
            yield file.line, "path", f"{show_path(path)} is inside .git on some file system"
    if MODE_SUBMODULE in (file.old_mode, file.new_mode) and file.kind != "delete":
        yield file.line, "submodule", f"{show_path(file.path)}: the pin sets a submodule's commit"


def _link(file: FilePatch) -> Iterator[_Row]:
    """Yield a symbolic link that leads out of the tree, or whose target the diff hides."""
    if file.new_path is None or file.new_mode != MODE_LINK:
        return
    if not file.hunks:
        if file.kind == "add" or file.binary is not None:
            yield (
                file.line,
                "link",
                f"{show_path(file.path)}: a symbolic link whose target the diff does not show",
            )
        return
    if text := _link_problem(file.new_path, file.hunks[-1].new_text):
        yield file.line, "link", text


def _link_problem(path: bytes, target: bytes) -> str | None:
    """Return what is wrong with a symbolic link at ``path`` to ``target``; None if nothing."""
    folder = path.rpartition(b"/")[0]
    if target.startswith(b"/") or escapes((folder + b"/" if folder else b"") + target):
        return f"{show_path(path)}: a symbolic link out of the tree, to {show_path(target)}"
    return None


def _index_line(file: FilePatch) -> Iterator[_Row]:
    changes_content = bool(file.hunks) or file.binary is not None or file.kind in ("add", "delete")
    if file.old_id is None or file.new_id is None:
        if changes_content:
            yield file.line, "index", f"{show_path(file.path)}: no index line (--full-index)"
    elif len(file.old_id) != 40 or len(file.new_id) != 40:
        text = f"{show_path(file.path)}: an abbreviated index line (--full-index)"
        yield file.line, "index", text
    if file.binary is not None and file.binary.method == "none":
        yield (
            file.binary.line,
            "diff",
            f"{show_path(file.path)}: binary without contents (--binary)",
        )


def _white_space(file: FilePatch) -> Iterator[_Row]:
    ends = [line for hunk in file.hunks for line in (hunk.old or hunk.new)]
    crlf = bool(ends) and all(line.endswith(b"\r\n") for line in ends if line.endswith(b"\n"))
    for hunk in file.hunks:
        for number, line in enumerate(hunk.lines, hunk.line + 1):
            text = line.removesuffix(b"\r") if crlf else line
            if line[:1] == b"+" and text != text.rstrip():
                yield number, "whitespace", "added line with trailing white space"
        if not hunk.trailing and len(hunk.lines) > 1 and hunk.lines[-1] in (b"+", b"+\r"):
            number = hunk.line + len(hunk.lines)
            yield number, "whitespace", "added empty line at the end of the file"


def lint_built(upstream: UpstreamObjects, port: str, patches: Sequence[Patch]) -> list[Finding]:
    """Apply the patches on the pin and check how they apply.

    Raises SourceUnavailable when a level's ids cannot be determined from the sources.
    """
    context = upstream.pin.context
    with Builder(upstream) as builder:
        steps = builder.run(patches)
        findings = [finding for step in steps for finding in _applied(step, port)]
        exact = [s for s in steps if not s.failures and not any(c.claimed for c in s.changes)]
        diffs = export_diffs(
            builder.scratch(), [(step.parent, step.tree) for step in exact], context
        )
    for step, diff in zip(exact, diffs, strict=True):
        findings += _minimal(step.patch, diff, port, context)
    for step in steps:
        if any(change.claimed for change in step.changes):
            text = "no source covers all its files: size and context are not checked"
            findings.append(Finding(_file(step, port), 0, "coverage", text, "note"))
    return findings


def _file(step: Step, port: str) -> str:
    return f"patches/{port}/{step.patch.name}"


def _applied(step: Step, port: str) -> Iterator[Finding]:
    file = _file(step, port)
    known = {(odd.line, odd.text) for odd in step.patch.diff.doubtful}  # of lint_files
    for failure in step.failures:
        if (failure.line, failure.reason) not in known:
            yield failure.finding(port)
    for offset in step.offsets:
        yield Finding(file, offset.line, "offset", str(offset))
    yield from _links(step, file)
    if step.sound and not step.failures and not step.offsets:
        yield from _ids(step, file)


def _links(step: Step, file: str) -> Iterator[Finding]:
    """Yield links that the patch leaves leading out of the tree, where its text does not show it.

    A link that only moves, or whose section has no mode, is known from the built tree alone.
    """
    sections = {section.path: section for section in step.patch.files}
    for change in step.changes:
        if change.entry is None or change.entry.mode != MODE_LINK or change.content is None:
            continue
        section = sections.get(change.path)
        problem = _link_problem(change.path, change.content)
        if problem and not (section and any(_link(section))):
            yield Finding(file, section.line if section else 0, "link", problem)


def _ids(step: Step, file: str) -> Iterator[Finding]:
    """Yield index lines whose new id is not the one that the patch produces."""
    made = {change.path: change.entry.oid for change in step.changes if change.entry is not None}
    for section in step.patch.files:
        stated, now = section.new_id, made.get(section.path)
        if (
            section.new_path is not None
            and stated is not None
            and now is not None
            and not now.startswith(stated)
        ):
            name = show_path(section.path)
            text = f"{name}: the index line states {stated}, the patch produces {now}"
            yield Finding(file, section.line, "index", text)


def _minimal(patch: Patch, diff: bytes, port: str, context: int) -> list[Finding]:
    """Compare the patch's diff with what git exports for the same two trees."""
    mine = patch.raw[patch.diff.first_byte :]
    if mine == diff or patch.diff.oddities:
        return []
    file = f"patches/{port}/{patch.name}"
    for section in patch.files:
        for hunk in section.hunks:
            if max(hunk.leading, hunk.trailing) > context:
                text = f"more than {counted(context, 'line')} of context"
                text += "; `porter export` corrects it"
                return [Finding(file, hunk.line, "size", text)]
    ours, gits = mine.split(b"\n"), diff.split(b"\n")
    same = next((n for n, (a, b) in enumerate(zip(ours, gits, strict=False)) if a != b), len(gits))
    size = f" in {len(gits)} lines, not {len(ours)}" if len(gits) != len(ours) else ""
    expected = show_path(gits[same])[:60] if same < len(gits) else "the end"
    text = f"git exports the same change differently{size}: here it has {expected!r}"
    text += "; `porter export` rewrites it"
    return [Finding(file, patch.diff.first_line + same, "size", text)]
