"""A small diffusion model and its sampler."""

import torch
from torch import nn


def schedule(steps):
    """Returns the noise levels from pure noise down to none: one more than there are steps."""
    return torch.linspace(1, 0, steps + 1)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=False)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.norm(x).relu())


class Denoiser(nn.Module):
    """Predicts the clean image from a noisy one and its noise level. Takes images of any size."""

    def __init__(self, channels=8):
        super().__init__()
        self.first = nn.Conv2d(4, channels, 3, padding=1)
        self.blocks = nn.Sequential(Block(channels), Block(channels))
        self.last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x, t):
        plane = t[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return self.last(self.blocks(self.first(torch.cat([x, plane], 1)))).tanh()


@torch.no_grad()
def sample(model, x, steps, eta=0.0):
    """Draws images from noise. With eta each step adds fresh noise."""
    ts = schedule(steps).to(x.device)
    for t, t_next in zip(ts[:-1], ts[1:]):
        pred = model(x, t.expand(len(x)))
        x = pred + t_next / t * (x - pred)
        if eta:
            noise = torch.randn(x.shape).to(x.device)
            x = x + eta * t_next * noise
    return x
