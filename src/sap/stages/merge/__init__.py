"""One merged update as a file, on demand."""
