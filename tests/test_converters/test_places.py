"""Wherever results go, inputs stay and the next run reads the same ones."""

import importlib
import json
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mmseg_ext import sample_data


def write_labelme(root):
    """Write files beside their photographs and apart from them."""
    for stem in ('a', 'sub/b', 'sub/deep/c', 'labels/d', 'images/e'):
        path = root / f'{stem}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(stem)).integers(0, 256, (8, 9, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        content = {'imagePath': path.name, 'imageWidth': 9, 'imageHeight': 8}
        path.with_suffix('.json').write_text(
            json.dumps({'shapes': [], **content})
        )


def write_sample(name, num, root):
    write = getattr(sample_data, f'write_{name}')
    write(root, num=num, size=(96, 72))


WRITERS = {
    'camvid': partial(write_sample, 'camvid', 5),
    'cityscapes': partial(write_sample, 'cityscapes', 5),
    'idd': partial(write_sample, 'idd', 10),
    'labelme': write_labelme,
    'nails': partial(write_sample, 'nails', 8),
    'nuimages': partial(write_sample, 'nuimages', 5),
}

#: What a place begins with that is refused: what lies there would be input.
REFUSED = {
    'camvid': ('/train', '/val', '/test', '/.'),
    'cityscapes': (),
    'idd': ('/leftImg8bit', '/gtFine'),
    'labelme': ('/sub', '/labels', '/images', '/.'),
    'nails': (),
    'nuimages': (),
}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def convert(name, root, out):
    options = {'progress': False}
    if name not in ('cityscapes', 'nails'):
        options['overwrite'] = True
    module = importlib.import_module(f'mmseg_ext.converters.{name}')
    module.convert([root] if name == 'idd' else root, out, **options)


@pytest.mark.parametrize('name', WRITERS)
def test_results_in_any_folder_of_the_data(tmp_path, name):
    """Also in one that a link leads to; some are right, others refused."""
    raw = tmp_path / 'raw'
    WRITERS[name](raw)
    raw = raw / 'IDD_Segmentation' if name == 'idd' else raw
    convert(name, raw, tmp_path / 'expected')
    before, expected = contents(raw), contents(tmp_path / 'expected')
    (raw / 'new').mkdir()
    places = [raw, *(path for path in raw.rglob('*') if path.is_dir())]
    for number, place in enumerate(places):
        root, link = tmp_path / f'{number}', tmp_path / f'link{number}'
        shutil.copytree(raw, root)
        out = root / place.relative_to(raw)
        link.symlink_to(out)
        if f'/{place.relative_to(raw)}'.startswith(REFUSED[name]):
            for path in (out, link):
                with pytest.raises(ValueError, match='choose another'):
                    convert(name, root, path)
            assert contents(root) == before
        else:
            convert(name, root, out)
            convert(name, root, link)  # meets what is there now
            assert before.items() <= contents(root).items()
            assert expected.items() <= contents(out).items()
