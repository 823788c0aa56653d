"""Reading and writing images, with errors that name the file."""

import os

import cv2
import numpy as np

from mmseg_ext.utils.files import write_bytes


def read_image(
    path: str | os.PathLike, flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Read an image with OpenCV.

    Args:
        path: An image file.
        flags: OpenCV's reading mode.

    Returns:
        uint8 array, (H, W, 3) in BGR order with the default mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a whole image.
    """
    with open(path, 'rb') as file:
        data = file.read()
    image = decode_image(data, flags)
    if image is None:
        raise ValueError(
            f'{os.fspath(path)} cannot be read as an image ({len(data)} '
            'bytes): it is truncated or of another format; copy or download '
            'it again'
        )
    return image


def decode_image(data: bytes, flags: int) -> np.ndarray | None:
    """Decode the bytes of an image file; None where that fails."""
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image as PNG.

    Args:
        image: uint8 or uint16 (H, W), or uint8 BGR (H, W, 3).

    Returns:
        The content of a PNG file.

    Raises:
        ValueError: The array is no image.
    """
    try:
        _, data = cv2.imencode('.png', image)
    except cv2.error:
        raise ValueError(
            f'an array of {image.dtype} and shape {image.shape} cannot be '
            'written as PNG'
        ) from None
    return data.tobytes()


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a PNG, whole or not at all.

    Args:
        path: The file to write; parent folders are made.
        image: See :func:`encode_png`.

    Raises:
        ValueError: The array is no image.
    """
    write_bytes(path, encode_png(image))
