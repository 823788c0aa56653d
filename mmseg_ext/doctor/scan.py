"""One pass over the files of data sets: headers, pixels, hashes."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mmseg_ext.doctor.image_scans import NAME, as_line, scan_image
from mmseg_ext.doctor.label_loaders import LabelLoader, find_loader
from mmseg_ext.doctor.label_scans import scan_label
from mmseg_ext.doctor.parts import ImageScan, LabelScan, Part, Place, Sample
from mmseg_ext.doctor.scan_cache import ScanCache
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.processes import check_nproc, ordered_map

__all__ = ['scan_parts']

#: Seconds after which a bar shows how far it is.
_PATIENCE = 2

_MISSING = 'missing: there is no such file'

#: Stand for the loader of labels that nothing loads, and begin that of a
#: user's own loader, of which no later pass can tell whether it is the same.
_NOT_LOADED, _OWN = b'-', b'own '


def scan_parts(
    parts: Sequence[Part],
    nproc: int = 1,
    sample: int | None = None,
    cache: Path | None = None,
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

    Raises:
        ChildProcessError: A process was killed.
        OSError: The cache cannot be written.
        ValueError: ``nproc`` is out of range.
    """
    check_nproc(nproc)
    kept = ScanCache(cache)
    scan = _Scan(parts, kept)
    places = [scan.plan(number, sample) for number in range(len(parts))]
    try:
        scan.run(nproc)
    # What was read before Ctrl-C is not read again.
    except BaseException:
        with suppress(OSError):
            kept.save()
        raise
    if sample is None:
        kept.prune()
    kept.save()
    for part, found in zip(parts, places, strict=True):
        part.samples = [scan.sample(each) for each in found]


class _Job(NamedTuple):
    """What to read in one go.

    Attributes:
        image: The image; None if that is known.
        label: The label; None if that is known, or there is none.
        part: Number of the data set.
        position: Which of its images.
    """

    image: str | None
    label: str | None
    part: int
    position: int


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
        loaders: Those of the labels, by number of the data set.
    """

    def __init__(self, loaders: Sequence[LabelLoader | None]) -> None:
        self._loaders = loaders

    def __call__(self, job: _Job) -> tuple[ImageScan | None, LabelScan | None]:
        image = None if job.image is None else _read_image(job.image)
        label = None if job.label is None else self._read_label(job)
        return image, label

    def _read_label(self, job: _Job) -> LabelScan:
        assert job.label is not None
        loader = self._loaders[job.part]
        try:
            data = read_file(job.label)
        except (OSError, ValueError) as error:
            fault, missing = _why_not_read(job.label, error)
            return LabelScan(fault=fault, missing=missing)
        return scan_label(data, loader, job.position)


def _read_image(path: str) -> ImageScan:
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        fault, missing = _why_not_read(path, error)
        return ImageScan(fault=fault, missing=missing)
    return scan_image(data)


def _why_not_read(path: str, error: OSError | ValueError) -> tuple[str, bool]:
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
        self._parts = parts
        self._cache = cache
        self._loaders = [
            find_loader(part.dataset) if _has_labels(part.dataset) else None
            for part in parts
        ]
        # None stands for what is still to be read.
        self._images: dict[str, ImageScan | None] = {}
        self._labels: dict[tuple[str, bytes], LabelScan | None] = {}
        self._jobs: list[tuple[_Job, bytes]] = []

    def plan(self, number: int, sample: int | None) -> list[_Found]:
        """Note what has to be read of a data set; return its images."""
        dataset = self._parts[number].dataset
        found: dict[tuple[str, str | None], _Found] = {}
        for position in _positions(self._parts[number], sample):
            try:
                info = dataset.get_data_info(position)
                image = str(info['img_path'])
            # A user's own may fail; the pipelines are looked at as well.
            except Exception:
                continue
            label = None
            if _has_labels(dataset) and info.get('seg_map_path') is not None:
                label = str(info['seg_map_path'])
            if (image, label) in found:
                continue
            place = Place(position, image, label)
            each = _Found(place, self._identity(number, info))
            found[image, label] = each
            self._add(number, each)
        return list(found.values())

    def _identity(self, number: int, info: Mapping[str, Any]) -> bytes:
        """Return what is equal for labels that are loaded alike."""
        loader = self._loaders[number]
        if loader is None:
            return _NOT_LOADED
        # Others know it by the data set, and as long as this pass lasts.
        return loader.identity(info) or _OWN + bytes([number])

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
            job = _Job(image, label, number, place.position)
            self._jobs.append((job, loader))

    def run(self, nproc: int) -> None:
        """Read what has to be read."""
        reader = _Reader(self._loaders)
        jobs = (job for job, _ in self._jobs)
        bar = tqdm(
            ordered_map(reader, jobs, nproc),
            desc='reading images and labels',
            total=len(self._jobs),
            unit=' images',
            delay=_PATIENCE,
        )
        for (job, loader), (image, label) in zip(self._jobs, bar, strict=True):
            if job.image is not None and image is not None:
                self._images[job.image] = image
                if image.fault is None:
                    self._cache.images.put(job.image, b'', image)
            if job.label is not None and label is not None:
                self._labels[job.label, loader] = label
                if label.fault is None and not loader.startswith(_OWN):
                    self._cache.labels.put(job.label, loader, label)

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


def _positions(part: Part, sample: int | None) -> Iterable[int]:
    """Return which images of a data set to look at."""
    if part.dataset is None:
        return ()
    if sample is None or sample >= part.total:
        return range(part.total)
    # The middles of as many equal parts.
    return ((2 * n + 1) * part.total // (2 * sample) for n in range(sample))
