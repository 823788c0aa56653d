"""Try for a while what may go wrong, and print a table of it.

kills   each tool that writes is stopped at random moments, by signals to it or
        to one of its processes, and started again: same bytes, no leftovers
disks   the same on full disks: one line names the file
fuzz    each reader gets damaged and hostile input: it is read, or refused in
        an error that names it, in bounded time and memory

Everything random follows from the seed. What is found is kept in a folder with
the input and the command that tries it again. Exit status 1 if anything is.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmseg_ext_cli import call, make_parser, wait_passively

wait_passively()
os.environ.setdefault('OMP_NUM_THREADS', '1')

from prettytable import PrettyTable
from tqdm import tqdm

from common import Kind, Process, Result, Trial

#: The kinds, and how many trials of one subject follow each other.
KINDS = {'kills': 1, 'disks': 1, 'fuzz': 25}

#: Findings of one subject with the same problem that are kept.
_KEPT = 3

#: Images of the samples, in full; a batch of jobs is less than half of them.
_NUM = 40


class Campaign:
    """Trials, and what came out of them.

    Args:
        seed: Of all that is random.
        findings: Gets a folder for each finding.
        num: Number of images of the samples.
    """

    def __init__(self, seed: int, findings: Path, num: int) -> None:
        self.seed, self.findings = seed, findings
        self.num = num
        self.outcomes: dict[tuple[str, str], Counter[str]] = defaultdict(
            Counter
        )
        self.problems: Counter[tuple[str, str, str]] = Counter()

    def prepare(self, root: Path) -> dict[str, Kind]:
        """Make samples, and return the kinds of trials."""
        # Whatever takes seconds to import, before anything is forked.
        from disks import Disks
        from fuzz import Fuzz
        from kills import Kills
        from samples import make_samples

        data = root / 'data'
        data.mkdir()

        def work() -> int:
            make_samples(data, self.num)
            return 0

        process = Process(work)
        if process.wait(600) != 0:
            raise RuntimeError(f'no samples:\n{process.said}')
        arguments = data, root, self.seed
        return {
            'kills': Kills(*arguments),
            'disks': Disks(*arguments),
            'fuzz': Fuzz(*arguments),
        }

    def run(
        self,
        name: str,
        kind: Kind,
        subjects: Sequence[str],
        seconds: float,
        trials: int | None,
    ) -> None:
        """Try one kind for so long, or so often."""
        step = KINDS[name]
        if trials is not None:
            step = min(step, trials)
        end = time.monotonic() + seconds
        first = 0
        with tqdm(desc=name, unit=' trials', mininterval=0.5) as bar:
            while trials is None or first < trials:
                for subject in subjects:
                    for result in kind.run(
                        subject, range(first, first + step)
                    ):
                        self.add(result)
                        bar.update()
                        bar.set_postfix_str(
                            f'{subject}, {self.failed} failed', refresh=False
                        )
                        if time.monotonic() > end:
                            return
                first += step

    @property
    def failed(self) -> int:
        """The number of trials that failed."""
        return sum(self.problems.values())

    def add(self, result: Result) -> None:
        """Count a result, and keep it if it is a finding."""
        trial = result.trial
        self.outcomes[trial.kind, trial.subject][result.outcome] += 1
        if not result.problem:
            return
        key = trial.kind, trial.subject, result.problem
        self.problems[key] += 1
        if self.problems[key] <= _KEPT:
            self.keep(result)

    def keep(self, result: Result) -> None:
        """Write a finding into a folder of its own."""
        folder = self.findings / str(result.trial).replace(':', '-')
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = (
            f'python campaign/run.py --seed {self.seed} --num {self.num} '
            f'--again {result.trial}'
        )
        text = f'{result.problem}\n\n{command}\n\n{result.detail}\n'
        (folder / 'finding.txt').write_text(text, errors='replace')
        for name, data in result.inputs.items():
            path = folder / 'input' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def __str__(self) -> str:
        table = PrettyTable(['kind', 'subject', 'tried', 'failed', 'outcomes'])
        table.align = 'l'
        table.align['tried'] = table.align['failed'] = 'r'
        failed: Counter[tuple[str, str]] = Counter()
        for (kind, subject, _), count in self.problems.items():
            failed[kind, subject] += count
        for key, outcomes in self.outcomes.items():
            shown = ', '.join(f'{k} {v}' for k, v in sorted(outcomes.items()))
            table.add_row([*key, outcomes.total(), failed[key], shown])
        total = sum(outcomes.total() for outcomes in self.outcomes.values())
        lines = [str(table)]
        for (kind, subject, problem), count in self.problems.most_common():
            lines.append(f'{kind} {subject}, {count} times: {problem}')
        lines.append(f'{total} trials, {self.failed} failed')
        if self.problems:
            lines[-1] += f'; findings are in {self.findings}'
        return '\n'.join(lines)


def campaign(
    minutes: float,
    seed: int,
    only: Sequence[tuple[str, str]],
    trials: int | None,
    again: Trial | None,
    findings: Path,
    num: int,
) -> int:
    """Run it; return how many trials failed."""
    run = Campaign(seed, findings.resolve(), num)
    # No TemporaryDirectory, which every forked process would remove.
    folder = Path(tempfile.mkdtemp(prefix='campaign-'))
    try:
        kinds = run.prepare(folder)
        if again is not None:
            only = [(again.kind, again.subject)]
        for name, subject in only:
            subjects = kinds[name].subjects()
            if subject and subject not in subjects:
                raise ValueError(
                    f'{name} has no {subject!r}; expected one of '
                    f'{", ".join(subjects)}'
                )
        if again is not None:
            for result in kinds[again.kind].run(again.subject, [again.number]):
                run.add(result)
                print(result.detail)
            only = []
        for name, subject in only:
            subjects = [subject] if subject else kinds[name].subjects()
            run.run(name, kinds[name], subjects, minutes * 60, trials)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(run)
    return run.failed


def read_subject(text: str) -> tuple[str, str]:
    """Read ``kind`` or ``kind:subject``."""
    kind, _, subject = text.partition(':')
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(
            f'expected one of {", ".join(KINDS)}, got {kind!r}'
        )
    return kind, subject


def read_trial(text: str) -> Trial:
    """Read ``kind:subject:number``."""
    kind, _, rest = text.partition(':')
    subject, _, number = rest.rpartition(':')
    if kind not in KINDS or not number.isdecimal():
        raise argparse.ArgumentTypeError(
            f'expected KIND:SUBJECT:NUMBER, as a finding says, got {text!r}'
        )
    return Trial(kind, subject, int(number))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text}: expected more than 0')
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}: expected 1 or more')
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Run the campaign."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--minutes',
        type=_positive,
        default=10,
        help='for each of --only (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='default: %(default)s'
    )
    parser.add_argument(
        '--only',
        nargs='+',
        type=read_subject,
        default=[(name, '') for name in KINDS],
        metavar='KIND[:SUBJECT]',
        help='kinds to try, or one thing of a kind (default: all)',
    )
    parser.add_argument(
        '--trials',
        type=_count,
        help='at most so many of each subject (default: as time allows)',
    )
    parser.add_argument(
        '--num',
        type=int,
        default=_NUM,
        help='images of each sample (default: %(default)s)',
    )
    parser.add_argument(
        '--again',
        type=read_trial,
        metavar='KIND:SUBJECT:NUMBER',
        help='try one again, as a finding says',
    )
    parser.add_argument(
        '--findings',
        type=Path,
        default=Path('work_dirs/campaign'),
        help='folder for what is found (default: %(default)s)',
    )
    options = vars(parser.parse_args(argv))
    # Their threads would be missing in forked processes.
    tqdm.monitor_interval = 0
    if call(parser, campaign, **options):
        sys.exit(1)


if __name__ == '__main__':
    main()
