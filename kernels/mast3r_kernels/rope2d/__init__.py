"""Rotary position embedding in two dimensions, applied to queries and keys."""

from mast3r_kernels.rope2d.op import rope2d

__all__ = ["rope2d"]
