"""Raw data sets to training data, one module a data set."""

__all__: list[str] = []
