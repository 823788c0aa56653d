"""Run all benchmarks, or those named, and print one table of ratios.

Each pair is timed in turn in one process and the medians are compared, so
that the ratio holds on a busy machine; the milliseconds do not.
"""

import argparse
import ast
import importlib
from pathlib import Path

import cv2
import torch
from prettytable import PrettyTable
from tqdm import tqdm

#: No benchmarks, and what takes too long for this table.
OTHERS = ('common', 'run', 'timing', 'large_image', 'nuimages_full')


def benchmarks() -> dict[str, str]:
    """Return the first sentence about each benchmark, by its name."""
    texts = {
        path.stem: ast.get_docstring(ast.parse(path.read_text()))
        for path in sorted(Path(__file__).parent.glob('*.py'))
        if path.stem not in OTHERS
    }
    return {name: text.partition('\n')[0] for name, text in texts.items()}


def main() -> None:
    """Run benchmarks and print the table."""
    known = benchmarks()
    width = max(map(len, known))
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='\n'.join(f'{k:{width}}  {known[k]}' for k in known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='of those below'
    )
    names = parser.parse_args().names or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(
            f'no benchmark {unknown[0]!r}; there are {", ".join(known)}'
        )
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
