"""Levels on the terminal and as JSON: ``porter log`` lists them, ``porter show`` shows one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from porter.terminal import colour_wanted, counted, flow, paint, paint_diff, plain, readable, table
from porter.tree.tree import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from porter.series.diff import FilePatch
    from porter.series.series import Patch
    from porter.tree.overview import LevelView, PortView

_BAR_WIDTH = 24


def log_json(view: PortView) -> dict[str, Any]:
    """Return the levels of a port or tree as plain values."""
    at = view.here.level.number if view.here and view.here.level and not view.here.former else None
    return {
        "port": view.pin.name,
        "folder": str(view.tree.folder) if view.tree else None,
        "levels": [
            {
                "number": level.number,
                "name": level.name,
                "subject": level.subject,
                "patch": level.patch.name if level.patch else None,
                "devices": list(level.devices),
                "files": [readable(path) for path in level.paths],
                "commit": level.commit,
                "tree": level.tree,
                "applies": level.applies,
                "current": level.number == at,
            }
            for level in view.levels
        ],
        "broken": view.broken.why if view.broken else None,
    }


def log_lines(view: PortView) -> list[str]:
    """Return the levels of a port or tree as a table.

    ``*`` marks the tree's own level, ``!`` the levels that do not apply.
    """
    colour, here = colour_wanted(), view.here
    patches = counted(len(view.levels) - 1, "patch")
    folder = f" in {shown(view.tree.folder)}" if view.tree else ""
    pin = view.pin
    source = f"upstream {pin.commit[:10]}" if pin.commit else str(pin.sdist)
    lines = [f"{paint(pin.name, 'bold', colour)}{folder}: {patches} on {source}", ""]
    rows, styles = [], []
    for level in view.levels:
        at = bool(here and here.level and here.level.name == level.name)
        mark = "*" if at and here and not here.ahead else "+" if at else " "
        mark = "!" if level.applies is False and not at else mark
        files = counted(len(level.paths), "file") if level.patch else ""
        devices = ",".join(level.devices)
        rows.append((f"{mark} {level.number}", level.name, devices, files, level.subject))
        styles.append("green" if at else "red" if level.applies is False else None)
    head = ("  #", "LEVEL", "DEVICES", "TOUCHES", "SUBJECT")
    lines += table(rows, head=head, styles=("dim", "cyan"), row_styles=styles, colour=colour)
    if here and here.level and here.ahead:
        lines += ["", f"+ HEAD is {counted(here.ahead, 'commit')} after this level"]
    if view.broken:
        lines += ["", *flow(f"! {view.broken.why}")]
    return lines


@dataclass(frozen=True)
class _FileStat:
    """One file of a patch, and how many lines the patch adds and removes there."""

    file: FilePatch
    added: int
    removed: int

    @property
    def origin(self) -> str | None:
        """The path that the file was renamed or copied from."""
        moved = self.file.kind in ("rename", "copy") and self.file.old_path
        return readable(moved) if moved else None

    @property
    def name(self) -> str:
        path = readable(self.file.path)
        return f"{self.origin} -> {path}" if self.origin else path


def _stats(patch: Patch) -> list[_FileStat]:
    from porter.series.unified import diff_text, read_diff

    both = zip(patch.files, read_diff(diff_text(patch)), strict=True)
    return [_FileStat(file, counts.added, counts.removed) for file, counts in both]


def level_json(port: PortView, level: LevelView) -> dict[str, Any]:
    """Return one level as plain values: of level 0 its pin, of others header and files."""
    value: dict[str, Any] = {
        "port": port.pin.name,
        "number": level.number,
        "name": level.name,
        "subject": level.subject,
        "commit": level.commit,
        "tree": level.tree,
        "applies": level.applies,
    }
    if level.patch is None:
        return {
            **value,
            "url": port.pin.url,
            "license": port.pin.license_shown,
            "checkpoints": [{"name": c.name, "sha256": c.sha256} for c in port.pin.checkpoints],
        }
    header = level.patch.header
    return {
        **value,
        "patch": str(level.patch.path),
        "sha256": level.patch.sha256,
        "author": f"{header.author.name} <{header.author.email}>",
        "date": header.date,
        "body": header.body,
        "devices": list(header.devices),
        "keeps": header.keeps,
        "gains": header.gains,
        "origin": header.origin,
        "forwarded": header.forwarded,
        "files": [
            {
                "path": readable(stat.file.path),
                "kind": stat.file.kind,
                "from": stat.origin,
                "added": stat.added,
                "removed": stat.removed,
                "binary": stat.file.binary is not None,
            }
            for stat in _stats(level.patch)
        ],
    }


def level_lines(port: PortView, level: LevelView, *, diff: bool) -> list[str]:
    """Return one level for people: header, files and, unless ``diff`` is False, its diff."""
    colour = colour_wanted()
    title = f"level {level.number} of {len(port.levels) - 1}: {paint(level.name, 'bold', colour)}"
    lines = [f"{port.pin.name}, {title}", ""]
    if level.patch is None:
        return lines + _fact_lines(_upstream_facts(port), colour)
    header = level.patch.header
    facts = [
        ("subject", header.subject),
        ("author", f"{header.author.name} <{header.author.email}>, {header.date}"),
        ("patch", level.patch.name),
    ]
    if level.commit and level.tree:
        facts += [("commit", level.commit), ("tree", level.tree)]
    if level.applies is False and port.broken:
        facts.append(("applies", f"no: {port.broken.why}"))
    lines += [*_fact_lines(facts, colour), ""]
    for line in header.body.rstrip("\n").split("\n"):
        lines += flow(plain(line)) or [""]
    lines += ["", *_stat_lines(_stats(level.patch), colour)]
    if diff:
        lines += ["", *paint_diff(level.patch.raw[level.patch.diff.first_byte :], colour)]
    return lines


def _fact_lines(facts: Sequence[tuple[str, str]], colour: bool) -> list[str]:
    return table([(name, plain(value)) for name, value in facts], styles=("dim",), colour=colour)


def _upstream_facts(port: PortView) -> list[tuple[str, str]]:
    pin = port.pin
    facts = [("upstream", pin.url or str(pin.sdist))]
    facts += [("commit", pin.commit)] if pin.commit else []
    facts += [("tree", pin.tree), ("licence", pin.license_shown)]
    facts += [("wanted", " ".join(pin.wanted))] if pin.wanted else []
    facts += [("submodule", f"{path} ({name})") for path, name in pin.submodules.items()]
    facts += [("beside it", name) for name in pin.companions]
    facts += [("also from", str(source)) for source in pin.sources[1:]]
    for checkpoint in pin.checkpoints:
        digest = f"sha256 {checkpoint.sha256}" if checkpoint.sha256 else "no published hash"
        facts.append(("checkpoint", f"{checkpoint.name}, {digest}"))
    return facts


def _stat_lines(stats: Sequence[_FileStat], colour: bool) -> list[str]:
    """Return a line per file with a bar of its added and removed lines, and the sums."""
    width = max((len(stat.name) for stat in stats), default=0)
    most = max((stat.added + stat.removed for stat in stats), default=0)
    scale = min(1.0, _BAR_WIDTH / most) if most else 1.0
    lines = []
    for stat in stats:
        note = {"add": "new", "delete": "deleted"}.get(stat.file.kind, "")
        if stat.file.binary:
            lines.append(f" {stat.name:<{width}}  binary {note}".rstrip())
            continue
        plus, minus = (-(-int(n * scale * 100) // 100) for n in (stat.added, stat.removed))
        bar = paint("+" * plus, "green", colour) + paint("-" * minus, "red", colour)
        counts = f"+{stat.added} -{stat.removed}"
        lines.append(f" {stat.name:<{width}}  {counts:<9} {bar} {note}".rstrip())
    added, removed = sum(stat.added for stat in stats), sum(stat.removed for stat in stats)
    lines.append(f" {counted(len(stats), 'file')}, {added} lines added, {removed} removed")
    return lines
