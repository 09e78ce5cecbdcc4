"""The commands of `jangtq-bundle`: get, slice, convert, verify and info."""
