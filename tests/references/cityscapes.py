"""MMDet's own converter of Cityscapes, made to run without the official tools.

It takes its labels from cityscapesscripts. Where that is not installed, a
module of that name gets them from the table here.
"""

import runpy
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import mmdet

CONVERTER = '.mim/tools/dataset_converters/cityscapes.py'

Label = namedtuple('Label', 'id name hasInstances ignoreInEval')

STUFF = """unlabeled, ego vehicle, rectification border, out of roi, static,
dynamic, ground, road, sidewalk, parking, rail track, building, wall, fence,
guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign,
vegetation, terrain, sky"""
THINGS = """person, rider, car, truck, bus, caravan, trailer, train,
motorcycle, bicycle"""
#: Things that the benchmarks leave out, like some stuff, which does not count.
IGNORED = ('caravan', 'trailer')


def _split(names):
    return [name.strip() for name in names.split(',')]


LABELS = [
    Label(index, name, name in _split(THINGS), name in IGNORED)
    for index, name in enumerate(_split(STUFF) + _split(THINGS))
] + [Label(-1, 'license plate', False, True)]


def convert(root, split, monkeypatch, tmp_path):
    """Return the content of the COCO file of a split."""
    try:
        import cityscapesscripts.helpers.labels  # noqa: F401
    except ImportError:
        labels = ModuleType('cityscapesscripts.helpers.labels')
        labels.labels = LABELS
        labels.id2label = {label.id: label for label in LABELS}
        helpers = ModuleType('cityscapesscripts.helpers')
        helpers.labels = labels
        package = ModuleType('cityscapesscripts')
        package.helpers = helpers
        for module in (package, helpers, labels):
            monkeypatch.setitem(sys.modules, module.__name__, module)
    tool = runpy.run_path(str(Path(mmdet.__file__).parent / CONVERTER))
    folders = [str(root / kind / split) for kind in ('leftImg8bit', 'gtFine')]
    images = tool['collect_annotations'](tool['collect_files'](*folders))
    return tool['cvt_annotations'](images, str(tmp_path / f'{split}.json'))
