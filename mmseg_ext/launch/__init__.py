"""Training and testing with the configs that users name."""
