"""MMCV's ops from their definitions, without speed.

Maps are (C, H, W) or (N, C, H, W), x runs to the right and y down, positions
are in cells and whole at the centers of cells. Boxes are (x1, y1, x2, y2);
rotated boxes are (x center, y center, width, height, angle in radians).
What has gradients is written in PyTorch, the rest in plain Python.
"""

import math
import operator
from collections import deque

import torch

NEIGHBORS = (-1, 0), (1, 0), (0, -1), (0, 1)


def hat(positions, size):
    """What each of ``size`` cells in a row counts at positions (...).

    The kernel max(0, 1 - |distance|) of bilinear interpolation, equation 4 of
    Dai et al., "Deformable Convolutional Networks", 2017.
    """
    cells = torch.arange(size, dtype=positions.dtype)
    return (1 - (cells - positions[..., None]).abs()).clamp(min=0)


def fading(maps, ys, xs):
    """(C, ...) samples of (C, H, W) maps that fade to zero past the border.

    Equation 3 of the paper on deformable convolution: cells that do not exist
    count nothing.
    """
    height, width = maps.shape[1:]
    return torch.einsum(
        '...h,...w,chw->c...', hat(ys, height), hat(xs, width), maps
    )


def held(maps, ys, xs):
    """(C, ...) samples of (C, H, W) maps whose border goes on for a cell.

    The rule of RoIAlign, as its implementations have it: He et al., "Mask
    R-CNN", 2017. Beyond that cell, samples are zero.
    """
    height, width = maps.shape[1:]
    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
    return inside * fading(maps, ys, xs)


def points_of(length, bins, ratio):
    """(bins, ratio) places on a length, spread evenly over each bin.

    Ratio 0 stands for one place for each cell that a bin begins.
    """
    ratio = ratio or math.ceil(length / bins)
    places = torch.arange(bins * ratio, dtype=torch.float64).view(bins, ratio)
    return (places + 0.5) * length / max(bins * ratio, 1)


def pooled(samples, mode):
    """Bins (C, h, w) of their samples (C, h, w, rows, columns)."""
    samples = samples.flatten(3)
    if mode == 'max':
        return samples.amax(3)
    return samples.sum(3) / max(samples.shape[3], 1)


def roi_align(maps, rois, size, scale, ratio, mode, aligned):
    """Bins (R, C, *size) of rois (R, 5), (image, box): Mask R-CNN, section 3.

    Cells are one unit wide and begin, if ``aligned``, at whole coordinates;
    else coordinates mean centers, and boxes are at least one cell large.
    """
    rows = []
    for image, *box in rois.tolist():
        x1, y1, x2, y2 = (scale * edge - aligned / 2 for edge in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        ys = y1 + points_of(height, size[0], ratio)[:, None, :, None]
        xs = x1 + points_of(width, size[1], ratio)[None, :, None, :]
        ys, xs = torch.broadcast_tensors(ys, xs)
        rows.append(pooled(held(maps[int(image)], ys, xs), mode))
    return torch.stack(rows)


def roi_align_rotated(maps, rois, size, scale, ratio, aligned, clockwise):
    """Bins (R, C, *size) of rois (R, 6), (image, rotated box).

    Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation
    Proposals", 2018, with the samples of RoIAlign.
    """
    rows = []
    for image, x, y, width, height, angle in rois.tolist():
        x, y = scale * x - aligned / 2, scale * y - aligned / 2
        width, height = scale * width, scale * height
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        down = points_of(height, size[0], ratio)[:, None, :, None] - height / 2
        right = points_of(width, size[1], ratio)[None, :, None, :] - width / 2
        cos, sin = math.cos(angle), math.sin(angle)
        if not clockwise:
            sin = -sin
        ys = y + right * sin + down * cos
        xs = x + right * cos - down * sin
        rows.append(pooled(held(maps[int(image)], ys, xs), 'avg'))
    return torch.stack(rows)


def bezier_align(maps, rois, size, scale, ratio, aligned):
    """Bins (R, C, *size) between two cubic Bezier curves: rois (R, 17).

    Liu et al., "ABCNet", 2020, section 2.2: an image, four points of the
    upper curve from the left and four of the lower from the right. Bin
    (i, j) of h x w lies i / h of the way from the upper curve to the lower,
    both at j / w, and is as large as the larger chord allows.
    """
    rows = []
    for image, *numbers in rois.tolist():
        points = scale * torch.tensor(numbers, dtype=torch.float64).view(8, 2)
        curves = torch.stack([points[:4], points[4:].flip(0)])
        chords = (curves[:, 0] - curves[:, 3]).abs().amax(0)
        width, height = chords.tolist()
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        height, width = height / size[0], width / size[1]
        along = torch.arange(size[1], dtype=torch.float64) / size[1]
        down = torch.arange(size[0], dtype=torch.float64) / size[0]
        powers = torch.stack(
            [
                math.comb(3, k) * along**k * (1 - along) ** (3 - k)
                for k in range(4)
            ]
        )
        upper, lower = torch.einsum('ckd,kw->cwd', curves, powers)
        down = down[:, None, None]
        centers = (1 - down) * upper + down * lower - aligned / 2
        ys = points_of(height, 1, ratio)[0] - height / 2
        xs = points_of(width, 1, ratio)[0] - width / 2
        ys = centers[..., 1, None, None] + ys[:, None]
        xs = centers[..., 0, None, None] + xs
        ys, xs = torch.broadcast_tensors(ys, xs)
        rows.append(pooled(held(maps[int(image)], ys, xs), 'avg'))
    return torch.stack(rows)


def rotated_feature_align(maps, boxes, scale, points):
    """Maps (N, C, H, W) plus their samples at the boxes (N, H, W, 5).

    Yang et al., "R3Det", 2019, section 3.3: each cell adds what lies at the
    center and, with five points, at the corners of the box of that cell. The
    op takes (y center, x center, width, height, angle), clockwise.
    """
    y, x, width, height = (scale * boxes[..., :4]).unbind(-1)
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    places = [(0, 0)]
    if points == 5:
        places += [(a, b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
    out = []
    for image, own in enumerate(maps):
        for right, down in places:
            right, down = right * width, down * height
            ys = y + right * sin + down * cos
            xs = x + right * cos - down * sin
            own = own + held(maps[image], ys[image], xs[image])
        out.append(own)
    return torch.stack(out)


def deform_conv2d(
    maps,
    offsets,
    weight,
    mask=None,
    bias=None,
    *,
    stride=(1, 1),
    padding=(0, 0),
    dilation=(1, 1),
    groups=1,
    offset_groups=1,
):
    """Deformable convolution, modulated if there is a mask.

    Dai et al., "Deformable Convolutional Networks", 2017, equation 2, and
    Zhu et al., "Deformable ConvNets v2", 2018, equation 1: tap k sees the
    map where the grid and its own offset say, times its own mask. Offsets
    are (N, groups x taps x (y, x), h, w), masks (N, groups x taps, h, w).
    """
    images, _, height, width = maps.shape
    rows, columns = offsets.shape[2:]
    taps = weight.shape[2] * weight.shape[3]
    offsets = offsets.view(images, offset_groups, taps, 2, rows, columns)
    taps_of = torch.arange(taps)
    tap_y, tap_x = taps_of // weight.shape[3], taps_of % weight.shape[3]
    ys = torch.arange(rows)[:, None] * stride[0] - padding[0]
    xs = torch.arange(columns) * stride[1] - padding[1]
    ys = ys + dilation[0] * tap_y[:, None, None] + offsets[:, :, :, 0]
    xs = xs + dilation[1] * tap_x[:, None, None] + offsets[:, :, :, 1]
    seen = torch.einsum(
        'ngkyxh,ngkyxw,ngchw->ngckyx',
        hat(ys, height),
        hat(xs, width),
        maps.view(images, offset_groups, -1, height, width),
    )
    if mask is not None:
        seen = seen * mask.view(images, offset_groups, 1, taps, rows, columns)
    seen = seen.reshape(images, groups, -1, taps, rows, columns)
    weight = weight.view(groups, len(weight) // groups, -1, taps)
    out = torch.einsum('ngckyx,gock->ngoyx', seen, weight).flatten(1, 2)
    return out if bias is None else out + bias[:, None, None]


def psa_mask(masks, size, distribute):
    """Attention (N, HW, H, W) of masks (N, h x w, H, W) around each cell.

    Zhao et al., "PSANet", 2018, section 3.3: the channels of a cell are the
    cells around it. Collecting, (n, j, i) is what cell i takes from cell j;
    distributing, (n, i, j) is what cell i gives to cell j.
    """
    images, _, rows, columns = masks.shape
    out = masks.new_zeros(images, rows * columns, rows, columns)
    for y in range(rows):
        for x in range(columns):
            for channel in range(size[0] * size[1]):
                down, right = divmod(channel, size[1])
                other_y = y + down - (size[0] - 1) // 2
                other_x = x + right - (size[1] - 1) // 2
                if not (0 <= other_y < rows and 0 <= other_x < columns):
                    continue
                value = masks[:, channel, y, x]
                if distribute:
                    out[:, y * columns + x, other_y, other_x] = value
                else:
                    out[:, other_y * columns + other_x, y, x] = value
    return out


def active_rotated_filter(weight, indices):
    """Filters (O x R, I x N, h, w) of weight (O, I, N, h, w), rotated R times.

    Zhou et al., "Oriented Response Networks", 2017, section 3.1: ``indices``
    (N, h, w, R) say from 1 on where rotation r puts an entry.
    """
    outputs, inputs, *entry = weight.shape
    rotations = indices.shape[-1]
    out = weight.new_zeros(outputs, rotations, inputs, math.prod(entry))
    for source, targets in enumerate(indices.flatten(0, 2).tolist()):
        for rotation, target in enumerate(targets):
            value = weight.flatten(2)[:, :, source]
            out[:, rotation, :, target - 1] = value
    return out.reshape(
        outputs * rotations, inputs * entry[0], entry[1], entry[2]
    )


def overlap_of_boxes(one, other, mode='iou', offset=0):
    """Intersection over union, or over the first box, of two boxes.

    An offset of 1 counts pixels: the last ones belong to the boxes.
    """
    width = min(one[2], other[2]) - max(one[0], other[0]) + offset
    height = min(one[3], other[3]) - max(one[1], other[1]) + offset
    area, other_area = (
        (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
        for box in (one, other)
    )
    return share(max(width, 0) * max(height, 0), area, other_area, mode)


def overlap_of_polygons(one, other, mode='iou'):
    """The same of two convex polygons, lists of corners."""
    one, other = (
        corners if area_of(corners) > 0 else corners[::-1]
        for corners in (one, other)
    )
    common = one
    for index, corner in enumerate(other):
        common = cut(common, other[index - 1], corner)
    return share(area_of(common), area_of(one), area_of(other), mode)


def share(common, area, other_area, mode):
    """Of an intersection in the union of two areas, or in the first."""
    return common / (area if mode == 'iof' else area + other_area - common)


def area_of(corners):
    """The signed area of a polygon, by the shoelace formula."""
    return (
        sum(
            x1 * y2 - x2 * y1
            for (x1, y1), (x2, y2) in zip(
                corners, corners[1:] + corners[:1], strict=True
            )
        )
        / 2
    )


def cut(corners, start, end):
    """The part of a convex polygon left of a line (Sutherland, Hodgman)."""

    def side(point):
        return (end[0] - start[0]) * (point[1] - start[1]) - (
            end[1] - start[1]
        ) * (point[0] - start[0])

    left = []
    for index, corner in enumerate(corners):
        before = corners[index - 1]
        here, there = side(corner), side(before)
        if (here < 0) != (there < 0):
            part = there / (there - here)
            left.append(
                tuple(
                    a + part * (b - a)
                    for a, b in zip(before, corner, strict=True)
                )
            )
        if here >= 0:
            left.append(corner)
    return left


def corners_of(box, clockwise=True):
    """The corners of a rotated box."""
    x, y, width, height, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    if not clockwise:
        sin = -sin
    return [
        (
            x + a * width * cos - b * height * sin,
            y + a * width * sin + b * height * cos,
        )
        for a, b in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    ]


def matrix(overlap, rows, columns=None):
    """The overlap of each row with each column, as lists."""
    columns = rows if columns is None else columns
    return [[overlap(row, column) for column in columns] for row in rows]


def by_score(scores):
    """Indices, the highest score first."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def nms(overlaps, scores, threshold, drops=operator.gt):
    """Indices of what no better box that is kept suppresses, best first.

    ``drops`` says when an overlap and the threshold suppress.
    """
    kept = []
    for index in by_score(scores):
        if not any(drops(overlaps[k][index], threshold) for k in kept):
            kept.append(index)
    return kept


def nms_match(overlaps, scores, threshold):
    """What NMS keeps, each followed by what it suppresses."""
    left, groups = by_score(scores), []
    while left:
        group = [
            i
            for i in left
            if i == left[0] or overlaps[left[0]][i] >= threshold
        ]
        groups.append(group)
        left = [i for i in left if i not in group]
    return groups


def soft_nms(overlaps, scores, method, threshold, sigma, min_score):
    """Indices and lowered scores, in the order of the choice.

    Bodla et al., "Soft-NMS - Improving Object Detection With One Line of
    Code", 2017: a chosen box lowers the scores of its neighbors; those below
    ``min_score`` leave.
    """
    decay = {
        'naive': lambda overlap: float(overlap < threshold),
        'linear': lambda overlap: 1 - overlap if overlap >= threshold else 1.0,
        'gaussian': lambda overlap: math.exp(-(overlap**2) / sigma),
    }[method]
    scores, left, chosen = list(scores), list(range(len(scores))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        chosen.append(best)
        left.remove(best)
        for index in left:
            scores[index] *= decay(overlaps[best][index])
        left = [i for i in left if scores[i] >= min_score]
    return chosen, [scores[i] for i in chosen]


def contour_expand(kernels, labels, min_area):
    """Labels (H, W) grown over kernels (K, H, W), the largest first.

    Wang et al., "Shape Robust Text Detection with Progressive Scale
    Expansion Network", 2019, algorithm 1: labels of at least ``min_area``
    grow over one kernel after the other, to the largest; who comes first has
    the pixel.
    """
    flat = [label for row in labels for label in row]
    grown = [
        [label * (flat.count(label) >= min_area) for label in row]
        for row in labels
    ]
    for kernel in reversed(kernels[:-1]):
        queue = deque(cells_of(grown))
        while queue:
            y, x = queue.popleft()
            for row, column in around(grown, y, x):
                if kernel[row][column] and not grown[row][column]:
                    grown[row][column] = grown[y][x]
                    queue.append((row, column))
    return grown


def pixel_group(scores, mask, embedding, labels, contour, count, limit):
    """Mean score, number and places x, y, ... of the pixels of each label.

    Wang et al., "Efficient and Accurate Arbitrary-Shaped Text Detection with
    Pixel Aggregation Network", 2019, section 3.4: from the contour on, a
    label takes the neighbors in the mask whose embedding lies nearer than
    ``limit`` to the mean embedding of its kernel.
    """
    means = {}
    for label in range(1, count):
        own = [
            embedding[y][x]
            for y, x in cells_of(labels)
            if labels[y][x] == label
        ]
        means[label] = [
            sum(values) / len(own) for values in zip(*own, strict=True)
        ]
    grown = [list(row) for row in labels]
    queue = deque((y, x) for y, x in cells_of(labels) if contour[y][x])
    while queue:
        y, x = queue.popleft()
        for row, column in around(grown, y, x):
            distance = math.dist(embedding[row][column], means[grown[y][x]])
            free = mask[row][column] and not grown[row][column]
            if free and distance < limit:
                grown[row][column] = grown[y][x]
                queue.append((row, column))
    groups = []
    for label in range(count):
        cells = [(y, x) for y, x in cells_of(grown) if grown[y][x] == label]
        mean = sum(scores[y][x] for y, x in cells) / max(len(cells), 1)
        places = [place for y, x in cells for place in (x, y)]
        groups.append([mean, len(cells), *places])
    return groups


def cells_of(labels):
    """Where labels are not 0, row by row."""
    return [
        (y, x)
        for y, row in enumerate(labels)
        for x, label in enumerate(row)
        if label
    ]


def around(rows, y, x):
    """The cells above, below, left and right that there are."""
    return [
        (y + down, x + right)
        for down, right in NEIGHBORS
        if 0 <= y + down < len(rows) and 0 <= x + right < len(rows[0])
    ]


def voxel_of(point, size, bounds):
    """(z, y, x) of the voxel of a point (x, y, z, ...), or None outside.

    ``bounds`` are three minima, then three maxima, which lie outside.
    """
    voxel = [
        math.floor((point[axis] - bounds[axis]) / size[axis])
        for axis in (2, 1, 0)
    ]
    inside = all(bounds[a] <= point[a] < bounds[a + 3] for a in range(3))
    return voxel if inside else None


def voxels_of(points, size, bounds, max_points, max_voxels):
    """Voxels and their points, both as they come, with limits to both.

    Zhou and Tuzel, "VoxelNet", 2018, section 2.1, without its sampling.
    """
    groups = {}
    for point in points:
        voxel = voxel_of(point, size, bounds)
        if voxel is None:
            continue
        if tuple(voxel) not in groups and len(groups) == max_voxels:
            continue
        group = groups.setdefault(tuple(voxel), [])
        if len(group) < max_points:
            group.append(point)
    return groups


def in_box_3d(point, box):
    """Whether a point (x, y, z) lies in a box that stands on (x, y, z).

    Boxes are (x, y, z, x size, y size, z size, angle), the angle turning x
    to y.
    """
    x, y, z = (point[axis] - box[axis] for axis in range(3))
    cos, sin = math.cos(box[6]), math.sin(box[6])
    along, across = x * cos + y * sin, y * cos - x * sin
    return (
        abs(along) < box[3] / 2
        and abs(across) < box[4] / 2
        and 0 <= z <= box[5]
    )
