"""Training and evaluation losses; all in float32 (or float64 if given it)."""
