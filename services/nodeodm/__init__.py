"""NodeODM's HTTP protocol on a port of its own, over the same stores, limits and keys as the API (docs/nodeodm.md)."""
