"""One domain's images, decoded once, and their split."""
