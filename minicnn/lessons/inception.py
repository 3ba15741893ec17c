"""1×1 convolutions, and Inception.

A 1×1 convolution looks at one pixel, and mixes its maps: a dense layer, the
same for every pixel. C. Szegedy et al. 2015 used it to make maps fewer
*before* the costly layers, and set windows of several sizes side by side:

    multiplications for 32×32 pixels, from 200 maps to 32:
    5×5 straight:                        32·32 · 25·200·32
    1×1 to 16 maps, then 5×5 to 32:      32·32 · (200·16 + 25·16·32)
"""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn import models, nn
from minicnn.lessons.drawing import BLUE, VERMILION, Sketchbook
from minicnn.summary import summarize


def products(*layers: nn.Module) -> int:
    """The multiplications of these layers for an image of 200 maps of 32×32."""
    return summarize(nn.Sequential(*layers), (200, 32, 32)).macs


def main(draw: Sketchbook) -> None:
    """A 1×1 convolution as a dense layer; what a reduction saves; GoogLeNet's modules."""
    x, w = mc.randn(2, 6, 4, 4), mc.randn(3, 6, 1, 1)
    by_pixel = np.einsum("nchw,oc->nohw", x.numpy(), w.numpy()[:, :, 0, 0])
    same = np.allclose(F.conv2d(x, w).numpy(), by_pixel, atol=1e-5)
    print(f"a 1×1 convolution is a dense layer at each pixel: {same}")

    straight = products(nn.Conv2d(200, 32, 5, padding=2))
    reduced = products(nn.Conv2d(200, 16, 1), nn.Conv2d(16, 32, 5, padding=2))
    print(f"\n5×5 straight:         {straight:11,} multiplications")
    print(f"by way of 16 maps:    {reduced:11,}, {straight / reduced:.1f} times fewer")

    print("\nGoogLeNet's modules, each of four branches (1×1; 3×3; 5×5; pooling):")
    with nn.init.skip():
        net = models.create("googlenet_2014")
    names, counts = [], []
    for name, module in net.named_children():
        if name.startswith("inception"):
            branches = [sum(p.data.size for p in branch.parameters()) for branch in module.children()]
            maps = module.out_channels
            print(f"  {name[9:]}: {maps:4} maps, parameters {' + '.join(f'{n:,}' for n in branches)}")
            names.append(name[9:])
            counts.append(branches)
    with draw.picture("modules", size=4.2) as axes:
        below = np.zeros(len(names))
        colours = (BLUE, VERMILION, "#009E73", "#E69F00")
        for branch, label, colour in zip(
            np.array(counts).T, ("1×1", "3×3", "5×5", "pooling"), colours, strict=True
        ):
            axes.bar(names, branch, bottom=below, label=label, color=colour)
            below = below + branch
        axes.set_title("parameters of GoogLeNet's modules, by branch", fontsize=10)
        axes.legend(fontsize=8, frameon=False)
    print("\nTry: what would 3a cost without its reductions? (models/googlenet.py has the table.)")
