"""What `jangtq-coord doctor` finds out: measurements of this machine, and what a model expects from them."""
