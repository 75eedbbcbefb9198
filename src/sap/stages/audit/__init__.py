"""What the merges of the main table do with their clients."""
