"""What a client's own model says about images: statistics that data-dependent merges, heads and choices of λ read."""
