import csv
import math
import os
import re
import runpy
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmengine.config import Config
from mmengine.registry import MODELS

from helpers.command_lines import error_of
from mmseg_ext.inference.detectors import load_detector
from mmseg_ext.utils.images import write_png
from test_tools.tiny_runs import TOOLS, write_detection

CONFIG = 'mask-rcnn_r18_fpn_1xb2-2k_nail-320'

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


class Exploit:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ('true',)


def run(*argv):
    """Run the tool; MMDet's inferencer keeps its scope."""
    main = runpy.run_path(str(TOOLS / 'crop_instances.py'))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([str(part) for part in ('--device', 'cpu', *argv)])


def save_untrained(config, path):
    """Save a model with weights that give some instances."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    (path,) = TOOLS.parent.glob(f'configs/*/{CONFIG}.py')
    folder = tmp_path_factory.mktemp('nails')
    return save_untrained(Config.fromfile(path), folder / 'nails.pth')


@pytest.fixture
def photographs(tmp_path):
    """Images of several sizes in two folders, with names in common."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'hands'
    for name, shape in (
        ('left/a.png', (60, 90)),
        ('left/b.PNG', (80, 70)),
        ('right/a.png', (100, 50)),
        ('right/deep/a.png', (40, 40)),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (*shape, 3), np.uint8)
        cv2.imwrite(str(path), cv2.blur(noise, (9, 9)))
    (root / 'left/notes.txt').write_text('no image')
    return root


def read_table(out):
    with open(out / 'crops.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_crops_and_their_table(checkpoint, photographs, tmp_path, capsys):
    (photographs / 'left/aa.png').write_bytes(b'no image')
    (photographs / 'left/ab.jpg').write_bytes(b'')
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match=r'^1$'):
        run(
            *(CONFIG, checkpoint, photographs, photographs / 'left/a.png'),
            *('--out-dir', out, '--score-thr', 0, '--pad', 0.2),
            *('--batch-size', 3),
        )

    printed, told = capsys.readouterr()
    assert told.endswith(': error: images left out: 2\n')
    for name in ('aa.png', 'ab.jpg'):
        assert f'left out: {photographs}/left/{name} cannot be' in printed
    rows = read_table(out)
    assert f'{out}: {len(rows)} crops of 4 images' in printed
    written = {path.relative_to(out) for path in out.rglob('*.png')}
    assert sorted(map(str, written)) == sorted(row['crop'] for row in rows)
    for name in ('left/a.png', 'left/b.PNG', 'right/a.png'):
        path = photographs / name
        own = [row for row in rows if row['image'] == str(path)]
        check_crops(path, own, out)
        scores = [float(row['score']) for row in own]
        assert scores == sorted(scores, reverse=True)
        assert [row['crop'] for row in own] == [
            f'{name[:-4]}_{number:03}.png' for number in range(1, len(own) + 1)
        ]


def check_crops(path, rows, out):
    """Compare crops with what their rows say."""
    image = cv2.imread(str(path))
    same = 0
    for row in rows:
        x1, y1, x2, y2 = (float(row[key]) for key in ('x1', 'y1', 'x2', 'y2'))
        dx, dy = 0.2 * (x2 - x1), 0.2 * (y2 - y1)
        left, top = (max(0, math.floor(v)) for v in (x1 - dx, y1 - dy))
        right, bottom = math.ceil(x2 + dx), math.ceil(y2 + dy)
        expected = image[top:bottom, left:right]
        crop = cv2.imread(str(out / row['crop']), cv2.IMREAD_UNCHANGED)
        # The table is rounded, which may move a border by a pixel.
        if crop.shape == expected.shape:
            same += np.array_equal(crop, expected)
        assert 0 < int(row['area']) <= image.shape[0] * image.shape[1]
        assert -90 <= float(row['angle']) <= 90
        assert row['label'] == 'nail'
    assert same > 0.8 * len(rows) > 0


def test_images_that_cannot_be_used_stop_nothing(
    checkpoint, photographs, tmp_path, monkeypatch, capsys
):
    """A strip, whose height becomes 0, and names that nothing can hold."""
    left = photographs / 'left'
    strip = np.full((1, 3000, 3), 90, np.uint8)
    cv2.imwrite(str(left / 'strip.png'), strip)
    not_utf8 = os.fsdecode('中文'.encode('gbk'))
    for name in (not_utf8, 'n' * 248, '=1+1', '.hidden', '__MACOSX/a', 'n\nn'):
        path = left / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        shutil.copy(left / 'a.png', path)
    for name in ('a.HEIC', 'b.heic', 'c.gif', '.d.heic', 'movie.mov'):
        (left / name).touch()
    (left / 'l').symlink_to('.')
    (left / 'link.png').symlink_to('b.PNG')
    monkeypatch.chdir(left)
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match=r'^1$'):
        run(
            *(CONFIG, checkpoint, '=1+1.png', '.', left),
            *('--out-dir', out, '--score-thr', 0, '--batch-size', 4),
        )

    printed, told = capsys.readouterr()
    printed.encode()
    lines = printed.splitlines()
    rows = read_table(out)
    assert lines[-5] == (
        f'{out}: {len(rows)} crops of 5 images, listed in crops.csv'
    )
    assert lines[-4] == (
        'left out pictures of kinds that are not read: 1 .gif, 2 .heic; '
        'convert them to .jpg or .png'
    )
    assert {line for line in lines[-3:] if 'strip' not in line} == {
        'left out: ' + 'n' * 248 + '.png: its name is too long: its crops '
        'would have 256 bytes in their names, and file systems take 255; '
        'rename it',
        r'left out: \xd6\xd0\xce\xc4.png: its name is not UTF-8, which '
        'crops.csv has to be; rename it',
    }
    assert 'strip.png: the detector fails for its 3000x1 pixels: ' in printed
    assert told.splitlines()[-1].endswith('images left out: 3')
    # Hidden ones are none, and a folder that is given twice is read once.
    assert {row['image'] for row in rows} == {
        *("'=1+1.png", 'a.png', 'b.PNG', 'link.png', 'n\nn.png')
    }
    assert "'=1+1_001.png" in {row['crop'] for row in rows}
    assert (out / '=1+1_001.png').exists()


def test_only_pictures_of_other_kinds(tmp_path, capsys):
    (tmp_path / 'a.heic').touch()
    message = error_of(capsys, run, CONFIG, 'x.pth', tmp_path)
    assert message.startswith(
        f'there are no images in {tmp_path}, but 1 of kinds that are not '
        'read; expected files that end in .bmp, .jpeg, '
    )


def test_names_that_differ_in_their_suffix(checkpoint, photographs, tmp_path):
    left, out = photographs / 'left', tmp_path / 'out'
    (left / 'b.PNG').rename(left / 'a.bmp')
    run(
        *(CONFIG, checkpoint, left, '--out-dir', out, '--score-thr', 0),
        *('--upright', '--background', 'transparent'),
    )
    for name in ('a.bmp', 'a.png'):
        crop = cv2.imread(str(out / f'{name}_001.png'), cv2.IMREAD_UNCHANGED)
        alpha = crop[..., 3]
        assert {0, 255} >= set(np.unique(alpha).tolist()) > {0}
        assert not crop[alpha == 0].any()


def test_no_instances(checkpoint, photographs, tmp_path, capsys):
    out = tmp_path / 'out'
    run(CONFIG, checkpoint, photographs, '--out-dir', out, '--score-thr', 1)
    assert '0 crops of 4 images' in capsys.readouterr().out
    header = 'image,crop,x1,y1,x2,y2,score,area,angle,label\n'
    assert (out / 'crops.csv').read_text() == header


def test_detector_without_masks(tmp_path, capsys):
    config = write_detection(tmp_path / 'data')
    weights = save_untrained(Config.fromfile(config), tmp_path / 'boxes.pth')
    argv = [config, weights, tmp_path / 'data/images', '--score-thr', 0]
    out = tmp_path / 'out'
    run(*argv, '--out-dir', out)
    rows = read_table(out)
    assert rows
    assert {(row['area'], row['angle']) for row in rows} == {('', '')}
    assert {row['label'] for row in rows} <= {'disc', 'square'}
    argv += ['--out-dir', tmp_path / 'other', '--upright']
    message = error_of(capsys, run, *argv)
    assert message.startswith('the detector gives boxes but no masks')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        pytest.param(
            {'config': 'gone'}, 'there is no config gone', id='no config'
        ),
        pytest.param(
            {'config': 'bisenetv1_r18-d32_1xb4-250_sample-192x256'},
            '.* is not the config of a detector',
            id='segmentor',
        ),
        pytest.param(
            {'checkpoint': 'gone.pth'},
            'there is no checkpoint file gone.pth',
            id='no checkpoint',
        ),
        pytest.param(
            {'checkpoint': 'exploit.pth'},
            r'exploit\.pth is refused',
            id='code in the checkpoint',
        ),
        pytest.param(
            {'checkpoint': 'other.pth'},
            r'other\.pth holds none of the parameters',
            id='other model',
        ),
        pytest.param(
            {'checkpoint': 'list.pth'},
            r'list\.pth is no checkpoint: expected a dict of weights, found l',
            id='list of weights',
        ),
        pytest.param(
            {'images': 'gone.jpg'},
            r'there is no image or folder gone\.jpg',
            id='no image',
        ),
        pytest.param(
            {'images': 'empty'}, 'there are no images in empty', id='none'
        ),
        pytest.param(
            {'--out-dir': 'hands'}, 'hands is not an empty folder', id='full'
        ),
        pytest.param(
            {'--score-thr': '50'}, '--score-thr 50.0: expected', id='percent'
        ),
        pytest.param(
            {'--batch-size': '0'}, '--batch-size 0: expected', id='batch'
        ),
        pytest.param(
            {'--device': 'gpu'}, "device 'gpu' cannot be used", id='device'
        ),
    ],
)
@pytest.mark.usefixtures('photographs')
def test_errors_in_one_line(
    checkpoint, tmp_path, monkeypatch, capsys, change, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    torch.save({'state_dict': {}, 'meta': Exploit()}, 'exploit.pth')
    torch.save({'state_dict': {'weight': torch.ones(1)}}, 'other.pth')
    torch.save({'state_dict': []}, 'list.pth')
    given = {
        'config': CONFIG,
        'checkpoint': checkpoint,
        'images': 'hands',
        '--out-dir': 'out',
        **change,
    }
    argv = []
    for key, value in given.items():
        argv += [key, value] if key.startswith('--') else [value]
    assert re.match(message, error_of(capsys, run, *argv))
    assert not (tmp_path / 'out').exists()


def test_nothing_is_cropped_by_a_backbone_alone(checkpoint, tmp_path):
    """Upstream's inferencer would go on with a random rest."""
    weights = torch.load(checkpoint)['state_dict']
    backbone = {k: v for k, v in weights.items() if k.startswith('backbone')}
    torch.save({'state_dict': backbone}, tmp_path / 'backbone.pth')
    rest = [
        key
        for key in weights
        if key not in backbone and not key.endswith('num_batches_tracked')
    ]
    with (
        DefaultScope.overwrite_default_scope('mmengine'),
        pytest.raises(ValueError, match=rf'lacks {len(rest)} of .*: neck\.'),
    ):
        load_detector(CONFIG, str(tmp_path / 'backbone.pth'), 'cpu')


def test_no_such_color(tmp_path, capsys):
    argv = [CONFIG, 'x.pth', tmp_path, '--background', 'nail']
    message = error_of(capsys, run, *argv)
    expected = "argument --background: 'nail' is no background: expected"
    assert message.startswith(expected)


def test_a_stopped_run_goes_on_and_others_do_not(
    checkpoint, photographs, tmp_path, monkeypatch, capsys
):
    def stop(path, pixels):
        if written.append(path) or len(written) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        write_png(path, pixels)

    written = []
    argv = [CONFIG, checkpoint, photographs, '--score-thr', 0, '--out-dir']
    run(*argv, tmp_path / 'whole')
    with monkeypatch.context() as patch:
        patch.setattr('mmseg_ext.inference.crop_files.write_png', stop)
        with pytest.raises(SystemExit, match=r'^130$'):
            run(*argv, tmp_path / 'out')
    told = capsys.readouterr().err
    assert told.endswith(': stopped; the same command goes on\n')
    assert [*(tmp_path / 'out').rglob('*.png')]
    (photographs / 'left/b.PNG').touch()
    for other in (['--upright'], ['--pad', 0.3]):
        message = error_of(capsys, run, *argv, tmp_path / 'out', *other)
        assert message.startswith(f'{tmp_path}/out belongs to a stopped run ')
    assert not (tmp_path / 'out/crops.csv').exists()
    stamp = (tmp_path / 'out/.unfinished').read_text()
    time = (photographs / 'left/b.PNG').stat().st_mtime_ns
    assert str(time) not in stamp  # it was changed meanwhile
    assert 'belongs to' in error_of(capsys, run, *argv, tmp_path / 'out')
    earlier = int(re.search(r"left/b\.PNG', \d+, (\d+)", stamp)[1])
    os.utime(photographs / 'left/b.PNG', ns=(earlier, earlier))
    run(*argv, tmp_path / 'out')
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def contents(folder):
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}
