"""Convert nuImages tables of the real train split's size; run by hand.

Writes the tables, runs the converter on them and prints its wall time and the
peak memory of all its processes together: the proportional set size (PSS),
which counts memory that they share once. Linux only; it takes minutes, 1 GB
of disk for the tables and 1.5 GB for what the converter writes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT
from nuimages import VERSION, write_tables

IMAGES = 67_279
OBJECTS = 557_000
INTERVAL = 0.2
TOOL = ROOT / 'tools/dataset_converters/nuimages.py'


def measure(command: list[str]) -> tuple[float, int]:
    """Run a command; return its seconds and its peak PSS in KiB.

    Raises:
        SystemExit: The command failed.
    """
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        peak = max(peak, tree_pss(process.pid))
        time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - start, peak


def tree_pss(pid: int) -> int:
    """Add up the PSS of a process and all below it, in KiB."""
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
        tasks = list(Path(f'/proc/{pid}/task').glob('*/children'))
        children = ' '.join(path.read_text() for path in tasks).split()
    except OSError:  # it has just ended
        return 0
    own = sum(int(line.split()[1]) for line in lines if line[:4] == 'Pss:')
    return own + sum(tree_pss(int(child)) for child in children)


def main(argv: list[str] | None = None) -> None:
    """Write tables, convert them, print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--images', type=int, default=IMAGES, help='default: %(default)s'
    )
    parser.add_argument(
        '--nproc', type=int, default=2, help='default: %(default)s'
    )
    parser.add_argument(
        '--folder',
        type=Path,
        help='new folder for tables and output, which stay there; default: a '
        'temporary one',
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        root = args.folder or Path(temporary)
        print(f'writing tables of {args.images} images')
        write_tables(root, args.images, round(OBJECTS * args.images / IMAGES))
        seconds, peak = measure(
            [
                sys.executable,
                str(TOOL),
                *('--data-root', str(root), '--versions', VERSION),
                *('--out-dir', str(root / 'annotations')),
                *('--nproc', str(args.nproc)),
            ]
        )
    print(
        f'{args.images} images, {args.nproc} processes: {seconds:.1f} s, '
        f'{args.images / seconds:.0f} images/s, at most {peak / 1024:.0f} MiB'
    )


if __name__ == '__main__':
    main()
