#!/usr/bin/env python3
"""Make the trees of docs/judging-a-tree.md, five of them wrong, and judge each with one command.

    trees.py little FOLDER             a project with the port `little`, whose upstream stands
                                       beside this script, and its trees in FOLDER/trees
    trees.py v-diffusion FOLDER TREE   copies of TREE, the last level of the port v-diffusion
    trees.py judge PORT FOLDER [OPTION ...]
                                       `porter verify PORT --tree FOLDER/NAME OPTION ...` for each
                                       tree, and a table of what it found and how long it took

Exit codes: 0 done (judge: `right` passes, and every other tree fails), 1 judge: not so, 2 a tree
could not be made.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__")
PORTER = [sys.executable, "-m", "porter"]


@dataclass(frozen=True)
class Edit:
    """In ``file`` the text ``before``, which stands there once, becomes ``after``."""

    file: str
    before: str
    after: str


RIGHT = Edit(
    "generate.py",
    "    torch.manual_seed(args.seed)\n",
    "    if device.type == 'hpu':\n"
    "        import habana_frameworks.torch as ht\n"
    "        model = ht.hpu.wrap_in_hpu_graph(model)\n"
    "\n"
    "    torch.manual_seed(args.seed)\n",
)
"""What a right port of ``little`` does: each call of the model is one graph."""

STEP = """\
class Step(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, t, t_next, eta):
        pred = self.model(x, t.expand(len(x)))
        x = pred + t_next / t * (x - pred)
        return x + eta * t_next * torch.randn_like(x)


@torch.no_grad()
"""

LOOP = """\
    for t, t_next in zip(ts[:-1], ts[1:]):
        pred = model(x, t.expand(len(x)))
        x = pred + t_next / t * (x - pred)
        if eta:
            noise = torch.randn(x.shape).to(x.device)
            x = x + eta * t_next * noise
"""

CAPTURED = """\
    step, eta = Step(model), torch.tensor(eta, device=x.device)
    if x.device.type == 'hpu':
        import habana_frameworks.torch as ht
        step = ht.hpu.wrap_in_hpu_graph(step)
    for t, t_next in zip(ts[:-1], ts[1:]):
        x = step(x, t, t_next, eta)
"""

LITTLE: Mapping[str, tuple[Edit, ...]] = {
    "right": (RIGHT,),
    "schedule-one-short": (
        RIGHT,
        Edit("denoiser.py", "linspace(1, 0, steps + 1)", "linspace(1, 0, steps)"),
    ),
    "last-batch-lost": (
        RIGHT,
        Edit("generate.py", "range(0, args.n, ", "range(0, args.n - args.n % args.batch_size, "),
    ),
    "draw-in-graph": (
        Edit("denoiser.py", "@torch.no_grad()\n", STEP),
        Edit("denoiser.py", LOOP, CAPTURED),
    ),
    "fixed-size-norm": (
        RIGHT,
        Edit(
            "denoiser.py",
            "nn.GroupNorm(1, channels, affine=False)",
            "nn.LayerNorm([channels, 16, 16], elementwise_affine=False)",
        ),
    ),
    "mandatory-import": (
        RIGHT,
        Edit(
            "generate.py",
            "try:\n    import habana_frameworks.torch.core\n"
            "except ImportError:  # no Gaudi here\n    pass\n",
            "import habana_frameworks.torch.core\n",
        ),
    ),
}
"""The trees of ``little``: a right port, and five wrong ones."""

V_DIFFUSION: Mapping[str, tuple[Edit, ...]] = {
    "right": (),
    "schedule-one-short": (Edit("cfg_sample.py", "1, 0, args.steps + 1)", "1, 0, args.steps)"),),
    "last-batch-lost": (Edit("cfg_sample.py", "trange(0, n, ", "trange(0, n - n % batch_size, "),),
    "draw-in-graph": (
        Edit(
            "diffusion/sampling.py",
            "noise = torch.randn(x.shape, dtype=x.dtype)\n"
            "                x += devices.send(noise, x.device) * ddim_sigma\n\n"
            "        steps, alphas, sigmas = (s.roll(-1) for s in (steps, alphas, sigmas))\n"
            "        devices.mark_step(x.device)\n\n"
            "    # If we are on the last timestep, output the denoised image\n"
            "    return pred\n\n\n@torch.no_grad()\ndef cond_sample",
            "x += torch.randn_like(x) * ddim_sigma\n\n"
            "        steps, alphas, sigmas = (s.roll(-1) for s in (steps, alphas, sigmas))\n"
            "        devices.mark_step(x.device)\n\n"
            "    # If we are on the last timestep, output the denoised image\n"
            "    return pred\n\n\n@torch.no_grad()\ndef cond_sample",
        ),
    ),
    "fixed-size-norm": (
        Edit("diffusion/models/layer_norm.py", "input.shape[1:]", "(input.shape[1], 64, 64)"),
    ),
    "mandatory-import": (
        Edit(
            "diffusion/devices.py",
            "import torch\nfrom torch import nn\n",
            "import habana_frameworks.torch.core\nimport torch\nfrom torch import nn\n",
        ),
    ),
}
"""The trees made of the last level of v-diffusion: as it is, and with one mistake each."""


def make_trees(source: Path, folder: Path, trees: Mapping[str, tuple[Edit, ...]]) -> None:
    """Copy ``source`` to ``folder`` once for each tree, and edit the copies.

    Raises ValueError for an edit that does not fit, and OSError.
    """
    for name, edits in trees.items():
        tree = folder / name
        shutil.copytree(source, tree, ignore=LEFT_OUT, symlinks=True)
        for edit in edits:
            path = tree / edit.file
            text = path.read_text(encoding="utf-8")
            if (found := text.count(edit.before)) != 1:
                raise ValueError(f"{path}: expected {edit.before!r} once, found it {found} times")
            path.chmod(path.stat().st_mode | stat.S_IWUSR)  # porter's own trees are read-only
            path.write_text(text.replace(edit.before, edit.after), encoding="utf-8")


def make_little(folder: Path) -> None:
    """Write the project: the upstream as a git repository, its port and recipes, and the trees."""
    upstream = folder / "upstream"
    shutil.copytree(HERE / "little", upstream, ignore=LEFT_OUT)
    when = "2024-01-01T00:00:00Z"
    git = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), when)
    for who in ("AUTHOR", "COMMITTER"):
        git |= {f"GIT_{who}_NAME": "little", f"GIT_{who}_EMAIL": "little@example.org"}
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "little")):
        subprocess.run(["git", "-C", upstream, *words], check=True, env=os.environ | git)
    for words in (("init", "."), ("add", "upstream", "--name", "little")):
        subprocess.run([*PORTER, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder / "recipes" / "little")
    shutil.copytree(HERE / "recipes", folder / "recipes" / "little", ignore=LEFT_OUT)
    make_trees(upstream, folder / "trees", LITTLE)


def judge(port: str, folder: Path, options: list[str]) -> bool:
    """Judge each tree of ``folder``, print a row each; return whether only ``right`` passes."""
    trees = sorted((path for path in folder.iterdir() if path.is_dir()), key=_rank)
    as_expected = True
    for tree in trees:
        begun = time.monotonic()
        words = [*PORTER, "verify", port, "--tree", str(tree), *options, "--json"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise ValueError(done.stderr.strip())
        found = _failed(json.loads(done.stdout))
        seconds = time.monotonic() - begun
        print(f"{tree.name:20} {seconds:5.1f} s  {', '.join(found) or 'passes'}", flush=True)
        as_expected &= bool(found) == (tree.name != "right")
    return as_expected


def _rank(tree: Path) -> int:
    return list(LITTLE).index(tree.name) if tree.name in LITTLE else len(LITTLE)


def _failed(results: dict[str, object]) -> list[str]:
    """Return the recipes with a bad verdict, each with how many of its verdicts are bad."""
    found = []
    for recipe in results["recipes"]:  # type: ignore[attr-defined]
        bad = [v for v in recipe["verdicts"] if v["verdict"] in ("fail", "error")]
        if bad:
            devices = sorted({v["device"] for v in bad})
            found.append(f"{recipe['recipe']} ({len(bad)} on {' and '.join(devices)})")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    little = commands.add_parser("little")
    little.add_argument("folder", type=Path)
    v_diffusion = commands.add_parser("v-diffusion")
    v_diffusion.add_argument("folder", type=Path)
    v_diffusion.add_argument("tree", type=Path)
    judged = commands.add_parser("judge")
    judged.add_argument("port")
    judged.add_argument("folder", type=Path)
    args, options = parser.parse_known_args()
    if options and args.command != "judge":
        parser.error(f"unknown arguments: {' '.join(options)}")
    try:
        if args.command == "judge":
            return 0 if judge(args.port, args.folder, options) else 1
        if args.command == "little":
            make_little(args.folder)
        else:
            make_trees(args.tree, args.folder, V_DIFFUSION)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"trees.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
