"""Whether a release of the vendor's software has graphs, as the tree asks, and what it prints."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from narrow import narrow
from torch_alone import stand_in

from porter.verify.probe import Probe

FAILS = "this call fails"


def run(probe: Probe) -> None:
    """Call a model three times, after one call that failed while it was captured.

    On an Ascend its software has no graphs, as older releases have none.
    """
    stand_in()
    if probe.device.type == "npu":
        vars(torch.npu).pop("NPUGraph")  # type: ignore[attr-defined]
    model = probe.alive(narrow("cc12m_1", probe.parameters["factor"])).requires_grad_(False)
    fails = False

    def answer(*args: Any) -> Any:
        result = model(*args)
        if fails:
            raise RuntimeError(FAILS)
        return result

    call: Any = answer
    printed = io.StringIO()
    try:
        from diffusion import graphs
    except ImportError:
        pass
    else:
        with contextlib.redirect_stdout(printed):
            if graphs.can_capture(probe.device):
                call = graphs.GraphedFunction(answer, probe.device)
    probe.count("told", printed.getvalue().count("No graphs, every operator is launched by itself"))
    with torch.no_grad():
        for number in range(4):
            fails = number == 0
            given = [probe.normal(f"x{number}", 1, 3, 64, 64), probe.uniform(f"t{number}", 1)]
            given.append(probe.normal(f"e{number}", 1, 512))
            try:
                probe.record(f"answer/{number}", call(*given))
            except RuntimeError as error:
                if str(error) != FAILS:
                    raise
