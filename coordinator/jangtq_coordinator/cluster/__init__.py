"""Which worker holds which experts and in which state it is."""
