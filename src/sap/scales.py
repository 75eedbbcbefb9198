"""λ where a whole path of one update is walked, so that paths of different stages can be compared."""

SCALES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
