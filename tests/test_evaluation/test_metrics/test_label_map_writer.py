import cv2
import numpy as np
import pytest
import torch

from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter


def _sample(path, label_map, **more):
    data = torch.as_tensor(label_map)[None]
    return dict(img_path=str(path), pred_sem_seg=dict(data=data), **more)


def test_label_maps_keep_values_and_folders(tmp_path):
    maps = {
        'a/1.jpg': np.array([[0, 1], [2, 255]]),
        'b/1.jpg': np.array([[3, 3], [3, 3]]),
    }
    root, out = tmp_path / 'data' / 'images', tmp_path / 'out'
    writer = LabelMapWriter(out, [str(tmp_path / 'more'), str(root)])
    writer.process(
        {}, [_sample(root / name, values) for name, values in maps.items()]
    )
    writer.process({}, [_sample('/elsewhere/c/2.png', maps['a/1.jpg'])])
    files = {
        str(path.relative_to(out)): cv2.imread(str(path), -1)
        for path in out.rglob('*.png')
    }
    assert set(files) == {'a/1.png', 'b/1.png', '2.png'}
    np.testing.assert_array_equal(files['a/1.png'], maps['a/1.jpg'])
    np.testing.assert_array_equal(files['b/1.png'], maps['b/1.jpg'])
    np.testing.assert_array_equal(files['2.png'], maps['a/1.jpg'])
    assert len(writer.results) == 3


def test_reduced_zero_label_is_undone(tmp_path):
    writer = LabelMapWriter(tmp_path)
    sample = _sample('x.png', np.array([[0, 149]]), reduce_zero_label=True)
    writer.process({}, [sample])
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / 'x.png'), -1), [[1, 150]]
    )


@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32])
def test_reduced_zero_label_does_not_wrap_around(tmp_path, dtype):
    writer = LabelMapWriter(tmp_path)
    label_map = torch.tensor([[0, 254]], dtype=dtype)
    sample = _sample('x.png', label_map, reduce_zero_label=True)
    writer.process({}, [sample])
    written = cv2.imread(str(tmp_path / 'x.png'), -1)
    np.testing.assert_array_equal(written, [[1, 255]])
    label_map[0, 1] = 255
    with pytest.raises(ValueError, match=r'x\.png: class 256 does not fit'):
        writer.process({}, [sample])


@pytest.mark.parametrize(
    ('samples', 'message'),
    [
        pytest.param(
            [_sample('x.png', np.array([[256]]))],
            'x.png: class 256 does not fit',
            id='more than 8 bits',
        ),
        pytest.param(
            [_sample('x.png', np.array([[-1]]))],
            'x.png: class -1 does not fit',
            id='negative',
        ),
        pytest.param(
            [_sample('x.png', np.array([[0.5]]))],
            r'x.png: pred_sem_seg has the value 0\.5 .*whole',
            id='fraction',
        ),
        pytest.param(
            [_sample('x.png', np.array([[1, np.nan]]))],
            'x.png: pred_sem_seg has the value NaN',
            id='NaN',
        ),
        pytest.param(
            [_sample('x.png', np.zeros((3, 4, 5)))],
            r'x.png: pred_sem_seg has 4 axes, shape \(1, 3, 4, 5\)',
            id='logits',
        ),
        pytest.param(
            [dict(img_path='x.png')], 'x.png: .*no pred_sem_seg', id='absent'
        ),
        pytest.param(
            [_sample(f'{n}/x.png', np.array([[0]])) for n in 'ab'],
            'hold the label maps of both a/x.png and b/x.png',
            id='same file',
        ),
    ],
)
def test_label_maps_refused(tmp_path, samples, message):
    with pytest.raises(ValueError, match=message):
        LabelMapWriter(tmp_path).process({}, samples)


def test_files_are_known_before_a_test(tmp_path):
    roots = [tmp_path / 'data' / 'images', tmp_path / 'more']
    labels = tmp_path / 'data' / 'labels'
    for folder in (*roots, labels):
        folder.mkdir(parents=True)
        (folder / '1.png').write_text(folder.name)

    def check(out, *images):
        samples = [
            dict(img_path=str(image), seg_map_path=str(labels / '1.png'))
            for image in images
        ]
        LabelMapWriter(out, [str(root) for root in roots]).check(samples)

    first, second = (root / '1.png' for root in roots)
    check(tmp_path / 'out', first, roots[0] / 'a' / '1.png', first)
    with pytest.raises(ValueError, match=f'both {first} and {second}: test'):
        check(tmp_path / 'out', first, second)
    with pytest.raises(ValueError, match=f'both {first} and .*1.jpg'):
        check(tmp_path / 'out', first, roots[0] / '1.jpg')
    # By any name of the folder.
    (tmp_path / 'link').symlink_to(roots[0])
    for out in (roots[0], tmp_path / 'link'):
        with pytest.raises(ValueError, match=f'would overwrite {first}'):
            check(out, first)
    with pytest.raises(ValueError, match=r'would overwrite .*labels/1\.png'):
        check(labels, first)
    assert {p.name for p in tmp_path.iterdir()} == {'data', 'link', 'more'}
