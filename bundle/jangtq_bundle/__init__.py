"""JANGTQ directories: reading, checking and writing them."""
