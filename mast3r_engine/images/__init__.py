"""From photographs in any usual form to what the network takes, and the map back to their own pixels."""

from mast3r_engine.images.fit import fit_to_network
from mast3r_engine.images.load import load_view, load_views
from mast3r_engine.images.source import MAX_PIXELS, ImageSource, file_names, name_images
from mast3r_engine.images.tensor import to_tensor

__all__ = ["MAX_PIXELS", "ImageSource", "file_names", "fit_to_network", "load_view", "load_views", "name_images", "to_tensor"]
