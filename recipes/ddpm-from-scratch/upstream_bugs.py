"""Each upstream bug that the last level, off by default, fixes, and what that level keeps."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import numpy as np
import torch
from commands import train_command, write_dataset
from small import small_model
from training import launched, train, trainer

from porter.verify.probe import Probe


def works(act: Callable[[], object]) -> int:
    """Return 1 if ``act`` ends without an exception, otherwise 0."""
    try:
        act()
    except Exception as error:  # whatever upstream's bug ends in
        print(f"{type(error).__name__}: {error}")
        return 0
    return 1


@contextlib.contextmanager
def chosen_timesteps(value: int) -> Iterator[None]:
    """Let the uniform distribution of timesteps give ``value``."""
    uniform = torch.distributions.uniform.Uniform
    sample = uniform.sample
    uniform.sample = lambda _self, size: torch.full(size, float(value))  # type: ignore[method-assign]
    try:
        yield
    finally:
        uniform.sample = sample  # type: ignore[method-assign]


def linear(probe: Probe) -> None:
    """The linear schedule: how far a DDIM step goes, and steps that do not divide T."""
    from src.models.Variance_Scheduler import DDIM_Scheduler

    model = small_model(probe, ("res",), schedule="linear", timesteps=6)
    torch.manual_seed(probe.seed)
    noise = torch.randn(1, 3, 64, 64)
    torch.manual_seed(probe.seed)
    images = model.sample_imgs(1, 3).cpu()
    probe.count("ddim_moves", int((images - noise).abs().max() > 1e-3))
    probe.count("indivisible_steps", works(lambda: DDIM_Scheduler("linear", 10, 3, probe.device)))
    schedule = DDIM_Scheduler("linear", 12, 4, probe.device)
    before = torch.cat([torch.ones(1), schedule.a_bar_t.flatten()[:-1]])
    probe.count("product_before", int(torch.equal(before, schedule.a_bar_t1.flatten())))
    drawn = small_model(probe, ("res",), schedule="linear", timesteps=6, scale=1.0)
    torch.manual_seed(probe.seed)
    probe.record("linear/images", drawn.sample_imgs(1, 3, corrected=True))


def importance(probe: Probe) -> None:
    """Importance sampling: the last timestep, the row of the first, and whether it ever begins."""

    def trained(value: int, counts: int) -> Any:
        with launched(probe), chosen_timesteps(value):
            model = small_model(probe, ("res",), timesteps=8)
            made = trainer(probe, model, use_importance=True)
            made.losses[:] = 1.0
            made.losses_ct[:] = counts
            train(probe, made, 2, f"importance-{value}-{counts}")
        return made

    made: list[Any] = []
    probe.count("last_timestep", works(lambda: made.append(trained(8, 0))))
    probe.count("place_of_last_timestep", int(made[0].losses_ct.argmax()) + 1 if made else 0)
    probe.count("row_of_first_timestep", int(trained(1, 0).losses_ct.argmax()))
    choice = np.random.choice
    for name, counts in (("chosen_by_importance", 10), ("chosen_too_early", 9)):
        chosen: list[int] = []
        np.random.choice = lambda *args, chosen=chosen, **options: (
            chosen.append(1) or choice(*args, **options)
        )
        try:
            works(lambda counts=counts: trained(1, counts))
        finally:
            np.random.choice = choice
        probe.count(name, len(chosen))
    np.random.choice = lambda steps, size, **_options: np.full(size, len(steps))
    try:
        probe.count("last_timestep_by_importance", works(lambda: trained(1, 10)))
    finally:
        np.random.choice = choice


def classes(probe: Probe) -> None:
    """Models without classes are sampled, and trained by the command."""
    for blocks in (("res",), ("conv", "chnAtn")):
        model = small_model(probe, blocks, classes=None, timesteps=3)
        sampled = works(lambda model=model: model.sample_imgs(1))
        probe.count(f"without_classes/{blocks[0]}", sampled)
    write_dataset(probe, 4)
    command = ("--load_into_mem", False, "--epochs", 1, "--c_dim", -1, "--blk_types", "res,conv")
    probe.count("without_classes/train", works(lambda: train_command(probe, "cpu", *command)))


def options(probe: Probe) -> None:
    """What the command lines make of fractions."""
    sys.path.insert(0, str(probe.tree / "src"))
    train_command = importlib.import_module("train").train
    infer_command = importlib.import_module("src.infer").infer
    names = {p.name: p for p in [*train_command.params, *infer_command.params]}
    context = train_command.make_context("train", [])
    probe.count("default_p_uncond", context.params["p_uncond"])
    for name in ("p_uncond", "DDIM_scale", "w"):
        taken = works(lambda name=name: names[name].type.convert("0.5", names[name], None))
        probe.count(f"fraction/{name}", taken)
    said = ""
    for name in ("p_uncond", "DDIM_scale", "w"):
        try:
            names[name].type.convert("0.5", names[name], None)
        except click.BadParameter as error:
            said += error.message
    probe.count("told/fractions", said.count("upstream-bugs"))
    for given in (("--c_dim", "-1"), ("--use_importance", "True", "--data_path", "none")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                train_command.main(given, standalone_mode=False)
            except (click.UsageError, FileNotFoundError) as error:
                print(error)
        probe.count("told/" + given[0], printed.getvalue().count("upstream-bugs"))


def reshaped(probe: Probe) -> None:
    """Pictures that are brought to a power of two, up and down."""
    sys.path.insert(0, str(probe.tree / "src"))
    dataset_of = importlib.import_module("CustomDataset").CustomDataset
    write_dataset(probe, 2)
    for scale in ("up", "down"):

        def get(scale: str = scale) -> object:
            image, _ = dataset_of("images", 2, 0, scale=scale)[0]
            assert image.shape == (3, 64, 64)
            return image

        probe.count(f"reshaped/{scale}", works(get))


def label(probe: Probe) -> None:
    """A class that is given as text, which upstream turns into a number."""
    model = small_model(probe, ("res",), timesteps=3)
    probe.count("text_label", works(lambda: model.sample_imgs(1, "3")))


def kept(probe: Probe) -> None:
    """Code without a bug: the cosine schedule, uniform timesteps, models with classes."""
    model = small_model(probe, timesteps=3, scale=1.0)
    torch.manual_seed(probe.seed)
    probe.record("kept/images", model.sample_imgs(2, 3, 2, corrected=True))
    model = small_model(probe, ("res", "conv", "clsAtn"), timesteps=20)
    with launched(probe):
        made = trainer(probe, model)
        train(probe, made, 3, "kept")
    probe.record("kept/losses", torch.tensor(made.losses_comb).float())


def run(probe: Probe) -> None:
    """Count what works (1) and what does not (0); record what must stay."""
    for name, case in {
        "linear": linear,
        "importance": importance,
        "classes": classes,
        "options": options,
        "reshaped": reshaped,
        "label": label,
        "kept": kept,
    }.items():
        with probe.attempt(name):
            case(probe)
