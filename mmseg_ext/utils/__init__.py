"""What all parts share: files, images, processes. No registry, no torch."""

__all__: list[str] = []
