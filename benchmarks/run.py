"""Run all benchmarks, or those named, and print one table of ratios.

Each pair is timed in turn in one process and the medians are compared, so
that the ratio holds on a busy machine; the milliseconds do not.
"""

import argparse
import importlib
from pathlib import Path

import cv2
import torch
from prettytable import PrettyTable
from tqdm import tqdm

HERE = Path(__file__).parent
#: Not benchmarks, or too long for this table.
OTHERS = ('run', 'timing', 'nuimages_full')
BENCHMARKS = sorted(
    path.stem for path in HERE.glob('*.py') if path.stem not in OTHERS
)


def main() -> None:
    """Run benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help=f'of {", ".join(BENCHMARKS)}'
    )
    names = parser.parse_args().names or BENCHMARKS
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f'no benchmark {unknown[0]!r}; there are {BENCHMARKS}')
    table = PrettyTable(
        ['what', 'ms', 'baseline', 'its ms', 'baseline / ours'], align='r'
    )
    table.align['what'] = table.align['baseline'] = 'l'
    # One thread each: on a busy machine torch's threads wait for one another,
    # which would make the baselines look slower than they are.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for name in tqdm(names, unit='benchmark'):
        for row in importlib.import_module(name).run():
            table.add_row(
                [
                    row.what,
                    f'{row.seconds * 1e3:.2f}',
                    row.baseline,
                    f'{row.baseline_seconds * 1e3:.2f}',
                    f'{row.baseline_seconds / row.seconds:.2f}',
                ]
            )
    print(table)


if __name__ == '__main__':
    main()
