import re
import runpy

import cv2
import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS

from helpers.command_lines import error_of
from helpers.segmentors import write_segmentor
from test_tools.tiny_runs import TOOLS


def run(*argv):
    """Run the tool in this process."""
    main = runpy.run_path(str(TOOLS / 'segment.py'))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([str(part) for part in (*argv, '--device', 'cpu')])


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_segmentor(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def photographs(tmp_path):
    """Images of several sizes in two folders, with names in common."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'streets'
    for name, shape in (
        ('left/a.png', (60, 90)),
        ('left/b.PNG', (80, 70)),
        ('right/a.png', (100, 50)),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (*shape, 3), np.uint8)
        cv2.imwrite(str(path), cv2.blur(noise, (9, 9)))
    return root


def test_labels_pictures_and_what_is_said(tiny, photographs, tmp_path, capsys):
    (photographs / 'left/c.heic').touch()
    out = tmp_path / 'out'
    run(*tiny, photographs, photographs / 'left/a.png', '--out-dir', out)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f'{out}: 3 images, label maps in labels/, pictures in pictures/',
        'left out pictures of kinds that are not read: 1 .heic; convert them '
        'to .jpg or .png',
    ]
    for kind in ('labels', 'pictures'):
        names = {
            path.relative_to(out / kind).as_posix()
            for path in (out / kind).rglob('*.png')
        }
        assert names == {'left/a.png', 'left/b.png', 'right/a.png'}
    labels = cv2.imread(str(out / 'labels/right/a.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (100, 50)
    assert sorted(path.name for path in out.iterdir()) == [
        *('labels', 'pictures')
    ]


def test_images_that_cannot_be_read(tiny, photographs, tmp_path, capsys):
    left, out = photographs / 'left', tmp_path / 'out'
    (left / 'aa.png').write_bytes(b'no image')
    data = cv2.imencode('.tif', np.zeros((9, 9, 4), np.uint8))[1]
    (left / 'crop_size=1.tif').write_bytes(data.tobytes())
    with pytest.raises(SystemExit, match=r'^1$'):
        run(*tiny, left, '--out-dir', out, '--no-pictures')
    printed, told = capsys.readouterr()
    lines = printed.splitlines()
    assert lines[0] == f'{out}: 2 images, label maps in labels/'
    assert re.match('next: .*browse.* --masks ', lines[1])
    assert lines[1].endswith(f' {left} --masks {out}/labels')
    assert lines[2].startswith(f'not read: {left}/aa.png cannot be read as')
    assert lines[3].startswith(
        f'not read: {left}/crop_size=1.tif is a TIFF of 4 channels'
    )
    assert len(lines) == 4
    assert told.endswith(': error: 2 images could not be read\n')
    assert not (out / 'pictures').exists()


def test_memory_that_does_not_suffice_names_the_option(
    tiny, photographs, tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(
        'mmseg_ext.inference.segmentors.Segmentor.segment', fail
    )
    path = photographs / 'left/a.png'
    with pytest.raises(SystemExit, match=r'^1$'):
        run(*tiny, path, '--out-dir', tmp_path / 'out')
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'not read: {path}: memory does not suffice for its 90x60 pixels; '
        'give --crop-size 512 for windows that slide over it'
    )


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        pytest.param(
            {'config': 'gone'}, 'there is no config gone', id='no config'
        ),
        pytest.param(
            {'config': 'mask-rcnn_r18_fpn_1xb2-2k_nail-320'},
            '.* is not the config of a segmentor: expected one with',
            id='detector',
        ),
        pytest.param(
            {'checkpoint': 'gone.pth'},
            r'there is no checkpoint file gone\.pth',
            id='no checkpoint',
        ),
        pytest.param(
            {'checkpoint': 'other.pth'},
            r'other\.pth holds none of the parameters',
            id='other model',
        ),
        pytest.param(
            {'checkpoint': 'part.pth'},
            r'part\.pth lacks .* parameters of the model',
            id='a part',
        ),
        pytest.param(
            {'images': 'gone.jpg'},
            r'there is no image or folder gone\.jpg',
            id='no image',
        ),
        pytest.param(
            {'--out-dir': 'full'}, 'full is not an empty folder', id='full'
        ),
        pytest.param(
            {'--out-dir': 'streets/out'},
            '--out-dir streets/out lies in streets, where the next run',
            id='among the images',
        ),
        pytest.param(
            {'--crop-size': ['0']},
            r'--crop-size \(0, 0\): expected height and width',
            id='no window',
        ),
        pytest.param(
            {'--crop-size': ['9', '9', '9']},
            '--crop-size 9 9 9: expected height and width such as',
            id='three sides',
        ),
        pytest.param(
            {'--crop-size': ['32'], '--stride': ['32', '33']},
            r'--stride \(32, 33\) is larger than --crop-size \(32, 32\): no',
            id='stride',
        ),
        pytest.param(
            {'--stride': ['16']},
            '--stride 16: the config has no windows; give --crop-size, too',
            id='stride without windows',
        ),
        pytest.param(
            {'--window-batch': '0'},
            '--window-batch 0: expected a number of windows, 1 or more',
            id='batch',
        ),
        pytest.param(
            {'--device': 'gpu'}, "device 'gpu' cannot be used", id='device'
        ),
        pytest.param(
            {'--cfg-options': 'model.test_cfg.croop_size=64'},
            "test_cfg has 'croop_size'; expected 'crop_size'",
            id='misspelt in test_cfg',
        ),
        pytest.param(
            {'--cfg-options': 'model.backbone.dept=18'},
            r"model\.backbone \(ResNetV1c\) cannot be built: .*'dept'",
            id='misspelt in the model',
        ),
        pytest.param(
            {'--cfg-options': 'model.type=Other'},
            r'.*config\.py: lean inference is for EncoderDecoder of MMSeg and '
            'classes below it; got Other, .*: mmseg-ext test takes it so',
            id='no EncoderDecoder',
        ),
    ],
)
@pytest.mark.usefixtures('photographs')
def test_errors_in_one_line(
    tiny, tmp_path, monkeypatch, capsys, change, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS.module_dict, 'Other', Other)
    torch.save({'state_dict': {'weight': torch.ones(1)}}, 'other.pth')
    weights = torch.load(tiny[1])['state_dict']
    part = {k: v for k, v in weights.items() if k.startswith('backbone')}
    torch.save({'state_dict': part}, 'part.pth')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/file').touch()
    given = {
        'config': tiny[0],
        'checkpoint': tiny[1],
        'images': 'streets',
        '--out-dir': 'out',
        **change,
    }
    argv = []
    for key, value in given.items():
        values = value if isinstance(value, list) else [value]
        argv += [key, *values] if key.startswith('--') else values
    main = runpy.run_path(str(TOOLS / 'segment.py'))['main']
    found = error_of(capsys, main, [str(part) for part in argv])
    assert re.match(message, found), found
    assert not (tmp_path / 'out').exists()


class Other(BaseSegmentor):
    """A segmentor of another kind."""

    def __init__(self, data_preprocessor=None, **_):
        super().__init__(data_preprocessor=data_preprocessor)

    def _forward(self, inputs, data_samples=None):
        raise NotImplementedError

    loss = predict = encode_decode = extract_feat = _forward
