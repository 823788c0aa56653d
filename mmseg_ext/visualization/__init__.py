"""Pictures of data, labels, predictions and logs."""

__all__: list[str] = []
