"""The training scripts of the other tasks, from their command lines, on small pipelines."""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from script_training import SIDE, train
from small_pipelines import drawn, image_folder, stable_diffusion

from porter.verify.probe import Probe

PICTURES = 4  # in each folder
EXAMPLES = "examples"


@dataclass(frozen=True)
class Task:
    """A script, the words that it needs, and what it has of the devices' options."""

    script: str
    words: tuple[object, ...]
    prompt: tuple[object, ...]  # a validation, in the second step or after the first epoch
    trained: str  # the weights that it writes, below its output
    alone: tuple[object, ...] = ()  # besides, where one process trains
    clips: bool = True
    flash: bool = True


ONE_IMAGE = ("--num_validation_images", 1)
SECOND_STEP = ("--validation_steps", 2)
DREAMBOOTH = (
    *("--instance_data_dir", "pictures", "--instance_prompt", "a red disc", "--center_crop"),
)
PRIOR = (
    *("--with_prior_preservation", "--class_data_dir", "classes", "--class_prompt", "a grey disc"),
    *("--num_class_images", PICTURES),
)
TASKS = {
    "textual_inversion": Task(
        script=f"{EXAMPLES}/textual_inversion/textual_inversion.py",
        words=(
            *("--train_data_dir", "pictures", "--repeats", 8, "--save_steps", 3),
            *("--placeholder_token", "<thing>", "--initializer_token", "disc"),
        ),
        prompt=("--validation_prompt", "a <thing>", *ONE_IMAGE, *SECOND_STEP),
        trained="learned_embeds.bin",
        clips=False,
    ),
    "dreambooth": Task(
        script=f"{EXAMPLES}/dreambooth/train_dreambooth.py",
        words=(*DREAMBOOTH, "--train_text_encoder"),
        alone=PRIOR,
        prompt=("--validation_prompt", "a red disc", *ONE_IMAGE, *SECOND_STEP),
        trained="unet/diffusion_pytorch_model.bin",
    ),
    "dreambooth_lora": Task(
        script=f"{EXAMPLES}/dreambooth/train_dreambooth_lora.py",
        words=DREAMBOOTH,
        alone=PRIOR,
        prompt=("--validation_prompt", "a red disc", *ONE_IMAGE, "--validation_epochs", 4),
        trained="pytorch_lora_weights.bin",
        flash=False,
    ),
    "controlnet": Task(
        script=f"{EXAMPLES}/controlnet/train_controlnet.py",
        words=("--train_data_dir", "pairs", "--controlnet_model_name_or_path", "control"),
        prompt=(
            *("--validation_prompt", "a red disc", "--validation_image", "pictures/000.png"),
            *(*ONE_IMAGE, *SECOND_STEP),
        ),
        trained="diffusion_pytorch_model.bin",
    ),
}


def write_task_inputs(probe: Probe, architecture: str) -> None:
    """Write a pipeline to ``model`` and what the tasks train on.

    ``pictures`` and ``classes`` are folders of them, ``pairs`` a data set of pictures and what
    they are conditioned on, ``control`` a control net for latents of half a picture's side.
    """
    import datasets
    from diffusers import ControlNetModel

    pipeline = stable_diffusion(probe, architecture, probe.scratch / "model")
    control = ControlNetModel.from_unet(
        pipeline.unet, conditioning_embedding_out_channels=(8, 16), load_weights_from_unet=False
    )
    drawn(probe, control, "control").save_pretrained(probe.scratch / "control")
    for folder, count in (("pictures", PICTURES), ("classes", PICTURES)):
        image_folder(probe, probe.scratch / folder, count, SIDE)
        (probe.scratch / folder / "metadata.jsonl").unlink()
    files = sorted(str(path) for path in (probe.scratch / "pictures").iterdir())
    texts = ["a red disc", "a blue square"] * (PICTURES // 2)
    columns = {"image": files * 2, "conditioning_image": files[::-1] * 2, "text": texts * 2}
    pairs = datasets.Dataset.from_dict(columns)
    for column in ("image", "conditioning_image"):
        pairs = pairs.cast_column(column, datasets.Image())
    (probe.scratch / "pairs").mkdir()
    pairs.to_parquet(probe.scratch / "pairs" / "train-00000.parquet")


def task_words(task: Task, steps: int, *more: object, batch: int = 2) -> list[str]:
    """The script's arguments: what every run has, and ``more``."""
    common: dict[str, object] = {
        "--pretrained_model_name_or_path": "model",
        "--resolution": SIDE,
        "--train_batch_size": batch,
        "--max_train_steps": steps,
        "--learning_rate": 1e-3,
        "--lr_warmup_steps": 0,
        "--seed": 0,
        "--output_dir": "trained",
    }
    pairs = [word for pair in common.items() for word in pair]
    return [str(word) for word in (*pairs, *task.words, *more)]


def train_task(probe: Probe, task: Task, arguments: list[str]) -> list[float]:
    """Run the script; returns the losses that it logged."""
    return train(probe, arguments, task.script, "loss")


@contextlib.contextmanager
def reports_heard(probe: Probe, name: str) -> Iterator[None]:
    """Count what the script tells its report of steps, at levels that have one.

    ``NAME/wanted`` and ``NAME/arrived`` are the batches. ``NAME/paused`` and ``NAME/resumed`` have
    a decimal digit for each number of steps done, the last one for none: 120 is two pauses after
    the first step and one after the second.
    """
    try:
        from diffusers.step_report import StepReport as report
    except ImportError:
        yield
        return
    counts = dict.fromkeys(("wanted", "arrived", "paused", "resumed"), 0)

    def heard(counter: str, method: Callable[..., Any], by_step: bool) -> Callable[..., Any]:
        def call(self: Any, *args: Any) -> Any:
            counts[counter] += 10 ** len(self.steps) if by_step else 1
            return method(self, *args)

        return call

    with (
        mock.patch.object(report, "data_wanted", heard("wanted", report.data_wanted, False)),
        mock.patch.object(report, "data_arrived", heard("arrived", report.data_arrived, False)),
        mock.patch.object(report, "pause", heard("paused", report.pause, True)),
        mock.patch.object(report, "resume", heard("resumed", report.resume, True)),
    ):
        yield
    for counter, count in counts.items():
        probe.count(f"{name}/{counter}", count)


@contextlib.contextmanager
def lines_heard(probe: Probe, name: str) -> Iterator[None]:
    """Count the lines that the script prints of its steps, and what its progress bar shows of them,
    at levels that have a report of steps."""
    try:
        from diffusers import step_report
    except ImportError:
        yield
        return
    from tqdm.std import tqdm

    with (
        mock.patch.object(step_report, "step_line", wraps=step_report.step_line) as lines,
        mock.patch.object(step_report, "report_run", wraps=step_report.report_run) as runs,
        mock.patch.object(tqdm, "set_postfix") as shown,
    ):
        yield
    probe.count(f"{name}/lines", lines.call_count)
    probe.count(f"{name}/shown", shown.call_count)
    probe.count(f"{name}/runs", runs.call_count)


@contextlib.contextmanager
def flash_heard(probe: Probe) -> Iterator[None]:
    """Count the calls of flash attention, at levels that have it."""
    try:
        from diffusers.models.flash_attention import FlashAttnProcessor
    except ImportError:
        yield
        return
    called = 0
    native = FlashAttnProcessor.__call__

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        called += 1
        return native(*args, **kwargs)

    with mock.patch.object(FlashAttnProcessor, "__call__", call):
        yield
    probe.count("flash_calls", called)


def count_options(probe: Probe, task: Task) -> None:
    """Count whether the script takes what it should, and no more: ``--dataset_name`` alone and a
    local folder, where it has these options, but not two folders; and the fused clipping of
    gradients where it clips any, but not without its optimizer.
    """
    script = runpy.run_path(str(probe.tree / task.script), run_name="script")
    text = (probe.tree / task.script).read_text(encoding="utf-8")
    words = task_words(task, 1)
    if "--dataset_name" in text:
        named = ["--dataset_name" if word == "--train_data_dir" else word for word in words]
        probe.count("named_dataset", int(_is_taken(script["parse_args"], named)))
    if "check_local_data_option" in text:
        folder = ["--local_data_dir", str(probe.scratch / "pairs")]
        at = words.index("--train_data_dir")
        alone = [*words[:at], *words[at + 2 :], *folder]
        probe.count("local_folder", int(_is_taken(script["parse_args"], alone)))
        probe.count("two_folders", int(_is_taken(script["parse_args"], [*words, *folder])))
    if "device_training" in text:
        alone = [*words, "--use_clip_grad_norm_fused"]
        probe.count("clipping_alone", int(_is_taken(script["parse_args"], alone)))
        clipping = [*words, "--use_npu_fuse_adamW", "--use_clip_grad_norm_fused"]
        probe.count("clipping", int(_is_taken(script["parse_args"], clipping)))


def _is_taken(parse: Callable[[], Any], words: list[str]) -> bool:
    with mock.patch.object(sys, "argv", ["script", *words]):
        try:
            parse()
        except (ValueError, SystemExit) as error:
            print(error)
            return False
    return True


def device_options(probe: Probe, task: Task, precision: str) -> list[object]:
    """Whatever the level's script has for the device."""
    if "device_training" not in (probe.tree / task.script).read_text(encoding="utf-8"):
        return []
    on_npu = probe.device.type == "npu"
    options: list[object] = ["--enable_pin_memory"]
    options += ["--use_npu_fuse_adamW"] if on_npu else ["--use_hpu_fused_adamW"]
    if on_npu:
        options += ["--npu_jit_compile", "false", "--npu_internal_format", "false"]
        if task.clips:
            options += ["--use_clip_grad_norm_fused"]
        if precision == "fp16":
            options += ["--loss_scale", 1024]
    if task.flash and precision != "no":
        options += ["--enable_npu_flash_attention"]
    return options


def trained_weights(probe: Probe, task: Task) -> torch.Tensor:
    """What the script trained, as one row of numbers."""
    loaded: Any = torch.load(probe.scratch / "trained" / task.trained, map_location="cpu")
    values = loaded.values() if isinstance(loaded, dict) else [loaded]
    return torch.cat([value.detach().flatten().float() for value in values])
