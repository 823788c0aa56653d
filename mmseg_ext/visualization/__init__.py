"""Pictures of data, labels, predictions and logs."""
