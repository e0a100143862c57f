"""Training pairs from captures on disk: photographs with cameras and depth."""
