"""What lies on disk, both ways, one file a format. No registry, no torch."""

__all__: list[str] = []
