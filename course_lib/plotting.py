"""One style for the figures of the course, one size in pixels, whatever their labels,
and one color for each family of networks.
"""

from __future__ import annotations

import io
import statistics
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

#: Okabe and Ito's colors, distinct for color-blind readers; marker and dash tell them
#: apart in gray.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: Family of networks -> its color wherever networks of several families are compared;
#: the colors of Okabe and Ito, who have no more. `family_style` has a style for every
#: family. The chart of the first page has the nearest colors of the drawings, which
#: follow dark mode.
FAMILY_COLORS = {
    "LeNet": "#000000",
    "AlexNet": "#0072B2",
    "ZFNet": "#56B4E9",
    "VGG": "#D55E00",
    "NiN": "#E69F00",
    "GoogLeNet": "#009E73",
    "ResNet": "#CC79A7",
}

#: What tells families apart that have no color of their own.
MARKERS = ("s", "D", "^", "v", "P", "X", "*", "<", ">", "p", "h")

#: In inches at 100 dots: 640 x 360 pixels, drawn at twice that for fine screens.
WIDTH, HEIGHT = 6.4, 3.6


def family_style(family: str) -> dict[str, str]:
    """The color and the marker of a `family` in charts that have several: its own color
    and a circle, or for one that came after ResNet, ResNet's color and a marker of its
    own. Matplotlib's functions take both.

    Raises: ValueError for a family that the catalog does not have.
    """
    from course_lib.arguments import check_one_of
    from course_lib.catalog import FAMILIES, LATER

    check_one_of((*FAMILIES, *LATER), family=family)
    if family in FAMILY_COLORS:
        return {"color": FAMILY_COLORS[family], "marker": "o"}
    others = [name for name in FAMILIES | LATER if name not in FAMILY_COLORS]
    marker = MARKERS[others.index(family) % len(MARKERS)]
    return {"color": FAMILY_COLORS["ResNet"], "marker": marker}


def style() -> None:
    """Use the course's style for the figures that follow. In a notebook, figures have
    their exact size, and at most 256 colors, which keeps notebooks small.
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
        from matplotlib.figure import Figure
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # Without `bbox_inches`, a tight box would follow the labels.
        set_matplotlib_formats("retina", bbox_inches=None)
        formatters = ipython.get_ipython().display_formatter.formatters
        formatters["image/png"].for_type(Figure, small_png)
        formatters["image/jpeg"].enabled = True
        formatters["image/jpeg"].for_type(Figure, small_jpeg)


#: The label of figures that consist of photographs: they are JPEG, since a palette of
#: 256 colors neither suits them nor makes them small.
PHOTOGRAPHS = "photographs"


def small_jpeg(figure: Figure) -> tuple[bytes, dict[str, int]] | None:
    """A figure of `show_photographs` as a JPEG, with its width and height for a
    notebook; None for any other.
    """
    from PIL import Image

    if figure.get_label() != PHOTOGRAPHS:
        return None
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=1.25 * figure.dpi)
    image = Image.open(drawn).convert("RGB")
    small = io.BytesIO()
    image.save(small, format="jpeg", quality=70, optimize=True)
    width, height = (round(each / 1.25) for each in image.size)
    return small.getvalue(), {"width": width, "height": height}


def small_png(figure: Figure) -> tuple[bytes, dict[str, int]] | None:
    """The figure as a PNG with a palette of 256 colors and two pixels for each of its
    dots, and its width and height for a notebook; None for one of `show_photographs`.
    """
    from PIL import Image

    if figure.get_label() == PHOTOGRAPHS:
        return None
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=2 * figure.dpi)
    image = Image.open(drawn).convert("RGB")
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    reduced.save(small, format="png", optimize=True)
    return small.getvalue(), {"width": image.width // 2, "height": image.height // 2}


def label_lines(axes: Axes) -> None:
    """Write the label of each line beside its end, in its color, instead of a legend.

    Labels that would touch move apart. There has to be room to the right of the axes;
    constrained layout, as in `style`, makes it.
    """
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # so that the limits of the axes are known
    step = 12 / (axes.bbox.height / figure.dpi * 72)  # the height of a line of text
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for line in lines:
        end = to_axes.transform(np.asarray(line.get_xydata())[-1])
        ends.append((float(end[1]), line))
    ends.sort(key=lambda end: end[0])
    heights = _apart([end[0] for end in ends], step)
    for (_, line), height in zip(ends, heights, strict=True):
        axes.annotate(
            str(line.get_label()),
            (1, height),
            (6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=line.get_color(),
            va="center",
            fontsize=9,
        )


def _apart(heights: list[float], step: float) -> list[float]:
    """The sorted `heights`, moved so that each is `step` above the one before, and none
    is above one if there is room.
    """
    moved = [min(max(height, 0.0), 1.0) for height in heights]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + step)
    ceiling = 1.0
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - step
    return moved


def plot_seeds(axes: Axes, values: Mapping[str, Sequence[float]], label: str) -> None:
    """Draw a row for each name: a dot for each seed, and the mean with the standard
    deviation to each side. `label` says what is measured.

    Raises: ValueError if a name has fewer than two values: one has no standard
        deviation.
    """
    from matplotlib.ticker import MaxNLocator

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
    # Steps of 0.0025 would need a digit more than others, and their labels would touch.
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))


def show_images(
    images: Tensor,
    titles: list[str] | None = None,
    *,
    columns: int = 10,
    rows: Sequence[str] | None = None,
) -> None:
    """Draw a grid of images, each scaled to its own darkest and brightest pixel, with a
    title above each and a label at the left of each row, if given.

    Shape: `images` (N, H, W) or (N, 1, H, W).
    Raises: ValueError if there are not as many `titles` as images, or as many labels in
        `rows` as rows.
    """
    import matplotlib.pyplot as plt

    count = -(-len(images) // columns)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images need as many titles, got {len(titles)}")
    if rows is not None and len(rows) != count:
        raise ValueError(f"{count} rows need as many labels, got {len(rows)}")
    height = WIDTH / columns * count * (1.25 if titles else 1)
    _, grid = plt.subplots(count, columns, figsize=(WIDTH, height), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for index, axes in zip(range(len(images)), grid.flat, strict=False):
        _draw_image(axes, images[index], titles[index] if titles else "")
    for label, axes in zip(rows or (), grid[:, 0], strict=False):
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def show_photographs(
    images: Sequence[Sequence[Tensor]],
    *,
    rows: Sequence[str],
    titles: Sequence[str] = (),
) -> None:
    """Draw rows of photographs and of maps of them, a label at the left of each row and
    a title above each column, if given.

    A photograph has values from 0 to 255; a map is drawn from black, zero, to white,
    its largest value but for one in a hundred.

    Shape: a photograph (3, H, W), a map (H, W).
    Raises: ValueError if there are not as many labels as rows, or titles as columns.
    """
    import matplotlib.pyplot as plt

    count, columns = len(images), max(map(len, images))
    if len(rows) != count:
        raise ValueError(f"{count} rows need as many labels, got {len(rows)}")
    if titles and len(titles) != columns:
        raise ValueError(f"{columns} columns need as many titles, got {len(titles)}")
    side = (WIDTH - 0.9) / columns
    size = (WIDTH, side * count + (0.4 if titles else 0.05))
    figure, grid = plt.subplots(count, columns, figsize=size, squeeze=False)
    figure.set_label(PHOTOGRAPHS)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, label, line in zip(grid, rows, images, strict=True):
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        for axes, image in zip(row, line, strict=False):
            axes.imshow(_as_shown(image), cmap="gray", vmin=0, vmax=1)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=9)


def _as_shown(image: Tensor) -> np.ndarray:
    """A photograph or a map, from 0 to 1."""
    values = image.detach().float().cpu()
    if values.dim() == 3:
        values = values.permute(1, 2, 0) / 255
    else:
        values = values / values.flatten().quantile(0.99).clamp(min=1e-30)
    return np.asarray(values.clamp(0, 1))


def overlay(pixels: Tensor, heat: Tensor) -> Tensor:
    """A coarse map laid over its photograph, which turns gray: yellow where the map is
    largest, dark blue where it is smallest.

    Shape: pixels (3, H, W) from 0 to 255, heat (h, w) -> (3, H, W) from 0 to 255.
    """
    import torch.nn.functional as F
    from matplotlib import colormaps

    heat = heat.detach().float().cpu()
    spread = (heat.max() - heat.min()).clamp(min=1e-30)
    large = F.interpolate(
        ((heat - heat.min()) / spread)[None, None], pixels.shape[1:], mode="bilinear"
    )
    colors = heat.new_tensor(colormaps["inferno"](large[0, 0].numpy())[..., :3])
    gray = pixels.float().cpu().mean(dim=0)
    return 0.45 * gray + 0.55 * 255 * colors.permute(2, 0, 1)


def _draw_image(axes: Axes, image: Tensor, title: str) -> None:
    axes.imshow(image.reshape(image.shape[-2:]).cpu().numpy(), cmap="gray_r")
    axes.set_title(title, fontsize=9)
