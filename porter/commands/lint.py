"""Find patches that are not fit for review.

Rules on the patch files: header, name, series, recipe, path, link, submodule, diff, garbage,
signature, index, whitespace; on the pinned tree (skipped with --files-only): apply, offset, size;
on patches and probes: vendor, names of torch_npu and habana_frameworks that are not published;
on the recipes of a series without problems: contract, invented, parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from porter.commands.options import add_flag, add_format, add_ports, project_pins, the_ports
from porter.errors import Exit
from porter.finding import Finding
from porter.terminal import colour_wanted, counted, paint, plain

EXAMPLES = (
    ("porter lint", "lint the patches of every port; in a tree, of its port"),
    ("porter lint v-diffusion --files-only", "without the upstream: only rules on the patch files"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports to lint (default: all)")
    add_flag(parser, "--files-only", "do not apply the patches to the pin")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.levels.lint import lint_port
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.verify.plan.header_claims import lint_header_claims
    from porter.verify.plan.own_readings import lint_own_readings
    from porter.verify.plan.recipe_lint import lint_recipes
    from porter.verify.plan.vendor_names import lint_vendor_names

    pins = project_pins(args)
    chosen = [pins.port(name) for name in the_ports(args)] or list(pins.ports())
    found: list[tuple[str, list[Finding]]] = []
    for pin in chosen:
        findings, patches = lint_port(pins.root, pin, files_only=args.files_only)
        if not any(finding.severity == "error" for finding in findings):  # a series to read
            findings += lint_recipes(pins.root, pin.name)
        findings += lint_vendor_names(pins.root, pin.name, patches)
        findings += lint_own_readings(pins.root, pin.name, patches)
        findings += lint_header_claims(pins.root, pin.name, patches)
        found.append((pin.name, findings))
    prefix = folder_in_repository(pins.root)
    write_files(args.output, lambda form: _render(found, form, prefix))
    print(_render(found, args.format, prefix))
    wrong = any(f.severity == "error" for _, findings in found for f in findings)
    return Exit.FAILED if wrong else Exit.OK


def _render(ports: Sequence[tuple[str, Sequence[Finding]]], form: str, prefix: str = "") -> str:
    """Return findings by port as text, JSON, GitHub annotations, SARIF or JUnit."""
    from porter.report.ci.write import Case, as_form, as_json

    findings = [finding for _, found in ports for finding in found]
    if form == "text":
        return "\n".join([*(_line(finding) for finding in findings), *_ends(ports)])
    if form == "json":
        wrong = any(finding.severity == "error" for finding in findings)
        return as_json({"ok": not wrong, "ports": [{"port": p, "findings": f} for p, f in ports]})
    return as_form(form, "porter lint", [Case(p, "series", found) for p, found in ports], prefix)


def _line(finding: Finding) -> str:
    colour = colour_wanted()
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    style = "red" if finding.severity == "error" else "yellow"
    rule = paint(f"[{finding.rule}]", style, colour)
    return f"{paint(where, 'bold', colour)}: {plain(finding.text)} {rule}"


def _ends(ports: Sequence[tuple[str, Sequence[Finding]]]) -> list[str]:
    lines = []
    for port, findings in ports:
        wrong = sum(finding.severity == "error" for finding in findings)
        style = "red" if wrong else "green"
        unseen = any(finding.rule == "coverage" for finding in findings)
        fit = "fit for review, as far as it was looked at" if unseen else "fit for review"
        summary = counted(wrong, "problem") if wrong else fit
        lines.append(f"{port}: {paint(summary, style, colour_wanted())}")
    return lines
