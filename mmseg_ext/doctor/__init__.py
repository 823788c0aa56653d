"""What is wrong with a config and its data, told before a training."""
