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
from helpers.segmentors import META, write_segmentor
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


def test_windows_of_a_lean_config(tiny, photographs, tmp_path, capsys):
    """And a checkpoint with weights that are NaN, which is told."""
    saved = torch.load(tiny[1])
    saved['state_dict']['decode_head.conv_seg.bias'][1] = torch.nan
    torch.save(saved, tmp_path / 'nan.pth')
    path, out = photographs / 'left/a.png', tmp_path / 'out'
    run(
        *(tiny[0], tmp_path / 'nan.pth', path, '--out-dir', out),
        *('--crop-size', 32, '--stride', 20, 30, '--window-batch', 2),
        *('--cfg-options', 'model.type=LeanEncoderDecoder'),
    )
    printed, told = capsys.readouterr()
    assert printed == (
        f'{out}: 1 image, label maps in labels/, pictures in pictures/\n'
    )
    labels = cv2.imread(str(out / 'labels/a.png'), cv2.IMREAD_UNCHANGED)
    # As argmax decides.
    assert np.array_equal(labels, np.ones((60, 90)))
    assert (
        f'note: {tmp_path}/nan.pth has weights that are NaN, such as '
        'decode_head.conv_seg.bias: label maps may mean nothing\n' in told
    )


def test_images_that_cannot_be_read(tiny, photographs, tmp_path, capsys):
    left, out = photographs / 'left', tmp_path / 'out'
    (left / 'aa.png').write_bytes(b'no image')
    data = cv2.imencode('.tif', np.zeros((9, 9, 4), np.uint8))[1]
    (left / 'crop_size=1.tif').write_bytes(data.tobytes())
    (left / 'link.png').symlink_to('gone.png')
    with pytest.raises(SystemExit, match=r'^1$'):
        run(*tiny, left, '--out-dir', out, '--no-pictures')
    printed, told = capsys.readouterr()
    lines = printed.splitlines()
    assert lines[0] == f'{out}: 2 images, label maps in labels/'
    assert re.match('next: .*browse.* --masks ', lines[1])
    assert lines[1].endswith(f' {left} --masks {out}/labels')
    assert lines[2].startswith(f'left out: {left}/aa.png cannot be read as')
    assert lines[3].startswith(
        f'left out: {left}/crop_size=1.tif is a TIFF of 4 channels'
    )
    assert lines[4] == (
        f'left out: {left}/link.png is a link to gone.png, which is not there'
    )
    assert len(lines) == 5
    assert told.endswith(': error: images left out: 3\n')
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
        f'left out: {path}: memory does not suffice for its 90x60 pixels; '
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
            '--crop-size 0: expected height and width, or one number for '
            'both, each 1 or more$',
            id='no window',
        ),
        pytest.param(
            {'--crop-size': ['9', '9', '9']},
            '--crop-size 9 9 9: expected height and width, or one number for',
            id='three sides',
        ),
        pytest.param(
            {'--crop-size': ['32'], '--stride': ['32', '33']},
            '--stride 32 33 is larger than --crop-size 32 32: no window',
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
            "test_cfg has no option 'croop_size'; close: 'crop_size'; an "
            'entry of your own needs a name that is less like it$',
            id='misspelt in test_cfg',
        ),
        pytest.param(
            {
                '--cfg-options': [
                    *('model.test_cfg.mode=slide', 'model.test_cfg.stride=9'),
                    'model.test_cfg.crop_size=8',
                ]
            },
            r'test_cfg\.crop_size=8: expected height and width such as',
            id='crop size of the config',
        ),
        pytest.param(
            {
                '--cfg-options': [
                    *('model.type=LeanEncoderDecoder', 'model.window_batch=0')
                ]
            },
            r'model \(LeanEncoderDecoder\) .* model\.window_batch=0: expected',
            id='batch of the config',
        ),
        *(
            pytest.param({'--cfg-options': option}, message, id=option)
            for option, message in {
                'model=3': '.* is not the config of a segmentor: expected',
                'model.test_cfg=3': r'model\.test_cfg=3: expected a dict$',
                'test_dataloader=None': '.* is not the config of a segmentor',
                'test_dataloader.dataset=None': 'expected the config of a',
                'test_dataloader.dataset.pipeline=3': (
                    r'test_dataloader\.dataset\.pipeline=3: expected a list'
                ),
                'model.decode_head=3': '.* cannot be built: TypeError: cfg ',
            }.items()
        ),
        *(
            pytest.param(
                {name: ''},
                f'argument {flag}: it is empty; is a variable of the shell',
                id=f'empty {name}',
            )
            for name, flag in {
                **{'images': 'IMAGE', 'checkpoint': 'checkpoint'},
                **{'--out-dir': '--out-dir', '--device': '--device'},
            }.items()
        ),
        pytest.param(
            {'--out-dir': 'other.pth'},
            r'--out-dir other\.pth is a file: expected a folder',
            id='a file',
        ),
        pytest.param(
            {'checkpoint': 'one class.pth'},
            'the model has 3 classes, .* 1 names and 1 colors .*; go without '
            'by --no-pictures$',
            id='no colors',
        ),
        pytest.param(
            {'checkpoint': 'odd colors.pth'},
            'palette in the checkpoint, or .* test set: expected three values '
            'of 0 to 255 for sky, got .*; go without by --no-pictures$',
            id='odd colors',
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
def test_errors_in_one_line(tiny, place, monkeypatch, capsys, change, message):
    monkeypatch.chdir(place)
    monkeypatch.setitem(MODELS.module_dict, 'Other', Other)
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
    assert not (place / 'out').exists()


@pytest.fixture(scope='module')
def place(tiny, tmp_path_factory):
    """A folder with an image, checkpoints that do not fit, and a file."""
    root = tmp_path_factory.mktemp('place')
    for folder in ('streets', 'full'):
        (root / folder).mkdir()
    (root / 'full/file').touch()
    cv2.imwrite(str(root / 'streets/a.png'), np.zeros((40, 40, 3), np.uint8))
    weights = torch.load(tiny[1])['state_dict']
    names, colors = META['classes'], [(0, 0, 999), (1, 1, 1), (2, 2, 2)]
    part = {k: v for k, v in weights.items() if k.startswith('backbone')}
    for name, state, count in (
        ('other', {'weight': torch.ones(1)}, 3),
        ('part', part, 3),
        ('one class', weights, 1),
        ('odd colors', weights, 3),
    ):
        meta = {'classes': names[:count], 'palette': colors[:count]}
        saved = {'state_dict': state, 'meta': {'dataset_meta': meta}}
        torch.save(saved, root / f'{name}.pth')
    return root


class Other(BaseSegmentor):
    """A segmentor of another kind."""

    def __init__(self, data_preprocessor=None, **_):
        super().__init__(data_preprocessor=data_preprocessor)

    def _forward(self, inputs, data_samples=None):
        raise NotImplementedError

    loss = predict = encode_decode = extract_feat = _forward
