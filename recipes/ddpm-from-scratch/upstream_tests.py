"""Upstream's own tests, as its authors ran them. At the pin they are stale: each fails, and how is
recorded."""

from __future__ import annotations

import contextlib
import io
import runpy

from PIL import Image

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Run each test file as ``python -m tests.NAME``; record how it ended, or "passed"."""
    (probe.scratch / "tests").mkdir()
    Image.effect_noise((8, 6), 40).save(probe.scratch / "tests" / "testimg.gif")
    with contextlib.chdir(probe.scratch), contextlib.redirect_stdout(io.StringIO()):
        for path in sorted((probe.tree / "tests").glob("*_test.py")):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except Exception as error:  # whatever upstream's test ends with
                told = f"{type(error).__name__}: {error}"
            else:
                told = "passed"
            probe.record_text(path.stem, told)
