"""Synthetic posed pairs, rendered on the fly: scenes, textures, cameras, light, lens and sensor."""
