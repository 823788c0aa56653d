"""Sample scenes in the raw format of nuImages.

Source of the format: the schema of nuImages v1.0 (Caesar et al.,
arXiv:1903.11027, and the release's development kit).

A set has the ten tables in each of ``v1.0-train``, ``v1.0-val`` and
``v1.0-test``, the key frames in ``samples/<CAM>`` and the frames before and
after them in ``sweeps/<CAM>``; each scene is a key frame. As in the release,
masks of one image overlap, the rows of a table are in no order, some
annotations have no mask, some images no annotations and those of the test
split none at all. :func:`nuimages_label_map` returns the exact truth. Poses,
calibration and attributes are of the right form, but say nothing about the
pictures.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import zip_longest
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.labels.nuimages import NUIMAGES, SURFACES
from mmseg_ext.sample_data.output import (
    Drawn,
    SetWriter,
    Slot,
    Splits,
    choose,
    split_scenes,
)
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import Rasterizer, Scene

__all__ = [
    'NUIMAGES_CATEGORIES',
    'nuimages_filename',
    'nuimages_label_map',
    'write_nuimages',
]

_Row = dict[str, Any]

#: Kind of object in a scene -> names of the categories it can get, each with
#: its share; the other kinds are not annotated. nuImages has no riders: they
#: get the category of what they ride.
NUIMAGES_CATEGORIES = {
    'road': {'flat.driveable_surface': 1.0},
    'lane_marking': {'flat.driveable_surface': 1.0},
    'ego': {'vehicle.ego': 1.0},
    'car': {'vehicle.car': 0.94, 'vehicle.emergency.police': 0.06},
    'truck': {
        'vehicle.truck': 0.5,
        'vehicle.trailer': 0.2,
        'vehicle.construction': 0.2,
        'vehicle.emergency.ambulance': 0.1,
    },
    'bus': {'vehicle.bus.rigid': 0.75, 'vehicle.bus.bendy': 0.25},
    'bicycle': {'vehicle.bicycle': 1.0},
    'motorcycle': {'vehicle.motorcycle': 1.0},
    'person': {
        'human.pedestrian.adult': 0.7,
        'human.pedestrian.child': 0.08,
        'human.pedestrian.construction_worker': 0.08,
        'human.pedestrian.police_officer': 0.04,
        'human.pedestrian.personal_mobility': 0.04,
        'human.pedestrian.stroller': 0.03,
        'human.pedestrian.wheelchair': 0.03,
    },
    'fence': {'movable_object.barrier': 1.0},
    'traffic_cone': {'movable_object.trafficcone': 1.0},
    'unlabeled': {
        'movable_object.pushable_pullable': 0.6,
        'movable_object.debris': 0.2,
        'static_object.bicycle_rack': 0.2,
    },
}

#: Share of the objects and surfaces that are annotated without mask.
_NO_MASK_SHARE = 0.06

#: One in so many key frames, starting with that index, has no annotations.
_BARE_PERIOD, _BARE_FIRST = 8, 5

#: Yaw of each camera on the car, degrees to the left.
_CAMERAS = {
    'CAM_FRONT': 0,
    'CAM_FRONT_RIGHT': -55,
    'CAM_BACK_RIGHT': -110,
    'CAM_BACK': 180,
    'CAM_BACK_LEFT': 110,
    'CAM_FRONT_LEFT': 55,
}

#: The attributes of the release, by what they tell.
_ATTRIBUTES = {
    'cycle': ('with_rider', 'without_rider'),
    'pedestrian': ('moving', 'sitting_lying_down', 'standing'),
    'vehicle': ('moving', 'parked', 'stopped'),
    'vehicle_light.emergency': ('flashing', 'not_flashing'),
    'vertical_position': ('off_ground', 'on_ground'),
}

#: What an object has one attribute of each of, by the start of its category;
#: the first start that fits counts, and other categories have none.
_TOLD = {
    'human.pedestrian.personal_mobility': ('cycle',),
    'human.pedestrian.stroller': (),
    'human.pedestrian.wheelchair': (),
    'human': ('pedestrian',),
    'vehicle.bicycle': ('cycle',),
    'vehicle.motorcycle': ('cycle',),
    'vehicle.emergency': ('vehicle', 'vehicle_light.emergency'),
    'vehicle': ('vehicle',),
}

#: The first log starts then, each later one a day after the one before.
_START = datetime(2018, 1, 2, 11, 48, 43, tzinfo=timezone(timedelta(hours=8)))
_KEY_FRAMES_PER_LOG = 4
_VEHICLE = 'n003'

#: Microseconds from one key frame of a log to the next, and from one frame to
#: the next around a key frame.
_KEY_FRAME_STEP, _FRAME_STEP = 20_000_000, 500_000

#: Meters a second; and by how much what is ahead grows from frame to frame.
_SPEED, _ZOOM = 8.0, 1.03

_JPEG_QUALITY = 90


def nuimages_filename(index: int) -> str:
    """Return the ``filename`` of key frame ``index`` in the tables."""
    return _Frame(index, 0).filename


def nuimages_label_map(scene: Scene, seed: int, index: int) -> np.ndarray:
    """Return the label map that follows from the annotations of a key frame.

    An object or surface without mask is looked through: where it is seen, the
    map has what lies behind. Key frames of the test split have no annotations
    in their tables; their map is what they would give.

    Args:
        scene: Result of ``render_scene(size, seed, index)``.
        seed: Seed of the set.
        index: Number of the key frame.

    Returns:
        uint8 (H, W): position in :data:`~mmseg_ext.labels.nuimages.NUIMAGES`,
        255 where there is no label.
    """
    names = list(NUIMAGES)
    shown, values = [], []
    labels = _labels(scene, seed, index)
    for item, label in zip(scene.objects, labels, strict=True):
        if label is None or label.has_mask:
            shown.append(item)
            values.append(names.index(label.category) if label else 255)
    # The last value is for pixels without object, -1.
    return np.array([*values, 255], np.uint8)[
        Scene(scene.image, shown).object_map
    ]


@dataclass(frozen=True)
class _Label:
    """How an object of a scene is annotated."""

    category: str
    has_mask: bool


def _labels(scene: Scene, seed: int, index: int) -> list[_Label | None]:
    """Draw the label of each object of a scene, None for no label."""
    if index % _BARE_PERIOD == _BARE_FIRST:
        return [None] * len(scene.objects)
    # The renderer draws from (seed, index, 0) and (seed, index, 1).
    rng = np.random.default_rng((seed, index, 2))
    surfaces = {
        name: _Label(name, rng.random() >= _NO_MASK_SHARE)
        for name in sorted(SURFACES)
    }
    # Riders are as far away as what they ride.
    machines = {
        item.distance: item.kind
        for item in scene.objects
        if item.kind in ('bicycle', 'motorcycle')
    }
    labels: list[_Label | None] = []
    for item in scene.objects:
        kind = item.kind
        if kind == 'rider':
            kind = machines.get(item.distance, 'bicycle')
        shares = NUIMAGES_CATEGORIES.get(kind)
        if shares is None:
            labels.append(None)
            continue
        name = choose(rng, shares)
        has_mask = bool(rng.random() >= _NO_MASK_SHARE)
        labels.append(surfaces.get(name, _Label(name, has_mask)))
    return labels


class _Object(NamedTuple):
    """An annotated object, its amodal box and its mask, bool (H, W)."""

    label: _Label
    box: list[int]
    mask: np.ndarray


def _masks(
    scene: Scene, labels: list[_Label | None]
) -> tuple[dict[_Label, np.ndarray], list[_Object]]:
    """Return the masks of what is annotated, both from back to front.

    A mask is what would be seen if nothing else annotated were there, so
    masks overlap and their order counts. Only surfaces, which are painted
    before the objects, hide what of these lies behind them.
    """
    shape = scene.image.shape[:2]
    hidden = np.zeros(shape, bool)  # behind what is not annotated
    surfaces: dict[_Label, np.ndarray] = {}
    objects = []
    rasterizer = Rasterizer(scene.size)
    for item, label in zip(scene.objects[::-1], labels[::-1], strict=True):
        window, pixels = rasterizer.mask(item.polygon)
        if label is None:
            hidden[window] |= pixels > 0
            continue
        visible = np.zeros(shape, bool)
        visible[window] = (pixels > 0) & ~hidden[window]
        if label.category in SURFACES:
            surfaces[label] = visible | surfaces.get(label, False)
            continue
        for surface, mask in surfaces.items():
            if surface.has_mask:
                visible &= ~mask
        if visible.any():
            objects.append(_Object(label, _box(window, pixels), visible))
    return dict(reversed(surfaces.items())), objects[::-1]


class _Annotations(NamedTuple):
    """Rows of ``surface_ann`` and ``object_ann`` of a key frame."""

    surfaces: Sequence[_Row] = ()
    objects: Sequence[_Row] = ()


def _annotate(scene: Scene, seed: int, index: int) -> _Annotations:
    """Return the annotations of a key frame."""
    surfaces, objects = _masks(scene, _labels(scene, seed, index))
    frame = nuimages_filename(index)
    common = {'sample_data_token': _token(seed, 'sample_data', frame)}
    surface_rows = [
        {
            'token': _token(seed, 'surface_ann', frame, label.category),
            **common,
            'category_token': _token(seed, 'category', label.category),
            'mask': _encode_mask(mask) if label.has_mask else None,
        }
        for label, mask in surfaces.items()
        if mask.any()
    ]
    # Painting in the order of the tokens must go from back to front.
    tokens = sorted(
        _token(seed, 'object_ann', frame, number)
        for number in range(len(objects))
    )
    object_rows = [
        {
            'token': token,
            **common,
            'category_token': _token(seed, 'category', label.category),
            'attribute_tokens': _attribute_tokens(seed, label, token),
            'bbox': box,
            'mask': _encode_mask(mask) if label.has_mask else None,
        }
        for token, (label, box, mask) in zip(tokens, objects, strict=True)
    ]
    return _Annotations(surface_rows, object_rows)


def _box(window: tuple[slice, slice], pixels: np.ndarray) -> list[int]:
    """Return xmin, ymin, xmax, ymax in the image; ends are exclusive."""
    x, y, width, height = cv2.boundingRect(pixels)
    x, y = x + window[1].start, y + window[0].start
    return [x, y, x + width, y + height]


def _encode_mask(mask: np.ndarray) -> _Row:
    """Encode a mask as the release does: COCO's RLE in base 64."""
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    counts = base64.b64encode(code['counts']).decode('ascii')
    return {'size': list(mask.shape), 'counts': counts}


def _attribute_tokens(seed: int, label: _Label, token: str) -> list[str]:
    """Return one of each kind of attribute that the category has."""
    starts = filter(label.category.startswith, _TOLD)
    kinds = _TOLD[start] if (start := next(starts, None)) else ()
    names = (
        f'{kind}.{_ATTRIBUTES[kind][int(token, 16) % len(_ATTRIBUTES[kind])]}'
        for kind in kinds
    )
    return [_token(seed, 'attribute', name) for name in names]


def _annotation_tables(
    splits: Splits, annotations: Sequence[_Annotations]
) -> dict[str, bytes]:
    """Make the tables of annotations, given those of all key frames.

    They mix the rows of the images; only the surfaces of each stay in order.
    """
    tables: dict[str, bytes] = {}
    for version, part in splits.items():
        found = annotations[part.start : part.stop]
        ranks = zip_longest(*(frame.surfaces for frame in found))
        rows = {
            'surface_ann': [row for rank in ranks for row in rank if row],
            'object_ann': _shuffled(
                [row for frame in found for row in frame.objects]
            ),
        }
        tables |= _encode_tables(version, rows)
    return tables


@dataclass(frozen=True)
class _Frame:
    """A photograph: key frame ``index``, or ``step`` frames after it."""

    index: int
    step: int

    @property
    def log(self) -> '_Log':
        return _Log(self.index // _KEY_FRAMES_PER_LOG)

    @property
    def camera(self) -> str:
        return list(_CAMERAS)[self.index % len(_CAMERAS)]

    @property
    def elapsed(self) -> int:
        """Microseconds since the start of the log."""
        number = self.index % _KEY_FRAMES_PER_LOG + 1
        return number * _KEY_FRAME_STEP + self.step * _FRAME_STEP

    @property
    def timestamp(self) -> int:
        """Microseconds since 1970."""
        return int(self.log.start.timestamp()) * 1_000_000 + self.elapsed

    @property
    def filename(self) -> str:
        log, camera = self.log.name, self.camera
        folder = 'sweeps' if self.step else 'samples'
        return f'{folder}/{camera}/{log}__{camera}__{self.timestamp}.jpg'

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Return the photograph, made from that of the key frame."""
        if not self.step:
            return image
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(
            (width / 2, height / 2), 0, _ZOOM**self.step
        )
        return cv2.warpAffine(
            image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
        )


@dataclass(frozen=True)
class _Log:
    """A recording drive."""

    number: int

    @property
    def start(self) -> datetime:
        return _START + timedelta(days=self.number)

    @property
    def name(self) -> str:
        return f'{_VEHICLE}-{self.start:%Y-%m-%d-%H-%M-%S%z}'


def _frames(index: int) -> list[_Frame]:
    """Return the key frame and those around it, in the order of time."""
    return [_Frame(index, step) for step in (-1, 0, 1)]


def _versions(num: int) -> dict[str, range]:
    return {f'v1.0-{k}': part for k, part in split_scenes(num).items()}


def _paths(slot: Slot) -> list[str]:
    return [frame.filename for frame in _frames(slot.number)]


def _draw(slot: Slot, size: tuple[int, int], seed: int) -> Drawn:
    scene = render_scene(size, seed, slot.number)
    pictures = (
        _encode_jpeg(frame.picture(scene.image))
        for frame in _frames(slot.number)
    )
    if slot.split == 'v1.0-test':
        return Drawn(pictures, _Annotations())
    return Drawn(pictures, _annotate(scene, seed, slot.number))


def _other_tables(
    splits: Splits, size: tuple[int, int], seed: int
) -> dict[str, bytes]:
    """Make all tables but the annotations."""
    tables: dict[str, bytes] = {}
    for version, part in splits.items():
        tables |= _encode_tables(version, _frame_tables(part, size, seed))
    return tables


#: Write street scenes in nuImages' raw format; see ``SetWriter``.
write_nuimages = SetWriter(
    'nuImages scenes',
    (1600, 900),
    _paths,
    _draw,
    _versions,
    first=_other_tables,
    last=_annotation_tables,
)


def _frame_tables(
    part: range, size: tuple[int, int], seed: int
) -> dict[str, list[_Row]]:
    """Return all tables of a version but the annotations."""
    logs = dict.fromkeys(_Frame(index, 0).log for index in part)
    frames = [frame for index in part for frame in _frames(index)]
    attributes = [
        f'{kind}.{value}'
        for kind, values in _ATTRIBUTES.items()
        for value in values
    ]
    return {
        'attribute': _named_rows(seed, 'attribute', attributes),
        'category': _named_rows(seed, 'category', NUIMAGES),
        'sensor': [
            {
                'token': _token(seed, 'sensor', camera),
                'channel': camera,
                'modality': 'camera',
            }
            for camera in _CAMERAS
        ],
        'log': [_log_row(seed, log) for log in logs],
        'calibrated_sensor': [
            _calibration_row(seed, log, camera, size)
            for log in logs
            for camera in _CAMERAS
        ],
        'ego_pose': [_pose_row(seed, frame) for frame in frames],
        'sample': [_sample_row(seed, _Frame(index, 0)) for index in part],
        'sample_data': _shuffled(
            [_sample_data_row(seed, frame, size) for frame in frames]
        ),
    }


def _named_rows(seed: int, table: str, names: Iterable[str]) -> list[_Row]:
    """Return the rows of a table of names, described by them in words."""
    return [
        {
            'token': _token(seed, table, name),
            'name': name,
            'description': name.replace('_', ' ').replace('.', ', '),
        }
        for name in names
    ]


def _log_row(seed: int, log: _Log) -> _Row:
    return {
        'token': _token(seed, 'log', log.name),
        'logfile': log.name,
        'vehicle': _VEHICLE,
        'date_captured': f'{log.start:%Y-%m-%d}',
        'location': 'singapore-onenorth',
    }


def _calibration_row(
    seed: int, log: _Log, camera: str, size: tuple[int, int]
) -> _Row:
    """Return the calibration of a camera that looks along the ground."""
    width, height = map(float, size)
    half = math.radians(_CAMERAS[camera]) / 2
    # The camera looks along its z, the car drives along its x.
    a = (math.cos(half) + math.sin(half)) / 2
    b = (math.cos(half) - math.sin(half)) / 2
    return {
        'token': _token(seed, 'calibrated_sensor', log.name, camera),
        'sensor_token': _token(seed, 'sensor', camera),
        'translation': [1.0, 0.0, 1.5],
        'rotation': [a, -a, b, -b],
        'camera_intrinsic': [
            [height, 0.0, width / 2],
            [0.0, height, height / 2],
            [0.0, 0.0, 1.0],
        ],
        # The release models its rear camera as a fisheye, by one number more.
        'camera_distortion': [0.0] * (6 if camera == 'CAM_BACK' else 5),
    }


def _pose_row(seed: int, frame: _Frame) -> _Row:
    """Return the pose of a car that drives straight ahead."""
    return {
        'token': _token(seed, 'ego_pose', frame.filename),
        'translation': [_SPEED * frame.elapsed / 1e6, 0.0, 0.0],
        'rotation': [1.0, 0.0, 0.0, 0.0],
        'timestamp': frame.timestamp,
        'rotation_rate': [0.0, 0.0, 0.0],
        'acceleration': [0.0, 0.0, 9.81],
        'speed': _SPEED,
    }


def _sample_row(seed: int, key_frame: _Frame) -> _Row:
    return {
        'token': _token(seed, 'sample', key_frame.filename),
        'timestamp': key_frame.timestamp,
        'log_token': _token(seed, 'log', key_frame.log.name),
        'key_camera_token': _token(seed, 'sample_data', key_frame.filename),
    }


def _sample_data_row(seed: int, frame: _Frame, size: tuple[int, int]) -> _Row:
    others = {other.step: other.filename for other in _frames(frame.index)}
    links = {}
    for name, step in (('prev', frame.step - 1), ('next', frame.step + 1)):
        other = others.get(step)
        links[name] = _token(seed, 'sample_data', other) if other else ''
    return {
        'token': _token(seed, 'sample_data', frame.filename),
        'sample_token': _token(seed, 'sample', others[0]),
        'ego_pose_token': _token(seed, 'ego_pose', frame.filename),
        'calibrated_sensor_token': _token(
            seed, 'calibrated_sensor', frame.log.name, frame.camera
        ),
        'filename': frame.filename,
        'fileformat': 'jpg',
        'width': int(size[0]),
        'height': int(size[1]),
        'timestamp': frame.timestamp,
        'is_key_frame': frame.step == 0,
        **links,
    }


def _token(seed: int, *names: object) -> str:
    """Return the token of a row, 32 hexadecimal digits."""
    text = '/'.join(map(str, (seed, *names)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _shuffled(rows: list[_Row]) -> list[_Row]:
    """Sort rows into an order that has nothing to do with their tokens."""
    return sorted(rows, key=lambda row: _token(0, row['token']))


def _encode_tables(
    version: str, tables: Mapping[str, list[_Row]]
) -> dict[str, bytes]:
    """Encode the tables of a version, one field a line as in the release."""
    return {
        f'{version}/{name}.json': f'{json.dumps(rows, indent=0)}\n'.encode()
        for name, rows in tables.items()
    }


def _encode_jpeg(image: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode('.jpg', image, options)[1].tobytes()
