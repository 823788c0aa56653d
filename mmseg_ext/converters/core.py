"""What all converters share: jobs, invalid input, order, the report.

A converter finds its jobs, works on each, and writes what comes back::

    invalid = Invalid(skip_invalid)
    outputs = Outputs(out_dir, overwrite)
    jobs = find_jobs(data_root, invalid)
    with working_in(out_dir):
        results = run_jobs(work, jobs, nproc=nproc, scratch=out_dir)
        for job, result in outputs.sift(results, invalid, targets):
            ...  # count it, keep what has to be written in the end
        report.skipped = invalid.write_list(out_dir)

What is there already is the business of
:class:`~mmseg_ext.converters.outputs.Outputs`. Options come after ``out_dir``,
by keyword, first a converter's own and then those that all share, in this
order: ``seed``, ``nproc``, ``overwrite``, ``skip_invalid``, ``progress``.
"""

import hashlib
import itertools
import os
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import msgspec
from prettytable import PrettyTable
from tqdm import tqdm

from mmseg_ext.utils.files import (
    HIDDEN,
    MAX_NAME,
    name_bytes,
    write_bytes,
    write_text,
)
from mmseg_ext.utils.images import image_size
from mmseg_ext.utils.processes import check_nproc, ordered_map
from mmseg_ext.utils.text import is_unicode, printable

__all__ = [
    'Invalid',
    'InvalidInputError',
    'Report',
    'Skip',
    'check_header',
    'check_share',
    'check_size',
    'count_table',
    'divide',
    'name_fault',
    'reading',
    'require_folder',
    'run_jobs',
    'seeded_order',
    'write_json',
    'write_split',
]

Item = TypeVar('Item')
Job = TypeVar('Job')
Result = TypeVar('Result')

#: Jobs that a process gets at a time.
BATCH = 16

#: What is raised for a file with words that say what is wrong with it.
_SPOKEN = (OSError, SyntaxError, ValueError)

#: Skipped files that a report names before it counts the rest.
_LISTED = 10

#: Those that an error names where nothing is left.
_NAMED = 3

#: Name of the list of skipped files.
_LIST = 'skipped.json'


# Invalid input.


class InvalidInputError(ValueError):
    """A file that is not as it should be.

    Args:
        file: The file.
        reason: What is wrong with it.
    """

    def __init__(self, file: str | os.PathLike[str], reason: str) -> None:
        super().__init__(os.fspath(file), reason)
        self.file, self.reason = os.fspath(file), reason


@contextmanager
def reading(
    file: str | os.PathLike[str], what: str = 'cannot be read as an image: '
) -> Iterator[None]:
    """Turn what libraries raise for a broken file into InvalidInputError.

    Each library and format has errors of its own, so all of them count, and
    nothing but the reading belongs in here. What is read is bounded, so the
    file is not to blame where memory is short.

    Args:
        file: The file that is read.
        what: Put before the library's own words.

    Raises:
        InvalidInputError: The file is broken.
        OSError: Memory is short, which leaves no file out.
    """
    try:
        yield
    except InvalidInputError:
        raise
    except MemoryError:
        raise OSError(
            f'memory is short for {os.fspath(file)}: use a smaller nproc'
        ) from None
    except Exception as error:
        reason = str(error)
        if not reason or not isinstance(error, _SPOKEN):
            reason = f'{type(error).__name__}: {reason}'.removesuffix(': ')
        raise InvalidInputError(file, f'{what}{reason}') from None


def check_size(
    file: str | os.PathLike[str],
    size: tuple[int, int],
    image: str | os.PathLike[str],
    expected: tuple[int, int],
) -> None:
    """Check that a label has the size of its image, as width and height.

    Raises:
        InvalidInputError: The label has another size.
    """
    if size != expected:
        raise InvalidInputError(
            file,
            f'is of {size[0]}x{size[1]} pixels, its image {image} has '
            f'{expected[0]}x{expected[1]}',
        )


def check_header(
    file: str | os.PathLike[str],
    data: bytes,
    image: str | os.PathLike[str],
    expected: tuple[int, int],
) -> None:
    """Check before it is decoded that a label has as many pixels as its image.

    To be called within :func:`reading`. EXIF may turn the label, so its size
    is to be checked again when it is decoded.

    Args:
        file: The label.
        data: Its content.
        image: The image.
        expected: Width and height of the image.

    Raises:
        InvalidInputError: The label has another size.
        ValueError: It has a broken header, or too many pixels.
    """
    size = image_size(data, 'it')
    if size and size[0] * size[1] != expected[0] * expected[1]:
        check_size(file, size, image, expected)


@dataclass(frozen=True, order=True)
class Skip:
    """A file that was left out.

    Attributes:
        file: The file; see :func:`mmseg_ext.utils.text.printable`.
        reason: What is wrong with it.
    """

    file: str
    reason: str


def name_fault(name: str, *, in_list: bool = False) -> str | None:
    """Return why files cannot be written or listed by a name, if so.

    Converters ask it before they work, where what they write holds the name.

    Args:
        name: Path of what is written or listed, relative to its folder.
        in_list: Whether it stands in a list with one name a line.
    """
    if not is_unicode(name):
        return (
            'its name is not UTF-8, and what is written has to hold it: '
            'rename the file, for instance with convmv'
        )
    if in_list and len(f'{name}.'.splitlines()) > 1:
        return 'its name has a line break, and lists have a name a line'
    longest = max(name.split('/'), key=name_bytes)
    if name_bytes(longest) > MAX_NAME:
        return (
            f'its result would have a name of {name_bytes(longest)} bytes, '
            f'and file systems take {MAX_NAME}: shorten the names'
        )
    return None


class Invalid:
    """The rule for invalid input: stop at the first, or note it and go on.

    Args:
        skip: Whether to go on.

    Attributes:
        skips: What was left out so far.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.skips: list[Skip] = []

    def note(self, error: InvalidInputError) -> None:
        """Stop at an invalid file, or note it.

        Raises:
            ValueError: Invalid files are not to be left out.
        """
        file = printable(error.file)
        reason = printable(' '.join(error.reason.splitlines()))
        if not self.skip:
            raise ValueError(
                f'{file}: {reason}; mend it, or leave such files out with '
                'skip_invalid=True'
            ) from None
        self.skips.append(Skip(file, reason))

    def sift(
        self,
        results: Iterable[tuple[Job, Result | InvalidInputError]],
        on_invalid: Callable[[Job, InvalidInputError], None] | None = None,
        what: str = 'input',
    ) -> Iterator[tuple[Job, Result]]:
        """Yield the jobs that went well, and note the others.

        Args:
            results: As from :func:`run_jobs`.
            on_invalid: Called with each of the others, once it is noted.
            what: What the jobs are, for messages.

        Raises:
            ValueError: An input is invalid and may not be left out, or all
                are.
        """
        valid = 0
        for job, result in results:
            if isinstance(result, InvalidInputError):
                self.note(result)
                if on_invalid:
                    on_invalid(job, result)
            else:
                valid += 1
                yield job, result
        self.check_left(valid, what)

    def check_left(self, valid: int, what: str) -> None:
        """Check that not all input was left out: no empty data set is made.

        Args:
            valid: Number of inputs that are left.
            what: What they are.

        Raises:
            ValueError: There are none.
        """
        if self.skips and not valid:
            reasons = (f'{skip.file}: {skip.reason}' for skip in self.skips)
            named = '; '.join(itertools.islice(reasons, _NAMED))
            more = len(self.skips) - _NAMED
            raise ValueError(
                f'no {what} is valid, so nothing is made of it: {named}'
                + f'; and {more} more' * (more > 0)
            )

    def remove_list(self, out_dir: Path) -> None:
        """Remove the ``skipped.json`` of an earlier run: this one may fail."""
        (out_dir / _LIST).unlink(missing_ok=True)

    def write_list(self, out_dir: Path) -> list[Skip]:
        """Write ``skipped.json``, or remove that of an earlier run.

        It is a list of objects with the keys ``file`` and ``reason``, empty
        if nothing was left out. A run that leaves nothing out by its options
        writes none.

        Returns:
            What was left out, sorted.
        """
        self.skips.sort()
        if self.skip:
            write_json(out_dir / _LIST, self.skips)
        else:
            self.remove_list(out_dir)
        return self.skips


# Input.


def require_folder(folder: Path, expected: str) -> None:
    """Check that a folder of the input is there.

    Raises:
        FileNotFoundError: It is not; the message says what was expected.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f'folder {folder} is missing; expected {expected}'
        )


def seeded_order(
    items: Iterable[Item], seed: int, name: Callable[[Item], str]
) -> list[Item]:
    """Return items in an order that only their names and a seed determine.

    They are sorted by the SHA-256 of ``<seed>:<name>``: neither the order of
    files nor a library changes it.

    Args:
        items: In any order.
        seed: Another one gives another order.
        name: Returns the name of an item.
    """

    def rank(item: Item) -> str:
        return hashlib.sha256(f'{seed}:{name(item)}'.encode()).hexdigest()

    return sorted(items, key=rank)


def check_share(name: str, value: float) -> None:
    """Check an argument that is a share.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    if not 0 < value < 1:
        raise ValueError(f'{name}={value}: expected a share between 0 and 1')


def divide(
    items: Sequence[Item], share: float, seed: int, name: Callable[[Item], str]
) -> tuple[list[Item], list[Item]]:
    """Divide items in a seeded order, with one at least in each part.

    Args:
        items: In any order; a single one goes to the first part.
        share: Of the second part, 0 to 1.
        seed: See :func:`seeded_order`.
        name: See :func:`seeded_order`.
    """
    number = min(max(1, round(len(items) * share)), len(items) - 1)
    ordered = seeded_order(items, seed, name)
    second = ordered[: max(number, 0)]
    return ordered[len(second) :], second


# Jobs.


@dataclass(frozen=True)
class _Batch(Generic[Job, Result]):
    """Works on a batch of jobs; errors come back as values."""

    work: Callable[[Job, Path | None], Result]
    scratch: Path | None

    def __call__(
        self, jobs: list[Job]
    ) -> list[tuple[Job, Result | InvalidInputError]]:
        if self.scratch is None:
            return [(job, self.result(job, None)) for job in jobs]
        with TemporaryDirectory(prefix=HIDDEN, dir=self.scratch) as folder:
            return [(job, self.result(job, Path(folder))) for job in jobs]

    def result(
        self, job: Job, scratch: Path | None
    ) -> Result | InvalidInputError:
        try:
            return self.work(job, scratch)
        except InvalidInputError as error:
            return error


def run_jobs(
    work: Callable[[Job, Path | None], Result],
    jobs: Iterable[Job],
    *,
    nproc: int = 1,
    scratch: Path | None = None,
    total: int | None = None,
    batch: int = BATCH,
    unit: str = ' images',
    desc: str | None = None,
    progress: bool = True,
) -> Generator[tuple[Job, Result | InvalidInputError], None, None]:
    """Work on jobs in batches, by several processes, with a progress bar.

    Args:
        work: Called with a job and a scratch folder; importable, as for
            ``multiprocessing``. What it raises as :class:`InvalidInputError`
            comes back as the result.
        jobs: Taken only as results are, so that neither pile up.
        nproc: Number of processes.
        scratch: Folder, made if it is missing, in which each batch gets a
            hidden one of its own, on the file system of what is written:
            processes that make many files in one folder wait for each other.
            Without it, ``work`` gets None.
        total: Number of jobs, where they have no length.
        batch: Jobs that a process gets at a time.
        unit: What the progress bar counts.
        desc: What stands before it.
        progress: Whether it is shown.

    Returns:
        Each job and its result, in the order of the jobs.

    Raises:
        ValueError: ``nproc`` is out of range.
    """
    check_nproc(nproc)
    if isinstance(jobs, list):
        total = len(jobs)
    bar = partial(
        tqdm, total=total, unit=unit, desc=desc, disable=not progress
    )
    return _run(_Batch(work, scratch), _cut(jobs, batch), nproc, bar)


def _run(
    batch: _Batch[Job, Result],
    batches: Iterable[list[Job]],
    nproc: int,
    open_bar: Callable[[], Any],
) -> Generator[tuple[Job, Result | InvalidInputError], None, None]:
    if batch.scratch is not None:
        batch.scratch.mkdir(parents=True, exist_ok=True)
    results = ordered_map(batch, batches, nproc)
    with open_bar() as bar:
        for result in itertools.chain.from_iterable(results):
            bar.update()
            yield result


def _cut(jobs: Iterable[Job], size: int) -> Generator[list[Job], None, None]:
    jobs = iter(jobs)
    while batch := list(itertools.islice(jobs, size)):
        yield batch


# Output.


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file that people read, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(content))
    write_bytes(path, text + b'\n', durable=True)


def write_split(path: Path, stems: Iterable[str], seed: int) -> None:
    """Write the stems of a split, one a line, in a seeded order."""
    ordered = seeded_order(stems, seed, str)
    write_text(path, ''.join(f'{stem}\n' for stem in ordered), durable=True)


def count_table(
    what: str, names: Iterable[str], counts: Mapping[str, Mapping[str, int]]
) -> str:
    """Return counts as a table with a row for each name.

    Args:
        what: What is counted.
        names: Such as those of the classes.
        counts: Of each split, the count of each name.
    """
    table = PrettyTable([what, *counts], align='r')
    table.align[what] = 'l'
    for name in names:
        table.add_row([name, *(f'{part[name]:,}' for part in counts.values())])
    return str(table)


@dataclass
class Report:
    """What a conversion did; as a text, what to tell the user.

    Attributes:
        out_dir: The folder that was written.
        skipped: Files that were left out because they are invalid.
        written: Number of inputs of which something was written.
        kept: Number of inputs whose results were there already.
    """

    out_dir: Path
    skipped: list[Skip] = field(default_factory=list)
    written: int = 0
    kept: int = 0

    def lines(self) -> Iterator[str]:
        """Yield what is to be told before what was left out."""
        yield from ()

    def __str__(self) -> str:
        lines = list(self.lines())
        for skip in self.skipped[:_LISTED]:
            lines.append(f'skipped {skip.file}: {skip.reason}')
        if self.skipped:
            more = max(len(self.skipped) - _LISTED, 0)
            lines.append(
                f'{len(self.skipped)} invalid files skipped'
                + f', {more} of them not named here' * bool(more)
                + f', see {self.out_dir / _LIST}'
            )
        return '\n'.join(lines)
