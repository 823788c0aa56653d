"""Counting and scoring, one pixel and one class at a time."""

import math


def count(prediction, label, num_classes, ignore_index):
    """Count pairs (label, prediction) of two nested lists of equal shape."""
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for prediction_row, label_row in zip(prediction, label, strict=True):
        for predicted, labeled in zip(prediction_row, label_row, strict=True):
            if labeled != ignore_index:
                matrix[labeled][predicted] += 1
    return matrix


def mean_iou(matrix, excluded=()):
    """Average hit / union over the classes with a union, as a fraction."""
    scores = []
    for index in range(len(matrix)):
        hit = matrix[index][index]
        labeled = sum(matrix[index])
        predicted = sum(row[index] for row in matrix)
        union = labeled + predicted - hit
        if union and index not in excluded:
            scores.append(hit / union)
    return sum(scores) / len(scores) if scores else math.nan
