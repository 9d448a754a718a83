"""Every way through scripts/txt2img.py that makes a CUDA call, for the migration logs.

Both samplers, both precisions, and the text encoders that a config can name. Upstream itself, level
0, is run too: with the vendor's migration imported by hand, as one tries a model before porting it.
So the log of level 0 has the lines of the pinned tree.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import small
import torch
import transformers

from porter.verify.probe import Probe

_ENCODERS = "ldm.modules.encoders.modules"


def _write_clip(probe: Probe) -> None:
    """A CLIP text encoder of Hugging Face's layout, where ``from_pretrained`` looks first."""
    folder = probe.scratch / "openai" / "clip-vit-large-patch14"
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = ", ".join(f'"{word}": {number}' for number, word in enumerate(words))
    (folder / "vocab.json").write_text("{" + vocabulary + "}")
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    transformers.CLIPTextModel(config).save_pretrained(folder)


class _Letters:
    """Stands in for T5's tokenizer, whose library is not in the environment: a letter, a token."""

    @classmethod
    def from_pretrained(cls, _name: str) -> _Letters:
        return cls()

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, torch.Tensor]:
        rows = [[ord(letter) % 32 for letter in text[:max_length]] for text in texts]
        padded = [row + [0] * (max_length - len(row)) for row in rows]
        return {"input_ids": torch.tensor(padded)}


def _t5_model(_name: str) -> torch.nn.Module:
    config = transformers.T5Config(
        vocab_size=32, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2
    )
    return transformers.T5EncoderModel(config)


def _with_encoder(name: str) -> small.Config:
    config = small.text_to_image()
    params = config["model"]["params"]
    params["cond_stage_config"] = {"target": f"{_ENCODERS}.{name}"}
    params["cond_stage_trainable"] = False
    return config


def run(probe: Probe) -> None:
    """Run the script in each way; outputs are the files it leaves."""
    small.migrate(probe.tree, probe.device_name)
    small.write_vocabulary(probe.scratch)
    _write_clip(probe)
    encoders = importlib.import_module(_ENCODERS)
    encoders.T5Tokenizer = _Letters
    encoders.T5EncoderModel = SimpleNamespace(from_pretrained=_t5_model)
    ways = {
        "bert": (small.text_to_image(), "--fixed_code --n_iter 2"),
        "clip": (_with_encoder("FrozenCLIPEmbedder"), "--plms"),
        "t5": (_with_encoder("FrozenT5Embedder"), "--precision full"),
    }
    for name, (config, words) in ways.items():
        checkpoint = probe.scratch / f"{name}.ckpt"
        small.write_model(probe, config, probe.scratch / f"{name}.yaml", checkpoint)
        given = ["--config", f"{name}.yaml", "--ckpt", f"{name}.ckpt", "--outdir", name]
        shape = ["--n_samples", "1", "--ddim_steps", "2", "--H", "32", "--W", "32"]
        given += ["--prompt", small.PROMPT, *shape, *words.split()]
        with probe.attempt(name):
            probe.script("scripts/txt2img.py", given)
            probe.record_files(f"{name}/files", probe.scratch / name)
