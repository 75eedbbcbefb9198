"""One client's update as a point prunes and rescales it, as a file, on demand."""
