"""The scripts in the documentation run, on less."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import PARAM_SCHEDULERS, TRANSFORMS, DefaultScope
from mmseg.models.segmentors import CascadeEncoderDecoder
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from mmseg_ext.converters import idd, nails
from mmseg_ext.labels.idd import IDD_LEVEL3
from mmseg_ext.launch.configs import parse_pairs
from mmseg_ext.models.lean_inference import LeanInference
from mmseg_ext.sample_data import write_idd, write_nails
from mmseg_ext_cli import COMMANDS, spell, tool_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]

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


def run_python(folder, *argv):
    """Run Python in a folder."""
    return subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def run(script, folder):
    """Run a script in a folder; return what it printed."""
    done = run_python(folder, '-c', script)
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
    run(script, folder)


def anchors(page):
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r'^#+ (.+)$', page.read_text(), re.M)
    return {
        re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
        for title in titles
    }


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_links(page):
    for link in re.findall(r'\]\((?!https?:)([^)]+)\)', page.read_text()):
        name, _, anchor = link.partition('#')
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def commands(text):
    """Return the words of each line of code that has our command in it.

    Others may stand before it: ``torchrun --no-python mmseg-ext train ...``.
    The variable of a loop has its first value.
    """
    text = text.replace('\\\n', ' ')
    for name, value in re.findall(r'^ +for (\w+) in (\S+)', text, re.M):
        text = text.replace(f'${name}', value)
    fenced = re.findall(r'^```(?:bash|sh)\n(.+?)^```$', text, re.M | re.S)
    unfenced = re.sub(r'^```.+?^```$', '', text, flags=re.M | re.S)
    lines = re.findall(r'^    .+$', unfenced, re.M)
    lines += [line for block in fenced for line in block.splitlines()]
    for line in lines:
        if 'mmseg-ext ' not in line:
            continue
        words = shlex.split(line, comments=True)
        if 'mmseg-ext' in words:
            yield words[words.index('mmseg-ext') + 1 :]


def test_commands_are_found():
    text = (
        'Of `mmseg-ext typo`:\n\n    mmseg-ext a \\\n      b  # c\n\n'
        'text\n\n    for x in 1 2; do\n'
        '        torchrun --no-python mmseg-ext d $x\n'
        '    pip install x\n```bash\nmmseg-ext e f\n```\n'
        '```text\nmmseg-ext typo\n```\n'
    )
    assert list(commands(text)) == [['a', 'b'], ['d', '1'], ['e', 'f']]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_have_these_options(page):
    for words in commands(page.read_text()):
        if words == ['--help']:
            continue
        name = ' '.join(words[: 1 + (words[0] == 'convert')])
        parser = tool_of(name).build_parser()
        if words[-1] == '--help':
            continue
        # Exits with 2 where an option is wrong.
        parser.parse_args(words[len(name.split()) :])


def test_pages_have_commands():
    """So that the test above reads some, and those of each tool."""
    used = {
        ' '.join(words[: 1 + (words[0] == 'convert')])
        for page in PAGES
        for words in commands(page.read_text())
    }
    assert {'train', 'test', 'sample', 'crop', 'convert idd'} <= used
    assert len(used) > 10


def test_ways_to_call(monkeypatch):
    """The table has each command as the hints of tools spell it."""
    text = (ROOT / 'docs/install.md').read_text()
    ways = {
        'mim run mmseg_ext': '/x/mmseg_ext/.mim/tools/train.py',
        'python tools/': 'tools/train.py',
    }
    rows = [
        dict(zip(ways, cells, strict=True)) | {'mmseg-ext': own}
        for own, *cells in re.findall(
            r'\| `mmseg-ext (\S+(?: \S+)?)` \| `(mim run [^`]+)` \| '
            r'`(python [^`]+)` \|$',
            text,
            re.M,
        )
    ]
    assert len(rows) == len(COMMANDS) - 3  # train, test and demo
    monkeypatch.chdir(ROOT)
    for row in rows:
        for way, called in ways.items():
            monkeypatch.setattr(sys, 'argv', [called])
            assert spell(row['mmseg-ext']) == row[way]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_pages_have_one_spelling(page):
    """Where the others are compared they stand in tables."""
    text = page.read_text()
    if page.stem not in ('distributed', 'own_data'):
        assert not re.search(r'^\s+(?:python tools/|mim run)', text, re.M)


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
    write_nails(data, num=8, progress=False)
    nails.convert(data, data / 'annotations')

    run_script('nails.md', tmp_path, 800)

    images = sorted((data / 'Images' / '1').iterdir())
    assert len(images) == 2
    for path in images:
        shown = cv2.imread(str(tmp_path / 'out' / 'vis' / path.name))
        assert shown.shape == cv2.imread(str(path)).shape
        found = tmp_path / 'out' / 'preds' / f'{path.stem}.json'
        assert set(json.loads(found.read_text())['labels']) <= {0}


def snippet(page, word):
    """Return the piece of Python on a page that has a word."""
    (found,) = (s for s in scripts(page) if word in s)
    return found


def read_samples(folder, monkeypatch, script, key='train_dataloader'):
    """Return the samples of a data set in a config, as its pipeline gives."""
    (folder / 'config.py').write_text(script)
    config = Config.fromfile(folder / 'config.py')
    monkeypatch.chdir(folder)
    with DefaultScope.overwrite_default_scope('mmseg'):
        samples = list(DATASETS.build(config[key].dataset))
    return {
        Path(sample['data_samples'].img_path).stem: sample['data_samples']
        .gt_sem_seg.data[0]
        .numpy()
        for sample in samples
    }


def run_converter(page, name, folder):
    """Run the command of a page that converts, in a folder."""
    text = (ROOT / 'docs' / page).read_text()
    (line,) = re.findall(rf'^    mmseg-ext convert {name} (.*)$', text, re.M)
    module = ('-m', 'mmseg_ext_cli', 'convert', name)
    done = run_python(folder, *module, *line.split())
    assert done.returncode == 0, done.stderr
    return done.stdout


def saved_config(page, name, folder, **lines):
    """Read a config that a page says to save, beside its others.

    Lines at the top are given other values.
    """
    text = (ROOT / 'docs' / page).read_text()
    blocks = re.findall(
        r'^Save as `(\w+\.py)`:\n\n```python\n(.+?)^```$', text, re.M | re.S
    )
    for file, block in blocks:
        block = block.replace('mmseg_ext::', f'{ROOT}/configs/')
        for key, value in lines.items() if file == name else ():
            assignment = f'{key} = {value!r}\n'
            block, count = re.subn(
                rf'^{key} = .+\n', assignment, block, flags=re.M
            )
            assert count == 1
        (folder / file).write_text(block)
    return Config.fromfile(folder / name)


#: What configs of config_by_hand.md say of classes, and where they look for labels.
OWN = [
    ('mine', 11, 'data/mine', 'val_labels', '_L.png'),
    ('color', 32, 'data/color', 'val_labels', '_L.png'),
    ('coco', 1, 'data/nails', 'annotations/valid.json', None),
]


@pytest.mark.parametrize(('name', 'number', 'root', 'labels', 'suffix'), OWN)
def test_lines_of_own_data_reach_what_is_built(
    name, number, root, labels, suffix, tmp_path
):
    config = saved_config('config_by_hand.md', f'{name}.py', tmp_path)
    train, val, test = (
        config[f'{mode}_dataloader'].dataset
        for mode in ('train', 'val', 'test')
    )
    assert val == test != train
    for dataset in (train, val):
        assert dataset.data_root == root
        assert dataset.get('seg_map_suffix') == suffix
    assert labels in (val.data_prefix.get('seg_map_path'), val.get('ann_file'))
    assert config.test_evaluator.get('ann_file') in (None, f'{root}/{labels}')
    assert config.train_dataloader.batch_size == config.batch_size
    (crop,) = (s for s in train.pipeline if s.get('crop_size'))
    assert crop.crop_size == config.crop_size
    assert config.train_cfg.max_iters == config.max_iters == 400
    model = config.model
    heads = (
        [model.decode_head]
        if 'decode_head' in model
        else [model.roi_head.bbox_head, model.roi_head.mask_head]
    )
    assert {head.num_classes for head in heads} == {number}
    if name != 'color':
        assert len(train.metainfo.classes) == number
        assert train.metainfo == val.metainfo


@pytest.mark.parametrize('iters', [1, 4000])
@pytest.mark.parametrize('name', ['mine', 'color', 'coco'])
def test_all_follows_from_the_iterations(name, iters, tmp_path):
    """Of a config to paste, and of its base."""
    config = saved_config(
        'config_by_hand.md', f'{name}.py', tmp_path, max_iters=iters
    )
    base = re.search(
        r'own_data/\w+\.py', (tmp_path / f'{name}.py').read_text()
    )
    bare = (ROOT / 'configs' / base[0]).read_text()
    bare = re.sub(r"'\.\./", f"'{ROOT}/configs/", bare)
    bare = re.sub(
        r'^max_iters = \d+', f'max_iters = {iters}', bare, flags=re.M
    )
    (tmp_path / 'bare.py').write_text(bare)
    for cfg in (config, Config.fromfile(tmp_path / 'bare.py')):
        hooks = cfg.default_hooks
        assert cfg.train_cfg.max_iters == iters
        # Five of each, and the last is that of the end.
        interval = cfg.train_cfg.val_interval
        assert interval == hooks.checkpoint.interval == max(1, iters // 5)
        assert hooks.logger.interval <= interval
        if name == 'coco':
            assert hooks.visualization.interval <= interval
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1)
        rates = []
        schedulers = [
            PARAM_SCHEDULERS.build({**each, 'optimizer': optimizer})
            for each in cfg.param_scheduler
        ]
        for _ in range(iters):
            rates.append(optimizer.param_groups[0]['lr'])
            for scheduler in schedulers:
                scheduler.step()
        # Up in the first twentieth, and down at the end.
        assert np.argmax(rates) <= max(1, iters // 20)
        if iters >= 60:
            assert max(rates) == pytest.approx(1)
            assert rates[-1] < 0.1


@pytest.mark.parametrize('root', ['data/my', 'data/my/', '/my/'])
def test_coco_files_are_in_the_data_root(root, tmp_path):
    config = saved_config(
        'config_by_hand.md', 'coco.py', tmp_path, data_root=root
    )
    expected = f'{root.rstrip("/")}/annotations/valid.json'
    assert config.val_evaluator.ann_file == expected
    assert config.test_evaluator.ann_file == expected


def test_sizes_of_coco_images(tmp_path):
    """By the line of the config, and by the options of change_things.md."""
    lines = {'size': (800, 800), 'crop_size': (700, 500)}
    config = saved_config('config_by_hand.md', 'coco.py', tmp_path, **lines)
    other = saved_config(
        'config_by_hand.md', 'coco.py', tmp_path, crop_size=(700, 500)
    )
    (options,) = (
        words[words.index('--cfg-options') + 1 :]
        for words in commands((ROOT / 'docs/change_things.md').read_text())
        if 'coco.py' in words
    )
    other.merge_from_dict(parse_pairs(options))
    image = np.zeros((300, 400, 3), np.uint8)
    for cfg in (config, other):
        pipeline = cfg.train_dataloader.dataset.pipeline
        with DefaultScope.overwrite_default_scope('mmdet'):
            enlarge = TRANSFORMS.build(pipeline[2])
            sides = [enlarge({'img': image})['img'].shape[1] for _ in range(9)]
            assert 400 <= min(sides) < 800 < max(sides) <= 1200
            for loader in (cfg.val_dataloader, cfg.test_dataloader):
                fit = TRANSFORMS.build(loader.dataset.pipeline[1])
                assert fit({'img': image})['img'].shape == (600, 800, 3)


def test_configs_of_change_things(tmp_path):
    def read(name):
        return saved_config('change_things.md', name, tmp_path)

    base, longer, smaller = map(
        read, ('streets.py', 'longer.py', 'smaller.py')
    )
    assert base.param_scheduler[1].end != 4000
    assert longer.param_scheduler[1].end == longer.train_cfg.max_iters == 4000
    assert longer.train_dataloader.dataset == base.train_dataloader.dataset
    assert longer.optim_wrapper.optimizer == {
        **base.optim_wrapper.optimizer,
        'lr': 5e-4,
    }
    steps = [
        [step.type for step in loader.dataset.pipeline]
        for loader in (
            smaller.train_dataloader,
            smaller.val_dataloader,
            smaller.test_dataloader,
        )
    ]
    assert [names.index('Resize') for names in steps] == [2, 1, 1]
    assert [names.index('LoadColorMasks') for names in steps] == [1, 2, 2]
    faster = read('faster.py').train_dataloader.dataset.pipeline
    names = ['LoadColorMasks', 'FusedResizeCropFlip']
    assert [step.type for step in faster[:2]] == names
    exact = base.train_dataloader.dataset.pipeline
    assert faster[1].scale_factors == tuple(
        way[0].scale_factor for way in exact[2].transforms
    )
    assert faster[1].crop_size == exact[3].crop_size
    two = read('two_classes.py')
    assert two.model.decode_head.num_classes == 2
    assert two.test_dataloader.dataset.metainfo.classes == ('Road', 'Car')
    values = read('two_values.py')
    assert values.model.decode_head.num_classes == 2
    for mode in ('train', 'val', 'test'):
        dataset = values[f'{mode}_dataloader'].dataset
        folder = f'index/{"train" if mode == "train" else "val"}_labels'
        assert dataset.data_prefix.seg_map_path == folder
        assert dataset.metainfo.classes == ('Road', 'Car')
    assert longer.default_hooks.checkpoint.interval == 500
    stop = read('stop.py')
    assert stop.default_hooks.checkpoint.save_best == 'mIoU'
    assert stop.default_hooks.panels.type == 'SegVisHook'
    lean = read('lean.py')
    assert lean.model.type == 'LeanEncoderDecoder'
    assert lean.model.decode_head.type == 'PSPHead'
    assert lean.val_evaluator.type == lean.test_evaluator.type == 'IoU'
    assert read('windows.py').model.type == 'LeanEncoderDecoder'
    heads = read('heads.py').model
    assert [h.num_classes for h in heads.auxiliary_head] == [5, 5]
    assert {head.type for head in heads.auxiliary_head} == {'FCNHead'}
    assert heads.decode_head.num_classes == 5


@pytest.mark.parametrize(
    ('name', 'backbone', 'parameters'),
    [
        ('segformer', 'MixVisionTransformer', 3.7e6),
        ('lite1', 'EfficientNetLite', 4.2e6),
        ('resnet', 'ResNet', 12.8e6),
    ],
)
def test_networks_of_change_things(name, backbone, parameters, tmp_path):
    config = saved_config('change_things.md', f'{name}.py', tmp_path)
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = revert_sync_batchnorm(MODELS.build(config.model)).eval()
    assert type(model.backbone).__name__ == backbone
    count = sum(value.numel() for value in model.parameters())
    assert count == pytest.approx(parameters, rel=0.1)
    with torch.no_grad():
        scores = model(torch.zeros(1, 3, 64, 64))
    assert scores.shape[:2] == (1, 32)


def test_models_of_upstream_with_lean_inference(tmp_path):
    models = []
    for script in scripts('inference.md'):
        if '_base_' in script:
            (tmp_path / 'own.py').write_text(script)
            config = Config.fromfile(tmp_path / 'own.py')
            scope = DefaultScope.overwrite_default_scope('mmseg')
            with scope, torch.device('meta'):
                models.append(MODELS.build(config.model))
    assert all(isinstance(model, LeanInference) for model in models)
    assert [isinstance(m, CascadeEncoderDecoder) for m in models] == [
        False,
        True,
    ]


def write_pairs(folder, masks):
    """Write photographs, and the masks that belong to them."""
    rng = np.random.default_rng(0)
    for name, mask in masks.items():
        for kind, pixels, suffix in (
            ('train', rng.integers(0, 256, (30, 40, 3)), '.jpg'),
            ('train_labels', mask, '.png'),
        ):
            path = folder / kind / f'{name}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def check_flipped(samples, masks):
    """Each sample is its mask, mirrored or not."""
    assert samples.keys() == masks.keys()
    for name, labels in samples.items():
        assert any(
            (labels == mask).all()
            for mask in (masks[name], masks[name][:, ::-1])
        )


def test_masks_of_data_sets(tmp_path, monkeypatch):
    data = tmp_path / 'data' / 'mine'
    colors = np.array([(128, 64, 128), (0, 0, 0), (255, 0, 0)], np.uint8)
    rng = np.random.default_rng(1)
    rows = {name: rng.integers(0, 3, (30, 40)) for name in 'abc'}
    write_pairs(data, {name: colors[row] for name, row in rows.items()})
    (data / 'class_dict.csv').write_text(
        'name,r,g,b\nroad,128,64,128\nVoid,0,0,0\npothole,255,0,0\n'
    )
    expected = {n: np.where(row == 1, 255, row) for n, row in rows.items()}
    config = snippet('data_sets.md', 'RandomCrop')
    check_flipped(read_samples(tmp_path, monkeypatch, config), expected)

    run_converter('data_sets.md', 'camvid', tmp_path)
    index = config.replace("'train_labels'", "'index/train_labels'")
    assert index != config
    check_flipped(read_samples(tmp_path, monkeypatch, index), expected)

    # Masks of one channel are read as they are, with classes or without.
    write_pairs(data, rows)
    check_flipped(read_samples(tmp_path, monkeypatch, config), expected)
    config = snippet('data_sets.md', "'PairedDataset'")
    assert {
        name: labels.tolist()
        for name, labels in read_samples(tmp_path, monkeypatch, config).items()
    } == {name: row.tolist() for name, row in rows.items()}


def test_labelme(tmp_path, monkeypatch):
    data = tmp_path / 'data' / 'mine' / 'a'
    data.mkdir(parents=True)
    for number in range(5):
        Image.new('RGB', (40, 30)).save(data / f'{number}.jpg')
        shape = {
            'label': 'pothole',
            'points': [[number, 5], [number + 9, 14]],
            'shape_type': 'rectangle',
        }
        content = {
            'imagePath': f'{number}.jpg',
            'imageWidth': 40,
            'imageHeight': 30,
            'shapes': [shape],
        }
        (data / f'{number}.json').write_text(json.dumps(content))
    told = run_converter('labelme.md', 'labelme', tmp_path)
    assert '4 train, 1 val' in told

    config = snippet('labelme.md', 'splits/train.txt')
    train = read_samples(tmp_path, monkeypatch, config)
    val = read_samples(tmp_path, monkeypatch, config, 'val_dataloader')
    assert (len(train), len(val)) == (4, 1)
    for name, labels in (train | val).items():
        expected = np.zeros((30, 40), int)
        expected[5:15, int(name) : int(name) + 10] = 1
        assert (labels == expected).all()


def test_data_set_class(tmp_path):
    (tmp_path / 'potholes.py').write_text(
        snippet('data_sets.md', 'class Potholes')
    )
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        (tmp_path / folder).mkdir()
        for name in 'ab':
            (tmp_path / folder / f'{name}.{suffix}').touch()
    assert run(USE_CLASS, tmp_path).splitlines()[-1] == '2 road pothole'


def test_converter(tmp_path, monkeypatch):
    (tmp_path / 'cracks.py').write_text(
        snippet('converters.md', 'class Worker')
    )
    (tmp_path / 'convert_cracks.py').write_text(
        snippet('converters.md', "'cracks:convert'")
    )
    rng = np.random.default_rng(0)
    masks = {}
    for name in ('a', 'b', 'c', 'far/d', 'far/e'):
        masks[name] = rng.integers(0, 256, (30, 40), np.uint8)
        for kind, suffix in (('images', '.jpg'), ('masks', '.png')):
            path = tmp_path / 'raw' / kind / f'{name}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[name]).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    convert = import_module('cracks').convert
    monkeypatch.delitem(sys.modules, 'cracks')

    assert str(convert('raw', 'one')) == 'one: 5 images written'
    tool = ('convert_cracks.py', 'raw', '--nproc', '2', '--out-dir')
    assert run_python(tmp_path, *tool, 'two').returncode == 0
    one, two = (contents(tmp_path / out) for out in ('one', 'two'))
    assert one == two
    for name, mask in masks.items():
        labels = np.array(Image.open(f'one/labels/{name}.png'))
        assert (labels == (mask > 127)).all()
    train, val = (
        one[f'splits/{split}.txt'].decode().split()
        for split in ('train', 'val')
    )
    assert sorted(train + val) == sorted(masks)
    assert len(val) == 1
    assert convert('raw', 'one').kept == 5

    broken = 'raw/masks/far/d.png'
    Path(broken).write_text('broken')
    done = run_python(tmp_path, *tool, 'three')
    assert done.returncode == 2
    assert f'error: {broken}: ' in done.stderr.splitlines()[-1]
    assert done.stderr.endswith('--skip-invalid\n')
    convert('raw', 'three', skip_invalid=True)
    (skip,) = json.loads(Path('three/skipped.json').read_text())
    assert (skip['file'], set(skip)) == (broken, {'file', 'reason'})
    with pytest.raises(ValueError, match='overwrite=True'):
        convert('raw', 'two', skip_invalid=True)
    convert('raw', 'two', skip_invalid=True, overwrite=True)
    assert not Path('two/labels/far/d.png').exists()


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }
