"""Lovasz-Softmax by its definition: sets of pixels, and errors in order."""


def jaccard_loss(mistaken, own):
    """Return 1 - IoU of a class, for a set of pixels that are mistaken."""
    union = own | mistaken
    return 1 - len(own - mistaken) / len(union)


def errors(logits, label, ignored=255):
    """Return what each class is wrong by at each pixel, and who owns it.

    Args:
        logits: (N, C, H, W).
        label: (N, H, W).
        ignored: Label that takes no part.

    Returns:
        float64 (C, P) and boolean (C, P), of the P pixels that take part.
    """
    scores = logits.double().softmax(1).movedim(1, -1)[label != ignored].T
    labels = label[label != ignored]
    own = labels == labels.new_tensor(range(len(scores)))[:, None]
    return (own.double() - scores).abs(), own


def loss(logits, label, classes='present', ignored=255):
    """Return the mean over classes of the extension, as a float64 tensor.

    Equation 8 of Berman et al., arXiv:1705.08790: errors in descending order,
    each times what its pixel adds to the loss of the set of those before.
    """
    losses = []
    for values, own in zip(*errors(logits, label, ignored), strict=True):
        own = {pixel for pixel, owned in enumerate(own.tolist()) if owned}
        if classes == 'present' and not own:
            continue
        before, mistaken, total = 0.0, set(), 0.0
        for pixel in values.argsort(descending=True).tolist():
            mistaken.add(pixel)
            after = jaccard_loss(mistaken, own)
            total = total + values[pixel] * (after - before)
            before = after
        losses.append(total)
    return sum(losses) / len(losses)
