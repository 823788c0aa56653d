import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command_lines import error_of
from mmseg_ext.labels.camvid import CAMVID11, CAMVID32
from mmseg_ext.sample_data import KINDS, render_scene, write_camvid
from mmseg_ext.sample_data.camvid import CAMVID_CLASSES

ROOT = Path(__file__).parents[2]
SIZE = (160, 120)


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp('camvid') / 'sample'
    counts = write_camvid(root, num=40, size=SIZE, progress=False)
    return root, counts


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def class_names(path):
    """Return the class name of each pixel of a mask, read off its color."""
    names = np.full(SIZE[::-1], '?', object)
    mask = np.asarray(Image.open(path))
    for name, color in CAMVID32.items():
        names[(mask == color).all(2)] = name
    return names


def kinds_of(scene):
    kinds = np.array([item.kind for item in scene.objects], object)
    return kinds[scene.object_map]


def test_layout_of_the_release(sample):
    root, counts = sample
    assert counts == {'train': 24, 'val': 8, 'test': 8}
    assert sorted(path.name for path in root.iterdir()) == [
        'class_dict.csv',
        'test',
        'test_labels',
        'train',
        'train_labels',
        'val',
        'val_labels',
    ]
    for split, count in counts.items():
        images = sorted(path.stem for path in (root / split).iterdir())
        masks = sorted(p.name for p in (root / f'{split}_labels').iterdir())
        assert len(images) == count
        assert masks == [f'{stem}_L.png' for stem in images]
    stems = [p.stem for p in sorted((root / 'train').iterdir())]
    assert stems[:2] == ['0001TP_000030', '0001TP_000060']


def test_class_dict(sample):
    with open(sample[0] / 'class_dict.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == list(CAMVID32)
    assert [(int(r['r']), int(r['g']), int(r['b'])) for r in rows] == list(
        CAMVID32.values()
    )


@pytest.mark.parametrize(
    ('index', 'split'),
    [
        pytest.param(0, 'train', id='first'),
        pytest.param(23, 'train', id='last-train'),
        pytest.param(24, 'val', id='first-val'),
        pytest.param(39, 'test', id='last'),
    ],
)
def test_files_show_the_scene(sample, index, split):
    scene = render_scene(SIZE, seed=0, index=index)
    stem = f'0001TP_{30 * (index + 1):06d}'
    image = np.asarray(Image.open(sample[0] / split / f'{stem}.png'))
    assert (image == scene.image[..., ::-1]).all()
    names = class_names(sample[0] / f'{split}_labels' / f'{stem}_L.png')
    expected = np.vectorize(CAMVID_CLASSES.get)(kinds_of(scene))
    assert (names == expected).all()


def test_some_classes_by_hand():
    assert CAMVID_CLASSES.keys() == set(KINDS)
    assert CAMVID_CLASSES['lane_marking'] == 'LaneMkgsDriv'
    assert CAMVID_CLASSES['truck'] == CAMVID_CLASSES['bus'] == 'Truck_Bus'
    assert CAMVID_CLASSES['ego'] == CAMVID_CLASSES['unlabeled'] == 'Void'
    assert CAMVID32['Car'] == (64, 0, 128)


def test_classes_of_the_benchmark(sample):
    """All 11 occur, and their shares are those of a street."""
    group_of = {
        name: group for group, (_, names) in CAMVID11.items() for name in names
    }
    group_of['Void'] = 'Void'
    present, share = dict.fromkeys(group_of.values(), 0), {}
    for path in sorted(sample[0].glob('*_labels/*.png')):
        names, counts = np.unique(class_names(path), return_counts=True)
        groups = {group_of[name] for name in names}
        for group in groups:
            present[group] += 1
        for name, count in zip(names, counts, strict=True):
            group = group_of[name]
            share[group] = share.get(group, 0) + count / (40 * 160 * 120)
    assert set(share) == {*CAMVID11, 'Void'}
    assert sum(share.values()) == pytest.approx(1)
    assert share['Road'] + share['Sky'] + share['Building'] > 0.5
    assert all(share[name] > 0.1 for name in ('Road', 'Sky', 'Building'))
    assert 0.02 < share['Car'] < 0.25
    assert 0.003 < share['Pedestrian'] < 0.05
    assert all(share[name] > 0.001 for name in CAMVID11)
    assert share['Void'] < 0.1
    # Nothing is so rare that no split but one would hold it.
    assert min(present[name] for name in CAMVID11) >= 15


def test_same_arguments_same_bytes(tmp_path):
    for name in ('a', 'b'):
        write_camvid(tmp_path / name, num=4, size=(64, 48), progress=False)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    write_camvid(tmp_path / 'c', num=4, size=(64, 48), seed=1, progress=False)
    first, other = contents(tmp_path / 'a'), contents(tmp_path / 'c')
    assert first.keys() == other.keys()
    same = [name for name in first if first[name] == other[name]]
    assert same == ['class_dict.csv']


def test_scene_does_not_depend_on_their_number(tmp_path):
    write_camvid(tmp_path / 'few', num=3, size=(64, 48), progress=False)
    write_camvid(tmp_path / 'many', num=8, size=(64, 48), progress=False)
    few, many = (
        {Path(name).name: data for name, data in contents(root).items()}
        for root in (tmp_path / 'few', tmp_path / 'many')
    )
    assert len(few) == 2 * 3 + 1
    assert few.items() <= many.items()


def test_stopped_run_is_continued(tmp_path):
    write_camvid(tmp_path, num=3, size=(64, 48), progress=False)
    whole = contents(tmp_path)
    (tmp_path / 'val' / '0001TP_000060.png').unlink()
    (tmp_path / 'test_labels' / '0001TP_000090_L.png').unlink()
    # What a killed run leaves of the file it was writing.
    (tmp_path / 'val' / '.0001TP_000060.x1.png').write_bytes(b'\x89PNG')
    kept = (tmp_path / 'train' / '0001TP_000030.png').stat().st_mtime_ns
    write_camvid(tmp_path, num=3, size=(64, 48), progress=False)
    assert whole.items() <= contents(tmp_path).items()
    unchanged = (tmp_path / 'train' / '0001TP_000030.png').stat().st_mtime_ns
    assert unchanged == kept


def test_other_content_is_kept_unless_allowed(tmp_path):
    write_camvid(tmp_path, num=3, size=(64, 48), progress=False)
    before = contents(tmp_path)
    options = {'num': 3, 'size': (64, 48), 'seed': 1, 'progress': False}
    with pytest.raises(FileExistsError, match='exists with other content'):
        write_camvid(tmp_path, **options)
    assert contents(tmp_path) == before
    write_camvid(tmp_path, **options, overwrite=True)
    assert contents(tmp_path) != before


@pytest.mark.parametrize('overwrite', [False, True])
def test_other_images_are_refused(tmp_path, overwrite):
    foreign = tmp_path / 'train' / '0001TP_006690.png'
    foreign.parent.mkdir()
    foreign.write_bytes(b'an image of the release')
    with pytest.raises(FileExistsError, match=r'holds 0001TP_006690\.png'):
        write_camvid(tmp_path, num=3, size=(64, 48), overwrite=overwrite)
    assert contents(tmp_path) == {
        'train/0001TP_006690.png': b'an image of the release'
    }


def test_root_is_a_file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('')
    with pytest.raises(NotADirectoryError, match='is a file'):
        write_camvid(path, num=3)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        pytest.param({'num': 2}, 'num', id='too-few'),
        pytest.param({'num': 4.0}, 'num', id='float'),
        pytest.param({'num': True}, 'num', id='bool'),
        pytest.param({'size': (480, 0)}, 'size', id='no-height'),
        pytest.param({'seed': -3}, 'seed', id='negative-seed'),
    ],
)
def test_bad_argument_writes_nothing(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=f'^{name}=.*: expected'):
        write_camvid(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('num', 'counts'),
    [
        pytest.param(3, [1, 1, 1], id='least'),
        pytest.param(5, [3, 1, 1], id='five'),
        pytest.param(41, [25, 8, 8], id='odd'),
    ],
)
def test_splits(tmp_path, num, counts):
    found = write_camvid(tmp_path, num=num, size=(32, 32), progress=False)
    assert list(found.values()) == counts
    for split, count in found.items():
        assert len(list((tmp_path / split).iterdir())) == count


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools' / 'make_sample_data.py'
    spec = importlib.util.spec_from_file_location('make_sample_data', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tool(tool, tmp_path, capsys):
    out = tmp_path / 'out'
    tool.main(['camvid', str(out), '--num', '3', '--size', '64x48'])
    printed = capsys.readouterr().out
    assert f'{out}: train 1, val 1, test 1 images of 64x48' in printed
    write_camvid(tmp_path / 'api', num=3, size=(64, 48), progress=False)
    assert contents(out) == contents(tmp_path / 'api')
    (name,) = [word for word in printed.split() if word.endswith('.py')]
    assert len(list((ROOT / 'configs').rglob(name))) == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(['--size', '64'], 'as in 480x360', id='size'),
        pytest.param(['--num', '1'], '--num 1: expected', id='num'),
        pytest.param(['--size', '8x8'], '--size (8, 8): expected', id='small'),
    ],
)
def test_tool_explains_mistakes(tool, tmp_path, capsys, options, message):
    argv = ['camvid', str(tmp_path / 'out'), *options]
    assert message in error_of(capsys, tool.main, argv)
    assert not (tmp_path / 'out').exists()
