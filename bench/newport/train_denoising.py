"""Train denoising-diffusion-pytorch and sample from it, as its README describes, but small."""

import argparse

from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

parser = argparse.ArgumentParser()
parser.add_argument("--folder", default="images")
parser.add_argument("--train-num-steps", type=int, default=4)
args = parser.parse_args()

model = Unet(dim=16, dim_mults=(1, 2), flash_attn=False)
diffusion = GaussianDiffusion(model, image_size=16, timesteps=20, sampling_timesteps=4)
trainer = Trainer(
    diffusion,
    args.folder,
    train_batch_size=16,
    train_lr=8e-5,
    train_num_steps=args.train_num_steps,
    gradient_accumulate_every=1,
    num_samples=4,
    save_and_sample_every=args.train_num_steps,
    calculate_fid=False,
)
trainer.train()
