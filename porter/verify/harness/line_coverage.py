"""Record which lines of some files a run executes: a recipe cannot check code it never runs.

Runs in the probe's interpreter: the standard library only. Python 3.12 and newer report each line
once through :mod:`sys.monitoring`; older ones are traced, which makes a run about twice as long.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LINES = "lines.json"
"""The file beside a trace that holds file -> executed lines."""


class LineCoverage:
    """Collects (file, line) of ``files`` from :meth:`start` on; ``root`` is the tree's folder."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self._names = {str(root / name): name for name in files}
        self._executed: dict[str, set[int]] = {name: set() for name in self._names.values()}

    def start(self) -> None:
        """Start recording, in this thread and those started later."""
        if sys.version_info >= (3, 12):
            self._monitor()
        else:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def executed(self) -> dict[str, list[int]]:
        """Return the lines executed so far, sorted, by file."""
        # A module's frame begins on line 0 in Python 3.11.
        return {name: sorted(lines - {0}) for name, lines in self._executed.items()}

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        name = self._names.get(frame.f_code.co_filename)
        if name is None:
            return None
        lines = self._executed[name]
        lines.add(frame.f_lineno)

        def step(inner: FrameType, _event: str, _argument: Any) -> Any:
            lines.add(inner.f_lineno)
            return step

        return step

    def _monitor(self) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        tool = monitoring.COVERAGE_ID

        def line_executed(code: CodeType, line: int) -> Any:
            if (name := self._names.get(code.co_filename)) is not None:
                self._executed[name].add(line)
            return monitoring.DISABLE

        monitoring.use_tool_id(tool, "porter")
        monitoring.register_callback(tool, monitoring.events.LINE, line_executed)
        monitoring.set_events(tool, monitoring.events.LINE)
