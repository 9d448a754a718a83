"""Run the command of a recipe as a user runs it, and record what it leaves.

`porter add UPSTREAM -- COMMAND` wrote this probe; it is the port's, to be changed with it.

The command runs in a copy of the level's tree, which also holds what ``factories`` made: a small
checkpoint, a data set. Recorded are the names of the files that the command wrote, images, arrays
and tensors in them, texts (what it printed is one), and which random numbers it drew. Numbers in a
text are left out: they are times, or they are in a file. Random numbers asked of a device are drawn
on the CPU and moved, at every level, so that every device gets the same; ``device_draws`` counts
them.

Level 0 names CUDA. On a simulated accelerator the vendor's migration of CUDA calls serves it, as
one tries a model before porting it.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from porter.verify.probe import Probe, ProbeError

_MIGRATIONS = {
    "sim:hpu": "habana_frameworks.torch.gpu_migration",
    "sim:npu": "torch_npu.contrib.transfer_to_npu",
}
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_TENSORS = {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz", ".npy"}
_TEXTS = {".txt", ".json", ".jsonl", ".csv", ".log", ".md", ".yaml", ".yml"}
_MOST_NUMBERS = 1 << 16
"""As many numbers of each tensor of a file are recorded, spread evenly over it."""
_DOWNLOADS = {
    "hf_hub_download": ("repo_id", "filename"),
    "snapshot_download": ("repo_id",),
    "from_pretrained": ("pretrained_model_name_or_path", "pretrained_model_name"),
    "load_dataset": ("path",),
    "load_dataset_builder": ("path",),
    "load_state_dict_from_url": ("url",),
    "download_url_to_file": ("url",),
    "download_url": ("url",),
    "_get_cache_or_reload": ("github",),
    "_download": ("url",),
    "urlretrieve": ("url",),
    "urlopen": ("url",),
    "request": ("url",),
}
"""Functions that download: Hugging Face's hub, models and data sets, torch.hub, torchvision, CLIP,
urllib and requests, with the arguments that name what they want."""


def run(probe: Probe) -> None:
    """Make what the command reads, run it and record what it leaves."""
    folder = probe.scratch / "work"
    shutil.copytree(probe.tree, folder, symlinks=True, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)  # the level's own is read-only
    script = probe.parameters["script"]
    if probe.parameters.get("own_script"):
        script = str(probe.folder / "scripts" / script)
    if probe.level == 0 and probe.device_name in _MIGRATIONS:
        importlib.import_module(_MIGRATIONS[probe.device_name])
    sys.path.insert(0, str((probe.tree / script).parent))
    for name, expression in probe.parameters.get("factories", {}).items():
        probe.seed_everything()
        _write(probe, folder / name, _value(name, expression))
    del sys.path[0]
    before = {path: path.stat().st_mtime_ns for path in _files(folder)}
    words = [word.format_map(probe.parameters) for word in probe.parameters["arguments"]]
    try:
        with _draws_on_the_cpu(probe) as drawn:
            done = probe.script(script, words, cwd="work")
    except Exception as error:
        if said := _download(error):
            raise ProbeError(said) from error
        raise
    made = [path for path in _files(folder) if before.get(path) != path.stat().st_mtime_ns]
    names = sorted(path.relative_to(folder).as_posix() for path in made)
    if names:
        probe.record_text("files", "\n".join(map(_without_times, names)))
    if drawn:
        probe.record("draws", torch.tensor(drawn))
    if text := _words(done.stdout):
        probe.record_text("printed", text)
    for name in names:
        _record(probe, name, folder / name)
    if not probe.outputs:
        raise ProbeError("the command printed nothing, wrote no file and drew no number")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)]


def _without_times(name: str) -> str:
    """Return a file's name without what differs from run to run: dates, and TensorBoard's ends."""
    name = re.sub(r"(tfevents)\..*", r"\1", name)
    return re.sub(r"\d{4}-?\d\d-?\d\d([-_T ]?\d\d[-:_]?\d\d([-:_]?\d\d)?)?", "TIME", name)


def _words(text: str) -> str:
    """Return a text without its numbers and truth values, and with one space for several."""
    text = re.sub(r"[-+]?\d[\d.,:]*(e[-+]?\d+)?|\b(True|False)\b", "#", text)
    return re.sub(r"-{2,}", "-", re.sub(r"[ \t]+", " ", text)).strip()


# -- what the command reads ----------------------------------------------------------------------


def _value(name: str, expression: str) -> Any:
    """Return the value of a factory line; the names in it are imported as they are met."""
    known: dict[str, Any] = {}
    for node in ast.walk(ast.parse(expression, mode="eval")):
        if not isinstance(node, (ast.Attribute, ast.Name)):
            continue
        parts = ast.unparse(node).split(".")
        if hasattr(builtins, parts[0]) or not all(part.isidentifier() for part in parts):
            continue
        with contextlib.suppress(ModuleNotFoundError):
            for end in range(1, len(parts) + 1):  # a.b.c: modules as far as there are any
                module = importlib.import_module(".".join(parts[:end]))
                known.setdefault(parts[0], module)
    try:
        return eval(expression, known)  # a line of the recipe, written by the port's author
    except Exception as error:
        raise ProbeError(f"factory {name}={expression}: {type(error).__name__}: {error}") from error


def _write(probe: Probe, path: Path, value: Any) -> None:
    """Write a value where the command looks for it, in the form that its name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, torch.nn.Module):
        _draw_weights(probe, path.name, value)
        if not path.suffix and hasattr(value, "save_pretrained"):
            value.save_pretrained(path)
        else:
            torch.save(value.state_dict(), path)
    elif isinstance(value, str):
        path.write_text(value, encoding="utf-8")
    elif isinstance(value, bytes):
        path.write_bytes(value)
    elif isinstance(value, list) and not path.suffix:
        for number, each in enumerate(value):
            _write(probe, path / f"{number:04d}.png", each)
    elif hasattr(value, "save_pretrained"):
        value.save_pretrained(path)
    elif hasattr(value, "save") and path.suffix in _IMAGES:
        value.save(path)
    elif hasattr(value, "tofile") and path.suffix not in {".npy", ".npz"}:
        value.tofile(path)
    elif hasattr(value, "tofile"):
        importlib.import_module("numpy").save(path, value)
    else:
        torch.save(value, path)


def _draw_weights(probe: Probe, label: str, module: torch.nn.Module) -> None:
    """Draw every weight anew: nothing stays zero, which would hide what stands before it."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if not weight.is_floating_point():
                continue
            numbers = torch.randn(weight.shape, generator=probe.generator(label, name))
            if weight.dim() >= 2:
                numbers /= max(1, weight[0].numel()) ** 0.5
            else:
                numbers = numbers * 0.1 + (1.0 if name.endswith("weight") else 0.0)
            weight.copy_(numbers)


def _download(error: BaseException) -> str:
    """Return what a failed command wanted to download; "" if it failed otherwise."""
    wanted = ""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        trace = link.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            names = _DOWNLOADS.get(frame.f_code.co_name, ())
            given = [frame.f_locals[name] for name in names if name in frame.f_locals]
            if not wanted and given and isinstance(given[0], str):
                wanted = "/".join(str(each) for each in given if isinstance(each, str))
            trace = trace.tb_next
        link = link.__cause__ or link.__context__
    if not wanted:
        return ""
    return (
        f"the command asks for {wanted!r}, and a run has no network; give a small stand-in, here as"
        f" `factories: {{NAME: EXPRESSION}}` or as `porter add ... --factory NAME=EXPRESSION`: NAME"
        " is the path that the command then reads"
    )


# -- random numbers ------------------------------------------------------------------------------


@contextlib.contextmanager
def _draws_on_the_cpu(probe: Probe) -> Iterator[list[list[int]]]:
    """Draw on the CPU what is asked of a device, and move it; yields [how many, a checksum]s."""
    drawn: list[list[int]] = []

    def away(device: Any) -> bool:
        return device is not None and torch.device(device).type != "cpu"

    def kept(numbers: torch.Tensor) -> torch.Tensor:
        data = numbers.detach().contiguous().reshape(-1).view(torch.uint8)
        drawn.append([numbers.numel(), zlib.crc32(data.numpy().tobytes())])
        return numbers

    def factory(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def draw(*sizes: Any, device: Any = None, **options: Any) -> torch.Tensor:
            if options.get("generator") is not None:
                return make(*sizes, device=device, **options)
            if not away(device):
                return kept(make(*sizes, device=device, **options))
            probe.count("device_draws", 1)
            return kept(make(*sizes, **options)).to(device)

        return draw

    def alike(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def draw(like: torch.Tensor, *values: Any, **options: Any) -> torch.Tensor:
            device = options.pop("device", None) or like.device
            if not away(device):
                return kept(make(like, *values, **options))
            probe.count("device_draws", 1)
            empty = torch.empty(like.shape, dtype=like.dtype)
            return kept(make(empty, *values, **options)).to(device)

        return draw

    def fill(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def draw(own: torch.Tensor, *values: Any, **options: Any) -> torch.Tensor:
            if options.get("generator") is not None or not away(own.device):
                return make(own, *values, **options)
            probe.count("device_draws", 1)
            with torch.no_grad():
                own.copy_(make(torch.empty(own.shape, dtype=own.dtype), *values, **options))
            return own

        return draw

    def choose(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def draw(chances: torch.Tensor, *values: Any, **options: Any) -> torch.Tensor:
            if options.get("generator") is not None or not away(chances.device):
                return make(chances, *values, **options)
            probe.count("device_draws", 1)
            return kept(make(chances.detach().cpu(), *values, **options)).to(chances.device)

        return draw

    dropout = torch.nn.functional.dropout

    def drop(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training or p == 0 or not away(x.device):
            return dropout(x, p, training, inplace)
        probe.count("device_draws", 1)
        return x * dropout(torch.ones(x.shape), p).to(x)

    probe.count("device_draws", 0)
    with contextlib.ExitStack() as stack:
        for wrap, owner, names in (
            (factory, torch, ("randn", "rand", "randint", "randperm")),
            (alike, torch, ("randn_like", "rand_like", "randint_like")),
            (fill, torch.Tensor, ("normal_", "uniform_", "random_", "bernoulli_", "exponential_")),
            (choose, torch, ("bernoulli", "multinomial")),
        ):
            for name in names:
                stack.enter_context(mock.patch.object(owner, name, wrap(getattr(owner, name))))
        stack.enter_context(mock.patch.object(torch.nn.functional, "dropout", drop))
        yield drawn


# -- what the command leaves ---------------------------------------------------------------------


def _record(probe: Probe, name: str, path: Path) -> None:
    shown = re.sub(r"[^A-Za-z0-9._/+-]", "_", _without_times(name))[-100:]
    if path.suffix.lower() in _IMAGES:
        probe.record_image(f"image/{shown}", path)
    elif path.suffix.lower() in _TENSORS:
        numbers = list(_numbers(_loaded(path)))
        if numbers:
            probe.record(f"numbers/{shown}", torch.cat(numbers))
    elif path.suffix.lower() in _TEXTS and (text := _words(path.read_text("utf-8", "replace"))):
        probe.record_text(f"text/{shown}", text)


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return importlib.import_module("safetensors.torch").load_file(path)
    if path.suffix in (".npz", ".npy"):
        found = importlib.import_module("numpy").load(path)
        return dict(found) if path.suffix == ".npz" else found
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise ProbeError(f"{path.name}: {type(error).__name__}: {error}") from error


def _numbers(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors and arrays of a loaded file, flat, in float64, each at most so long."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _numbers(value[key])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, torch.Tensor) or type(value).__module__ == "numpy":
        flat = torch.as_tensor(value).detach().cpu().reshape(-1)
        yield flat[:: -(-flat.numel() // _MOST_NUMBERS) or 1].to(torch.float64)
