"""Say before a training what will go wrong: labels, classes, pipeline, model.

Reads a config of MMSeg or MMDet and its data: first the config, then the
model, built without weights, then all files, then what the pipelines make of
some of them. Nothing is trained and no weights are needed. A finding has a
code, a level, where it was found, what it will cause and what mends it:

  error    training or evaluation will fail, or a class cannot be learned
  warning  it costs accuracy
  note     worth to know

Shows at most five files of each code; OUT/doctor.json has all, and
OUT/report.html pictures. Files that did not change are not read again. The
exit status is 0 if nothing is as bad as --fail-on says, 1 if something is, and
2 if the config cannot be read. docs/doctor.md lists all codes.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mmseg_ext_cli import (
    add_cfg_options,
    call,
    constant,
    load,
    make_parser,
    note,
    spell,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'config',
        help='config file, or the name of one of the configs of mmseg_ext',
    )
    add_cfg_options(parser, 'train_dataloader.dataset.data_root=/data/camvid')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=constant('mmseg_ext.launch.data_sets:SPLITS'),
        help='data sets of the config to look at (default: all it has)',
    )
    parser.add_argument(
        '--nproc',
        type=int,
        default=1,
        help='number of processes that read files (default: %(default)s)',
    )
    parser.add_argument(
        '--sample',
        type=int,
        metavar='N',
        help='read at most N images of each data set, spread over it '
        '(default: all)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for doctor.json, report.html and the cache (default: '
        'doctor in work_dir of the config, else ./work_dirs/<name of the '
        'config>/doctor)',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print what is in doctor.json instead of the text',
    )
    parser.add_argument(
        '--fail-on',
        choices=('error', 'warning'),
        default='error',
        help='the level from which on the exit status is 1 (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--ignore',
        nargs='+',
        action='extend',
        metavar='CODE',
        help='codes to leave out, such as near-duplicate',
    )
    parser.add_argument(
        '--suggest',
        type=Path,
        metavar='FILE.py',
        help='write a config that inherits CONFIG and mends what a config can '
        'mend',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Look, show what was found, and exit with the status."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    as_json, fail_on = options.pop('json'), options.pop('fail_on')
    parse_pairs = load('mmseg_ext.launch.configs:parse_pairs')
    pairs = options.pop('cfg_options') or ()
    options['cfg_options'] = call(parser, parse_pairs, pairs)
    with others_on_standard_error() if as_json else nullcontext():
        visit = call(
            parser,
            'mmseg_ext.doctor.visit:visit',
            **options,
            on_note=note,
            on_stage=stage,
        )
    if as_json:
        encode = load('mmseg_ext.doctor.result_file:encode_result')
        sys.stdout.write(encode(visit.diagnosis).decode())
    else:
        load('mmseg_ext.doctor.console:show')(visit.diagnosis)
        tell_end(visit, options['config'], pairs)
    level = load('mmseg_ext.doctor.findings:Level')[fail_on.upper()]
    worst = visit.diagnosis.worst
    sys.exit(int(worst is not None and worst >= level))


@contextmanager
def others_on_standard_error() -> Iterator[None]:
    """Send what users' code writes to standard output elsewhere.

    Programs that it starts write there, too, so the file is exchanged.
    """
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def tell_end(visit: Any, config: str, pairs: Sequence[str]) -> None:
    """Print how many findings there are, where they are, and what is next."""
    levels = load('mmseg_ext.doctor.findings:Level')
    counts = [
        f'{number} {level.word}{"s" * (number != 1)}'
        for level in sorted(levels, reverse=True)
        for number in [visit.diagnosis.number_of(level)]
    ]
    ignored = sum(visit.diagnosis.ignored.values())
    counts += [f'{ignored} ignored'] * bool(ignored)
    print(f'\n{", ".join(counts)} ({visit.seconds:.1f} s)')
    names = (
        load('mmseg_ext.doctor.visit:PAGE'),
        load('mmseg_ext.doctor.visit:RESULT'),
    )
    print('written:')
    for name in names:
        print(f'  {visit.out / name}')
    if visit.suggestion is not None:
        for line in visit.suggestion.lines():
            print(line)
    elif any(finding.change for finding in visit.diagnosis.findings):
        given = ['--cfg-options', *pairs] if pairs else []
        command = spell('doctor', config, *given, '--suggest', 'mended.py')
        print(f'next: {command}  # a config that mends what it can')


def stage(name: str) -> None:
    """Tell where the doctor is, to whom waits for it."""
    if sys.stderr.isatty():
        print(f'looking at: {name}', file=sys.stderr)


if __name__ == '__main__':
    main()
