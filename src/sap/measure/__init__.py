"""What a client's own model says about images: the statistics that data-dependent merges and heads read."""
