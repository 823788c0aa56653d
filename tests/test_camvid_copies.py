"""The copies of CamVid in docs/camvid.md, in their layouts, by its words."""

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from PIL import Image

from helpers.camvid import write_class_dict
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.launch.configs import find_config

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs/camvid.md').read_text()
#: Index in the benchmark of each class of the release, in its order: the
#: table of the MathWorks example, typed once more.
ELEVEN = {
    **{'Animal': 9, 'Archway': 1, 'Bicyclist': 10, 'Bridge': 1},
    **{'Building': 1, 'Car': 8, 'CartLuggagePram': 9, 'Child': 9},
    **{'Column_Pole': 2, 'Fence': 7, 'LaneMkgsDriv': 3, 'LaneMkgsNonDriv': 3},
    **{'Misc_Text': 6, 'MotorcycleScooter': 10, 'OtherMoving': 8},
    **{'ParkingBlock': 4, 'Pedestrian': 9, 'Road': 3, 'RoadShoulder': 4},
    **{'Sidewalk': 4, 'SignSymbol': 6, 'Sky': 0, 'SUVPickupTruck': 8},
    **{'TrafficCone': 2, 'TrafficLight': 6, 'Train': 8, 'Tree': 5},
    **{'Truck_Bus': 8, 'Tunnel': 1, 'VegetationMisc': 5, 'Void': 255},
    **{'Wall': 1},
}
NAMES = (
    *('Sky', 'Building', 'Pole', 'Road', 'Pavement', 'Tree', 'SignSymbol'),
    *('Fence', 'Car', 'Pedestrian', 'Bicyclist'),
)
LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadColorMasks'},
    {'type': 'PackSegInputs'},
]
#: Number of images of each made-up split.
SPLITS = {'train': 3, 'val': 2, 'test': 1}


def section(title):
    """Return a part of the page."""
    (text,) = re.findall(
        rf'^### {title}\n(.+?)^##', PAGE, re.DOTALL | re.MULTILINE
    )
    return text


def commands(text, start):
    """Return the indented blocks that begin with a word."""
    blocks = re.findall(r'(?:^    .*\n)+', text, re.MULTILINE)
    blocks = map(textwrap.dedent, blocks)
    return [block for block in blocks if block.startswith(start)]


def run_shell(text, start, folder):
    (command,) = commands(text, start)
    subprocess.run(['sh', '-ec', command], cwd=folder, check=True)


def write_copy(folder, classes, image_of, label_of, colors=None):
    """Write images and masks; return the masks by split and stem."""
    rng = np.random.default_rng(0)
    masks = {split: {} for split in SPLITS}
    for split, count in SPLITS.items():
        for number in range(count):
            stem = f'0001TP_{split}{number}'
            mask = rng.integers(0, classes, (36, 48), np.uint8)
            masks[split][stem] = mask
            for name, pixels in (
                (image_of, rng.integers(0, 256, (36, 48, 3), np.uint8)),
                (label_of, mask if colors is None else colors[mask]),
            ):
                path = folder / name.format(split=split, stem=stem)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return masks


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to type the page's commands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(text, name):
    """Write the config of a section to the file that the page says."""
    (script,) = re.findall(r'^```python\n(.+?)^```$', text, re.M | re.S)
    assert f'`{name}`' in text
    Path(name).write_text(script)
    tools = [line.split()[2] for line in commands(text, 'mmseg-ext ')]
    # Others are of the config that has the variable's name.
    own = [config for config in tools if not config.startswith('$')]
    assert own == [name, name]
    return Config.fromfile(name)


def check(config, split, expected, loader=None):
    """The loader of a split has these images, with these labels."""
    dataset = config[f'{loader or split}_dataloader'].dataset
    with DefaultScope.overwrite_default_scope('mmseg'):
        samples = DATASETS.build({**dataset, 'pipeline': LOAD})
    assert samples.metainfo['classes'] == NAMES
    found = {
        Path(sample['data_samples'].img_path).stem: sample['data_samples']
        for sample in samples
    }
    assert found.keys() == expected.keys()
    for stem, sample in found.items():
        label = sample.gt_sem_seg.data[0].numpy()
        np.testing.assert_array_equal(label, expected[stem])


def look_up(masks, table):
    return {
        split: {stem: np.array(table)[mask] for stem, mask in part.items()}
        for split, part in masks.items()
    }


def test_kaggle(here):
    text = section("Kaggle's")
    data = here / 'data/kaggle/CamVid'
    masks = write_copy(
        data,
        32,
        '{split}/{stem}.png',
        '{split}_labels/{stem}_L.png',
        np.array(list(CAMVID32.values()), np.uint8),
    )
    write_class_dict(data)
    expected = look_up(masks, list(ELEVEN.values()))
    (name,) = re.findall(r'CONFIG=(\S+)', text)
    train, test = (
        shlex.split(command.replace('\\\n', ' '))
        for command in commands(text, 'mmseg-ext ')
    )
    for argv, splits in ((train, ('train', 'val')), (test, ('test',))):
        config = Config.fromfile(find_config(name))
        options = argv[argv.index('--cfg-options') + 1 :]
        config.merge_from_dict(dict(word.split('=') for word in options))
        for split in splits:
            check(config, split, expected[split])


def test_fastai(here):
    text = section("fast.ai's")
    data = here / 'data/fastai/camvid'
    masks = write_copy(data, 32, 'images/{stem}.png', 'labels/{stem}_P.png')
    (data / 'codes.txt').write_text('\n'.join(ELEVEN))
    (data / 'valid.txt').write_text(
        '\n'.join(f'{stem}.png' for stem in masks['val'])
    )
    run_shell(text, 'cd data/fastai', here)
    expected = look_up(masks, list(ELEVEN.values()))
    config = config_of(text, 'camvid_fastai.py')
    check(config, 'train', expected['train'] | expected['test'])
    check(config, 'val', expected['val'])
    check(config, 'test', expected['val'])


def test_segnet(here):
    """This one is trained and tested, too."""
    text = section("SegNet's")
    data = here / 'data/segnet/CamVid'
    masks = write_copy(
        data, 12, '{split}/{stem}.png', '{split}annot/{stem}.png'
    )
    for split, part in masks.items():
        lines = [
            f'/SegNet/CamVid/{split}/{stem}.png '
            f'/SegNet/CamVid/{split}annot/{stem}.png\n'
            for stem in part
        ]
        (data / f'{split}.txt').write_text(''.join(lines))
    run_shell(text, 'cat > data/segnet', here)
    expected = look_up(masks, [*range(11), 255])
    config = config_of(text, 'camvid_segnet.py')
    for split in SPLITS:
        check(config, split, expected[split])

    config.work_dir = 'work_dirs/segnet'
    config.train_cfg.update(max_iters=2, val_interval=2)
    for loader in ('train', 'val', 'test'):
        config[f'{loader}_dataloader'].update(
            num_workers=0, persistent_workers=False
        )
    config.train_dataloader.batch_size = 2
    config.default_hooks.checkpoint.interval = 2
    runner = Runner.from_cfg(config)
    runner.train()
    scores = runner.test()
    assert 0 <= scores['mIoU'] <= 100
    assert (here / 'work_dirs/segnet/iter_2.pth').exists()
