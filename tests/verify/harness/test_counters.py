"""Counters of simulated devices in traces: for the run, for sections, and not for recording."""

from __future__ import annotations

from porter.verify.harness.counters import flat, per_step
from tests.verify.single_run import SingleRun

LOOP = """
    import torch
    import habana_frameworks.torch.core as htcore

    def run(probe):
        assert probe.device == torch.device("hpu") and probe.device_name == "sim:hpu"
        x = probe.normal("x", 2, 8)
        for _ in range(2):
            with probe.section("loop", per=2):
                for _ in range(2):
                    x = x * 2
                    htcore.mark_step()
        probe.record("x", x)
        probe.count("loop/model_calls", 4)
        {more}
    """


def test_a_section_counts_what_happens_inside_and_per_step(single: SingleRun) -> None:
    environ = {"PT_HPU_LAZY_MODE": "1"}

    found = single.trace(LOOP.format(more=""), device="sim:hpu", environ=environ)

    counters = found.counters
    assert (counters["loop/kernels"], counters["loop/kernels_per_step"]) == (4, 1)
    assert (counters["loop/compilations"], counters["loop/graph_cache_hits"]) == (1, 3)
    assert counters["loop/compilations_per_step"] == 0.25
    assert counters["loop/model_calls_per_step"] == 1
    assert (counters["h2d"], counters["loop/h2d"]) == (1, 0)
    assert "loop/pending_ops" not in counters
    assert found.device_title == "simulated Intel Gaudi"
    section = next(e for e in single.lines("events.jsonl") if e["kind"] == "section")
    assert section == {"kind": "section", "name": "loop", "per": 4, "entered": 2}


def test_recording_is_not_counted(single: SingleRun) -> None:
    counters = single.trace(LOOP.format(more=""), device="sim:hpu").counters

    assert (counters["d2h"], counters["host_sync"]) == (0, 1)  # the one to the device


def test_eager_mode_has_no_counter_of_compilations(single: SingleRun) -> None:
    counters = single.trace(LOOP.format(more=""), device="sim:hpu").counters

    assert "compilations" not in counters
    assert "loop/compilations" not in counters


def test_calls_of_cuda_that_are_served_are_logged_by_site(single: SingleRun) -> None:
    found = single.trace(
        """
        import torch, torch_npu
        from torch_npu.contrib import transfer_to_npu
        import upstream
        def run(probe):
            probe.record("x", upstream.make())
        """,
        {"upstream.py": "import torch\ndef make():\n    return torch.ones(2).cuda()\n"},
        device="sim:npu",
    )

    assert found.counters["migrated_calls"] == 1
    (line,) = single.lines("migration.jsonl")
    assert (line["file"], line["line"], line["source"]) == (
        "upstream.py",
        3,
        "return torch.ones(2).cuda()",
    )


def test_a_missing_device_is_reported(single: SingleRun) -> None:
    failure = single.failure("def run(probe):\n    pass\n", device="npu")

    assert failure.kind == "device"
    assert "--device sim:npu" in failure.reason


def test_a_native_run_draws_in_float32(single: SingleRun) -> None:
    found = single.trace(
        """
        def run(probe):
            assert probe.is_native
            probe.record("x", probe.normal("x", 3))
        """,
        dtype="native",
    )

    assert str(found.outputs["x"].dtype) == "torch.float32"


def test_a_real_device_has_no_counters() -> None:
    assert flat({"simulated": False, "device": "cpu"}, 0) == {}


def test_whole_shares_stay_integers() -> None:
    assert per_step({"a/ops": 6, "a/h2d": 3, "b/ops": 5, "ab/ops": 1}, {"a": 2, "b": 1}) == {
        "a/ops_per_step": 3,
        "a/h2d_per_step": 1.5,
    }
