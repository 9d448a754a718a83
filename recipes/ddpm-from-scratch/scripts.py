"""``src/infer.py`` and ``src/train.py``, end to end, and checkpoints from one device to another."""

from __future__ import annotations

import re

import torch
from commands import newest, run_module, save_checkpoint, train_command, weights, write_dataset
from PIL import Image
from small import cpu_noise
from training import device_word, launched

from porter.verify.probe import Probe, ProbeError

RATES = re.compile(r"[0-9.]+ images/s, [0-9.]+ steps/s, first \w+: [0-9.]+ s")


def infer(probe: Probe, name: str, word: str, files: str, *more: object) -> str:
    """Run infer.py on the checkpoint; record its picture and the last frame of its film."""
    given = ["--loadDir", "saved", "--loadFile", f"model_{files}.pkl"]
    given += ["--loadDefFile", f"model_params_{files}.json", "--device", word, *more]
    given += ["--out_imgname", f"{name}.png", "--out_gifname", f"{name}.gif"]
    printed = run_module(probe, "src.infer", given)
    probe.record_image(f"{name}/picture", probe.scratch / f"{name}.png")
    film = Image.open(probe.scratch / f"{name}.gif")
    film.seek(film.n_frames - 1)
    probe.record_image(f"{name}/film", film.convert("RGB"))
    probe.record(f"{name}/frames", torch.tensor([film.n_frames]))
    return printed


def training(probe: Probe, folder: str, word: str, *more: object) -> str:
    """Run train.py into a folder; record the weights that it leaves and the losses it prints."""
    with launched(probe, always=True):
        printed = train_command(probe, word, "--saveDir", folder, *more)
    probe.record(f"{folder}/weights", weights(newest(probe.scratch / folder, "model_*.pkl")))
    losses = re.findall(r"(?:estimate|Combined|Mean|Variance): (-?[0-9.]+)", printed)
    probe.record(f"{folder}/losses", torch.tensor([float(x) for x in losses]))
    return printed


def run(probe: Probe) -> None:
    """Infer; train; go on from a checkpoint of the CPU's; go on, and infer, on the CPU.

    Upstream trains on no CPU, so it goes on where it was.
    """
    word = device_word(probe)
    printed: list[str] = []
    with cpu_noise(probe):
        save_checkpoint(
            probe, "saved", optimizer=True, timesteps=20, blocks=("res", "clsAtn", "chnAtn")
        )
        with probe.attempt("ddim"):
            printed.append(infer(probe, "ddim", word, "1e_4s", "--step_size", 10))
        with probe.attempt("ddpm"):
            printed.append(infer(
                probe, "ddpm", word, "1e_4s", "--step_size", 7, "--DDIM_scale", 1, "--guidance", 0,
                "--class_label", 3, "--corrected", True, "--gif_fps", 5,
            ))  # fmt: skip
        write_dataset(probe, 8)
        with probe.attempt("trained"):
            more = ("--load_into_mem", False, "--epochs", 2)
            printed.append(training(probe, "trained", word, *more))
            probe.record_files("trained/files", probe.scratch / "trained")
        with probe.attempt("resumed"):
            printed.append(training(
                probe, "resumed", word, "--epochs", 1, "--loadModel", True, "--loadDir", "saved",
                "--loadFile", "model_1e_4s.pkl", "--optimFile", "optim_1e_4s.pkl",
                "--loadDefFile", "model_params_1e_4s.json", "--use_importance", True,
                "--Lambda", 0.1, "--beta_sched", "linear",
            ))  # fmt: skip
        if "trained" in probe.failures:
            for name in ("returned", "on-cpu"):
                with probe.attempt(name):
                    raise ProbeError("not run: it goes on from `trained`, which failed")
        else:
            printed += go_on(probe, word)
    probe.count("rates", sum(len(RATES.findall(text)) for text in printed))
    # --use_importance fails by upstream's bug at some draws, which the second training says
    probe.count("warned", sum("the level upstream-bugs mends" in text for text in printed))


def go_on(probe: Probe, word: str) -> list[str]:
    """Go on from the trained checkpoint, and infer from it, on the CPU; return what was printed."""
    printed: list[str] = []
    ported = (probe.tree / "src" / "helpers" / "device.py").exists()
    file = newest(probe.scratch / "trained", "model_*.pkl").stem.removeprefix("model_")
    with probe.attempt("returned"):
        printed.append(training(
            probe, "returned", "cpu" if ported else word, "--load_into_mem", False, "--epochs", 2,
            "--loadModel", True, "--loadDir", "trained", "--loadFile", f"model_{file}.pkl",
            "--optimFile", f"optim_{file}.pkl", "--loadDefFile", f"model_params_{file}.json",
        ))  # fmt: skip
    (probe.scratch / "saved").rename(probe.scratch / "saved-by-cpu")
    (probe.scratch / "trained").rename(probe.scratch / "saved")
    with probe.attempt("on-cpu"):
        printed.append(infer(probe, "on-cpu", "cpu", file, "--step_size", 10, "--guidance", 1))
    return printed
