"""Copies of real data sets, which tests and benchmarks use where they are.

They are no part of the project. ``MMSEG_EXT_DATA`` names the folder that holds
``camvid/`` and ``nails/``; by default it is ``../shared/data`` beside the
project's own.
"""

import os
from pathlib import Path

DATA = Path(
    os.environ.get('MMSEG_EXT_DATA')
    or Path(__file__).resolve().parents[3] / 'shared/data'
).expanduser()

CAMVID = DATA / 'camvid'
NAILS = DATA / 'nails'
