"""Fuzz: damaged and hostile files are read, or refused by name.

What a reader may raise is an OSError or a ValueError that names the file, or
the folder of the set. It has so much memory and time. With ``skip_invalid`` a
file of which there are many is left out, and nothing is raised.
"""

import json
import os
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import Process, Result, Trial
from mutations import misplace, mutate
from readers import READERS, Reader

__all__ = ['Fuzz']

#: Bytes that a reader may take beside what is imported. Images of the largest
#: size that is read need less.
MEMORY = 2**31

#: Seconds for one input, on a busy machine.
SECONDS = 30


class Fuzz:
    """Bad input for all readers.

    Args:
        data: The samples.
        folder: Gets what is read and written.
        seed: Of all that is random.
    """

    def __init__(self, data: Path, folder: Path, seed: int) -> None:
        self.data, self.folder, self.seed = data, folder / 'fuzz', seed
        self.folder.mkdir()
        self.checked: set[str] = set()
        _arrange(data)

    def subjects(self) -> list[str]:
        """List the readers."""
        return list(READERS)

    def run(self, subject: str, numbers: Sequence[int]) -> Iterator[Result]:
        """Let a reader read so many bad files, in one process if it can."""
        self._check(subject)
        todo = list(numbers)
        while todo:
            done = self._batch(subject, todo)
            todo = todo[len(done) :]
            yield from done

    def _check(self, subject: str) -> None:
        """Check that a set is read as it is: what is bad in it is ours.

        Raises:
            RuntimeError: It is not.
        """
        if subject in self.checked:
            return
        reader, root = READERS[subject], self.folder / 'input'
        shutil.rmtree(root, ignore_errors=True)
        reader.copy(self.data, root)
        path = reader.choices(root)[0]

        def work() -> int:
            reader.read(root, path, self.folder / 'out', False)
            return 0

        process = Process(work)
        if process.wait() != 0:
            raise RuntimeError(f'{subject}: no good set:\n{process.said}')
        shutil.rmtree(self.folder / 'out', ignore_errors=True)
        self.checked.add(subject)

    def _batch(self, subject: str, numbers: list[int]) -> list[Result]:
        """Read until the process dies; return what came out."""
        root = self.folder / 'input'
        report = self.folder / 'report'
        report.write_bytes(b'')
        shutil.rmtree(root, ignore_errors=True)
        READERS[subject].copy(self.data, root)

        def work() -> int:
            _limit_memory()
            with report.open('w') as file:
                for number in numbers:
                    trial = Trial('fuzz', subject, number)
                    signal.alarm(SECONDS)
                    json.dump(self._read(trial, root), file)
                    file.write('\n')
                    file.flush()
                    signal.alarm(0)
            return 0

        process = Process(work)
        status = process.wait(SECONDS * (len(numbers) + 1))
        results = []
        for number, line in zip(numbers, report.open(), strict=False):
            outcome, problem, detail = json.loads(line)
            trial = Trial('fuzz', subject, number)
            inputs = self._inputs(trial) if problem else {}
            results.append(Result(trial, outcome, problem, detail, inputs))
        if len(results) < len(numbers):
            trial = Trial('fuzz', subject, numbers[len(results)])
            problem = f'ends the process: {_end(status)}'
            inputs = self._inputs(trial)
            results.append(
                Result(trial, 'ended', problem, process.said[-5000:], inputs)
            )
        return results

    def _read(self, trial: Trial, root: Path) -> tuple[str, str, str]:
        """Read a bad file; return outcome, problem and detail."""
        reader, out = READERS[trial.subject], self.folder / 'out'
        rng = trial.random(self.seed)
        path = rng.choice(reader.choices(root))
        skip = rng.random() < 0.5
        good = path.read_bytes()
        what = _spoil(rng, path, reader)
        try:
            reader.read(root, path, out, skip)
            answer = 'read', '', ''
        except BaseException as error:
            problem = _fault(error, root, path, skip and reader.skips)
            detail = f'{path}: {what}, skip_invalid={skip}\n'
            detail += ''.join(traceback.format_exception(error))[-5000:]
            answer = 'refused', problem, detail
        if Path('called').exists():
            os.unlink('called')
            answer = 'called', 'runs code of the file', what
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(good)
        shutil.rmtree(out, ignore_errors=True)
        return answer

    def _inputs(self, trial: Trial) -> dict[str, bytes]:
        """Make the set of a trial again, to keep it."""
        root = self.folder / 'kept'
        reader = READERS[trial.subject]
        shutil.rmtree(root, ignore_errors=True)
        reader.copy(self.data, root)
        rng = trial.random(self.seed)
        path = rng.choice(reader.choices(root))
        rng.random()
        _spoil(rng, path, reader)
        return {
            file.relative_to(root).as_posix(): file.read_bytes()
            for file in root.rglob('*')
            if file.is_file()
        }


def _arrange(data: Path) -> None:
    """Put together the small sets of readers that need one of their own."""
    browse = data / 'browse'
    images = json.loads((data / 'coco/train.json').read_bytes())
    kept = images['images'][:2]
    ids = {image['id'] for image in kept}
    images['images'] = kept
    images['annotations'] = [
        a for a in images['annotations'] if a['image_id'] in ids
    ]
    browse.mkdir()
    (browse / 'train.json').write_text(json.dumps(images))
    for image in kept:
        target = browse / image['file_name']
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / 'nails' / image['file_name'], target)
    stems = data / 'stems'
    for name in ('train', 'train_labels'):
        (stems / name).mkdir(parents=True)
        for path in sorted((data / 'camvid' / name).iterdir())[:2]:
            shutil.copy(path, stems / name)
    shutil.copy(data / 'camvid/class_dict.csv', stems)
    names = (path.stem for path in sorted((stems / 'train').iterdir()))
    (stems / 'list.txt').write_text(''.join(f'{name}\n' for name in names))


def _spoil(rng: random.Random, path: Path, reader: Reader) -> str:
    """Change a file, or put something else in its place; say what."""
    if rng.random() < 0.02:
        return misplace(rng, path)
    path.write_bytes(mutate(rng, path.read_bytes(), reader.form))
    return 'changed'


def _fault(error: BaseException, root: Path, path: Path, skip: bool) -> str:
    """Return what is wrong with an error."""
    kind = type(error).__name__
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f'{Path(last.filename).name}:{last.name}'
    if not isinstance(error, (OSError, ValueError)):
        return f'raises {kind} in {place}'
    text = str(error)
    if str(root) not in text and path.name not in text:
        return f'raises {kind} without a name in {place}'
    if skip and path.name in text:
        return f'stops in spite of skip_invalid, {kind} in {place}'
    return ''


def _limit_memory() -> None:
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end(status: int | None) -> str:
    if status is None or status == -signal.SIGALRM:
        return f'no end after {SECONDS} s'
    if status < 0:
        return signal.Signals(-status).name
    return f'exit status {status}'
