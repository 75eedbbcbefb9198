"""What images tell about a backbone and its updates: the room for a gain, what features carry, who was trained on."""
