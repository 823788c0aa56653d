"""Kinds of wrong pixels and boundaries, one class and one pixel at a time."""

import math

from .confusion import count


def erode(mask, times):
    """Erode a nested list of 0 and 1 by squares of 3; beyond it all is 0."""
    for _ in range(times):
        mask = [
            [
                int(
                    all(
                        0 <= y < len(mask)
                        and 0 <= x < len(mask[0])
                        and mask[y][x]
                        for y, x in square(row, column)
                    )
                )
                for column in range(len(mask[0]))
            ]
            for row in range(len(mask))
        ]
    return mask


def square(row, column, distance=1):
    """List the places of a square around a pixel, inside the image or not."""
    return [
        (y, x)
        for y in range(row - distance, row + distance + 1)
        for x in range(column - distance, column + distance + 1)
    ]


def band(mask, distance):
    """Return the pixels (row, column) of a mask that erosion takes away."""
    left = erode(mask, distance)
    return {
        (row, column)
        for row, values in enumerate(mask)
        for column, value in enumerate(values)
        if value and not left[row][column]
    }


def region(pixels, start):
    """Return the pixels of a set that are connected with one of them."""
    found, todo = {start}, [start]
    while todo:
        for place in square(*todo.pop()):
            if place in pixels and place not in found:
                found.add(place)
                todo.append(place)
    return found


def count_errors(prediction, label, num_classes, ignore_index, share):
    """Count two nested lists as the function of the same name does.

    Returns lists: classes, three counts of each near boundaries, and six
    counts of wrong pixels: missed at the boundary, in extent, in whole
    segments, and invented.
    """
    height, width = len(label), len(label[0])
    distance = max(1, round(share * math.sqrt(height**2 + width**2)))
    matrix = count(prediction, label, num_classes, ignore_index)
    classes, boundary, errors = [], [], []
    for index in range(num_classes):
        if not sum(matrix[index]) + sum(row[index] for row in matrix):
            continue
        labeled, predicted = (
            [
                [
                    int(wanted[row][column] == index)
                    if label[row][column] != ignore_index
                    else 0
                    for column in range(width)
                ]
                for row in range(height)
            ]
            for wanted in (label, prediction)
        )
        classes.append(index)
        near = band(labeled, distance), band(predicted, distance)
        boundary.append([len(near[0] & near[1]), len(near[0]), len(near[1])])
        errors.append(
            kinds_of(labeled, predicted, distance)
            + kinds_of(predicted, labeled, distance, invented=True)
        )
    return classes, boundary, errors


def kinds_of(mask, other, distance, invented=False):
    """Count the pixels of a mask that the other has not, by kind."""
    places = {
        (row, column)
        for row, values in enumerate(mask)
        for column, value in enumerate(values)
        if value
    }
    right = {place for place in places if other[place[0]][place[1]]}
    labeled = other if invented else mask
    counts = [0, 0, 0]
    for place in places - right:
        around = square(*place, distance)
        # The label's edge is near where the label is both there and not.
        values = {
            labeled[y][x]
            if 0 <= y < len(mask) and 0 <= x < len(mask[0])
            else 0
            for y, x in around
        }
        if not region(places, place) & right:
            counts[2] += 1
        elif right & set(around) and values == {0, 1}:
            counts[0] += 1
        else:
            counts[1] += 1
    return counts
