"""Stands in for setuptools while pip fetches an sdist, see build_meta.py."""
