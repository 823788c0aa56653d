"""The whole way from a folder to a config, and what is refused on it."""

import base64
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from mmengine.config import Config

from mmseg_ext.planning import init as module
from mmseg_ext.planning.init import init
from mmseg_ext.planning.machine import Machine

SIZE = (96, 72)


@pytest.fixture(autouse=True, scope='module')
def _short_measure():
    """A step is measured in a process of its own: tested by itself."""

    class Measure:
        def __init__(self, config, machine, objects):
            assert Config.fromfile(config).train_dataloader

        def __enter__(self):
            return lambda batch_size: batch_size << 20

        def __exit__(self, *args):
            pass

    # What is free is another number each time, and stands in the config.
    machine = Machine('cpu', 8 << 30, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'StepMemory', Measure)
        patch.setattr(module, 'this_machine', lambda memory: machine)
        yield


def run(data, out, **options):
    lines = []
    options = {'nproc': 1, 'progress': False, **options}
    done = init(Path(data), Path(out), tell=lines.append, **options)
    return done, '\n'.join(lines)


def paint(seed, size=SIZE):
    """Make an image, BGR, and its label map: background and two classes."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    label = np.zeros((size[1], size[0]), np.uint8)
    for value in (1, 2):
        x, y = rng.integers(4, size[0] - 30), rng.integers(4, size[1] - 30)
        label[y : y + 20, x : x + 24] = value
        image[y : y + 20, x : x + 24, value] = 255
    return image, label


def write_folder(root, number=6, label=lambda label: label):
    """Write images and index masks."""
    for seed in range(number):
        image, values = paint(seed)
        for name, content in (
            (f'images/shot {seed}.jpg', image),
            (f'masks/shot {seed}.png', label(values)),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / name), content)
    return root


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('data') / 'data')


@pytest.fixture(scope='module')
def label_maps(folder, tmp_path_factory):
    """Return what was written for label maps, and what was said."""
    return run(folder, tmp_path_factory.mktemp('maps') / 'my.py')


@pytest.fixture(scope='module')
def instances(folder, tmp_path_factory):
    """Return what was written for instances."""
    out = tmp_path_factory.mktemp('instances') / 'my.py'
    return run(folder, out, task='instance')[0]


def everything(folder):
    """Return all files below a folder, hidden ones too, with contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def same(one, two):
    """Tell whether two runs wrote the same, but for the doctor's times."""
    written = [
        {
            name: data
            for name, data in everything(done.files).items()
            if not name.startswith('doctor/')
        }
        | {'config': done.config.read_bytes()}
        for done in (one, two)
    ]
    return written[0] == written[1]


def test_what_is_written(label_maps):
    done, text = label_maps
    assert done.files == done.config.with_name('my_files')
    names = {path.name for path in done.files.iterdir()}
    assert {'fingerprint.json', 'labels_001.jpg', 'doctor'} <= names
    assert '.unfinished' not in names
    facts = msgspec.json.decode((done.files / 'fingerprint.json').read_bytes())
    assert facts['images'] == {'train': 5, 'val': 1}
    assert (facts['width'], facts['height']) == SIZE
    cfg = Config.fromfile(done.config)
    assert cfg.train_dataloader.dataset.type == 'FolderDataset'
    assert 'class weights' in text
    assert done.diagnosis.number_of(done.diagnosis.worst) >= 0


def test_what_is_said_of_classes(folder, label_maps):
    done, text = label_maps
    labels = np.stack([paint(seed)[1] for seed in range(6)])
    shares = [np.count_nonzero(labels == k) / labels.size for k in range(3)]
    expected = [
        '  no list of classes: values 0, 1, 2 are class_0, class_1, class_2',
        '3 classes',
        *(
            f'  class_{k}  {share:6.2%} of the pixels, in 6 of 6 images'
            for k, share in enumerate(shares)
        ),
        '  to name them, give --classes FILE with a name a line; what is '
        'named void is ignored',
    ]
    assert '\n'.join(expected) in text
    # A training may begin in any folder.
    data = Config.fromfile(done.config).train_dataloader.dataset
    assert data.data_root == folder.as_posix()


def test_classes_that_no_pixel_has(folder, tmp_path):
    classes = tmp_path / 'classes.txt'
    classes.write_text('ground\nred\ngreen\nbird\nfish\n')
    _, text = run(
        folder,
        tmp_path / 'my.py',
        classes=classes,
        may_write=lambda question: False,
    )
    assert '\n5 classes\n  ground  ' in text
    assert '\n  no pixel is bird, fish\n' in text
    assert 'to name them' not in text


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'val': 2.0}, '^val=2.0: expected a share between 0 and 1$'),
        ({'group': '(.*'}, r"^group='\(\.\*' is no regular expression"),
    ],
    ids=['val', 'group'],
)
def test_arguments_are_checked_before_files(options, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        run(tmp_path / 'not there', tmp_path / 'my.py', **options)


def test_instances_of_masks(instances):
    train = instances.files / 'annotations/train.json'
    assert len(json.loads(train.read_bytes())['images']) == 5
    cfg = Config.fromfile(instances.config)
    assert len(cfg.train_dataloader.dataset.metainfo.classes) == 2
    # Label maps alone have weights of classes.
    assert not [r for r in instances.plan.lines() if r.startswith('class w')]


def test_it_asks_before_it_writes(folder, tmp_path):
    asked = []
    done, _ = run(
        folder, tmp_path / 'my.py', may_write=lambda q: asked.append(q)
    )
    assert done is None
    assert len(asked) == 1
    assert not [*tmp_path.iterdir()]


def test_a_run_that_was_stopped(folder, instances, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, 'draw_labels', stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, tmp_path / 'my.py', task='instance')
    assert (tmp_path / 'my_files/.unfinished').exists()
    done, _ = run(folder, tmp_path / 'my.py', task='instance')
    assert same(done, instances)


def test_what_a_killed_run_left_is_removed(
    folder, label_maps, tmp_path, monkeypatch
):
    def kill(*args):
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(module, 'fit', kill)
        try:
            run(folder, tmp_path / 'my.py')
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [path.name for path in (tmp_path / 'my_files').iterdir()]
    assert [name for name in left if name.startswith('.mmseg_ext-')]
    done, _ = run(folder, tmp_path / 'my.py')
    assert not [*done.files.rglob('.*')]
    assert same(done, label_maps[0])


def test_a_step_that_fails_names_what_is_inherited(
    folder, tmp_path, monkeypatch
):
    class Measure:
        def __init__(self, config, machine, objects):
            raise ValueError(f'{config}: a training step cannot be measured')

    monkeypatch.setattr(module, 'StepMemory', Measure)
    with pytest.raises(ValueError, match=r'^mmseg_ext::\S+: a training step'):
        run(folder, tmp_path / 'my.py')
    assert not [*tmp_path.iterdir()]


def test_two_runs_at_once(folder, label_maps, tmp_path, monkeypatch):
    """The second is refused, and leaves the first alone."""
    draw = module.draw_labels

    def meanwhile(*args):
        before = everything(tmp_path)
        for options in ({}, {'seed': 3}):
            with pytest.raises(ValueError, match=r'another run.*my_files'):
                run(folder, tmp_path / 'my.py', **options)
        assert everything(tmp_path) == before
        return draw(*args)

    monkeypatch.setattr(module, 'draw_labels', meanwhile)
    (tmp_path / 'my_files').mkdir()  # as one that was killed at once
    done, _ = run(folder, tmp_path / 'my.py')
    assert same(done, label_maps[0])


# What is refused: the file is named, and nothing is written.


def empty(root):
    root.mkdir()
    return {}, str(root)


def images_only(root):
    write_folder(root)
    shutil.rmtree(root / 'masks')
    return {}, str(root)


def masks_only(root):
    write_folder(root)
    shutil.rmtree(root / 'images')
    return {}, str(root)


def repeated_stems(root):
    write_folder(root)
    image, _ = paint(9)
    cv2.imwrite(str(root / 'images/shot 3.png'), image)
    return {}, 'shot 3.png'


def other_size(root):
    write_folder(root)
    cv2.imwrite(str(root / 'masks/shot 4.png'), paint(4, (90, 72))[1])
    return {}, 'shot 4.png'


def unreadable_mask(root):
    write_folder(root)
    path = root / 'masks/shot 2.png'
    path.write_bytes(path.read_bytes()[:60])
    return {}, 'shot 2.png'


def unreadable_image(root):
    write_folder(root)
    path = root / 'images/shot 5.jpg'
    path.write_bytes(path.read_bytes()[:200])
    return {}, 'shot 5.jpg'


def unknown_color(root):
    colors = np.array([[0, 0, 0], [0, 0, 255], [9, 200, 30]], np.uint8)
    write_folder(root, label=lambda label: colors[label])
    (root / 'class_dict.csv').write_text(
        'name,r,g,b\nbackground,0,0,0\nbox,255,0,0\n'
    )
    return {}, 'shot 0.png'


def unknown_value(root):
    write_folder(root)
    (root / 'names.txt').write_text('background\nbox\n')
    return {'classes': root / 'names.txt'}, 'shot 0.png'


def labelme(root, number=4, **changes):
    root.mkdir()
    for seed in range(number):
        image, _ = paint(seed)
        cv2.imwrite(str(root / f'{seed}.jpg'), image)
        shape = {
            'label': 'box',
            'points': [[5, 5], [40, 5], [40, 30]],
            'shape_type': 'polygon',
        }
        content = {
            'imagePath': f'{seed}.jpg',
            'imageData': None,
            'imageWidth': SIZE[0],
            'imageHeight': SIZE[1],
            'shapes': [{**shape, **(changes if seed == 2 else {})}],
        }
        (root / f'{seed}.json').write_text(json.dumps(content))


def labelme_without_image(root):
    labelme(root)
    (root / '1.jpg').unlink()
    return {}, '1.json'


def labelme_unknown_shape(root):
    labelme(root, shape_type='spiral')
    return {}, '2.json'


def yolo_beyond_names(root):
    for seed in range(4):
        for split in ('train', 'val'):
            image, _ = paint(seed + 4 * (split == 'val'))
            place = root / 'images' / split / f'{seed}.jpg'
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), image)
            text = root / 'labels' / split / f'{seed}.txt'
            text.parent.mkdir(parents=True, exist_ok=True)
            index = 7 if (split, seed) == ('val', 3) else 0
            text.write_text(f'{index} 0.1 0.1 0.5 0.1 0.5 0.6\n')
    (root / 'data.yaml').write_text(
        'train: images/train\nval: images/val\nnames: [box]\n'
    )
    return {}, os.path.join('val', '3.txt')


def coco_that_is_ill(root):
    (root / 'images').mkdir(parents=True)
    rows = []
    for seed in range(4):
        image, _ = paint(seed)
        cv2.imwrite(str(root / f'images/{seed}.jpg'), image)
        rows.append(
            {
                'id': seed + 1,
                'image_id': seed,
                'category_id': 3 if seed == 2 else 1,
                'bbox': [5, 5, 35, 25],
                'area': 875,
                'iscrowd': 0,
                'segmentation': [[5, 5, 40, 5, 40, 30, 5, 30]],
            }
        )
    content = {
        'images': [
            {
                'id': seed,
                'file_name': f'{seed}.jpg',
                'width': SIZE[0],
                'height': SIZE[1],
            }
            for seed in range(4)
        ],
        'annotations': rows,
        'categories': [{'id': 1, 'name': 'box'}],
    }
    (root / 'instances.json').write_text(json.dumps(content))
    return {}, 'instances.json'


def one_class(root):
    write_folder(root, label=lambda label: label * 0 + 7)
    return {}, 'class_7'


def all_void(root):
    write_folder(root, label=lambda label: np.zeros((*label.shape, 3), 'u1'))
    (root / 'class_dict.csv').write_text(
        'name,r,g,b\nvoid,0,0,0\nbox,255,0,0\n'
    )
    return {}, str(root)


def class_that_mmengine_replaces(root):
    write_folder(root)
    (root / 'classes.txt').write_text('a\n{{ fileDirname }}\nb\n')
    return {}, '{{ fileDirname }}'


def folder_that_mmengine_replaces(root):
    write_folder(root / '{{ _base_.x }}')
    return {}, '{{ _base_.x }}'


def classes_that_grow(root):
    """YAML of some lines that stands for 9**8 names."""
    write_folder(root)
    lines = ['a: &a [x, x, x, x, x, x, x, x, x]']
    for one, other in itertools.pairwise('abcdefgh'):
        lines.append(f'{other}: &{other} [{", ".join([f"*{one}"] * 9)}]')
    (root / 'c.yaml').write_text('\n'.join([*lines, 'names: *h', '']))
    return {'classes': root / 'c.yaml'}, 'c.yaml'


def config_that_exits(root):
    write_folder(root)
    (root / 'base.py').write_text('import sys\nsys.exit(3)\n')
    return {'model': str(root / 'base.py')}, 'base.py, line 2'


BAD = (
    *(one_class, all_void, class_that_mmengine_replaces),
    *(folder_that_mmengine_replaces, classes_that_grow, config_that_exits),
    *(empty, images_only, masks_only, repeated_stems, other_size),
    *(unreadable_mask, unreadable_image, unknown_color, unknown_value),
    *(labelme_without_image, labelme_unknown_shape, yolo_beyond_names),
    coco_that_is_ill,
)


@pytest.mark.parametrize('make', BAD, ids=[make.__name__ for make in BAD])
def test_what_is_not_right_is_named(make, tmp_path):
    options, named = make(tmp_path / 'data')
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=re.escape(named)):
        run(tmp_path / 'data', tmp_path / 'my.py', **options)
    assert everything(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ['data']


@pytest.mark.parametrize('name', ['my.py', 'my_files'])
def test_what_is_there_stays(folder, tmp_path, name):
    (tmp_path / name).write_text('mine')
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
        run(folder, tmp_path / 'my.py')
    assert (tmp_path / name).read_text() == 'mine'


@pytest.mark.parametrize('name', ['my.py', 'new/my.py', '../link/my.py'])
def test_nothing_is_written_to_the_data(name, tmp_path):
    folder = write_folder(tmp_path / 'data')
    (tmp_path / 'link').symlink_to(folder, target_is_directory=True)
    before = sorted(folder.rglob('*'))
    with pytest.raises(ValueError, match=r'my\.py.* lies in '):
        run(folder, folder / name)
    assert sorted(folder.rglob('*')) == before


def test_what_the_doctor_calls_an_error_leaves_nothing(
    folder, tmp_path, monkeypatch
):
    text = module.config_text

    def wrong(*args):
        return text(*args) + (
            "\ntrain_dataloader['dataset']['seg_map_suffix'] = '_x.png'\n"
        )

    monkeypatch.setattr(module, 'config_text', wrong)
    with pytest.raises(ValueError, match=re.escape('_x.png')):
        run(folder, tmp_path / 'some/where/my.py')
    assert not [*tmp_path.iterdir()]


def test_a_read_only_disk(folder, label_maps, tmp_path, monkeypatch):
    """Of data it is read alone; to write there is refused at once.

    A second run writes the same.
    """
    access = os.access

    def deny(path, mode):
        # What the system says of a disk that is mounted so, to root as well.
        below = Path(path).is_relative_to(folder)
        return access(path, mode) and not (below and mode & os.W_OK)

    monkeypatch.setattr(os, 'access', deny)
    before = everything(folder)
    with pytest.raises(ValueError, match=re.escape(str(folder))):
        run(folder, folder / 'my.py')
    done, _ = run(folder, tmp_path / 'my.py')
    assert same(done, label_maps[0])
    assert everything(folder) == before


def test_two_readings_are_listed(tmp_path):
    """Masks, and labelme's files of the same images."""
    folder = write_folder(tmp_path / 'data')
    labelme(tmp_path / 'more', number=6)
    for path in (tmp_path / 'more').glob('*.json'):
        content = json.loads(path.read_text())
        content['imagePath'] = f'shot {path.stem}.jpg'
        place = folder / 'images' / f'shot {path.stem}.json'
        place.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'--format|format=') as error:
        run(folder, tmp_path / 'my.py')
    assert 'labelme' in str(error.value)
    assert 'index-masks' in str(error.value)
    done, _ = run(folder, tmp_path / 'my.py', format='labelme')
    assert done.fingerprint.format == 'labelme'


def test_embedded_images_do_not_matter(tmp_path):
    labelme(tmp_path / 'data')
    for path in (tmp_path / 'data').glob('*.json'):
        content = json.loads(path.read_text())
        image = path.with_suffix('.jpg').read_bytes()
        content['imageData'] = base64.b64encode(image).decode()
        path.write_text(json.dumps(content))
    done, _ = run(tmp_path / 'data', tmp_path / 'my.py')
    labels = sorted((done.files / 'labels').rglob('*.png'))
    assert len(labels) == 4
    label = cv2.imread(str(labels[0]), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(label)) == {0, 1}
