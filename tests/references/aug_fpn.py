"""The parts of AugFPN as the paper and its code say it, step by step."""

import numpy as np
import torch
import torch.nn.functional as F


def pyramid(inputs, state, ratios, num_outs, extra=None, relu=False):
    """Maps of the neck.

    Args:
        inputs: Maps of the levels used.
        state: Weights by the names of the authors' code.
        ratios: Pool ratios.
        num_outs: Number of maps.
        extra: 'inputs' or 'outputs' for convolutions above, from the last.
        relu: Whether a ReLU stands before the second of these.
    """
    added = augmentation(inputs[-1], state, ratios)
    laterals = laterals_of(inputs, state)
    laterals[-1] = laterals[-1] + added
    for level in range(len(laterals) - 1, 0, -1):
        size = laterals[level - 1].shape[2:]
        laterals[level - 1] = laterals[level - 1] + repeat(
            laterals[level], size
        )
    outs = [
        convolve(level, state, f'fpn_convs.{index}.conv')
        for index, level in enumerate(laterals)
    ]
    source = inputs[-1] if extra == 'inputs' else outs[-1]
    for index in range(len(outs), num_outs):
        if extra is None:
            outs.append(outs[-1][:, :, ::2, ::2])
            continue
        first = index == len(laterals)
        if relu and not first:
            source = source.clamp(min=0)
        source = convolve(source, state, f'fpn_convs.{index}.conv', stride=2)
        if first:
            source = source + added.mean((2, 3), keepdim=True)
        outs.append(source)
    return outs


def laterals_of(inputs, state):
    """Maps reduced to the channels of the neck."""
    return [
        convolve(level, state, f'lateral_convs.{index}.conv')
        for index, level in enumerate(inputs)
    ]


def augmentation(top, state, ratios):
    """What is added to the top lateral."""
    height, width = top.shape[2:]
    contexts = []
    for index, ratio in enumerate(ratios):
        size = max(1, int(height * ratio)), max(1, int(width * ratio))
        context = convolve(
            pool(top, size), state, f'high_lateral_conv.{index}'
        )
        contexts.append(resize(context, (height, width)))
    weights = attention(contexts, state, 'high_lateral_conv_attention')
    return sum(
        weights[:, [index]] * context for index, context in enumerate(contexts)
    )


def soft_selection(levels, state):
    """RoI features of all levels, (R, C, h, w) each, to their sum.

    Those of a single level stay as they are.
    """
    if len(levels) == 1:
        return levels[0]
    weights = attention(levels, state, 'spatial_attention_conv')
    return sum(
        weights[:, [index]] * level for index, level in enumerate(levels)
    )


def attention(maps, state, name):
    """Weights of maps, one channel for each."""
    hidden = convolve(torch.cat(maps, 1), state, f'{name}.0').clamp(min=0)
    return 1 / (1 + torch.exp(-convolve(hidden, state, f'{name}.2')))


def smooth_l1(difference, beta):
    """Half a parabola below beta, a line of slope 1 above."""
    distance = abs(difference)
    if distance < beta:
        return distance**2 / (2 * beta)
    return distance - beta / 2


def box_losses(features, boxes, matches, labels, state, stds):
    """Cross entropy and L1 of a box head with two hidden layers.

    Args:
        features: Of R RoIs, (R, C, h, w).
        boxes: The RoIs, (R, 4).
        matches: Boxes that they are to be moved to, (R, 4).
        labels: Their classes, (R,); the last one is the background.
        state: Weights of the head.
        stds: What offsets are divided by, 4 numbers.
    """
    hidden = features.flatten(1)
    for layer in ('shared_fcs.0', 'shared_fcs.1'):
        hidden = connect(hidden, state, layer).clamp(min=0)
    scores = connect(hidden, state, 'fc_cls')
    offsets = connect(hidden, state, 'fc_reg')
    background = scores.shape[1] - 1
    log_sums = torch.logsumexp(scores, 1)
    loss_cls = loss_bbox = 0
    for index, label in enumerate(labels.tolist()):
        loss_cls += log_sums[index] - scores[index, label]
        if label != background:
            target = offset(boxes[index], matches[index]) / torch.tensor(stds)
            start = 0 if offsets.shape[1] == 4 else 4 * label
            found = offsets[index, start : start + 4]
            loss_bbox += (found - target).abs().sum()
    return loss_cls / len(labels), loss_bbox / len(labels)


def offset(box, match):
    """Shift of the center in sizes of the box, and log ratio of sizes."""
    size, wanted = box[2:] - box[:2], match[2:] - match[:2]
    shift = (match[:2] + match[2:] - box[:2] - box[2:]) / 2
    return torch.cat([shift / size, (wanted / size).log()])


def iou(one, other):
    """Intersection over union of two boxes."""
    left_top = torch.maximum(one[:2], other[:2])
    common = (torch.minimum(one[2:], other[2:]) - left_top).clamp(min=0).prod()
    areas = [(box[2:] - box[:2]).prod() for box in (one, other)]
    return common / (sum(areas) - common)


def match(boxes, truth, labels, background, threshold=0.5):
    """Best object of each box and its label, or the background's."""
    matches, classes = [], []
    for box in boxes:
        overlaps = [iou(box, other).item() for other in truth]
        best = int(np.argmax(overlaps))
        matches.append(truth[best])
        positive = overlaps[best] >= threshold
        classes.append(labels[best].item() if positive else background)
    return torch.stack(matches), torch.tensor(classes)


def pool(x, size):
    """Means over cells whose borders are rounded outwards."""

    def cells(length, number):
        return [
            slice(
                index * length // number,
                ((index + 1) * length + number - 1) // number,
            )
            for index in range(number)
        ]

    rows = [
        torch.stack(
            [x[:, :, row, column].mean((2, 3)) for column in columns], -1
        )
        for row in cells(x.shape[2], size[0])
        for columns in [cells(x.shape[3], size[1])]
    ]
    return torch.stack(rows, 2)


def resize(x, size):
    """Bilinear, the outer pixels' centers at the outer pixels' centers."""

    def weights(source, target):
        matrix = torch.zeros(target, source)
        for row in range(target):
            position = row * (source - 1) / max(target - 1, 1)
            low = int(position)
            matrix[row, low] += 1 - (position - low)
            matrix[row, min(low + 1, source - 1)] += position - low
        return matrix

    rows, columns = map(weights, x.shape[2:], size)
    return torch.einsum('yh,nchw,xw->ncyx', rows, x, columns)


def repeat(x, size):
    """Nearest pixels."""
    rows, columns = (
        [index * source // target for index in range(target)]
        for source, target in zip(x.shape[2:], size, strict=True)
    )
    return x[:, :, rows][:, :, :, columns]


def convolve(x, state, name, stride=1):
    """Convolution that keeps the size, or halves it."""
    weight = state[f'{name}.weight']
    return F.conv2d(
        x,
        weight,
        state[f'{name}.bias'],
        stride=stride,
        padding=weight.shape[-1] // 2,
    )


def connect(x, state, name):
    """A fully connected layer."""
    return x @ state[f'{name}.weight'].T + state[f'{name}.bias']
