"""The short commands: neither --config nor --ckpt, the checkpoint one that old Lightning wrote."""

from __future__ import annotations

import random
import sys
from types import ModuleType

import numpy as np
import small
import torch
from PIL import Image

from porter.verify.probe import Probe

_SEED = 42  # both scripts' own default
_CALLBACK = "pytorch_lightning.callbacks.model_checkpoint"


def _as_lightning_wrote_it(probe: Probe) -> None:
    """Add to the checkpoint what Lightning 1.4 pickled: its callback's class, as a key."""
    path = probe.scratch / "models" / "ldm" / "text2img-large" / "model.ckpt"
    whole = torch.load(path)
    module = ModuleType(_CALLBACK)
    callback = type("ModelCheckpoint", (), {"__module__": _CALLBACK})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    whole["callbacks"] = {callback: {"best_model_path": "", "best_model_score": torch.tensor(0.5)}}
    before = {name: sys.modules.get(name) for name in _names()}
    sys.modules |= dict.fromkeys(_names(), module)
    torch.save(whole, path)
    for name, old in before.items():
        if old is None:
            del sys.modules[name]
        else:
            sys.modules[name] = old


def _names() -> list[str]:
    parts = _CALLBACK.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def run(probe: Probe) -> None:
    """Run both scripts that have the defaults, in a folder that has what these name."""
    home = probe.scratch / "models" / "ldm" / "text2img-large"
    small.write_vocabulary(probe.scratch)
    config = probe.scratch / "configs" / "latent-diffusion" / "txt2img-1p4B-eval.yaml"
    small.write_model(probe, small.text_to_image(), config, home / "model.ckpt")
    _as_lightning_wrote_it(probe)
    Image.new("RGB", (32, 32), (200, 90, 30)).save(probe.scratch / "init.png")
    where = probe.parameters["where"]
    asked = ["--prompt", small.PROMPT, "--n_samples", "1", "--ddim_steps", "2", *where.split()]
    for script, words in {
        "txt2img": ["--H", "32", "--W", "32"], "img2img": ["--init-img", "init.png"],
    }.items():  # fmt: skip
        with probe.attempt(script):
            probe.script(f"scripts/{script}.py", [*asked, *words])
    probe.count("seeded/python", int(random.random() == random.Random(_SEED).random()))
    probe.count("seeded/numpy", int(np.random.rand() == np.random.RandomState(_SEED).rand()))
    probe.count("images", len(list((probe.scratch / "outputs").rglob("*.png"))))
    probe.count("imported/pytorch_lightning", int("pytorch_lightning" in sys.modules))
