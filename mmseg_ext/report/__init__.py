"""What a run directory says: pages about one run, or about two."""
