"""What several parts share: files, images, colors. No registry, no torch."""
