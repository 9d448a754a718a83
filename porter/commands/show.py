"""Show one level: who made it and why, what it keeps and gains, its files and its diff."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from porter.commands.options import add_folder_option, add_json, add_port_option

if TYPE_CHECKING:
    from porter.tree.overview import LevelView, PortView


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "level", nargs="?", metavar="LEVEL", help="number, name or prefix (default: the tree's)"
    )
    add_folder_option(parser)
    add_port_option(parser)
    parser.add_argument("--stat", action="store_true", help="leave the diff out")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.terminal import emit, emit_json, page
    from porter.tree.overview import view

    port = view(args.dir, args.port)
    level = _chosen(port, args.level)
    if args.json:
        emit_json(_value(port, level))
    else:
        lines = _lines(port, level, diff=not args.stat)
        emit(lines) if args.stat else page(lines)
    return 0


def _chosen(port: PortView, text: str | None) -> LevelView:
    from porter.errors import BadInput

    if text is not None:
        return port.level(text)
    if port.here is not None and port.here.level is not None:
        return port.level(port.here.level.name)
    raise BadInput(f"which level? `porter log {port.pin.name}` lists them")


def _counts(level: LevelView) -> list[tuple[Any, int, int]]:
    """Return (file, lines added, lines removed) for each file of a patch."""
    rows = []
    for file in level.patch.files if level.patch else ():
        lines = [line[:1] for hunk in file.hunks for line in hunk.lines]
        rows.append((file, lines.count(b"+"), lines.count(b"-")))
    return rows


def _value(port: PortView, level: LevelView) -> dict[str, Any]:
    from porter.terminal import readable

    value: dict[str, Any] = {
        "port": port.pin.name,
        "number": level.number,
        "name": level.name,
        "subject": level.subject,
        "commit": level.commit,
        "tree": level.tree,
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
                "path": readable(file.path),
                "kind": file.kind,
                "from": readable(file.old_path) if file.kind in ("rename", "copy") else None,
                "added": added,
                "removed": removed,
                "binary": file.binary is not None,
            }
            for file, added, removed in _counts(level)
        ],
    }


def _lines(port: PortView, level: LevelView, *, diff: bool) -> list[str]:
    from porter.terminal import colour_wanted, flow, paint, paint_diff, plain

    colour = colour_wanted()
    title = f"level {level.number} of {len(port.levels) - 1}: {paint(level.name, 'bold', colour)}"
    lines = [f"{port.pin.name}, {title}", ""]
    if level.patch is None:
        return lines + _facts(_upstream_facts(port), colour)
    header = level.patch.header
    facts = [
        ("subject", header.subject),
        ("author", f"{header.author.name} <{header.author.email}>, {header.date}"),
        ("patch", level.patch.name),
    ]
    if level.commit and level.tree:
        facts += [("commit", level.commit), ("tree", level.tree)]
    lines += [*_facts(facts, colour), ""]
    for line in header.body.rstrip("\n").split("\n"):
        lines += flow(plain(line)) or [""]
    lines += ["", *_stat(level, colour)]
    if diff:
        lines += ["", *paint_diff(level.patch.raw[level.patch.diff.first_byte :], colour)]
    return lines


def _facts(facts: list[tuple[str, str]], colour: bool) -> list[str]:
    from porter.terminal import plain, table

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


def _stat(level: LevelView, colour: bool) -> list[str]:
    from porter.terminal import counted, paint, readable

    counts = _counts(level)
    names = [
        f"{readable(f.old_path)} -> {readable(f.path)}"
        if f.kind in ("rename", "copy") and f.old_path
        else readable(f.path)
        for f, _, _ in counts
    ]
    width = max(map(len, names), default=0)
    most = max((added + removed for _, added, removed in counts), default=0)
    scale = min(1.0, 24 / most) if most else 1.0
    lines = []
    for name, (file, added, removed) in zip(names, counts, strict=True):
        note = {"add": "new", "delete": "deleted"}.get(file.kind, "")
        if file.binary:
            lines.append(f" {name:<{width}}  binary {note}".rstrip())
            continue
        plus, minus = (-(-int(n * scale * 100) // 100) for n in (added, removed))
        bar = paint("+" * plus, "green", colour) + paint("-" * minus, "red", colour)
        lines.append(f" {name:<{width}}  {f'+{added} -{removed}':<9} {bar} {note}".rstrip())
    total = sum(added for _, added, _ in counts), sum(removed for _, _, removed in counts)
    lines.append(f" {counted(len(counts), 'file')}, {total[0]} lines added, {total[1]} removed")
    return lines
