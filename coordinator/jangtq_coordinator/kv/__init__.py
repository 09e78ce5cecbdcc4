"""The KV cache, its memory budget, and the prefix cache in memory and on disk."""
