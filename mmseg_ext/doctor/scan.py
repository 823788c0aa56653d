"""One pass over the files of data sets: headers, pixels, hashes."""

import multiprocessing
import pickle
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import mmengine.fileio as fileio
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from msgspec.structs import replace
from tqdm import tqdm

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.image_scans import NAME, as_line, scan_image
from mmseg_ext.doctor.label_loaders import LabelLoader, find_loader, first_step
from mmseg_ext.doctor.label_scans import Source, scan_label
from mmseg_ext.doctor.parts import ImageScan, LabelScan, Part, Place, Sample
from mmseg_ext.doctor.scan_cache import ScanCache
from mmseg_ext.doctor.silence import silence
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.processes import check_nproc, ordered_map

__all__ = ['scan_parts']

#: Seconds after which a bar shows how far it is.
_PATIENCE = 2

#: Where loaders keep which library decodes.
_BACKEND = 'imdecode_backend'

#: What stands in place of a file that Git LFS keeps elsewhere begins so.
_POINTER = b'version https://git-lfs'

_MISSING = 'missing: there is no such file'

#: Stand for the loader of labels that nothing loads, and begin that of a
#: user's own loader, of which no later pass can tell whether it is the same.
_NOT_LOADED, _OWN = b'-', b'own '


def scan_parts(
    parts: Sequence[Part],
    nproc: int = 1,
    sample: int | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> None:
    """Look at the files of data sets, and set their samples.

    Each image and label is read once, however often data sets have it.

    Args:
        parts: The data sets; those that are not built get no samples.
        nproc: Number of processes.
        sample: At most so many images of each data set, spread over it; None
            for all.
        cache: File that keeps what was read: what has not changed since then
            is not read again. None for none.
        progress: Show a progress bar if it takes long.

    Raises:
        ChildProcessError: A process was killed.
        OSError: The cache cannot be written.
        ValueError: ``nproc`` is out of range.
    """
    check_nproc(nproc)
    kept = ScanCache(cache)
    with silence():
        scan = _Scan(parts, kept)
        places = [scan.plan(number, sample) for number in range(len(parts))]
        try:
            scan.run(nproc, progress)
        # What was read before Ctrl-C is not read again.
        except BaseException:
            with suppress(OSError):
                kept.save()
            raise
    if sample is None:
        kept.prune()
    kept.save()
    for part, (found, unknown) in zip(parts, places, strict=True):
        part.samples = [scan.sample(each) for each in found]
        part.unknown = unknown


class _Job(NamedTuple):
    """What to read in one go.

    Attributes:
        image: The image; None if that is known.
        label: The label; None if that is known, or there is none.
        part: Number of the data set.
        position: Which of its images.
        loader: Equal for labels that are loaded alike.
    """

    image: str | None
    label: str | None
    part: int
    position: int
    loader: bytes


class _Found(NamedTuple):
    """An image of a data set.

    Attributes:
        place: Where its files are.
        loader: Equal for labels that are loaded alike.
    """

    place: Place
    loader: bytes


class _Reader:
    """Reads the files of a job; runs in any process.

    Args:
        datasets: The data sets; None for those that are not built.
        loaders: What loads their labels.
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        loaders: Sequence[LabelLoader | None],
    ) -> None:
        self._datasets = datasets
        self._loaders = loaders

    def __call__(self, job: _Job) -> tuple[ImageScan | None, LabelScan | None]:
        image = None if job.image is None else self._image(job, job.image)
        label = None if job.label is None else self._label(job, job.label)
        return image, label

    def _image(self, job: _Job, path: str) -> ImageScan:
        dataset = self._datasets[job.part]
        loader = first_step(dataset, LoadImageFromFile)
        try:
            data = _read(path, loader)
        except FAULTS as error:
            fault, missing = _why_not_read(path, error)
            return ImageScan(fault=fault, missing=missing)
        scan = scan_image(data)
        if scan.fault is None or getattr(loader, _BACKEND, None) == 'cv2':
            return scan
        # A loader of another kind may know the format.
        with suppress(*FAULTS):
            load = first_step(dataset, object)
            results = load(dataset.get_data_info(job.position))
            height, width = results['img'].shape[:2]
            return replace(scan, size=(width, height), fault=None)
        return scan

    def _label(self, job: _Job, path: str) -> LabelScan:
        loader = first_step(self._datasets[job.part], LoadAnnotations)
        try:
            data = _read(path, loader)
        except FAULTS as error:
            fault, missing = _why_not_read(path, error)
            return LabelScan(fault=fault, missing=missing)
        source = Source(self._loaders[job.part], job.position, job.loader)
        return scan_label(data, source)


def _read(path: str, loader: Any) -> bytes:
    """Return the content of a file, from where its loader has it from.

    Raises:
        Exception: It cannot be read; backends of MMEngine have their own.
    """
    options = getattr(loader, 'backend_args', None) or {}
    if '://' in path or options.get('backend', 'local') != 'local':
        data = bytes(fileio.get(path, backend_args=options or None))
    else:
        data = read_file(path)
    if data.startswith(_POINTER):
        raise ValueError(
            f'{NAME} is a pointer of Git LFS, and its content is not here: '
            'git lfs pull'
        )
    return data


def _why_not_read(path: str, error: BaseException) -> tuple[str, bool]:
    """Say why a file cannot be read, and whether there is none."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _MISSING, True
    text = getattr(error, 'strerror', None) or as_line(error)
    return text.replace(path, NAME), False


class _Scan:
    """A pass over the files of data sets.

    Args:
        parts: The data sets.
        cache: What is known of files.
    """

    def __init__(self, parts: Sequence[Part], cache: ScanCache) -> None:
        self._datasets = [part.dataset for part in parts]
        self._totals = [
            0 if part.dataset is None else part.total for part in parts
        ]
        self._cache = cache
        self._loaders = [
            find_loader(dataset) if _has_labels(dataset) else None
            for dataset in self._datasets
        ]
        # None stands for what is still to be read.
        self._images: dict[str, ImageScan | None] = {}
        self._labels: dict[tuple[str, bytes], LabelScan | None] = {}
        self._jobs: list[_Job] = []

    def plan(
        self, number: int, sample: int | None
    ) -> tuple[list[_Found], list[int]]:
        """Note what has to be read of a data set.

        Returns:
            Its images, and the positions of those whose files are not known.
        """
        dataset = self._datasets[number]
        labeled = _has_labels(dataset)
        found: dict[tuple[str, str | None], _Found] = {}
        unknown = []
        for position in _positions(self._totals[number], sample):
            try:
                info = dataset.get_data_info(position)
                image = str(info['img_path'])
            # A user's own may fail; the pipelines are looked at as well.
            except FAULTS:
                unknown.append(position)
                continue
            label = info.get('seg_map_path') if labeled else None
            label = None if label is None else str(label)
            if (image, label) in found:
                continue
            place = Place(position, image, label)
            each = _Found(place, self._identity(number, info))
            found[image, label] = each
            self._add(number, each)
        return list(found.values()), unknown

    def _identity(self, number: int, info: Mapping[str, Any]) -> bytes:
        """Return what is equal for labels that are loaded alike."""
        loader = self._loaders[number]
        if loader is None:
            return _NOT_LOADED
        # Others know it by the data set, and as long as this pass lasts.
        return loader.identity(info) or _OWN + str(number).encode()

    def _add(self, number: int, found: _Found) -> None:
        """Note a job, if it is not known what the files hold."""
        place, loader = found
        image = label = None
        if place.image not in self._images:
            known = self._cache.images.get(place.image, b'')
            self._images[place.image] = known
            image = None if known else place.image
        key = place.label or '', loader
        if place.label is not None and key not in self._labels:
            scan = self._cache.labels.get(place.label, loader)
            self._labels[key] = scan
            label = None if scan else place.label
        if image or label:
            job = _Job(image, label, number, place.position, loader)
            self._jobs.append(job)

    def run(self, nproc: int, progress: bool) -> None:
        """Read what has to be read."""
        reader = _Reader(self._datasets, self._loaders)
        if nproc > 1 and not _is_sent(reader):
            nproc = 1
        bar = tqdm(
            ordered_map(reader, self._jobs, nproc),
            desc='reading images and labels',
            total=len(self._jobs),
            unit=' images',
            delay=_PATIENCE,
            disable=not progress,
        )
        for job, (image, label) in zip(self._jobs, bar, strict=True):
            if job.image is not None and image is not None:
                self._images[job.image] = image
                if image.words:  # not of a user's own loader
                    self._cache.images.put(job.image, b'', image)
            if job.label is not None and label is not None:
                self._labels[job.label, job.loader] = label
                if label.fault is None and not job.loader.startswith(_OWN):
                    self._cache.labels.put(job.label, job.loader, label)

    def sample(self, found: _Found) -> Sample:
        """Return what was found in an image and its label."""
        place, loader = found
        image = self._images[place.image]
        assert image
        if place.label is None:
            return Sample(place, image)
        return Sample(place, image, self._labels[place.label, loader])


def _has_labels(dataset: Any) -> bool:
    """Tell whether a data set is one of MMSeg; MMDet's have other labels."""
    return dataset is not None and not any(
        kind.__module__.startswith('mmdet.') for kind in type(dataset).__mro__
    )


def _positions(total: int, sample: int | None) -> Iterable[int]:
    """Return which images of a data set to look at."""
    if sample is None or sample >= total:
        return range(total)
    # The middles of as many equal parts.
    return ((2 * n + 1) * total // (2 * sample) for n in range(sample))


def _is_sent(reader: _Reader) -> bool:
    """Tell whether other processes can have it: forked ones have it all."""
    if multiprocessing.get_start_method() == 'fork':
        return True
    try:
        pickle.dumps(reader)
    # Whatever a user's transforms raise.
    except FAULTS:
        return False
    return True
