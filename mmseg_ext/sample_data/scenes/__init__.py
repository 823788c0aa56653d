"""Draws street scenes and hands from a seed; knows no data set format."""

__all__: list[str] = []
