"""What trained models are used for."""

__all__: list[str] = []
