"""The scripts in the documentation run, on less."""

import re
from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.converters import idd
from mmseg_ext.labels.idd import IDD_LEVEL3
from mmseg_ext.sample_data import write_idd

ROOT = Path(__file__).parents[1]

#: Set before a runner is made from the config of a script.
LESS = {
    'train_cfg': {'max_iters': 2, 'val_interval': 2},
    'default_hooks.checkpoint.interval': 2,
    'train_dataloader': {'num_workers': 0, 'persistent_workers': False},
    'val_dataloader': {'num_workers': 0, 'persistent_workers': False},
}


def run_script(page, folder, iterations, monkeypatch):
    """Run the script of a page in a folder; give its variables."""
    text = (ROOT / 'docs' / page).read_text()
    (script,) = re.findall(r'^```python\n(.+?)^```$', text, re.M | re.S)
    runner = 'runner = Runner.from_cfg(config)\n'
    assert runner in script
    assert f'iter_{iterations}.pth' in script
    script = script.replace(
        runner, f'config.merge_from_dict({LESS!r})\n{runner}'
    ).replace(f'iter_{iterations}.pth', 'iter_2.pth')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(folder)
    variables = {}
    exec(compile(script, page, 'exec'), variables)
    return variables


def test_idd(tmp_path, monkeypatch):
    data = tmp_path / 'data' / 'sample_idd'
    write_idd(data, num=6, progress=False)
    idd.convert([data / 'IDD_Segmentation', data / 'idd20kII'], data / 'idd')

    made = run_script('idd.md', tmp_path, 300, monkeypatch)

    meta = made['model'].dataset_meta
    assert list(meta['classes'][:26]) == list(IDD_LEVEL3)
    assert cv2.imread('work_dirs/idd_python/0.jpg') is not None
    assert made['images']
    for number, name in enumerate(made['images']):
        image = cv2.imread(name)
        labels = cv2.imread(f'out/pred/{number:08}_pred.png', 0)
        assert labels.shape == image.shape[:2]
        # Colors cover four fifths; names and borders are on a few pixels.
        colors = np.array(meta['palette'])[labels][..., ::-1]
        shown = cv2.imread(f'out/vis/{Path(name).name}')
        error = np.abs(shown - (0.8 * colors + 0.2 * image))
        assert np.median(error) < 3
