"""Which variable ``accelerate launch --gpu_ids`` sets, for one process, several and DeepSpeed."""

from __future__ import annotations

from typing import Any

from porter.verify.probe import Probe

VISIBLE = {
    "npu": "ASCEND_RT_VISIBLE_DEVICES",
    "hpu": "HABANA_VISIBLE_MODULES",
    "cuda": "CUDA_VISIBLE_DEVICES",
    "cpu": "CUDA_VISIBLE_DEVICES",
}
CARDS = {"one": "3", "several": "2,3", "deepspeed": "1,3"}


def run(probe: Probe) -> None:
    """Record the cards that each launcher names in the device's own variable."""
    from accelerate.commands import launch
    from accelerate.utils import launch as environments

    for name, cards in CARDS.items():
        with probe.attempt(name):
            _record_cards(probe, launch, environments, name, cards)


def _record_cards(probe: Probe, launch: Any, environments: Any, name: str, cards: str) -> None:
    several = () if name == "one" else ("--multi_gpu",)
    number = str(len(cards.split(",")))
    options = ("--num_processes", number, "--gpu_ids", cards, *several, "script.py")
    args = launch.launch_command_parser().parse_args(options)
    args.deepspeed_fields_from_accelerate_config = ""
    launch._validate_launch_command(args)
    if name == "one":
        environ = environments.prepare_simple_launcher_cmd_env(args)[1]
    elif name == "several":
        environ = environments.prepare_multi_gpu_env(args)
    else:
        environ = environments.prepare_deepspeed_cmd_env(args)[1]
    own = VISIBLE[probe.device.type]
    probe.record_text(name, f"cards {environ.get(own, 'none')}")
    others = {*VISIBLE.values()} - {own}
    probe.count("others_set", sum(environ.get(other) == cards for other in others))
