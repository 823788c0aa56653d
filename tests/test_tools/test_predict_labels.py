import json
import runpy

import cv2
import numpy as np
import pytest
from mmengine import DefaultScope

from helpers.command_lines import error_of
from helpers.segmentors import META, write_segmentor
from test_tools.tiny_runs import TOOLS

#: A file that each target has, besides the table.
FILES = {
    'coco': 'annotations/instances_default.json',
    'labelme': 'left/a.json',
    'cvat': 'SegmentationClass/left/a.png',
    'png': 'masks/left/a.png',
}


def run(*argv):
    """Run the tool in this process."""
    main = runpy.run_path(str(TOOLS / 'predict_labels.py'))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([str(part) for part in (*argv, '--device', 'cpu')])


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return write_segmentor(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def photographs(tmp_path):
    """Images in two folders, with a name in common."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'streets'
    for name in ('left/a.png', 'left/b c.png', 'right/a.png'):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (60, 90, 3), np.uint8)
        cv2.imwrite(str(path), cv2.blur(noise, (9, 9)))
    return root


@pytest.mark.parametrize('to', sorted(FILES))
def test_each_target(tiny, photographs, tmp_path, capsys, to):
    (photographs / 'left/c.heic').touch()
    out = tmp_path / 'out'
    run(*tiny, photographs, '--to', to, '--out-dir', out)
    assert capsys.readouterr().out.splitlines() == [
        f'{out}: labels of 3 images; uncertainty.csv lists them',
        'left out pictures of kinds that are not read: 1 .heic; convert them '
        'to .jpg or .png',
    ]
    assert (out / FILES[to]).is_file()
    lines = (out / 'uncertainty.csv').read_text().splitlines()
    assert lines[0] == 'image,uncertainty,objects'
    assert {line.split(',')[0] for line in lines[1:]} == {
        *('left/a.png', 'left/b c.png', 'right/a.png')
    }
    assert not [p for p in out.iterdir() if p.name.startswith('.')]


def test_the_least_certain_and_those_left_out(
    tiny, photographs, tmp_path, capsys
):
    (photographs / 'left/bad.png').write_bytes(b'no image')
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match=r'^1$'):
        run(
            *(*tiny, photographs, '--out-dir', out, '--uncertain', 2),
            *('--numbered', '--cfg-options', 'model.test_cfg.mode=whole'),
        )
    printed, told = capsys.readouterr()
    first, second = printed.splitlines()
    assert first == (
        f'{out}: labels of 2 images, 1 other is more certain; uncertainty.csv '
        'lists them'
    )
    assert second.startswith(f'left out: {photographs}/left/bad.png cannot')
    assert told.endswith(': error: images left out: 1\n')
    content = json.loads((out / FILES['coco']).read_text())
    names = [image['file_name'] for image in content['images']]
    assert [name[:2] for name in names] == ['1_', '2_']
    assert [c['name'] for c in content['categories']] == [*META['classes']]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'config': 'gone'}, 'there is no config gone'),
        (
            {'checkpoint': 'gone.pth'},
            'there is no checkpoint file gone.pth',
        ),
        ({'images': 'gone.png'}, 'there is no image or folder gone.png'),
        ({'more': ['--score', 2]}, '--score 2.0: expected a number from 0'),
        ({'more': ['--uncertain', 0]}, '--uncertain 0: expected 1 or more'),
        ({'more': ['--device', 'cuda:99']}, "device 'cuda:99' cannot be used"),
    ],
)
def test_what_the_user_can_mend(
    tiny, photographs, tmp_path, capsys, change, message
):
    main = runpy.run_path(str(TOOLS / 'predict_labels.py'))['main']
    given = {
        'config': tiny[0],
        'checkpoint': tiny[1],
        'images': photographs,
        'more': [],
        **change,
    }
    *paths, more = given.values()
    argv = [*paths, '--out-dir', tmp_path / 'out', *more]
    with DefaultScope.overwrite_default_scope('mmengine'):
        told = error_of(capsys, main, [str(part) for part in argv])
    assert told.startswith(message)
    assert not (tmp_path / 'out').exists()
