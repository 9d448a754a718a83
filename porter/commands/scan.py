"""Find what an accelerator trips over in PyTorch code, and say what mends it.

PORT is a port of the project (at its last level, or --level), or a folder or file of Python code;
in a tree its own files are read, as they are edited. Nothing is imported or executed, unless a
COMMAND is given: it then runs on the simulated devices, in a copy, and what it counted is joined to
the same lines. `porter explain CODE` describes a rule; `# porter: ignore[CODE] why` exempts a line.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

from porter.commands.options import (
    add_command_line,
    add_format,
    add_level_option,
    add_port,
    add_repeated,
    project_folder,
    the_tree,
)
from porter.errors import BadInput, Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from porter.scan.reading.rule import Device
    from porter.scan.scanning import Scan
    from porter.scan.sources import CodeFile

EXAMPLES = (
    ("porter scan ../my-model", "what an HPU and an NPU trip over in a folder of code"),
    ("porter scan v-diffusion --level 0", "the same in a port's pristine upstream"),
    ("porter scan . -- python sample.py", "run it on the simulated devices too, and count"),
    ("porter scan my-model --output scan.sarif", "write a file for code scanning too"),
)


class _Scanned(NamedTuple):
    """What is scanned: its name, its folder in the repository around it, its Python files, and a
    folder with all of its files."""

    where: str
    prefix: str
    files: Iterator[CodeFile]
    open_folder: Callable[[], AbstractContextManager[Path]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser, "a port, or a folder or file of code (default: the tree's files, else here)")
    add_level_option(parser, "this level of the port; default: the last")
    parser.add_argument(
        "--device", metavar="DEVICE", help="only for hpu or npu, or both: hpu,npu (the default)"
    )
    add_repeated(parser, "--select", "RULE", "only rules whose codes begin so: PT1,PT501")
    add_repeated(parser, "--ignore", "RULE", "no rules whose codes begin so")
    add_format(parser)
    add_command_line(parser, "run on the simulated devices too: python SCRIPT ARGUMENTS")


def run(args: argparse.Namespace) -> int:
    from porter.report.ci.write import write_files
    from porter.scan.measuring.kinds import MEASURED
    from porter.scan.rules.registry import chosen_rules
    from porter.scan.scanning import scan_files

    select, ignore = _codes(args.select), _codes(args.ignore)
    of_rules = [code for code in select if not code.startswith(MEASURED)]
    rules = []
    if of_rules or not select:
        rules = chosen_rules(of_rules, [code for code in ignore if not code.startswith(MEASURED)])
    devices = _devices(args.device)
    with _files(args) as scanned:
        found = scan_files(scanned.files, rules, devices)
        if args.command_line:
            from porter.scan.measuring.joining import joined
            from porter.scan.measuring.running import measure_command

            with scanned.open_folder() as folder:
                found.measurement = measure_command(
                    folder, args.command_line, devices, migrate=not found.knows_devices
                )
            found.findings = [
                each
                for each in joined(found.findings, found.measurement.measured)
                if not each.code.startswith(MEASURED)
                or ((not select or each.code.startswith(tuple(select)))
                    and not each.code.startswith(tuple(ignore)))
            ]  # fmt: skip
    where, prefix = scanned.where, scanned.prefix
    write_files(args.output, lambda form: _render(found, where, form, prefix))
    print(_render(found, where, args.format, prefix))
    wrong = any(finding.gravest == "error" for finding in found.findings)
    return Exit.FAILED if wrong else Exit.OK


def _codes(given: list[str]) -> list[str]:
    return [code.strip().upper() for text in given for code in text.split(",")]


def _devices(text: str | None) -> tuple[Device, ...]:
    from porter.scan.reading.rule import DEVICES

    if text is None:
        return DEVICES
    names = [name.strip().removeprefix("sim:") for name in text.split(",")]
    if strange := [name for name in names if name not in DEVICES]:
        raise BadInput(f"--device: expected {' or '.join(DEVICES)}, found {strange[0]!r}")
    return tuple(device for device in DEVICES if device in names)


def _files(
    args: argparse.Namespace,
) -> AbstractContextManager[_Scanned]:
    """Open what is scanned."""
    from pathlib import Path

    tree = the_tree(args) if args.port is None or args.dir is not None else None
    if tree is not None and args.level is not None:
        return _level(args, tree.record.port)
    if args.port is None:
        return _folder(tree.folder if tree is not None else Path(), args)
    path = Path(args.port).expanduser()
    if "/" in args.port or args.port in (".", "..") or not _is_port(args):
        if path.exists():
            return _folder(path, args)
        raise BadInput(f"{args.port}: expected a port, or a folder or file of code, found neither")
    return _level(args, args.port)


def _is_port(args: argparse.Namespace) -> bool:
    """Whether a project is here, or given, that has a port of that name."""
    from porter.upstream.pins import load_pins

    try:
        return args.port in load_pins(project_folder(args)).pins
    except BadInput:
        if args.root is not None:
            raise
        return False


def _folder(path: Path, args: argparse.Namespace) -> AbstractContextManager[_Scanned]:
    from contextlib import nullcontext

    from porter.report.ci.write import folder_in_repository
    from porter.scan.sources import folder_files
    from porter.tree.tree import shown

    if args.level is not None:
        raise BadInput(f"--level {args.level}: {path} is a folder, which has no levels")
    folder = path if path.is_dir() else path.parent
    prefix = folder_in_repository(folder)
    return nullcontext(
        _Scanned(shown(path), prefix, folder_files(path), lambda: nullcontext(folder))
    )


def _level(args: argparse.Namespace, port: str) -> AbstractContextManager[_Scanned]:
    from contextlib import contextmanager

    from porter.levels.levels import build_levels, find_level
    from porter.report.terminal.progress import transfer_bar
    from porter.scan.sources import level_files, write_level
    from porter.scratch import scratch_folder
    from porter.series.series import load_series
    from porter.upstream.pins import load_pins
    from porter.upstream.store import open_upstream

    @contextmanager
    def opened() -> Iterator[_Scanned]:
        root = project_folder(args)
        pins = load_pins(root)
        series = load_series(root, port)
        with (
            transfer_bar() as progress,
            open_upstream(root, pins.port(port), progress=progress) as upstream,
        ):
            levels = build_levels(upstream, series, write=True)
            last = [each for each in levels if not each.off][-1]
            level = last if args.level is None else find_level(levels, args.level)
            name = f"{port}, level {level.number}: {level.name}"

            @contextmanager
            def written() -> Iterator[Path]:
                with scratch_folder("scan") as folder:
                    write_level(upstream, level, folder)
                    yield folder

            yield _Scanned(name, "", level_files(upstream, level), written)

    return opened()


def _render(found: Scan, where: str, form: str, prefix: str) -> str:
    from porter.report.ci.write import Case, as_form, as_json
    from porter.report.terminal.scan import as_data, as_findings, scan_lines
    from porter.scan.measuring.kinds import BY_CODE
    from porter.scan.rules.registry import RULES

    if form == "text":
        return "\n".join(scan_lines(found, where))
    if form == "json":
        return as_json(as_data(found, where))
    titles = {code: rule.title for code, rule in RULES.items()}
    titles |= {code: kind.title for code, kind in BY_CODE.items()}
    case = Case("scan", where, as_findings(found))
    return as_form(form, "porter scan", [case], prefix, titles)
