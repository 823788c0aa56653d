"""Class names, palettes and label tables, one module a data set.

Plain data and nothing else: these modules import nothing, so that data sets,
converters, sample writers and tests can all read the same numbers.
"""

__all__: list[str] = []
