"""Small pipelines for the six inference tasks, written to folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from small_pipelines import (
    WORDS,
    autoencoder,
    drawn,
    stable_diffusion,
    text_encoder,
    unet_config,
    write_tokenizer,
)

from porter.verify.probe import Probe

LDM_TOKENS = 77  # the pipeline pads to this length, whatever the tokenizer says


def text_to_image(probe: Probe, folder: Path) -> None:
    """Latent diffusion: BERT's own layout, a variational autoencoder, one token embedding each."""
    from diffusers import DDIMScheduler, LDMTextToImagePipeline, UNet2DConditionModel
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import (
        LDMBertConfig,
        LDMBertModel,
    )
    from transformers import BertTokenizer

    words = folder / "words.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    bert = LDMBertModel(
        LDMBertConfig(
            vocab_size=5 + len(WORDS),
            d_model=32,
            encoder_layers=1,
            encoder_ffn_dim=37,
            encoder_attention_heads=2,
            max_position_embeddings=LDM_TOKENS,
            head_dim=16,
        )
    )
    LDMTextToImagePipeline(
        vqvae=drawn(probe, autoencoder(), "vae"),
        bert=drawn(probe, bert, "bert"),
        tokenizer=BertTokenizer(str(words), model_max_length=LDM_TOKENS),
        unet=drawn(probe, UNet2DConditionModel(**unet_config("sd15")), "ldm unet"),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
        ),
    ).save_pretrained(folder)


def image_to_image(probe: Probe, folder: Path) -> None:
    """Stable Diffusion 1.5's layout."""
    stable_diffusion(probe, "sd15", folder)


def inpaint(probe: Probe, folder: Path) -> None:
    """Stable Diffusion with nine input channels: latents, mask, masked latents."""
    from diffusers import StableDiffusionInpaintPipeline

    _with_unet(probe, folder, StableDiffusionInpaintPipeline, 9)


def depth_to_image(probe: Probe, folder: Path) -> None:
    """Stable Diffusion 2 with a fifth input channel, and a depth estimator."""
    from diffusers import StableDiffusionDepth2ImgPipeline
    from transformers import DPTConfig, DPTFeatureExtractor, DPTForDepthEstimation

    estimator = DPTForDepthEstimation(
        DPTConfig(
            image_size=32,
            patch_size=16,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=37,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[16, 16, 32, 32],
            fusion_hidden_size=16,
        )
    )
    features = DPTFeatureExtractor(size={"height": 32, "width": 32})
    depth = drawn(probe, estimator, "depth")
    # The last layer of the head is a ReLU: a bias keeps the depth from being nothing but zeros.
    with torch.no_grad():
        depth.head.head[4].bias.fill_(1.0)
    _with_unet(
        probe,
        folder,
        StableDiffusionDepth2ImgPipeline,
        5,
        depth_estimator=depth,
        feature_extractor=features,
    )


def textual_inversion(probe: Probe, folder: Path) -> None:
    """Stable Diffusion 1.5's layout, and a learned word ``<toy>`` beside it."""
    stable_diffusion(probe, "sd15", folder)
    learned = torch.randn(32, generator=probe.generator("toy"), dtype=torch.float64).float()
    torch.save({"<toy>": learned}, folder / "learned_embeds.bin")


def unconditional(probe: Probe, folder: Path) -> None:
    """DDPM on pixels."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    DDPMPipeline(drawn(probe, unet, "ddpm unet"), scheduler).save_pretrained(folder)


def _with_unet(probe: Probe, folder: Path, pipeline_class: Any, channels: int, **more: Any) -> None:
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTokenizer

    vocabulary = write_tokenizer(folder / "words")
    unet = UNet2DConditionModel(**unet_config("sd21", channels))
    if "depth_estimator" not in more:
        more = {"safety_checker": None, "feature_extractor": None} | more
        more["requires_safety_checker"] = False
    pipeline_class(
        vae=drawn(probe, autoencoder(), "vae"),
        text_encoder=drawn(probe, text_encoder(vocabulary), "text encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "words"),
        unet=drawn(probe, unet, f"unet of {channels}"),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        **more,
    ).save_pretrained(folder)


TASKS: dict[str, Callable[[Probe, Path], None]] = {
    "text_to_image": text_to_image,
    "image_to_image": image_to_image,
    "inpaint": inpaint,
    "depth_to_image": depth_to_image,
    "textual_inversion": textual_inversion,
    "unconditional": unconditional,
}
