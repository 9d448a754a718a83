"""The report's figures by a clock that is set, and when the training script asks for them."""

from __future__ import annotations

import json
from typing import Any

from script_training import record_losses, train, words, write_inputs

from porter.verify.probe import Probe, ProbeError

MODULE = "src/diffusers/step_report.py"
EXPECTED: dict[str, Any] = {
    "images_per_step": 6,
    # 4 s, of them 1 s for data; 3 s and 1 s while the device is waited for
    "first_steps": {"steps": 2, "seconds": 8.0, "data_seconds": 3.0, "images_per_second": 1.5},
    "run": {"steps": 1, "seconds": 3.0, "data_seconds": 1.0, "images_per_second": 2.0},
    "steps": [
        {"step": 1, "seconds": 4.0, "data_seconds": 1.0, "images_per_second": 1.5},
        {"step": 2, "seconds": 4.0, "data_seconds": 2.0, "images_per_second": 1.5},
        {"step": 3, "seconds": 3.0, "data_seconds": 1.0, "images_per_second": 2.0},
    ],
}
# Two batches a step, a checkpoint after the second of three steps
CALLED = (
    "resume resume arrived wanted arrived step wanted arrived wanted arrived step pause resume "
    "wanted arrived wanted arrived step wanted pause"
)


def run(probe: Probe) -> None:
    """Check the figures of three steps, and record the losses of a run that is reported."""
    write_inputs(probe, "sd15")
    given = words("sd15", 3, "--gradient_accumulation_steps", 2, "--checkpointing_steps", 2)
    if not (probe.tree / MODULE).is_file():
        record_losses(probe, "losses", train(probe, given))
        return
    from diffusers import step_report

    _check_figures(probe, step_report)
    called = _listen(step_report.StepReport)
    record_losses(probe, "losses", train(probe, [*given, "--report_json", "report.json"]))
    # What came after the last step: an epoch's end, and the run's
    if not " ".join(called).startswith(CALLED.removesuffix(" wanted pause")):
        raise ProbeError(f"expected the calls {CALLED}, found {' '.join(called)}")
    if called[-1] != "pause":
        raise ProbeError(f"expected the device to be waited for at the end, found {called[-1]}")
    report = json.loads((probe.scratch / "report.json").read_text())
    if report["first_steps"]["steps"] != 3 or report["run"]["images_per_second"] is not None:
        raise ProbeError(f"expected three first steps and no run, found {report}")


def _check_figures(probe: Probe, step_report: Any) -> None:
    clock, waits = [100.0], [0]

    def wait(_: Any) -> None:
        waits[0] += 1
        clock[0] += 1.0

    step_report.time = type("Clock", (), {"perf_counter": staticmethod(lambda: clock[0])})
    native, step_report.synchronize = step_report.synchronize, wait
    report = step_report.StepReport(probe.device, 6, 2)
    report.pause()  # before any step: nothing to add to
    clock[0] += 50.0
    report.resume()
    for step, (data, work) in enumerate([(1.0, 3.0), (2.0, 1.0), (1.0, 1.0)], 1):
        report.data_wanted()
        clock[0] += data
        report.data_arrived()
        clock[0] += work
        told = report.step_done(step)
        if told["steps"] != 1 or told["seconds"] != data + work:
            raise ProbeError(f"step {step}: expected {data + work} s, found {told}")
        if step >= 2:
            report.pause()
            clock[0] += 50.0  # a checkpoint
            report.resume()
    report.write("figures.json")
    found = json.loads((probe.scratch / "figures.json").read_text())
    if waits[0] != 3 or {name: found[name] for name in EXPECTED} != EXPECTED:
        raise ProbeError(f"expected {EXPECTED} and 3 waits, found {found} and {waits[0]}")
    if report.figures([])["images_per_second"] is not None:
        raise ProbeError("a rate of no step")
    step_report.synchronize = native
    import time

    step_report.time = time


def _listen(report: Any) -> list[str]:
    """Note the calls of a report's methods, by short names."""
    called: list[str] = []

    def noting(name: str) -> None:
        native = getattr(report, name)

        def method(self: Any, *args: Any) -> Any:
            called.append(name.removeprefix("data_").removesuffix("_done"))
            return native(self, *args)

        setattr(report, name, method)

    for name in ("data_wanted", "data_arrived", "step_done", "pause", "resume"):
        noting(name)
    return called
