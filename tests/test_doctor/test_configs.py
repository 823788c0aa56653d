"""The doctor finds no error in our configs on their sample data."""

import pytest

from mmseg_ext.converters import cityscapes, idd, nails, nuimages
from mmseg_ext.doctor.examine import examine
from mmseg_ext.doctor.findings import Level
from mmseg_ext.registry import configs_folder
from mmseg_ext.sample_data import (
    write_camvid,
    write_cityscapes,
    write_idd,
    write_nails,
    write_nuimages,
)

CONFIGS = {
    path.stem: path
    for path in sorted(configs_folder().glob('*/*.py'))
    # Data of one's own, COCO itself, and a copy of CamVid in other folders.
    if path.parent.name not in ('own_data', 'augfpn')
    and 'segnet' not in path.stem
}


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """Sample data of each kind, as the pages of docs/ make it, but smaller."""
    root = tmp_path_factory.mktemp('samples')
    write_camvid(root / 'camvid', num=20, size=(160, 120))
    write_nuimages(root / 'nuimages', num=40, size=(240, 135), seed=1)
    nuimages.convert(root / 'nuimages', progress=False)
    write_idd(root / 'raw', num=40, size=(160, 120))
    parts = root / 'raw/IDD_Segmentation', root / 'raw/idd20kII'
    idd.convert(parts, root / 'idd', progress=False)
    write_cityscapes(root / 'cityscapes', num=40, size=(256, 128))
    cityscapes.convert(root / 'cityscapes', progress=False)
    write_nails(root / 'nail', num=10)
    nails.convert(root / 'nail', split_touching=True, progress=False)
    return root


def root_of(name, roots):
    """Return the sample data of a config, by its name."""
    names = [kind.name for kind in roots.iterdir() if kind.name in name]
    # The demo of CamVid's classes is called sample.
    return roots / (names[0] if names else 'camvid')


@pytest.mark.parametrize('name', CONFIGS)
def test_own_configs_have_no_error(name, roots, torchvision):
    root = root_of(name, roots)
    options = {'data_root': f'{root}/'}
    diagnosis = examine(str(CONFIGS[name]), options, cache=roots / 'cache')
    errors = [f for f in diagnosis.findings if f.level == Level.ERROR]
    assert [(f.code, f.text) for f in errors] == []
    assert [s.name for s in diagnosis.case.splits.values()] == [
        *('train', 'val', 'test')
    ]
    for part in diagnosis.case.parts:
        assert len(part.samples) == part.total > 0
