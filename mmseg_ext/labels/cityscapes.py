"""Labels of Cityscapes.

Source: the label table of the data set's own tools (Cordts et al.,
arXiv:1604.01685, ``cityscapesscripts/helpers/labels.py`` of cityscapesScripts
2.3), without its categories.

All colors are RGB, 0 to 255.
"""

from typing import NamedTuple

__all__ = ['CITYSCAPES_INSTANCES', 'CITYSCAPES_LABELS', 'Label']


class Label(NamedTuple):
    """A row of the official table.

    Attributes:
        name: The label in the polygon files.
        id: Value of its pixels in the label images; -1 is never drawn.
        train_id: Index of the class to train on, 0 to 18, else 255 or -1.
        has_instances: Whether its objects are numbered in the instance
            images.
        ignored: Whether the benchmarks leave it out.
        color: Red, green and blue; some labels share one.
    """

    name: str
    id: int
    train_id: int
    has_instances: bool
    ignored: bool
    color: tuple[int, int, int]


#: The whole table, in its order.
CITYSCAPES_LABELS = (
    Label('unlabeled', 0, 255, False, True, (0, 0, 0)),
    Label('ego vehicle', 1, 255, False, True, (0, 0, 0)),
    Label('rectification border', 2, 255, False, True, (0, 0, 0)),
    Label('out of roi', 3, 255, False, True, (0, 0, 0)),
    Label('static', 4, 255, False, True, (0, 0, 0)),
    Label('dynamic', 5, 255, False, True, (111, 74, 0)),
    Label('ground', 6, 255, False, True, (81, 0, 81)),
    Label('road', 7, 0, False, False, (128, 64, 128)),
    Label('sidewalk', 8, 1, False, False, (244, 35, 232)),
    Label('parking', 9, 255, False, True, (250, 170, 160)),
    Label('rail track', 10, 255, False, True, (230, 150, 140)),
    Label('building', 11, 2, False, False, (70, 70, 70)),
    Label('wall', 12, 3, False, False, (102, 102, 156)),
    Label('fence', 13, 4, False, False, (190, 153, 153)),
    Label('guard rail', 14, 255, False, True, (180, 165, 180)),
    Label('bridge', 15, 255, False, True, (150, 100, 100)),
    Label('tunnel', 16, 255, False, True, (150, 120, 90)),
    Label('pole', 17, 5, False, False, (153, 153, 153)),
    Label('polegroup', 18, 255, False, True, (153, 153, 153)),
    Label('traffic light', 19, 6, False, False, (250, 170, 30)),
    Label('traffic sign', 20, 7, False, False, (220, 220, 0)),
    Label('vegetation', 21, 8, False, False, (107, 142, 35)),
    Label('terrain', 22, 9, False, False, (152, 251, 152)),
    Label('sky', 23, 10, False, False, (70, 130, 180)),
    Label('person', 24, 11, True, False, (220, 20, 60)),
    Label('rider', 25, 12, True, False, (255, 0, 0)),
    Label('car', 26, 13, True, False, (0, 0, 142)),
    Label('truck', 27, 14, True, False, (0, 0, 70)),
    Label('bus', 28, 15, True, False, (0, 60, 100)),
    Label('caravan', 29, 255, True, True, (0, 0, 90)),
    Label('trailer', 30, 255, True, True, (0, 0, 110)),
    Label('train', 31, 16, True, False, (0, 80, 100)),
    Label('motorcycle', 32, 17, True, False, (0, 0, 230)),
    Label('bicycle', 33, 18, True, False, (119, 11, 32)),
    Label('license plate', -1, -1, False, True, (0, 0, 142)),
)

#: The classes of the instance benchmark, ``id -> name``, in order.
CITYSCAPES_INSTANCES = {
    label.id: label.name
    for label in CITYSCAPES_LABELS
    if label.has_instances and not label.ignored
}
