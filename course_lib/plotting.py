"""One style for the figures of the course, and one size in pixels, whatever their
labels.
"""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from torch import Tensor

#: Okabe and Ito's colors, distinct for color-blind readers; marker and dash tell them
#: apart in gray.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: In inches at 100 dots: 640 x 360 pixels, drawn at twice that for fine screens.
WIDTH, HEIGHT = 6.4, 3.6


def style() -> None:
    """Use the course's style for the figures that follow. In a notebook, figures have
    their exact size.
    """
    import matplotlib.pyplot as plt
    from cycler import cycler

    cycle = cycler(color=COLORS) + cycler(
        linestyle=["-", "--", "-.", ":", "-", "--", "-."]
    )
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, HEIGHT),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycle,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "lines.linewidth": 2,
            "legend.frameon": False,
        }
    )
    ipython = sys.modules.get("IPython")  # outside of notebooks there need be none
    if ipython and ipython.get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # Without `bbox_inches`, a tight box would follow the labels.
        set_matplotlib_formats("retina", bbox_inches=None)


def plot_seeds(axes: Axes, values: Mapping[str, Sequence[float]], label: str) -> None:
    """Draw a row for each name: a dot for each seed, and the mean with the standard
    deviation to each side. `label` says what is measured.

    Raises: ValueError if a name has fewer than two values: one has no standard
        deviation.
    """
    for row, (name, seeds) in enumerate(values.items()):
        if len(seeds) < 2:
            raise ValueError(f"{name!r} needs two seeds or more, got {len(seeds)}")
        color = COLORS[row % len(COLORS)]
        axes.plot(seeds, [row] * len(seeds), "o", color=color, alpha=0.4)
        std = statistics.stdev(seeds)
        mean = statistics.mean(seeds)
        axes.errorbar(mean, row, xerr=std, fmt="|", color=color, capsize=4)
    axes.set_yticks(range(len(values)), list(values))
    axes.set(xlabel=label, ylim=(len(values) - 0.5, -0.5))


def show_images(
    images: Tensor, titles: list[str] | None = None, *, columns: int = 10
) -> None:
    """Draw a grid of images, each scaled to its own darkest and brightest pixel.

    Shape: `images` (N, H, W) or (N, 1, H, W).
    Raises: ValueError if there are not as many `titles` as images.
    """
    import matplotlib.pyplot as plt

    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images need as many titles, got {len(titles)}")
    rows = -(-len(images) // columns)
    height = WIDTH / columns * rows * (1.25 if titles else 1)
    _, grid = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for index, axes in zip(range(len(images)), grid.flat, strict=False):
        _draw_image(axes, images[index], titles[index] if titles else "")


def _draw_image(axes: Axes, image: Tensor, title: str) -> None:
    axes.imshow(image.reshape(image.shape[-2:]).cpu().numpy(), cmap="gray_r")
    axes.set_title(title, fontsize=8)
