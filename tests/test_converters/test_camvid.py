import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.camvid import write_class_dict, write_pair
from helpers.command_lines import error_of
from mmseg_ext.converters.camvid import convert
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.color_masks import load_classes
from mmseg_ext.labels.camvid import CAMVID11, CAMVID32
from references import color_masks as reference

TOOL = Path(__file__, '../../../tools/dataset_converters/camvid.py').resolve()


@pytest.fixture
def root(tmp_path):
    for split in ('train', 'val'):
        for seed in range(3):
            write_pair(tmp_path, split, f'{split}_{seed}', seed=seed)
    write_class_dict(tmp_path)
    return tmp_path


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('grouping', [None, 'camvid11'])
@pytest.mark.parametrize('nproc', [1, 2])
def test_masks_equal_reference(root, grouping, nproc):
    color_map = load_classes(root / 'class_dict.csv', grouping).color_map
    report = convert(root, root / 'out', grouping=grouping, nproc=nproc)
    masks = sorted(root.glob('*_labels/*.png'))
    assert (report.written, report.kept, report.warnings) == (6, 0, [])
    assert len(masks) == 6
    for path in masks:
        written = Image.open(root / 'out' / path.relative_to(root))
        expected, _ = reference.decode(path, color_map)
        assert written.mode == 'L'
        assert (np.array(written) == expected).all()


def test_classes_beside_the_masks(root):
    convert(root, root / 'out', grouping='camvid11')
    classes = load_classes(root / 'out' / 'class_dict.csv', None)
    assert classes.names == tuple(CAMVID11)
    assert classes.palette == tuple(color for color, _ in CAMVID11.values())


def test_failed_run_leaves_nothing(root):
    convert(root, root / 'whole')
    bad = root / 'val_labels' / 'val_1_L.png'
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    with pytest.raises(ValueError, match=r'val_1_L\.png: cannot be read'):
        convert(root, root / 'out')
    assert not (root / 'out').exists()
    bad.write_bytes(good)
    report = convert(root, root / 'out')
    assert (report.written, report.kept) == (6, 0)
    assert contents(root / 'out') == contents(root / 'whole')


def test_overwrite(root):
    convert(root, root / 'out')
    assert convert(root, root / 'out').written == 0
    assert convert(root, root / 'out', overwrite=True).written == 6


def test_stopped_run_is_continued(root, monkeypatch):
    convert(root, root / 'whole')
    written = []

    def write_two(outputs, *arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(arguments[0])
        return write_png(outputs, *arguments)

    write_png = Outputs.write_png
    monkeypatch.setattr(Outputs, 'write_png', write_two)
    with pytest.raises(KeyboardInterrupt):
        convert(root, root / 'out')
    monkeypatch.undo()
    report = convert(root, root / 'out')
    assert (report.written, report.kept) == (4, 2)
    assert contents(root / 'out') == contents(root / 'whole')


@pytest.mark.parametrize('nproc', [1, 2])
def test_failed_run_leaves_what_was_there(root, nproc):
    convert(root, root / 'out')
    (root / 'out' / 'train_labels' / 'train_1_L.png').unlink()
    (root / 'out' / 'val_labels' / 'val_1_L.png').unlink()
    before = contents(root / 'out')
    (root / 'val_labels' / 'val_1_L.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='cannot be read'):
        convert(root, root / 'out', nproc=nproc)
    assert contents(root / 'out') == before


@pytest.mark.parametrize('nproc', [1, 2])
def test_failed_overwriting_leaves_what_it_did_not_replace(root, nproc):
    convert(root, root / 'out')
    before = contents(root / 'out')
    del before['class_dict.csv']
    (root / 'train_labels' / 'train_0_L.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='cannot be read'):
        convert(root, root / 'out', overwrite=True, nproc=nproc)
    after = contents(root / 'out')
    assert 'train_labels/train_0_L.png' in after
    assert after.items() <= before.items()


def test_declared_masks(root):
    write_class_dict(root, {'a': (1, 1, 1), 'b': (0, 0, 0), 'c': (9, 9, 8)})
    paths = sorted(root.glob('*_labels/*.png'))
    for path in paths:
        pixels = np.array([[[0] * 3 + [255], [1] * 3 + [0]]], np.uint8)
        Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError, match='1 transparent'):
        convert(root, root / 'out')
    for masks, expected in (('index', [0, 2]), ('color', [1, 2])):
        out = root / masks
        convert(root, out, masks=masks, transparent='c')
        for path in paths:
            labels = Image.open(out / path.relative_to(root))
            assert np.array(labels).tolist() == [expected]


def test_other_classes_in_the_folder(root):
    convert(root, root / 'out')
    with pytest.raises(ValueError, match=r'_L\.png is there, but is not'):
        convert(root, root / 'out', grouping='camvid11')
    convert(root, root / 'out', grouping='camvid11', overwrite=True)
    convert(root, root / 'other', grouping='camvid11')
    assert contents(root / 'out') == contents(root / 'other')


def test_unknown_colors_are_counted(root):
    path = root / 'train_labels' / 'train_0_L.png'
    mask = np.array(Image.open(path))
    mask[:2, :3] = (1, 2, 3)
    Image.fromarray(mask).save(path)
    report = convert(root, root / 'out')
    assert len(report.warnings) == 1
    assert 'train_0_L.png: 6 of 768 pixels' in report.warnings[0]
    with pytest.raises(ValueError, match=r'train_0_L\.png: 6 of 768'):
        convert(root, root / 'strict', max_unknown=0)


def test_nothing_of_a_failed_run_is_in_the_way(root):
    table = (root / 'class_dict.csv').read_text()
    (root / 'class_dict.csv').write_text('name,r,g,b\nRoad,1,2,3\n')
    with pytest.raises(ValueError, match='colors in no row'):
        convert(root, root / 'out')
    assert not (root / 'out').exists()
    (root / 'class_dict.csv').write_text(table)
    assert convert(root, root / 'out').written == 6


@pytest.mark.parametrize(
    'options',
    [
        {'max_unknown': -0.1},
        {'max_unknown': 1.1},
        {'max_unknown': float('nan')},
        {'nproc': 0},
    ],
    ids=str,
)
def test_arguments_are_checked_first(root, options):
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f'{name}={value}'):
        convert(root, root / 'out', **options)
    assert not (root / 'out').exists()


@pytest.mark.parametrize(
    'place', ['', 'train_labels', 'train_labels/index', 'new_labels']
)
@pytest.mark.parametrize('link', [False, True], ids=['itself', 'link'])
def test_results_among_the_masks(root, tmp_path_factory, place, link):
    out = root / place
    if link:
        out = tmp_path_factory.mktemp('links') / 'out'
        out.symlink_to(root / place)
    before = contents(root)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match='choose another out_dir'):
            convert(root, out, overwrite=overwrite)
    assert contents(root) == before


def test_masks_among_the_results(root, tmp_path_factory):
    """A link that is made after a run makes its results input."""
    out = tmp_path_factory.mktemp('out')
    convert(root, out)
    (root / 'old_labels').symlink_to(out)
    before = contents(out)
    with pytest.raises(ValueError, match=r'is read, but .* is to be written'):
        convert(root, out, overwrite=True)
    assert contents(out) == before


def test_class_list_that_would_be_replaced(root):
    (root / 'out').mkdir()
    (root / 'class_dict.csv').rename(root / 'out' / 'class_dict.csv')
    (root / 'class_dict.csv').symlink_to('out/class_dict.csv')
    before = contents(root)
    with pytest.raises(ValueError, match=r'class_dict\.csv is read, but'):
        convert(root, root / 'out', grouping='camvid11')
    assert contents(root) == before


# What was made from other input.


def change_mask(root):
    path = root / 'val_labels' / 'val_1_L.png'
    mask = np.array(Image.open(path))
    mask[0, 0] = mask[-1, -1] if (mask[0, 0] != mask[-1, -1]).any() else 0
    Image.fromarray(mask).save(path)


def remove_mask(root):
    (root / 'val_labels' / 'val_1_L.png').unlink()


def remove_split(root):
    shutil.rmtree(root / 'val_labels')


def exchange_classes(root):
    colors = list(CAMVID32.items())
    write_class_dict(root, dict([colors[1], colors[0], *colors[2:]]))


def cut_result(root):
    path = root / 'out' / 'val_labels' / 'val_1_L.png'
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    'change',
    [
        *(change_mask, remove_mask, remove_split, exchange_classes),
        cut_result,
    ],
)
def test_results_of_other_input_are_refused(root, change):
    convert(root, root / 'out')
    change(root)
    before = contents(root)
    with pytest.raises(ValueError, match=r'_L\.png is there, but'):
        convert(root, root / 'out')
    assert contents(root) == before


def test_an_empty_result_is_made_again(root):
    convert(root, root / 'out')
    before = contents(root)
    (root / 'out' / 'val_labels' / 'val_1_L.png').write_bytes(b'')
    assert convert(root, root / 'out').written == 1
    assert contents(root) == before


@pytest.mark.parametrize('kind', ['link to nowhere', 'pipe'])
def test_a_class_list_that_cannot_be_read_is_not_passed_over(root, kind):
    path = root / 'class_dict.csv'
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == 'pipe' else path.symlink_to('/nowhere.csv')
    with pytest.raises(OSError, match=r'class_dict\.csv'):
        convert(root, root / 'out')
    assert not (root / 'out').exists()


def test_renamed_class_is_in_the_list(root):
    convert(root, root / 'out')
    colors = {
        name if name == 'Void' else f'my {name}': color
        for name, color in CAMVID32.items()
    }
    write_class_dict(root, colors)
    assert convert(root, root / 'out').kept == 6
    classes = load_classes(root / 'out' / 'class_dict.csv', None)
    assert classes.names == tuple(colors)


def test_failed_run_leaves_no_class_list_of_what_it_replaced(root):
    convert(root, root / 'out')
    (root / 'val_labels' / 'val_1_L.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='cannot be read'):
        convert(root, root / 'out', grouping='camvid11', overwrite=True)
    assert not (root / 'out' / 'class_dict.csv').exists()


def test_failed_run_leaves_no_list_of_another(root):
    path = root / 'val_labels' / 'val_1_L.png'
    good = path.read_bytes()
    path.write_bytes(b'no image')
    convert(root, root / 'out', skip_invalid=True)
    assert (root / 'out' / 'skipped.json').exists()
    with pytest.raises(ValueError, match='cannot be read'):
        convert(root, root / 'out')
    assert not (root / 'out' / 'skipped.json').exists()
    path.write_bytes(good)
    convert(root, root / 'out')
    convert(root, root / 'whole')
    assert contents(root / 'out') == contents(root / 'whole')


def test_no_valid_mask(root):
    for path in root.glob('*_labels/*.png'):
        path.write_bytes(b'no image')
    with pytest.raises(ValueError, match='no input is valid') as error:
        convert(root, root / 'out', skip_invalid=True)
    assert f'{root}/train_labels/train_0_L.png: cannot be' in str(error.value)
    assert str(error.value).endswith('; and 3 more')
    assert contents(root / 'out') == {}


def test_class_list_is_named_first(root):
    first = next(convert(root, root / 'out').lines())
    assert first == f'The classes are those of {root}/class_dict.csv.'
    (root / 'class_dict.csv').unlink()
    first = next(convert(root, root / 'out').lines())
    assert first == (
        f'No class_dict.csv is in {root}, so the classes are those of '
        "CamVid's release."
    )


def test_own_masks_without_class_list(root):
    """A list that is given later finds nothing in its way."""
    classes = {'ground': (0, 0, 0), 'object': (250, 50, 83)}
    mask = np.zeros((24, 32, 3), np.uint8)
    for number, path in enumerate(sorted(root.glob('*_labels/*.png'))):
        mask[3:6, 4:9] = classes['object'] if number > 3 else 0
        Image.fromarray(mask).save(path)
    (root / 'class_dict.csv').unlink()
    with pytest.raises(
        ValueError, match=rf'val_1_L.*No class_dict\.csv is in {root}, .*: add'
    ):
        convert(root)
    assert not (root / 'index').exists()
    write_class_dict(root, classes)
    assert convert(root).written == 6
    labels = np.array(Image.open(root / 'index/val_labels/val_2_L.png'))
    assert np.bincount(labels.ravel()).tolist() == [24 * 32 - 15, 15]


def test_gray_masks_are_counted(root):
    write_class_dict(root, {'ground': (0, 0, 0), 'object': (255,) * 3})
    for number, path in enumerate(sorted(root.glob('*_labels/*.png'))):
        mask = np.zeros((24, 32), np.uint8)
        mask[3:6, 4:9] = 255 if number < 4 else 1
        Image.fromarray(mask).save(path)
    report = convert(root, root / 'out')
    assert report.read_as == {'color': 4, 'index': 2}
    lines = list(report.lines())
    assert lines[1:3] == [
        'warning: masks were read in two ways, by their values: say by '
        'masks=... what they hold',
        'of the masks in gray or with a palette, 2 were read as class '
        'indices and 4 as colors',
    ]
    for path in (root / 'out').glob('*_labels/*.png'):
        labels = np.array(Image.open(path))
        assert np.bincount(labels.ravel()).tolist() == [24 * 32 - 15, 15]


def test_black_and_white_index_masks(root):
    write_class_dict(root, {'ground': (1, 2, 3), 'object': (250, 50, 83)})
    mask = np.zeros((24, 32), np.uint8)
    mask[3:6, 4:9] = 255
    paths = sorted(root.glob('*_labels/*.png'))
    for path in paths:
        Image.fromarray(mask).save(path)
    text = 'warning: all masks are indices of 0 and 255 alone'
    assert text in str(convert(root, root / 'out'))
    mask[0, 0] = 1
    Image.fromarray(mask).save(paths[3])
    report = convert(root, root / 'other')
    assert report.black_and_white == 5
    assert 'alone' not in str(report)


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere is missing'):
        convert(tmp_path / 'nowhere', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_hidden_files_are_left_alone(root):
    (root / 'train_labels' / '._train_0_L.png').write_bytes(b'no image')
    assert convert(root, root / 'out').written == 6


def test_root_without_masks(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no masks'):
        convert(tmp_path, tmp_path / 'out')


def test_built_in_classes(root):
    (root / 'class_dict.csv').unlink()
    convert(root, root / 'out')
    classes = load_classes(root / 'out' / 'class_dict.csv', None)
    assert classes.names == tuple(CAMVID32)


def test_tool(root, capsys):
    main = runpy.run_path(str(TOOL))['main']
    main([str(root), '--grouping', 'camvid11'])
    assert '6 index masks written' in capsys.readouterr().out
    assert len(list((root / 'camvid11').rglob('*_L.png'))) == 6
    message = error_of(capsys, main, [str(root / 'nowhere')])
    assert message.startswith(f'folder {root / "nowhere"} is missing; ')
