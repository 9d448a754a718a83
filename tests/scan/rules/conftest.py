"""Hold single rules against short texts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from porter.scan.reading.module import Module
from porter.scan.rules.registry import find_rules
from porter.scan.scanning import scan_module

Found = Callable[..., list[str]]


@pytest.fixture
def found() -> Found:
    """``found("PT101", text)``: the lines a rule finds, as ``LINE SURE SEVERITY``, short."""

    def run(code: str, text: str, *, served: tuple[str, ...] = ()) -> list[str]:
        module = Module("code.py", text)
        findings = scan_module(module, find_rules(code), served=set(served))  # type: ignore[arg-type]
        return [f"{f.line} {f.sure} {f.gravest}" for f in findings]

    return run
