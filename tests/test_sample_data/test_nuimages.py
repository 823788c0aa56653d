import base64
import importlib.util
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from mmseg_ext.labels.nuimages import NUIMAGES
from mmseg_ext.sample_data import (
    nuimages_filename,
    nuimages_label_map,
    render_scene,
    write_nuimages,
)

# pycocotools, with NumPy 2.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation')

ROOT = Path(__file__).parents[2]
SIZE = (320, 180)
NAMES = list(NUIMAGES)
CAMERAS = {
    'CAM_FRONT',
    'CAM_FRONT_LEFT',
    'CAM_FRONT_RIGHT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
}

#: The schema of the release, by table; tuples are a list's length and type.
SCHEMA = {
    'attribute': {'token': str, 'name': str, 'description': str},
    'calibrated_sensor': {
        'token': str,
        'sensor_token': str,
        'translation': (3, float),
        'rotation': (4, float),
        'camera_intrinsic': (3, list),
        'camera_distortion': (None, float),
    },
    'category': {'token': str, 'name': str, 'description': str},
    'ego_pose': {
        'token': str,
        'translation': (3, float),
        'rotation': (4, float),
        'rotation_rate': (3, float),
        'acceleration': (3, float),
        'speed': float,
        'timestamp': int,
    },
    'log': {
        'token': str,
        'logfile': str,
        'vehicle': str,
        'date_captured': str,
        'location': str,
    },
    'object_ann': {
        'token': str,
        'sample_data_token': str,
        'category_token': str,
        'attribute_tokens': (None, str),
        'bbox': (4, int),
        'mask': dict,
    },
    'sample': {
        'token': str,
        'timestamp': int,
        'log_token': str,
        'key_camera_token': str,
    },
    'sample_data': {
        'token': str,
        'sample_token': str,
        'ego_pose_token': str,
        'calibrated_sensor_token': str,
        'filename': str,
        'fileformat': str,
        'width': int,
        'height': int,
        'timestamp': int,
        'is_key_frame': bool,
        'prev': str,
        'next': str,
    },
    'sensor': {'token': str, 'channel': str, 'modality': str},
    'surface_ann': {
        'token': str,
        'sample_data_token': str,
        'category_token': str,
        'mask': dict,
    },
}

#: Kind of object in a scene -> pattern of the categories it may have.
CATEGORIES = {
    'car': r'vehicle\.(car|emergency\.police)',
    'truck': r'vehicle\.(truck|trailer|construction|emergency\.ambulance)',
    'bus': r'vehicle\.bus\.(rigid|bendy)',
    'bicycle': r'vehicle\.bicycle',
    'motorcycle': r'vehicle\.motorcycle',
    'rider': r'vehicle\.(bicycle|motorcycle)',
    'person': r'human\.pedestrian\.\w+',
    'fence': r'movable_object\.barrier',
    'traffic_cone': r'movable_object\.trafficcone',
    'unlabeled': r'(movable|static)_object\.(?!barrier|trafficcone)\w+',
}
SURFACES = {
    'road': 'flat.driveable_surface',
    'lane_marking': 'flat.driveable_surface',
    'ego': 'vehicle.ego',
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('nuimages') / 'sample'
    counts = write_nuimages(root, num=40, size=SIZE, progress=False)
    assert counts == {'v1.0-train': 24, 'v1.0-val': 8, 'v1.0-test': 8}
    return root


def read_tables(root, version):
    return {
        path.stem: json.loads(path.read_text())
        for path in (root / version).iterdir()
    }


@pytest.fixture(scope='module')
def versions(root):
    names = ('v1.0-train', 'v1.0-val', 'v1.0-test')
    return {name: read_tables(root, name) for name in names}


class KeyFrame:
    """A key frame with its number, its scene and its annotations."""

    def __init__(self, tables, row, index):
        self.row, self.index = row, index
        self.scene = render_scene(SIZE, seed=0, index=index)
        self.names = {r['token']: r['name'] for r in tables['category']}
        self.surfaces, self.objects = (
            [r for r in tables[t] if r['sample_data_token'] == row['token']]
            for t in ('surface_ann', 'object_ann')
        )

    def name(self, row):
        return self.names[row['category_token']]

    def paint(self, rows):
        """Paint masks in the order of the rows; the last one wins."""
        labels = np.full(SIZE[::-1], 255, np.uint8)
        for row in rows:
            if row['mask'] is not None:
                labels[decode(row) > 0] = NAMES.index(self.name(row))
        return labels

    def painted(self):
        by_token = sorted(self.objects, key=lambda row: row['token'])
        return self.paint(self.surfaces + by_token)


def decode(row):
    counts = base64.b64decode(row['mask']['counts'], validate=True)
    return coco_mask.decode({**row['mask'], 'counts': counts})


@pytest.fixture(scope='module')
def frames(versions):
    """All key frames with annotation tables; time gives their number."""
    found = [
        (row, version)
        for version, tables in versions.items()
        for row in tables['sample_data']
        if row['is_key_frame']
    ]
    found.sort(key=lambda pair: pair[0]['timestamp'])
    return [
        KeyFrame(versions[version], row, index)
        for index, (row, version) in enumerate(found)
        if version != 'v1.0-test'
    ]


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_layout_of_the_release(root, versions):
    assert {path.name for path in root.iterdir()} == {
        'samples',
        'sweeps',
        *versions,
    }
    for tables in versions.values():
        assert tables.keys() == SCHEMA.keys()
    for folder, count in (('samples', 40), ('sweeps', 80)):
        files = list((root / folder).glob('*/*.jpg'))
        assert len(files) == len(list(root.glob(f'{folder}/*/*'))) == count
        assert {path.parent.name for path in files} == CAMERAS


def test_fields_are_those_of_the_schema(versions):
    for tables in versions.values():
        for table, fields in SCHEMA.items():
            for row in tables[table]:
                assert row.keys() == fields.keys()
                for field, kind in fields.items():
                    check_field(row[field], kind)


def check_field(value, kind):
    if isinstance(kind, tuple):
        length, kind = kind
        assert type(value) is list
        assert length in (None, len(value))
        assert all(type(item) is kind for item in value)
    elif kind is dict:
        if value is not None:
            assert value.keys() == {'size', 'counts'}
            assert value['size'] == [180, 320]
            assert type(value['counts']) is str
    else:
        assert type(value) is kind


def test_tokens_resolve(versions):
    for tables in versions.values():
        tokens = {
            table: [row['token'] for row in rows]
            for table, rows in tables.items()
        }
        everything = [token for rows in tokens.values() for token in rows]
        assert len(set(everything)) == len(everything)
        assert all(re.fullmatch('[0-9a-f]{32}', t) for t in everything)
        for table, rows in tables.items():
            for row in rows:
                for field, value in row.items():
                    target = field.removesuffix('_token')
                    if field == 'key_camera_token':
                        assert value in tokens['sample_data']
                    elif target != field:
                        assert value in tokens[target], (table, field)
                    elif field == 'attribute_tokens':
                        assert set(value) <= set(tokens['attribute'])


def test_fixed_tables(versions):
    for tables in versions.values():
        names = [row['name'] for row in tables['category']]
        assert sorted(names) == sorted(NAMES)
        assert {row['channel'] for row in tables['sensor']} == CAMERAS
        assert {row['modality'] for row in tables['sensor']} == {'camera'}
        channels = {row['token']: row['channel'] for row in tables['sensor']}
        for row in tables['calibrated_sensor']:
            rear = channels[row['sensor_token']] == 'CAM_BACK'
            assert len(row['camera_distortion']) == (6 if rear else 5)
            assert np.linalg.norm(row['rotation']) == pytest.approx(1)


@pytest.mark.parametrize(
    ('camera', 'direction'),
    [
        pytest.param('CAM_FRONT', (1, 0, 0), id='ahead'),
        pytest.param('CAM_BACK', (-1, 0, 0), id='back'),
        pytest.param('CAM_FRONT_LEFT', (0.5736, 0.8192, 0), id='left'),
        pytest.param('CAM_BACK_RIGHT', (-0.342, -0.9397, 0), id='right'),
    ],
)
def test_cameras_look_where_their_names_say(versions, camera, direction):
    tables = versions['v1.0-train']
    tokens = {row['channel']: row['token'] for row in tables['sensor']}
    w, x, y, z = next(
        row['rotation']
        for row in tables['calibrated_sensor']
        if row['sensor_token'] == tokens[camera]
    )
    # What the rotation makes of the optical axis, z, and of down, y.
    axis = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
    down = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    assert axis == pytest.approx(direction, abs=1e-4)
    assert down == pytest.approx((0, 0, -1), abs=1e-9)


def test_samples_and_their_frames(root, versions):
    pattern = re.compile(
        r'(samples|sweeps)/(CAM_\w+?)/'
        r'(n003-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\+0800)__\2__(\d{16})\.jpg'
    )
    for tables in versions.values():
        rows = {row['token']: row for row in tables['sample_data']}
        logs = {row['token']: row for row in tables['log']}
        poses = {row['token']: row for row in tables['ego_pose']}
        assert len(rows) == 3 * len(tables['sample'])
        for sample in tables['sample']:
            chain = [
                row
                for row in rows.values()
                if row['sample_token'] == sample['token']
            ]
            chain.sort(key=lambda row: row['timestamp'])
            keys = [row for row in chain if row['is_key_frame']]
            assert [row['token'] for row in keys] == [
                sample['key_camera_token']
            ]
            assert keys[0]['timestamp'] == sample['timestamp']
            assert keys[0] is chain[1]
            assert chain[0]['prev'] == chain[-1]['next'] == ''
            for before, after in pairwise(chain):
                assert before['next'] == after['token']
                assert after['prev'] == before['token']
                assert after['timestamp'] - before['timestamp'] == 500_000
            for row in chain:
                folder, _, log, time = pattern.fullmatch(
                    row['filename']
                ).groups()
                assert (folder == 'samples') == row['is_key_frame']
                assert log == logs[sample['log_token']]['logfile']
                assert int(time) == row['timestamp']
                pose = poses[row['ego_pose_token']]
                assert pose['timestamp'] == row['timestamp']
                with Image.open(root / row['filename']) as image:
                    assert image.format == 'JPEG'
                    assert image.size == (row['width'], row['height']) == SIZE


def test_first_log(versions):
    log = min(versions['v1.0-train']['log'], key=lambda row: row['logfile'])
    assert log['logfile'] == 'n003-2018-01-02-11-48-43+0800'
    assert (log['vehicle'], log['date_captured']) == ('n003', '2018-01-02')
    first = nuimages_filename(0)
    # 2018-01-02 03:48:43 UTC, and 20 seconds.
    assert first.endswith('+0800__CAM_FRONT__1514864943000000.jpg')


def test_images_show_the_scene(root, frames):
    for frame in frames[::5]:
        assert frame.row['filename'] == nuimages_filename(frame.index)
        image = cv2.imread(str(root / frame.row['filename']))
        other = render_scene(SIZE, seed=0, index=frame.index + 1)
        assert np.abs(image.astype(int) - frame.scene.image).mean() < 7
        assert np.abs(image.astype(int) - other.image).mean() > 20


def test_sweeps_are_zoomed(root, versions):
    rows = {r['token']: r for r in versions['v1.0-val']['sample_data']}
    for row in rows.values():
        if row['is_key_frame']:
            image = cv2.imread(str(root / row['filename'])).astype(int)
            for link in ('prev', 'next'):
                path = root / rows[row[link]]['filename']
                sweep = cv2.imread(str(path)).astype(int)
                middle = np.s_[85:95, 150:170]
                difference = np.abs(sweep - image)
                assert difference.mean() > 5
                assert difference[middle].mean() < difference.mean()


def test_masks_give_the_truth(frames):
    """Naive painting, the truth function and the scene agree."""
    assert [frame.index for frame in frames] == list(range(32))
    for frame in frames:
        truth = nuimages_label_map(frame.scene, seed=0, index=frame.index)
        assert truth.dtype == np.uint8
        assert (frame.painted() == truth).all()
        assert (truth == labels_of_scene(frame)).all()


def labels_of_scene(frame):
    """Paint the polygons, each in the category of its annotation."""
    scene = frame.scene
    values = np.full(len(scene.objects), 255)
    skipped = set()
    surfaces = {frame.name(row): row for row in frame.surfaces}
    rows = dict(zip(annotated(frame), by_token(frame), strict=True))
    for index, item in enumerate(scene.objects):
        row = rows.get(index) or surfaces.get(SURFACES.get(item.kind))
        if row is not None:
            values[index] = NAMES.index(frame.name(row))
            if row['mask'] is None:
                skipped.add(index)
    labels = np.full(SIZE[::-1], 255)
    for index in range(len(scene.objects)):
        if index not in skipped:
            labels[amodal_mask(scene, index)] = values[index]
    plain = ~np.isin(scene.object_map, list(skipped))
    assert (labels == values[scene.object_map])[plain].all()
    return labels


def amodal_mask(scene, index):
    """Fill an object with its hidden parts, naively."""
    image = Image.new('L', scene.size)
    points = [tuple(point) for point in scene.objects[index].polygon.tolist()]
    ImageDraw.Draw(image).polygon(points, fill=1)
    return np.asarray(image) > 0


def by_token(frame):
    return sorted(frame.objects, key=lambda row: row['token'])


def annotated(frame):
    """Positions in the scene of what the objects of a frame show, in order.

    Everything of which something is seen when what is annotated too is
    looked through; but the ego vehicle is not looked through.
    """
    if not frame.surfaces and not frame.objects:
        return []
    ego_is_seen = any(
        frame.name(row) == 'vehicle.ego' and row['mask'] is not None
        for row in frame.surfaces
    )
    found = []
    hidden = np.zeros(SIZE[::-1], bool)
    for index in reversed(range(len(frame.scene.objects))):
        kind = frame.scene.objects[index].kind
        mask = amodal_mask(frame.scene, index)
        if kind in CATEGORIES:
            if (mask & ~hidden).any():
                found.append(index)
        elif kind not in SURFACES or (kind == 'ego' and ego_is_seen):
            hidden |= mask
    return found[::-1]


def test_categories_and_boxes(frames):
    for frame in frames:
        for index, row in zip(annotated(frame), by_token(frame), strict=True):
            kind = frame.scene.objects[index].kind
            assert re.fullmatch(CATEGORIES[kind], frame.name(row))
            rows, columns = np.nonzero(amodal_mask(frame.scene, index))
            low, high = (
                (columns.min(), rows.min()),
                (columns.max(), rows.max()),
            )
            assert row['bbox'] == [*low, high[0] + 1, high[1] + 1]
            x0, y0, x1, y1 = row['bbox']
            assert 0 <= x0 < x1 <= 320
            assert 0 <= y0 < y1 <= 180
            if row['mask'] is not None:
                outside = decode(row)
                assert outside.any()
                outside[y0:y1, x0:x1] = 0
                assert not outside.any()
        kinds = {item.kind for item in frame.scene.objects}
        if frame.surfaces:
            assert [frame.name(row) for row in frame.surfaces] == [
                'flat.driveable_surface',
                *(['vehicle.ego'] if 'ego' in kinds else []),
            ]


def test_riders_are_part_of_what_they_ride(frames):
    ridden = Counter()
    for frame in frames:
        objects = frame.scene.objects
        rows = dict(zip(annotated(frame), by_token(frame), strict=True))
        for index, row in rows.items():
            if objects[index].kind == 'rider':
                here = objects[index].distance
                kinds = {o.kind for o in objects if o.distance == here}
                (machine,) = kinds - {'rider'}
                assert frame.name(row) == f'vehicle.{machine}'
                ridden[machine] += 1
    assert ridden['bicycle'] > 0
    assert ridden['motorcycle'] > 0


def test_what_is_hard_occurs(frames, versions):
    """Each case a converter can get wrong, in both annotated splits."""
    for version in ('v1.0-train', 'v1.0-val'):
        tables = versions[version]
        tokens = {row['token'] for row in tables['sample_data']}
        part = [frame for frame in frames if frame.row['token'] in tokens]
        bare = [f for f in part if not f.surfaces and not f.objects]
        assert 0 < len(bare) < len(part) / 4
        for frame in bare:
            assert (frame.painted() == 255).all()
        masks = [row['mask'] for row in tables['object_ann']]
        assert 0.02 < masks.count(None) / len(masks) < 0.12
        assert any(
            frame.name(row) == 'vehicle.ego' and row['mask'] is not None
            for frame in part
            for row in frame.surfaces
        )
        stacked = {'objects': 0, 'surfaces': 0}
        for frame in part:
            for name in stacked:
                rows = [r for r in getattr(frame, name) if r['mask']]
                if rows and sum(map(decode, rows)).max() > 1:
                    stacked[name] += 1
        assert stacked['objects'] > len(part) / 2
        assert stacked['surfaces'] > 0


def test_order_of_rows_matters(frames, versions):
    """A converter that takes another order gets other pixels."""
    table_order = [
        (f.paint(f.surfaces + f.objects) != f.painted()).any() for f in frames
    ]
    assert sum(table_order) > len(frames) / 2
    mixed = [
        (f.paint(f.objects + f.surfaces) != f.painted()).any() for f in frames
    ]
    assert sum(mixed) > len(frames) / 2
    assert any(
        f.surfaces != sorted(f.surfaces, key=lambda row: row['token'])
        for f in frames
    )
    for name in ('v1.0-train', 'v1.0-val'):
        for table in ('object_ann', 'surface_ann'):
            images = [
                row['sample_data_token'] for row in versions[name][table]
            ]
            changes = sum(a != b for a, b in pairwise(images))
            assert changes >= len(set(images))
        times = [row['timestamp'] for row in versions[name]['sample_data']]
        assert times != sorted(times)


def test_most_categories_occur(versions):
    found = Counter()
    for tables in versions.values():
        names = {row['token']: row['name'] for row in tables['category']}
        for table in ('object_ann', 'surface_ann'):
            found.update(names[r['category_token']] for r in tables[table])
    assert len(found) >= 22
    assert found['vehicle.car'] > 100
    assert found['human.pedestrian.adult'] > 50


#: What the attributes of a category start with, one each, as the release has
#: it; the rest has none.
ATTRIBUTE_STARTS = {
    'animal': {'pedestrian', 'vertical_position'},
    'human.pedestrian.adult': {'pedestrian'},
    'human.pedestrian.child': {'pedestrian'},
    'human.pedestrian.construction_worker': {'pedestrian'},
    'human.pedestrian.personal_mobility': {'cycle'},
    'human.pedestrian.police_officer': {'pedestrian'},
    'vehicle.bicycle': {'cycle'},
    'vehicle.bus.bendy': {'vehicle'},
    'vehicle.bus.rigid': {'vehicle'},
    'vehicle.car': {'vehicle'},
    'vehicle.construction': {'vehicle'},
    'vehicle.emergency.ambulance': {'vehicle', 'vehicle_light.emergency'},
    'vehicle.emergency.police': {'vehicle', 'vehicle_light.emergency'},
    'vehicle.motorcycle': {'cycle'},
    'vehicle.trailer': {'vehicle'},
    'vehicle.truck': {'vehicle'},
}


def test_attributes_are_those_of_the_category(versions):
    found = {}
    for tables in versions.values():
        names = {
            row['token']: row['name']
            for table in ('attribute', 'category')
            for row in tables[table]
        }
        assert len(tables['attribute']) == 12
        for row in tables['object_ann']:
            category = names[row['category_token']]
            attributes = sorted(names[t] for t in row['attribute_tokens'])
            starts = [name.rpartition('.')[0] for name in attributes]
            assert starts == sorted(ATTRIBUTE_STARTS.get(category, ()))
            found.setdefault(category, set()).update(attributes)
    assert found['human.pedestrian.stroller'] == set()
    assert found['human.pedestrian.wheelchair'] == set()
    assert len(found['human.pedestrian.personal_mobility']) == 2
    assert len(found['vehicle.emergency.police']) > 2
    assert set().union(*found.values()) == {
        'cycle.with_rider',
        'cycle.without_rider',
        'pedestrian.moving',
        'pedestrian.sitting_lying_down',
        'pedestrian.standing',
        'vehicle.moving',
        'vehicle.parked',
        'vehicle.stopped',
        'vehicle_light.emergency.flashing',
        'vehicle_light.emergency.not_flashing',
    }


def test_test_split_has_no_annotations(versions):
    assert versions['v1.0-test']['object_ann'] == []
    assert versions['v1.0-test']['surface_ann'] == []


def test_same_arguments_same_bytes(tmp_path):
    for name in ('a', 'b'):
        write_nuimages(tmp_path / name, num=4, size=(64, 48), progress=False)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_other_seed_other_tokens(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        write_nuimages(folder, num=3, size=(64, 48), seed=seed, progress=False)
    first, other = contents(tmp_path / '0'), contents(tmp_path / '1')
    assert first.keys() == other.keys()
    same = {Path(name).name for name in first if first[name] == other[name]}
    assert same == {'object_ann.json', 'surface_ann.json'}  # of the test split


def test_key_frame_does_not_depend_on_their_number(tmp_path):
    rows = []
    for num in (3, 8):
        root = tmp_path / str(num)
        write_nuimages(root, num=num, size=(64, 48), progress=False)
        tables = read_tables(root, 'v1.0-train')
        rows.append(
            {
                (table, row['token']): row
                for table in SCHEMA
                for row in tables[table]
            }
        )
    few, many = rows
    assert sum(table == 'object_ann' for table, _ in few) > 3
    assert few.items() <= many.items()
    few, many = (
        {n: d for n, d in contents(tmp_path / name).items() if '.jpg' in n}
        for name in ('3', '8')
    )
    assert len(few) == 9
    assert few.items() <= many.items()


def test_stopped_run_is_continued(tmp_path):
    write_nuimages(tmp_path, num=3, size=(64, 48), progress=False)
    whole = contents(tmp_path)
    (tmp_path / nuimages_filename(1)).unlink()
    (tmp_path / 'v1.0-val' / 'object_ann.json').unlink()
    # What a killed run leaves of the file it was writing.
    (tmp_path / 'v1.0-val' / '.object_ann.x1.json').write_bytes(b'[')
    kept = (tmp_path / nuimages_filename(0)).stat().st_mtime_ns
    write_nuimages(tmp_path, num=3, size=(64, 48), progress=False)
    assert whole.items() <= contents(tmp_path).items()
    assert (tmp_path / nuimages_filename(0)).stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    'change',
    [
        pytest.param({'seed': 1}, id='seed'),
        pytest.param({'size': (48, 64)}, id='size'),
        pytest.param({'num': 4}, id='more'),
    ],
)
def test_other_content_is_kept_unless_allowed(tmp_path, change):
    options = {'num': 3, 'size': (64, 48), 'progress': False}
    write_nuimages(tmp_path, **options)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='exists with other content'):
        write_nuimages(tmp_path, **{**options, **change})
    assert contents(tmp_path) == before
    write_nuimages(tmp_path, **{**options, **change}, overwrite=True)
    write_nuimages(tmp_path / 'new', **{**options, **change})
    after = contents(tmp_path / 'new')
    assert after.items() <= contents(tmp_path).items()


def test_stopped_overwriting_leaves_no_old_annotations(tmp_path, monkeypatch):
    options = {'size': (64, 48), 'progress': False}
    write_nuimages(tmp_path, num=3, **options)

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmseg_ext.sample_data.nuimages.render_scene', stop)
    with pytest.raises(KeyboardInterrupt):
        write_nuimages(tmp_path, num=8, **options, overwrite=True)
    assert len(list(tmp_path.glob('v1.0-*/sample.json'))) == 3
    assert not list(tmp_path.glob('v1.0-*/*_ann.json'))


@pytest.mark.parametrize('overwrite', [False, True])
def test_other_images_are_refused(tmp_path, overwrite):
    foreign = tmp_path / 'samples' / 'CAM_FRONT' / 'of_the_release.jpg'
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b'an image')
    with pytest.raises(FileExistsError, match=r'holds of_the_release\.jpg'):
        write_nuimages(tmp_path, num=3, size=(64, 48), overwrite=overwrite)
    assert len(contents(tmp_path)) == 1


def test_converted_label_maps_do_not_disturb(tmp_path):
    options = {'num': 3, 'size': (64, 48), 'progress': False}
    write_nuimages(tmp_path, **options)
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'nuimages_v1.0-val.json').write_text('{}')
    write_nuimages(tmp_path, **options)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        pytest.param({'num': 2}, 'num', id='too-few'),
        pytest.param({'size': (1600, 0)}, 'size', id='no-height'),
        pytest.param({'seed': -3}, 'seed', id='negative-seed'),
    ],
)
def test_bad_argument_writes_nothing(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=f'^{name}=.*: expected'):
        write_nuimages(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_smallest_size(tmp_path):
    write_nuimages(tmp_path, num=3, size=(32, 32), progress=False)
    tables = read_tables(tmp_path, 'v1.0-train')
    assert {row['width'] for row in tables['sample_data']} == {32}


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools' / 'make_sample_data.py'
    spec = importlib.util.spec_from_file_location('make_sample_data', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tool(tool, tmp_path, capsys):
    out = tmp_path / 'out'
    tool.main(['nuimages', str(out), '--num', '5', '--size', '64x48'])
    printed = capsys.readouterr().out
    assert (
        f'{out}: v1.0-train 3, v1.0-val 1, v1.0-test 1 key frames of 64x48'
        in printed
    )
    assert f'\nnext: mmseg-ext convert nuimages {out}  # ' in printed
    write_nuimages(tmp_path / 'api', num=5, size=(64, 48), progress=False)
    assert contents(out) == contents(tmp_path / 'api')


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        pytest.param('camvid', (480, 360), id='camvid'),
        pytest.param('nuimages', (1600, 900), id='nuimages'),
    ],
)
def test_tool_defaults(tool, name, size):
    args = tool.build_parser().parse_args([name, 'out'])
    assert (args.size, args.num, args.seed) == (size, 40, 0)
