"""``data/``'s scripts, one after the other, and training on what they write."""

from __future__ import annotations

import contextlib
import pickle
import runpy
import zipfile

import numpy as np
import torch
from scripts import training
from small import cpu_noise
from training import device_word

from porter.verify.probe import Probe, ProbeError

IMAGES, CLASSES = 6, 3


def run(probe: Probe) -> None:
    """Record the files and tensors that the scripts write, and the losses and
    weights of training on each, with channels that double from layer to layer.

    loadImagenet64.py reads the two archives beside it; make_massive_tensor.py, from the tree's
    root, what the first wrote. An image is a row of 3 x 64 x 64 bytes.
    """
    data = probe.scratch / "data"
    data.mkdir()
    numbers = np.random.default_rng(0)
    for part in (1, 2):
        images = numbers.integers(0, 256, (IMAGES // 2, 3 * 64 * 64)).astype(np.uint8)
        labels = [1 + number % CLASSES for number in range(IMAGES // 2)]
        with zipfile.ZipFile(data / f"Imagenet64_train_part{part}.zip", "w") as archive:
            stored = pickle.dumps({"data": images, "labels": labels})
            archive.writestr(f"train_data_batch_{part}", stored)
    with probe.attempt("files"), contextlib.chdir(data):
        runpy.run_path(str(probe.tree / "data" / "loadImagenet64.py"), run_name="__main__")
        probe.record_files("files", data / "Imagenet64")
        metadata = pickle.loads((data / "Imagenet64" / "metadata.pkl").read_bytes())
        probe.record("metadata", torch.tensor([metadata[name] for name in sorted(metadata)]))
    if "files" in probe.failures:
        raise ProbeError("the other parts start from what loadImagenet64.py writes")
    with probe.attempt("tensors"), contextlib.chdir(probe.scratch):
        script = probe.tree / "data" / "make_massive_tensor.py"
        runpy.run_path(str(script), run_name="__main__")
        images, labels = (torch.load(data / f"Imagenet64_{kind}.pt") for kind in ("imgs", "labels"))
        # The script goes by the order of the folder, which the file system decides
        rows = torch.cat((labels[:, None].long(), images.flatten(1).long()), dim=1)
        rows = torch.stack(sorted(rows, key=lambda row: row[:40].tolist()))
        probe.record("tensors", rows)
        torch.save(rows[:, 0].to(labels.dtype), data / "Imagenet64_labels.pt")
        torch.save(rows[:, 1:].to(images.dtype).reshape(images.shape), data / "Imagenet64_imgs.pt")
    with cpu_noise(probe):
        for name, in_memory in (("from-files", False), ("from-tensors", True)):
            with probe.attempt(name):
                training(
                    probe, name, device_word(probe), "--data_path", "data/Imagenet64",
                    "--load_into_mem", in_memory, "--epochs", 1, "--inCh", 3, "--chMult", 2,
                    "--batchSize", 2, "--gradAccSteps", 1,
                )  # fmt: skip
