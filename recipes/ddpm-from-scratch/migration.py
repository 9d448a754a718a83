"""infer.py and train.py on a device, for the migration logs.

Upstream itself, level 0, runs with the vendor's migration imported by hand and ``--device gpu``, as
one tries a model before porting it. A ported level names the device and needs no migration.
"""

from __future__ import annotations

import importlib

from commands import run_module, save_checkpoint, train_command, write_dataset
from training import device_word, launched

from porter.verify.probe import Probe

_MIGRATIONS = {
    "sim:hpu": "habana_frameworks.torch.gpu_migration",
    "sim:npu": "torch_npu.contrib.transfer_to_npu",
}


def run(probe: Probe) -> None:
    """Infer and train; outputs are the files that are left."""
    word = device_word(probe)
    if not (probe.tree / "src" / "helpers" / "device.py").exists():
        importlib.import_module(_MIGRATIONS[probe.device_name])
        word = "gpu"
    save_checkpoint(probe, "saved", timesteps=20)
    given = ["--loadDir", "saved", "--loadFile", "model_1e_4s.pkl", "--device", word]
    run_module(probe, "src.infer", [*given, "--loadDefFile", "model_params_1e_4s.json"])
    write_dataset(probe, 4)
    with launched(probe):
        train_command(
            probe, word, "--load_into_mem", False, "--epochs", 1, "--saveDir", "trained",
            "--blk_types", "res,conv,clsAtn,atn,chnAtn",
        )  # fmt: skip
    probe.record_files("files", probe.scratch)
