"""The commands of `jangtq-coord`: each parses its options and runs one thing."""
