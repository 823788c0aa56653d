"""The command against the hook's counting, by hand, and its errors."""

import json
import runpy
import textwrap

import numpy as np
import pytest
from PIL import Image

from helpers.real_data import CAMVID
from mmseg_ext.models import BalancedCrossEntropy
from test_tools.tiny_runs import SEGMENTATION, TOOLS

#: Labels of 64 pixels; what is missing is ignored.
PIXELS = [[32, 16, 0], [24, 24, 16]]


@pytest.fixture
def config(tmp_path):
    """Write images, labels and a config of three classes; return its path."""
    for number, counts in enumerate(PIXELS):
        label = np.repeat([*range(3)], counts).astype(np.uint8)
        label = np.pad(label, (0, 64 - len(label)), constant_values=255)
        for kind in ('images', 'labels'):
            path = tmp_path / 'data' / kind / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label.reshape(8, 8)).save(path)
    path = tmp_path / 'config.py'
    text = SEGMENTATION.replace('{root!r}', repr(str(tmp_path / 'data')))
    path.write_text(text)
    return path


@pytest.fixture
def run(capsys):
    """Return a function that runs the tool and returns what it printed."""
    main = runpy.run_path(str(TOOLS / 'analysis' / 'class_weights.py'))['main']

    def run(*argv):
        main([str(arg) for arg in argv])
        return capsys.readouterr()

    return run


#: 56 of 112, 40 of 112, 16 of 64.
MEDIAN = 40 / 112
PLAIN = [MEDIAN / (56 / 112), 1, MEDIAN / (16 / 64)]


def test_table_and_line(config, run, tmp_path):
    out = tmp_path / 'new' / 'weights.json'
    printed = run(config, '--rule', 'median_frequency', '--out', out)
    *rows, line = printed.out.splitlines()
    assert [row.split()[:5] for row in rows] == [
        ['class', 'pixels', 'images', 'frequency', 'weight'],
        ['sky', '56', '2', '0.5000', '0.7143'],
        ['wall', '40', '2', '0.3571', '1.0000'],
        ['road', '16', '1', '0.2500', '1.4286'],
    ]
    assert [row.count('#') for row in rows] == [0, 12, 17, 24]
    assert line == 'class_weight=[0.7143, 1.0, 1.4286]'
    assert json.loads(out.read_text()) == np.round(PLAIN, 4).tolist()
    loss = BalancedCrossEntropy(str(out))
    assert loss.class_weight == pytest.approx(PLAIN, abs=1e-4)


def test_default_rule_and_bounds(config, run):
    roots = np.sqrt(PLAIN)
    line = run(config).out.splitlines()[-1]
    assert line == f'class_weight={roots.round(4).tolist()}'
    line = run(config, '--bounds', '0.9', '1.1').out.splitlines()[-1]
    assert line == 'class_weight=[0.9, 1.0, 1.1]'


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'{CAMVID} is not there')
def test_the_table_of_the_docs(run):
    name = 'bisenetv1_r18-d32_1xb4-1k_camvid11-240x320'
    root = f'train_dataloader.dataset.data_root={CAMVID}'
    table = run(name, '--cfg-options', root).out
    page = (TOOLS.parent / 'docs' / 'losses.md').read_text()
    assert textwrap.indent(table, '    ') in page


def test_class_without_pixels(config, run, tmp_path):
    (tmp_path / 'data/labels/1.png').unlink()
    (tmp_path / 'data/images/1.png').unlink()
    printed = run(config, '--cfg-options', 'x.y=1')
    assert 'road' in printed.err
    assert 'no pixel of the 1 image(s) has the class(es) road' in printed.err
    assert 'note: the config has no x.y' in printed.err
    assert printed.out.splitlines()[-1].endswith(' 1.0]')
    assert printed.out.splitlines()[3].split()[1:5] == [
        '0',
        '0',
        '-',
        '1.0000',
    ]


def test_void_at_the_end_is_no_class_without_pixels(config, run):
    text = config.read_text()
    for old, new in (
        ("'sky', 'wall', 'road'", "'sky', 'wall', 'road', 'Void'"),
        ('[0, 255, 0]]', '[0, 255, 0], [0, 0, 0]]'),
        ('num_classes = 3', 'num_classes = 4'),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    printed = run(config)
    assert printed.out.splitlines()[4].split()[:2] == ['Void', '0']
    assert 'no pixel' not in printed.err


def test_some_images(config, run):
    printed = run(config, '--max-images', 1)
    assert 'note: 1 of 2 images were counted' in printed.err


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--max-images', '0'], '--max-images 0: expected 1 or more'),
        (['--bounds', '3', '2'], 'weight_bounds=[3.0, 2.0]: expected the'),
        (['--bounds', 'inf', 'inf'], 'weight_bounds=[inf, inf]: expected'),
        (['--bounds', '0', '1e-9'], '--bounds 0.0 1e-09: all weights are 0'),
        (['--out', 'w.npy'], '--out w.npy: expected a file that ends with'),
        (['--out', 'f.json'], '--out f.json is a folder'),
        (
            ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            'nowhere',
        ),
        (
            ['--cfg-options', 'train_dataloader.dataset.indices=0'],
            'train_dataloader.dataset is empty: expected images with labels',
        ),
        (
            ['--cfg-options', 'train_dataloader.dataset.type=Nothing'],
            "there is no 'Nothing' in the registry",
        ),
        (
            [
                '--cfg-options',
                'train_dataloader.dataset.data_prefix.seg_map_path=elsewhere',
            ],
            'elsewhere/0.png',
        ),
    ],
)
def test_errors(config, run, capsys, argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'f.json').mkdir()
    with pytest.raises(SystemExit) as caught:
        run(config, *argv)
    assert caught.value.code == 2
    (line,) = [
        line
        for line in capsys.readouterr().err.splitlines()
        if 'error' in line
    ]
    assert message in line
