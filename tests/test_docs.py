"""The scripts in the documentation run, on less."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.converters import idd, nails
from mmseg_ext.labels.idd import IDD_LEVEL3
from mmseg_ext.sample_data import write_idd, write_nails

ROOT = Path(__file__).parents[1]

#: Set before a runner is made from the config of a script.
LESS = {
    'train_cfg': {'max_iters': 2, 'val_interval': 2},
    'default_hooks.checkpoint.interval': 2,
    'train_dataloader': {'num_workers': 0, 'persistent_workers': False},
    'val_dataloader': {'num_workers': 0, 'persistent_workers': False},
}


#: Reads a folder with the class of a page, as a config would.
USE_CLASS = """
from mmengine.config import Config

config = Config(
    {
        'custom_imports': {'imports': ['mmseg_ext', 'potholes']},
        'data': {
            'type': 'Potholes',
            'data_root': '.',
            'data_prefix': {'img_path': 'images', 'seg_map_path': 'labels'},
        },
    }
)
config.dump('config.py')
config = Config.fromfile('config.py')
from mmseg.registry import DATASETS

dataset = DATASETS.build(config.data)
print(len(dataset), *dataset.metainfo['classes'])
"""


def scripts(page):
    """Return the pieces of Python on a page."""
    text = (ROOT / 'docs' / page).read_text()
    return re.findall(r'^```python\n(.+?)^```$', text, re.M | re.S)


def run(script, folder):
    """Run a script in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, '-c', script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_script(page, folder, iterations):
    """Run the script of a page in a folder."""
    (script,) = scripts(page)
    runner = 'runner = Runner.from_cfg(config)\n'
    assert runner in script
    assert f'iter_{iterations}.pth' in script
    script = script.replace(
        runner, f'config.merge_from_dict({LESS!r})\n{runner}'
    ).replace(f'iter_{iterations}.pth', 'iter_2.pth')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    run(script, folder)


def test_idd(tmp_path):
    data = tmp_path / 'data' / 'sample_idd'
    write_idd(data, num=6, progress=False)
    idd.convert([data / 'IDD_Segmentation', data / 'idd20kII'], data / 'idd')

    run_script('idd.md', tmp_path, 300)

    one = cv2.imread(str(tmp_path / 'work_dirs' / 'idd_python' / '0.jpg'))
    images = sorted((data / 'idd' / 'val_img').iterdir())
    assert one.shape == cv2.imread(str(images[0])).shape
    palette = np.array([*IDD_LEVEL3.values(), (0, 0, 0)])
    for number, path in enumerate(images):
        image = cv2.imread(str(path))
        pred = tmp_path / 'out' / 'pred' / f'{number:08}_pred.png'
        labels = cv2.imread(str(pred), cv2.IMREAD_UNCHANGED)
        assert labels.shape == image.shape[:2]
        # Colors cover four fifths; names and borders are on a few pixels.
        colors = palette[labels][..., ::-1]
        shown = cv2.imread(str(tmp_path / 'out' / 'vis' / path.name))
        error = np.abs(shown - (0.8 * colors + 0.2 * image))
        assert np.median(error) < 3


def test_nails(tmp_path):
    data = tmp_path / 'data' / 'nails'
    write_nails(tmp_path / 'raw', num=8, progress=False)
    for kind, folder in (('Images', 'images'), ('Masks', 'labels')):
        (data / folder).mkdir(parents=True)
        for path in (tmp_path / 'raw' / kind).rglob('*.png'):
            path.rename(data / folder / f'{path.parent.name}_{path.name}')
    nails.convert(data, data / 'annotations')

    run_script('nails.md', tmp_path, 2000)

    images = sorted((data / 'images').iterdir())
    assert len(images) == 8
    for path in images:
        shown = cv2.imread(str(tmp_path / 'out' / 'vis' / path.name))
        assert shown.shape == cv2.imread(str(path)).shape
        found = tmp_path / 'out' / 'preds' / f'{path.stem}.json'
        assert set(json.loads(found.read_text())['labels']) <= {0}


def test_class_of_own_data(tmp_path):
    *_, script = scripts('own_data.md')
    (tmp_path / 'potholes.py').write_text(script)
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        (tmp_path / folder).mkdir()
        for name in 'ab':
            (tmp_path / folder / f'{name}.{suffix}').touch()
    assert run(USE_CLASS, tmp_path).splitlines()[-1] == '2 road pothole'
