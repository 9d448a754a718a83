"""Every rule finds the marked lines of its own example, and nothing in the mended one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import porter
from porter.scan.pages import page, table
from porter.scan.reading.module import Module
from porter.scan.reading.rule import OWN_READING, SEVERITIES, Rule
from porter.scan.rules.registry import FAMILIES, RULES
from porter.scan.scanning import scan_module

PROJECT = Path(porter.__file__).parent.parent
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def lines(rule: type[Rule], text: str) -> list[int]:
    return [finding.line for finding in scan_module(Module("code.py", text), [rule])]


@every_rule
def test_a_rule_finds_the_marked_lines_and_no_other(rule: type[Rule]) -> None:
    text = rule.before
    marked = [n for n, line in enumerate(text.split("\n"), 1) if line.endswith("# <-")]

    assert marked
    assert lines(rule, text) == marked


@every_rule
def test_a_rule_finds_nothing_in_its_mended_example(rule: type[Rule]) -> None:
    ast.parse(rule.after)

    assert lines(rule, rule.after) == []


@every_rule
def test_a_rule_names_patches_that_are_there(rule: type[Rule]) -> None:
    assert [each for each in rule.learnt if not (PROJECT / "patches" / each).is_file()] == []


@every_rule
def test_a_rule_says_why_on_each_device_and_where_that_stands(rule: type[Rule]) -> None:
    assert rule.reasons.keys() <= {"hpu", "npu"}
    for reason in rule.reasons.values():
        assert reason.severity in SEVERITIES
        assert len(reason.text) > 20
        assert reason.source == OWN_READING or len(reason.source) > 8
    text = "\n".join(page(rule))
    for part in (rule.title, rule.mend, *(r.text for r in rule.reasons.values())):
        assert part in text


def test_codes_are_in_order_and_mean_one_rule_each() -> None:
    rules = [rule for family in FAMILIES.values() for rule in family]
    codes, names = [rule.code for rule in rules], [rule.name for rule in rules]

    assert codes == sorted(set(codes))
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"PT\d{3}", code) for code in codes)


def test_every_rule_class_is_registered() -> None:
    assert set(all_subclasses(Rule)) == set(RULES.values())


def all_subclasses(base: type[Rule]) -> list[type[Rule]]:
    return [each for sub in base.__subclasses__() for each in (sub, *all_subclasses(sub))]


def test_the_documentation_holds_the_table_of_the_classes() -> None:
    assert "\n".join(table()) in (PROJECT / "docs" / "scan.md").read_text("utf-8")
