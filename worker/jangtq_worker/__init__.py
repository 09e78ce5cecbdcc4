"""A worker: holds a slice of the experts and answers expert calls."""
