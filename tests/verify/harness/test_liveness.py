"""Modules with random weights that compute nothing, and runs that print too much."""

from __future__ import annotations

from tests.verify.single_run import SingleRun


def test_a_network_that_gives_one_number_is_refused(single: SingleRun) -> None:
    code = """
        import torch
        class Dead(torch.nn.Linear):
            def forward(self, x):
                return super().forward(x) * 0 + 3
        def run(probe):
            probe.record("y", probe.alive(Dead(4, 4))(probe.normal("x", 2, 4)))
        """

    failure = single.failure(code)

    assert "alive: Dead gives 3 everywhere" in failure.reason


def test_parts_that_give_zeros_and_megabytes_printed_become_warnings(single: SingleRun) -> None:
    found = single.trace("""
        import torch
        def run(probe):
            net = probe.alive(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)))
            net[0].weight.data.zero_()
            net[0].bias.data.zero_()
            probe.record("y", net(probe.normal("x", 2, 4)))
            print("x" * 3_000_000)
        """)

    dead, printed = found.warnings
    assert dead == "Sequential: only zeros from 0: errors before them cannot be seen"
    assert printed.startswith("printed 3,000,001 bytes to stdout, of which 2,98")
