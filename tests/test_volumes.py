import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Polygon

from course_lib import VGG, LeNet, summarize
from course_lib.volumes import WIDTH, draw_volumes, volumes


@pytest.fixture(scope="module")
def vgg():
    with torch.device("meta"):
        return summarize(VGG(16), (3, 224, 224))


def size(box):
    """Length, height and slanted depth of a box, from its front and its side."""
    front, _, side = (patch.get_xy()[:4] for patch in box)
    width, height = front.max(0) - front.min(0)
    return width, height, side[:, 0].max() - side[:, 0].min()


def test_sizes_are_to_scale(vgg):
    figure, axes = plt.subplots()
    draw_volumes(axes, vgg, "#D55E00")
    faces = [patch for patch in axes.patches if patch.get_fill()]
    assert all(isinstance(face, Polygon) for face in faces)
    boxes = [size(faces[i : i + 3]) for i in range(0, len(faces), 3)]
    shapes = [volume.shape for volume in volumes(vgg)]
    assert len(boxes) == len(shapes) == 6  # the image and five stages
    for part, index in ((0, 0), (1, 1), (2, 2)):
        scale = boxes[0][part] / shapes[0][index]
        for box, shape in zip(boxes, shapes, strict=True):
            assert box[part] == pytest.approx(scale * shape[index])
    assert max(face.get_xy()[:, 0].max() for face in faces) < WIDTH
    words = [text.get_text() for text in axes.texts]
    assert "conv5\n512\n7x7" in words
    assert "32 pixels" in words
    assert any("channels" in word for word in words)
    plt.close(figure)


def test_some_stages(vgg):
    chosen = volumes(vgg, ["conv1", "conv3"])
    assert [(each.name, each.shape) for each in chosen] == [
        ("image", (3, 224, 224)),
        ("conv1", (64, 112, 112)),
        ("conv3", (256, 28, 28)),
    ]


def test_no_feature_maps():
    summary = summarize(LeNet("modern"), (1, 28, 28))
    with pytest.raises(ValueError, match="LeNet has no stage with feature maps"):
        volumes(summary, ["c5", "f6"])
    with pytest.raises(ValueError, match="no row has the name 'c9'"):
        volumes(summary, ["c9"])
