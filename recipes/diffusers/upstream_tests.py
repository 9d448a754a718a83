"""The upstream's own tests of what the port touches, run by pytest in this process.

Which tests pass is the outcome. Tests that need the network fail alike at every level. The tiny
tokenizer and the depth estimator's preprocessor that the pipelines' tests load from the hub are
replaced by ones that are made here: what they compare with itself passes, what they compare with
recorded images cannot.
"""

from __future__ import annotations

import collections
import sys
from typing import Any

from small_pipelines import write_tokenizer

from porter.verify.probe import Probe, ProbeError


class Outcomes:
    """A pytest plugin that keeps the outcome of every test."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.of.setdefault(report.nodeid, report.outcome)

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self.of[report.nodeid] = "not collected"


def run(probe: Probe) -> None:
    """Record ``outcomes`` of ``files``, or of those of the ``group``, a line a test; count them."""
    import pytest

    _choose_device(probe)
    _bring_tokenizer(probe)
    _bring_preprocessor()
    sys.path.insert(0, str(probe.tree))
    outcomes = Outcomes()
    chosen = probe.parameters["files"]
    if "group" in probe.parameters:
        chosen = chosen[probe.parameters["group"]]
    files = [str(probe.tree / "tests" / name) for name in chosen]
    words = ["-q", "-x"] if probe.parameters.get("stop") else ["-q"]
    words += [
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        f"--rootdir={probe.tree}",
    ]
    if deselected := probe.parameters.get("without"):
        words += ["-k", f"not ({' or '.join(deselected)})"]
    pytest.main([*words, *files], plugins=[outcomes])
    if not outcomes.of:
        raise ProbeError("no test ran")
    lines = [f"{outcome} {name}" for name, outcome in sorted(outcomes.of.items())]
    probe.record_text("outcomes", "\n".join(lines) + "\n")
    for outcome, number in collections.Counter(outcomes.of.values()).items():
        probe.count(f"tests/{outcome.replace(' ', '-')}", number)
    for line in lines:
        if not line.startswith(("passed", "skipped")):
            print(line)


def _choose_device(probe: Probe) -> None:
    """Tell the upstream's test modules the device; level 0 would refuse its name."""
    import diffusers.utils
    from diffusers.utils import testing_utils

    for module in (diffusers.utils, testing_utils):
        module.torch_device = probe.device.type


def _bring_tokenizer(probe: Probe) -> None:
    from transformers import CLIPTokenizer

    folder = probe.scratch / "tiny-random-clip"
    write_tokenizer(folder)
    native = CLIPTokenizer.from_pretrained

    def from_pretrained(name: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "hf-internal-testing/tiny-random-clip":
            return native(folder, *args, model_max_length=77, **kwargs)
        return native(name, *args, **kwargs)

    CLIPTokenizer.from_pretrained = from_pretrained


def _bring_preprocessor() -> None:
    from transformers import DPTFeatureExtractor

    native = DPTFeatureExtractor.from_pretrained

    def from_pretrained(name: Any, *args: Any, **kwargs: Any) -> Any:
        if name == "hf-internal-testing/tiny-random-DPTForDepthEstimation":
            return DPTFeatureExtractor(size={"height": 32, "width": 32})
        return native(name, *args, **kwargs)

    DPTFeatureExtractor.from_pretrained = from_pretrained
