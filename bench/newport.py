#!/usr/bin/env python3
"""From a URL to verified levels: repositories that are no ports of this project.

For each repository named (default: all) a new project is made, and in it

    porter add URL --factory ... -- COMMAND
    porter scan PORT --level 0
    porter draft PORT
    porter verify PORT --level LAST, then porter verify PORT

with the documented command of the repository at a tiny size. Prints a table as Markdown: what scan
found, what draft changed, how many recipe runs passed on which device, the minutes from the URL to
the first verified drafted level and to all of them, and the lines that a person wrote: factory
lines, and edits of the recipe and its environment. Files of a repository come from its host (or
git's insteadOf); nothing of them stays but in --keep DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_VAE = (
    "diffusers.AutoencoderKL(block_out_channels=(8, 8, 8, 8), norm_num_groups=4,"
    ' down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)'
)
_WORDS = (
    'json.dumps({w: i for i, w in enumerate(["<|startoftext|>", "<|endoftext|>", *(c + e for c in'
    ' "abcdefghijklmnopqrstuvwxyz" for e in ("", "</w>"))])})'
)


@dataclass(frozen=True)
class Repository:
    """A repository, its command, and what a person writes: factories, and edits of files.

    An edit is (file below recipes/, old text, new text); old text "" appends.
    """

    name: str
    url: str
    command: str
    factories: tuple[str, ...] = ()
    commit: str = ""
    steps: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()

    @property
    def lines(self) -> int:
        """The lines that a person wrote."""
        return len(self.factories) + sum(max(1, new.count("\n")) for _, _, new in self.edits)


REPOSITORIES = (
    Repository(
        "nanogpt",
        "https://github.com/karpathy/nanoGPT",
        "python train.py config/train_shakespeare_char.py --compile=False --eval_iters=2"
        " --eval_interval=2 --log_interval=1 --block_size=16 --batch_size=2 --n_layer=1 --n_head=2"
        " --n_embd=16 --max_iters=4 --dropout=0.0 --dtype=float32 --decay_lr=False",
        (
            "data/shakespeare_char/train.bin=torch.randint(65, (4000,)).numpy().astype('uint16')",
            "data/shakespeare_char/val.bin=torch.randint(65, (1000,)).numpy().astype('uint16')",
        ),
    ),
    Repository(
        "dit",
        "https://github.com/facebookresearch/DiT",
        "python sample.py --model DiT-S/8 --image-size 256 --num-sampling-steps 4 --seed 1"
        " --ckpt dit.pt",
        ("dit.pt=models.DiT_S_8(input_size=32)", f"stabilityai/sd-vae-ft-mse={_VAE}"),
    ),
    Repository(
        "guided-diffusion",
        "https://github.com/openai/guided-diffusion",
        "OPENAI_LOGDIR=out python scripts/image_sample.py --image_size 64 --num_channels 32"
        " --num_res_blocks 1 --attention_resolutions 16 --num_heads 2 --model_path model.pt"
        " --num_samples 2 --batch_size 2 --timestep_respacing 4",
        (
            "model.pt=guided_diffusion.script_util.create_model(64, 32, 1,"
            ' attention_resolutions="16", num_heads=2, use_scale_shift_norm=True)',
        ),
    ),
    Repository(
        "denoising-diffusion-pytorch",
        "https://github.com/lucidrains/denoising-diffusion-pytorch",
        f"python {HERE}/newport/train_denoising.py --train-num-steps 4",
        (
            "images=[PIL.Image.fromarray(torch.randint(256, (16, 16, 3)).numpy().astype('uint8'))"
            " for _ in range(100)]",
        ),
    ),
    Repository(
        "text-to-image",
        "https://github.com/huggingface/diffusers",
        "python examples/text_to_image/train_text_to_image.py"
        " --pretrained_model_name_or_path small --train_data_dir images --resolution 16"
        " --train_batch_size 1 --max_train_steps 4 --checkpointing_steps 100"
        " --output_dir out --seed 1 --dataloader_num_workers 0 --lr_scheduler constant",
        (
            "small/vae=diffusers.AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4,"
            ' down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",)'
            " * 2)",
            "small/unet=diffusers.UNet2DConditionModel(sample_size=8, block_out_channels=(8, 16),"
            " layers_per_block=1, norm_num_groups=4, cross_attention_dim=16, attention_head_dim=4,"
            ' down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),'
            ' up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))',
            "small/text_encoder=transformers.CLIPTextModel(transformers.CLIPTextConfig("
            "vocab_size=54, hidden_size=16, intermediate_size=16, num_hidden_layers=1,"
            " num_attention_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=1))",
            f"small/tokenizer/vocab.json={_WORDS}",
            "small/tokenizer/merges.txt='#version: 0.2\\n'",
            "small/tokenizer/tokenizer_config.json=json.dumps({'tokenizer_class': 'CLIPTokenizer',"
            " 'model_max_length': 16})",
            "small/scheduler=diffusers.DDPMScheduler()",
            "images=[PIL.Image.fromarray(torch.randint(256, (16, 16, 3)).numpy().astype('uint8'))"
            " for _ in range(4)]",
            "images/metadata.jsonl=''.join(json.dumps({'file_name': f'{i:04d}.png', 'text': 'a cat'"
            "}) + '\\n' for i in range(4))",
        ),
        "v0.40.0",
    ),
)


@dataclass
class Row:
    """What became of a repository."""

    found: Counter[str]
    levels: list[str]
    changed: int
    added: int
    first_minutes: float | None
    all_minutes: float
    passed: int
    failed: list[str]


def porter(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run porter in a project."""
    done = subprocess.run(
        [sys.executable, "-m", "porter", *arguments],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if check and done.returncode > 1:
        raise SystemExit(f"porter {' '.join(arguments)}: {done.stderr[-2000:]}")
    return done


def measure(repository: Repository, root: Path, jobs: str) -> Row:
    """Port a repository in the new project ``root``."""
    name = repository.name
    began = time.monotonic()
    porter(root.parent, "init", root.name)
    words = ["add", repository.url, "--name", name]
    words += ["--commit", repository.commit] if repository.commit else []
    words += ["--steps", repository.steps] if repository.steps else []
    for line in repository.factories:
        words += ["--factory", line]
    porter(root, *words, "--", *repository.command.split())
    for file, old, new in repository.edits:
        path = root / "recipes" / file
        text = path.read_text("utf-8")
        path.write_text(text.replace(old, new) if old else text + new, "utf-8")
    scanned = json.loads(porter(root, "scan", name, "--level", "0", "--json").stdout)
    graves = [min(d["severity"] for d in f["devices"].values()) for f in scanned["findings"]]
    porter(root, "draft", name)
    patches = sorted((root / "patches" / name).glob("*.patch"))
    levels = [path.stem.partition("-")[2] for path in patches]
    gone = added = 0
    for path in patches:
        lines = path.read_text("utf-8").split("\ndiff --git", 1)[-1].split("\n")
        gone += sum(line.startswith("-") and not line.startswith("---") for line in lines)
        added += sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    first = porter(root, "verify", name, "--level", levels[0], "--jobs", jobs)
    first_minutes = (time.monotonic() - began) / 60 if first.returncode == 0 else None
    done = porter(root, "verify", name, "--jobs", jobs, "--json")
    passed, failed = verdicts(json.loads(done.stdout))
    minutes = (time.monotonic() - began) / 60
    return Row(Counter(graves), levels, gone, added, first_minutes, minutes, passed, failed)


def verdicts(data: Any) -> tuple[int, list[str]]:
    """Return how many verdicts passed, and what the others say."""
    passed, failed = 0, []
    for verdict in _verdicts(data):
        if verdict["verdict"] == "pass":
            passed += 1
        elif verdict["verdict"] not in ("skipped", "baseline", "reference"):
            at = f"level {verdict['level']} on {verdict['device']}"
            failed.append(f"{at}: {verdict['output']}: {verdict['detail']}")
    if not passed and not failed:
        raise SystemExit("porter verify --json: no verdict in it")
    return passed, failed


def _verdicts(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        if "verdict" in data and "device" in data:
            yield data
        for value in data.values():
            yield from _verdicts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _verdicts(value)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", choices=[*(r.name for r in REPOSITORIES), []])
    parser.add_argument("--keep", type=Path, help="make the projects here, and leave them")
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    head = ("levels", "lines replaced", "lines added", "verdicts passed", "others")
    print(f"| repository | errors, warnings, notes | {' | '.join(head)} | minutes to first,"
          " all | written by hand |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with contextlib.ExitStack() as stack:
        base = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base.mkdir(parents=True, exist_ok=True)
        for repository in REPOSITORIES:
            if options.names and repository.name not in options.names:
                continue
            row = measure(repository, base / repository.name, options.jobs)
            found = ", ".join(str(row.found[each]) for each in ("error", "warning", "note"))
            first = "none" if row.first_minutes is None else f"{row.first_minutes:.1f}"
            cells = (
                repository.name, found, " ".join(row.levels), row.changed, row.added, row.passed,
                len(row.failed), f"{first}, {row.all_minutes:.1f}", repository.lines,
            )  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            for text in row.failed[:20]:
                print(f"  {repository.name}: {text[:300]}", file=sys.stderr)


if __name__ == "__main__":
    main()
