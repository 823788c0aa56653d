"""Any ``EncoderDecoder`` of MMSeg, with lean inference."""

import inspect
from collections.abc import Set
from difflib import get_close_matches
from typing import Any

from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS

from mmseg_ext.models.lean_inference import check_options, make_lean
from mmseg_ext.utils.arguments import require

__all__ = ['lean_encoder_decoder']

#: Options of ours, beside those of the class that is built.
_OPTIONS = ('segmentor', 'window_batch', 'keep_logits')


@MODELS.register_module('LeanEncoderDecoder')
def lean_encoder_decoder(
    segmentor: str | type = 'EncoderDecoder',
    window_batch: int = 1,
    keep_logits: bool = False,
    **config: Any,
) -> EncoderDecoder:
    """Build a model of MMSeg that predicts the same with less memory and time.

    As ``type='LeanEncoderDecoder'`` it takes the place of
    ``type='EncoderDecoder'`` in a config; for other classes below that one
    ``segmentor`` says which. See :func:`make_lean` for what changes.

    Args:
        segmentor: Type of the model, such as ``'CascadeEncoderDecoder'``, or
            its class.
        window_batch: See :func:`make_lean`.
        keep_logits: See :func:`make_lean`.
        **config: Arguments of that type.

    Raises:
        TypeError: The type is not below ``EncoderDecoder``.
        ValueError: An argument is misspelt or out of its range.
    """
    require(
        'segmentor',
        segmentor,
        isinstance(segmentor, (str, type)),
        "the type of a model, such as 'EncoderDecoder'",
    )
    check_options(window_batch, keep_logits, 'model.')
    kind = MODELS.get(segmentor) if isinstance(segmentor, str) else segmentor
    if inspect.isclass(kind):
        if not issubclass(kind, EncoderDecoder):
            raise TypeError(
                f'segmentor={kind.__name__} is not below EncoderDecoder of '
                'MMSeg, and lean inference is for such; name it as type '
                'instead'
            )
        _check_names(kind, config)
    model = MODELS.build({'type': segmentor, **config})
    return make_lean(model, window_batch, keep_logits)


def _check_names(kind: type, config: dict[str, Any]) -> None:
    """Check that a class takes the arguments of a config."""
    parameters = inspect.signature(kind).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in sorted(config.keys() - parameters.keys()):
        close = get_close_matches(name, [*_OPTIONS, *parameters])
        other = _class_with(config.keys())
        raise ValueError(
            f'{name!r} is no option of LeanEncoderDecoder, nor of '
            f'segmentor={kind.__name__}, the class that it builds'
            + (f'; close: {close[0]}' if close else '')
            + (
                f'; give segmentor={other!r}, which has all of these'
                if other
                else '; for an option of another class, name that as segmentor'
            )
        )


def _class_with(options: Set[str]) -> str | None:
    """Return the name of a segmentor of MMSeg that takes some options."""
    for name, kind in MODELS.module_dict.items():
        fits = inspect.isclass(kind) and issubclass(kind, EncoderDecoder)
        if fits and options <= inspect.signature(kind).parameters.keys():
            return str(name)
    return None
