"""Where pictures come from, and the report of a run: the same losses, and a JSON file."""

from __future__ import annotations

import json

from script_training import options_of, record_losses, train, words, write_inputs

from porter.verify.probe import Probe, ProbeError

STEPS, BATCH, FIRST = 6, 2, 2


def run(probe: Probe) -> None:
    """Train from each source of data, to the same losses to the bit; check the report's figures."""
    import datasets

    write_inputs(probe, "sd15")
    expected = train(probe, words("sd15", STEPS))
    record_losses(probe, "losses", expected)
    if "--local_data_dir" not in options_of(probe):
        return
    pictures = datasets.load_dataset("imagefolder", data_dir="data")
    pictures.save_to_disk("saved")
    (probe.scratch / "copied" / "data").mkdir(parents=True)
    pictures["train"].to_parquet("copied/data/train-00000.parquet")
    # a description, as some copies of the hub have beside their data; no dataset of save_to_disk
    (probe.scratch / "copied" / "dataset_info.json").write_text("{}")
    for name, more in {
        "saved": ["--local_data_dir", "saved"],
        "split": ["--local_data_dir", "saved/train"],
        "parquet": ["--local_data_dir", "copied"],
        # as the published launch scripts pass what they were not given, and what they were
        "empty": ["--dataset_name=", "--local_data_dir=", "--train_data_dir", "data"],
        "named": ["--dataset_name=lambdalabs/pokemon-blip-captions", "--local_data_dir=saved"],
    }.items():
        without = [w for w in words("sd15", STEPS) if w not in ("--train_data_dir", "data")]
        with probe.attempt(f"source/{name}"):
            _expect_same(name, train(probe, [*without, *more]), expected)
            probe.count("sources", 1)
    kept = ["--dataloader_num_workers", 1, "--enable_persistent_workers", "--enable_pin_memory"]
    with probe.attempt("source/workers"):
        _expect_same("workers", train(probe, words("sd15", STEPS, *kept)), expected)
        probe.count("sources", 1)
    if "--report_json" in options_of(probe):
        with probe.attempt("report"):
            _report(probe)


def _report(probe: Probe) -> None:
    reported = ["--report_json", "report.json", "--report_first_steps", FIRST]
    accumulated = ["--gradient_accumulation_steps", 2, "--logging_steps", 3]
    losses = train(probe, words("sd15", STEPS, *reported, *accumulated, "--noise_on_cpu"))
    probe.count("losses_logged", len(losses))
    _check_report(json.loads((probe.scratch / "report.json").read_text()))
    probe.count("reports", 1)


def _expect_same(name: str, losses: list[float], expected: list[float]) -> None:
    if losses != expected:
        raise ProbeError(f"{name}: expected the losses {expected}, found {losses}")


def _check_report(report: dict[str, object]) -> None:
    """Fail the run unless the figures agree with one another."""
    steps, run, first = report["steps"], report["run"], report["first_steps"]
    assert isinstance(steps, list)
    assert isinstance(run, dict)
    assert isinstance(first, dict)
    if [step["step"] for step in steps] != list(range(1, STEPS + 1)):
        raise ProbeError(f"expected {STEPS} steps, found {steps}")
    if report["images_per_step"] != 2 * BATCH or run["steps"] != STEPS - FIRST:
        raise ProbeError(f"images or steps: {report}")
    seconds = sum(step["seconds"] for step in steps[FIRST:])
    if abs(run["seconds"] - seconds) > 1e-9 or first["steps"] != FIRST:
        raise ProbeError(f"the run is not its steps: {report}")
    rate = 2 * BATCH * run["steps"] / seconds
    if abs(run["images_per_second"] / rate - 1) > 1e-9:
        raise ProbeError(f"expected {rate} images a second: {report}")
    if not all(0 <= step["data_seconds"] <= step["seconds"] for step in steps):
        raise ProbeError(f"a step waited longer for data than it took: {steps}")
