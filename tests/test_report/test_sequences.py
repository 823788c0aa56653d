"""Names of images, and the sequences that they tell."""

import numpy as np
import pytest

from mmseg_ext.report.sequences import FEWEST, find_sequences

CITIES = [
    f'leftImg8bit/val/{city}/{city}_{seq:06}_{frame:06}_leftImg8bit.png'
    for city, seq in [('frankfurt', 0), ('frankfurt', 1), ('lindau', 0)]
    + [('munster', k) for k in range(12)]
    for frame in (19, 49)
]
INDIA = [
    f'leftImg8bit/val/{drive}/frame{k}_leftImg8bit.jpg'
    for drive in range(12)
    for k in range(3)
]
CONVERTED = [
    f'val_img/{drive}_frame{k}.jpg' for drive in range(12) for k in range(3)
]
CAMERAS = [
    f'samples/{cam}/n{car:03}-2018-08-01-16-03-27+0800__{cam}__15331{k}.jpg'
    for car in range(11)
    for k, cam in enumerate(['CAM_FRONT', 'CAM_BACK_LEFT'])
]


@pytest.mark.parametrize(
    ('names', 'dataset', 'sizes'),
    [
        pytest.param(CITIES, '', [2] * 15, id='Cityscapes'),
        pytest.param(INDIA, '', [3] * 12, id='IDD'),
        pytest.param(CONVERTED, 'IDD_Data', [3] * 12, id='IDD converted'),
        pytest.param(CAMERAS, '', [2] * 11, id='nuImages'),
        pytest.param(CONVERTED, 'FolderDataset', [1] * 36, id='own'),
        pytest.param(['a.png', 'b.png'], '', [1, 1], id='no sequences'),
        pytest.param([*CITIES, 'a.png'], '', [1] * 31, id='one other'),
    ],
)
def test_data_sets_know_theirs(names, dataset, sizes):
    found = find_sequences(names, dataset)
    assert np.bincount(found.clusters).tolist() == sizes
    assert found.number == len(sizes)
    assert ('--cluster' in found.text) == (sizes == [1] * len(names))


@pytest.mark.parametrize(
    'names',
    [
        pytest.param(
            [f'val/0016E5_0{k}.png' for k in range(7959, 8061)], id='one drive'
        ),
        pytest.param(
            [f'0001TP_{k:06}.png' for k in range(30)]
            + [f'Seq05VD_f{k:05}.png' for k in range(0, 900, 10)],
            id='two drives',
        ),
        pytest.param([f'0006R0_f0{k}.png' for k in range(4)], id='four'),
    ],
)
def test_few_drives_are_cut_into_pieces(names):
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    found = find_sequences(shuffled)
    assert min(FEWEST, len(names)) <= found.number <= FEWEST + 1
    assert len(np.unique(found.clusters)) == found.number
    assert 'consecutive' in found.text
    # In the order of the names a piece ends where another begins.
    pieces = [found.clusters[shuffled.index(name)] for name in names]
    assert np.count_nonzero(np.diff(pieces)) == found.number - 1
    drives = {
        (name.split('/')[-1][:6], piece)
        for name, piece in zip(names, pieces, strict=True)
    }
    assert len(drives) == found.number
    sizes = np.bincount(found.clusters)
    assert sizes.max() - sizes.min() <= 1 or len(drives) > 1


@pytest.mark.parametrize(
    ('pattern', 'clusters'),
    [
        pytest.param('^[^/]+', [0, 0, 1, 1], id='all that matches'),
        pytest.param(r'/(\w)\d', [0, 1, 0, 0], id='a group'),
        pytest.param(r'^(\w)/(\w)', [0, 1, 2, 2], id='two groups'),
    ],
)
def test_a_pattern_names_them(pattern, clusters):
    names = ['a/x1.png', 'a/y1.png', 'b/x2.png', 'b/x3.png']
    found = find_sequences(names, 'CamVid', pattern)
    assert found.clusters.tolist() == clusters
    assert f'{found.number} sequences' in found.text


def test_patterns_that_do_not_fit():
    with pytest.raises(ValueError, match=r"cluster='\(' is no regular expr"):
        find_sequences(['a'], '', '(')
    message = r"cluster='x' is not in the name 'b' and 1 more; expected"
    with pytest.raises(ValueError, match=message):
        find_sequences(['ax', 'b', 'c'], '', 'x')


def test_no_images():
    found = find_sequences([])
    assert found.number == len(found.clusters) == 0
