"""Classes and colors of the India Driving Dataset (IDD 20K, parts I and II).

Source: the label table of the data set's own tools (Varma et al.,
arXiv:1811.10200), of which training and benchmark use level 3: 26 classes, and
255 for pixels that carry none.

All colors are RGB, 0 to 255.
"""

from typing import NamedTuple

__all__ = ['IDD_LABELS', 'IDD_LEVEL3', 'UNLABELLED', 'Label']


class Label(NamedTuple):
    """A row of the official table.

    Attributes:
        name: The label in the polygon files.
        id: Number of the row.
        level3: Index of the class at level 3, 0 to 25, or 255.
        color: Red, green and blue; some labels share one.
    """

    name: str
    id: int
    level3: int
    color: tuple[int, int, int]


#: The whole table, in its order.
IDD_LABELS = (
    Label('road', 0, 0, (128, 64, 128)),
    Label('parking', 1, 1, (250, 170, 160)),
    Label('drivable fallback', 2, 1, (81, 0, 81)),
    Label('sidewalk', 3, 2, (244, 35, 232)),
    Label('rail track', 4, 3, (230, 150, 140)),
    Label('non-drivable fallback', 5, 3, (152, 251, 152)),
    Label('person', 6, 4, (220, 20, 60)),
    Label('animal', 7, 4, (246, 198, 145)),
    Label('rider', 8, 5, (255, 0, 0)),
    Label('motorcycle', 9, 6, (0, 0, 230)),
    Label('bicycle', 10, 7, (119, 11, 32)),
    Label('autorickshaw', 11, 8, (255, 204, 54)),
    Label('car', 12, 9, (0, 0, 142)),
    Label('truck', 13, 10, (0, 0, 70)),
    Label('bus', 14, 11, (0, 60, 100)),
    Label('caravan', 15, 12, (0, 0, 90)),
    Label('trailer', 16, 12, (0, 0, 110)),
    Label('train', 17, 12, (0, 80, 100)),
    Label('vehicle fallback', 18, 12, (136, 143, 153)),
    Label('curb', 19, 13, (220, 190, 40)),
    Label('wall', 20, 14, (102, 102, 156)),
    Label('fence', 21, 15, (190, 153, 153)),
    Label('guard rail', 22, 16, (180, 165, 180)),
    Label('billboard', 23, 17, (174, 64, 67)),
    Label('traffic sign', 24, 18, (220, 220, 0)),
    Label('traffic light', 25, 19, (250, 170, 30)),
    Label('pole', 26, 20, (153, 153, 153)),
    Label('polegroup', 27, 20, (153, 153, 153)),
    Label('obs-str-bar-fallback', 28, 21, (169, 187, 214)),
    Label('building', 29, 22, (70, 70, 70)),
    Label('bridge', 30, 23, (150, 100, 100)),
    Label('tunnel', 31, 23, (150, 120, 90)),
    Label('vegetation', 32, 24, (107, 142, 35)),
    Label('sky', 33, 25, (70, 130, 180)),
    Label('fallback background', 34, 25, (169, 187, 214)),
    Label('unlabeled', 35, 255, (0, 0, 0)),
    Label('ego vehicle', 36, 255, (0, 0, 0)),
    Label('rectification border', 37, 255, (0, 0, 0)),
    Label('out of roi', 38, 255, (0, 0, 0)),
    Label('license plate', 39, 255, (0, 0, 142)),
)

#: ``name -> (R, G, B)`` of the classes at level 3; the position is the index.
#: A class of several labels has the color of the one that names it.
IDD_LEVEL3 = {
    'road': (128, 64, 128),
    'drivable fallback': (81, 0, 81),
    'sidewalk': (244, 35, 232),
    'non-drivable fallback': (152, 251, 152),
    'person': (220, 20, 60),
    'rider': (255, 0, 0),
    'motorcycle': (0, 0, 230),
    'bicycle': (119, 11, 32),
    'auto-rickshaw': (255, 204, 54),
    'car': (0, 0, 142),
    'truck': (0, 0, 70),
    'bus': (0, 60, 100),
    'vehicle fallback': (136, 143, 153),
    'curb': (220, 190, 40),
    'wall': (102, 102, 156),
    'fence': (190, 153, 153),
    'guard rail': (180, 165, 180),
    'billboard': (174, 64, 67),
    'traffic sign': (220, 220, 0),
    'traffic light': (250, 170, 30),
    'pole': (153, 153, 153),
    'obs fallback': (169, 187, 214),
    'building': (70, 70, 70),
    'bridge': (150, 100, 100),
    'vegetation': (107, 142, 35),
    'sky': (70, 130, 180),
}

#: The 27th name of the class tuple in use. No pixel has it: those without a
#: class are 255.
UNLABELLED = 'unlabelled'
