"""What all pages of a run begin and end with."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from mmseg_ext.formats.run_records import Meta
from mmseg_ext.utils.images import decode_image
from mmseg_ext.visualization.curves import draw_curves, encode_figure
from mmseg_ext.visualization.logs import read_work_dir
from mmseg_ext.visualization.web_page import Picture, webp_uri

__all__ = ['IMAGES', 'curve_pictures', 'facts', 'title']

#: Images that are shown where nothing else is asked for.
IMAGES = 60


def title(meta: Meta) -> str:
    """Return what a page is about, in a few words.

    Args:
        meta: Of the run.
    """
    config = Path(meta.config).stem or 'a model'
    return f'{config} on {meta.dataset or "its data"}'


def facts(meta: Meta) -> Iterator[tuple[str, str]]:
    """Yield whose run it is.

    Args:
        meta: Of the run.
    """
    yield 'data', f'{meta.dataset or "unknown"}, {meta.split}'
    yield 'images', f'{meta.images:,}'
    yield 'classes', f'{len(meta.classes):,}'
    if meta.config:
        yield 'config', _hashed(meta.config, meta.config_hash)
    if meta.checkpoint:
        yield 'checkpoint', _hashed(meta.checkpoint, meta.checkpoint_hash)
    if meta.iteration is not None:
        yield 'iteration', f'{meta.iteration:,}'


def _hashed(path: str, digest: str) -> str:
    return f'{path} (SHA-256 {digest[:12]}…)' if digest else path


def curve_pictures(
    meta: Meta, work_dir: str | os.PathLike[str] | None = None
) -> tuple[list[Picture], list[str]]:
    """Return the curves of the training that a run is of.

    Args:
        meta: Of the run.
        work_dir: Of the training; by default that of the run, or of its
            checkpoint.

    Returns:
        A picture, if there are curves, and what was left out.

    Raises:
        OSError: ``work_dir`` was given, and there are none.
        ValueError: ``work_dir`` was given, and a file in it is broken.
    """
    folders = [meta.work_dir, os.path.dirname(meta.checkpoint)]
    for folder in [work_dir] if work_dir else filter(None, folders):
        try:
            log = read_work_dir(folder)
        except (OSError, ValueError):
            if work_dir:
                raise
            continue
        if not (log.history.losses or log.history.scores):
            continue
        data = encode_figure(draw_curves(log.history))
        name = os.fspath(folder)
        drawn = decode_image(data, name)[..., ::-1]
        last = [
            f'{key} {curve.values[-1]:.4g} at the end'
            for key, curve in log.history.scores.items()
            if curve.values and math.isfinite(curve.values[-1])
        ]
        text = 'Losses, scores and learning rate over the training'
        picture = Picture(
            [webp_uri(drawn, exact=True)],
            [': '.join([text, *([', '.join(last)] if last else [])])],
            name,
        )
        return [picture], list(log.notes)
    return [], []
