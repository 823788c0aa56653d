"""Set up an environment in which the package and all it builds on work.

    python3.11 install --venv .venv

makes the environment where it is missing and installs PyTorch, the package
with MIM and MMDet, and MMCV with its compiled ops, for CUDA where this machine
can. The ops take a minute or two to build. The wheel is kept for the next
environment, under ``$XDG_CACHE_HOME/mmseg_ext/wheels``, apart for each PyTorch
build: pip's own cache does not tell these apart.

The program runs twice: first by any Python, to make the environment, with the
standard library alone, then by the environment's own.
"""

import os.path
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def refuse_unfit_python(version, requires):  # noqa: ANN001, ANN201
    """Exit with one line where the package does not support this Python.

    Args:
        version: Major and minor version.
        requires: Text with the line ``requires-python = ">=3.10,<3.14"``.
    """
    numbers = re.search(
        r'requires-python = ">=(\d+)\.(\d+),<(\d+)\.(\d+)"', requires
    )
    first, end = numbers.groups()[:2], numbers.groups()[2:]
    if not tuple(map(int, first)) <= version < tuple(map(int, end)):
        mend = 'Choose another one: make PYTHON=python3.11'
        if os.path.exists(os.path.join(sys.prefix, '.mmseg-ext-set-up.json')):
            mend = 'Make the environment anew: make clean-env'
        sys.exit(
            'error: mmseg_ext needs Python >={}, <{}; {} is {}.{}. {}'.format(
                *('.'.join(first), '.'.join(end), sys.executable),
                *version,
                mend,
            )
        )


if __name__ == '__main__':
    # Before anything that an old Python cannot read.
    with open(os.path.join(ROOT, 'pyproject.toml')) as project:
        refuse_unfit_python(sys.version_info[:2], project.read())

    from set_up import main

    main(__doc__)
