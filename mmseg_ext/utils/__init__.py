"""What all parts share: files, images, processes. No registry, no torch."""
