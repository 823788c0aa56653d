"""Training and testing with the configs that users name."""

__all__: list[str] = []
