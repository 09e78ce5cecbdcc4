"""Parts of a bundle for one machine: some experts, or all but the experts, in a directory of their own."""
