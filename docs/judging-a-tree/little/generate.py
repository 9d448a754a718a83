"""Draws images from a checkpoint."""

import argparse

import torch

from denoiser import Denoiser, sample

try:
    import habana_frameworks.torch.core
except ImportError:  # no Gaudi here
    pass


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--checkpoint', required=True)
    p.add_argument('--device', default='cpu')
    p.add_argument('--eta', type=float, default=0.0)
    p.add_argument('-n', type=int, default=1, help='the number of images')
    p.add_argument('--batch-size', '-bs', type=int, default=1)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--size', type=int, nargs=2, default=[16, 16], help='height and width')
    p.add_argument('--steps', type=int, default=8)
    args = p.parse_args()

    device = torch.device(args.device)
    model = Denoiser()
    model.load_state_dict(torch.load(args.checkpoint))
    model = model.to(device).eval().requires_grad_(False)

    torch.manual_seed(args.seed)
    x = torch.randn(args.n, 3, *args.size)
    for i in range(0, args.n, args.batch_size):
        batch = x[i:i + args.batch_size].to(device)
        for j, image in enumerate(sample(model, batch, args.steps, args.eta).cpu()):
            save(f'out_{i + j:05}.ppm', image)


def save(name, image):
    """Writes an image in [-1, 1] as PPM."""
    pixels = ((image + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0)
    height, width, _ = pixels.shape
    with open(name, 'wb') as file:
        file.write(f'P6 {width} {height} 255\n'.encode())
        file.write(bytes(pixels.flatten().tolist()))


if __name__ == '__main__':
    main()
