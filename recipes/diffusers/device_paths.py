"""What the library does otherwise on a device: dtypes of timesteps, offloading, noise."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from small_pipelines import CROSS, PLAIN, drawn, stable_diffusion, unet_config

from porter.verify.probe import Probe, ProbeError

MOMENT = 981.3  # a timestep between two numbers of bfloat16
LAYOUT: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}
SCHEDULERS = (
    "CMStochasticIterativeScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
)


def run(probe: Probe) -> None:
    """Record outputs at a fractional timestep and schedules; check what only a device has."""
    _announce_accelerate()
    with torch.no_grad():
        _record_models(probe)
    _record_schedulers(probe)
    if (probe.tree / "src/diffusers/utils/devices.py").is_file():
        with probe.attempt("check/devices"):
            _check_devices(probe)
        if probe.device.type != "cpu":
            with probe.attempt("check/offloading"):
                _check_offloading(probe)


def _announce_accelerate() -> None:
    """The companion has no metadata of an installed package, by which diffusers would find it."""
    native = importlib.metadata.version
    importlib.metadata.version = lambda name: "0.20.3" if name == "accelerate" else native(name)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ProbeError(f"{what}: expected {expected}, found {found}")


def _wide(probe: Probe) -> torch.dtype:
    """What Python floats become; a Gaudi has no float64."""
    return torch.float32 if probe.device.type == "hpu" else torch.float64


def _record_models(probe: Probe) -> None:
    from diffusers import ControlNetModel, UNet2DConditionModel, UNet3DConditionModel

    down = {"down_block_types": (CROSS, PLAIN)}
    over_time = {
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    }
    controlled = {"conditioning_embedding_out_channels": (8, 16)}
    text = probe.normal("text", 1, 5, 32)
    image = probe.normal("image", 1, 4, 8, 8)
    hint = probe.normal("hint", 1, 3, 16, 16)
    video = probe.normal("video", 1, 4, 2, 8, 8)
    given: dict[str, tuple[Any, Callable[[Any], torch.Tensor]]] = {
        "unet": (
            UNet2DConditionModel(**unet_config("sd15")),
            lambda model: model(image, MOMENT, text).sample,
        ),
        "controlnet": (
            ControlNetModel(**LAYOUT | down | controlled),
            lambda model: model(image, MOMENT, text, hint).mid_block_res_sample,
        ),
        "video": (
            UNet3DConditionModel(**LAYOUT | over_time),
            lambda model: model(video, MOMENT, text).sample,
        ),
    }
    for name, (model, call) in given.items():
        with probe.attempt(f"model/{name}"):
            model = drawn(probe, model, name).to(probe.device)
            dtypes = _dtypes_given(model.time_proj)
            probe.record(f"model/{name}", call(model))
            _expect(f"{name}: dtype of the timestep", dtypes, [_wide(probe)])


def _dtypes_given(module: torch.nn.Module) -> list[torch.dtype]:
    """The dtypes of what the module will be called with."""
    dtypes: list[torch.dtype] = []
    module.register_forward_pre_hook(lambda _, given: dtypes.append(given[0].dtype))
    return dtypes


def _record_schedulers(probe: Probe) -> None:
    import diffusers

    sample, noise = probe.normal("sample", 1, 4, 4), probe.normal("noise", 1, 4, 4)
    for name in SCHEDULERS:
        scheduler = getattr(diffusers, name)()
        with probe.attempt(f"schedule/{name}"):
            scheduler.set_timesteps(5, device=probe.device)
            if probe.device.type == "hpu":
                wide = scheduler.timesteps.dtype == torch.float64
                _expect(f"{name}: a float64 schedule", wide, False)
            probe.record(f"schedule/{name}", scheduler.timesteps.float())
        with probe.attempt(f"noised/{name}"):
            # A schedule made on the CPU, in float64, for tensors that are elsewhere
            scheduler.timesteps = scheduler.timesteps.cpu().double()
            chosen = scheduler.timesteps[1:2]
            probe.record(f"noised/{name}", scheduler.add_noise(sample, noise, chosen).float())


def _check_devices(probe: Probe) -> None:
    from diffusers.utils import devices, randn_tensor

    kind = probe.device.type
    _expect("the accelerator", devices.accelerator_type(), kind)
    expected = torch.device("cuda" if kind == "cpu" else kind, 0)
    _expect("its first", devices.accelerator(), expected)
    with devices.device_autocast(probe.device):
        _expect("autocast", torch.is_autocast_enabled(kind), kind != "cpu")
    with _counted("empty_cache", torch.cuda if kind == "cpu" else getattr(torch, kind)) as calls:
        devices.empty_cache(probe.device)
    _expect("caches emptied", len(calls), int(kind == "npu"))
    _check_plugins(kind)
    if kind == "cpu":
        return
    of_the_device = torch.Generator(probe.device).manual_seed(0)
    randn_tensor((2,), generator=of_the_device, device=probe.device)
    randn_tensor((2,), generator=torch.Generator("cpu"), device=probe.device)
    try:
        randn_tensor((2,), generator=of_the_device, device=torch.device("cpu"))
    except ValueError:
        return
    raise ProbeError(f"a generator of {kind} drew for the CPU")


def _check_plugins(kind: str) -> None:
    """A plugin without a card, or one that brings no module, is no accelerator."""
    from diffusers.utils import devices

    if kind == "cpu":
        for name in ("torch_npu", "habana_frameworks", "habana_frameworks.torch"):
            sys.modules[name] = types.ModuleType(name)
        for name in ("core", "hpu"):
            whole = f"habana_frameworks.torch.{name}"
            sys.modules[whole] = types.ModuleType(whole)
            setattr(sys.modules["habana_frameworks.torch"], name, sys.modules[whole])
        sys.modules["habana_frameworks"].torch = sys.modules["habana_frameworks.torch"]  # type: ignore[attr-defined]
    _forget(devices)
    module = getattr(torch, kind)
    there = getattr(module, "is_available", None)
    if kind != "cpu":
        module.is_available = lambda: False
    try:
        _expect("without a card", devices.accelerator_type(), "cpu")
    finally:
        if kind != "cpu":
            module.is_available = there
        _forget(devices)


def _forget(devices: Any) -> None:
    devices.is_npu_available.cache_clear()
    devices.is_hpu_available.cache_clear()


@contextlib.contextmanager
def _counted(name: str, module: Any) -> Any:
    """Count the calls of a function of ``module``; hpu's may be absent."""
    calls: list[int] = []
    native = getattr(module, name, None)
    setattr(module, name, lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        if native is None:
            delattr(module, name)
        else:
            setattr(module, name, native)


def _check_offloading(probe: Probe) -> None:
    """Offloading empties the cache once, warns of a move, and goes on working."""
    import diffusers

    stable_diffusion(probe, "sd15", probe.scratch / "model")
    for name in ("", "Img2Img", "Inpaint"):
        kind = getattr(diffusers, f"StableDiffusion{name}Pipeline")
        for method in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
            pipeline = kind.from_pretrained("model").to(probe.device)
            pipeline.to(probe.device)  # nothing is offloaded: no word about it
            with _counted("empty_cache", getattr(torch, probe.device.type)) as calls:
                getattr(pipeline, method)()
            _expect(f"{method}: caches emptied", len(calls), int(probe.device.type == "npu"))
            # Upstream means to refuse the move of the other too, and takes its hooks for another's
            word = "warned" if "model" in method else None
            if word == "warned":  # the other's weights are nowhere, and upstream fails on a CPU too
                _expect(f"{name}.{method}: words", _words_of_moving(pipeline, "cpu"), None)
            told = _words_of_moving(pipeline, probe.device.type)
            _expect(f"{name}.{method}: words", told, word)
    images = pipeline_of(kind=diffusers.StableDiffusionPipeline, probe=probe)
    _expect("images", len(images), 1)


def pipeline_of(kind: Any, probe: Probe) -> Any:
    """Images of an offloaded pipeline, whose first model runs on the accelerator."""
    pipeline = kind.from_pretrained("model")
    pipeline.enable_model_cpu_offload()
    seen: list[str] = []
    pipeline.unet.register_forward_pre_hook(lambda *_: seen.append("unet"))
    images = pipeline("red", num_inference_steps=1, height=16, width=16).images
    _expect(
        "the device of an offloaded pipeline", pipeline._execution_device.type, probe.device.type
    )
    return images


def _words_of_moving(pipeline: Any, place: str) -> str | None:
    """What a pipeline says to ``to(place)``: "refused", "warned", or nothing."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("diffusers.pipelines.pipeline_utils")
    logger.addHandler(handler)
    try:
        pipeline.to(place)
    except ValueError:
        return "refused"
    finally:
        logger.removeHandler(handler)
    return "warned" if any("offload" in line for line in told) else None
