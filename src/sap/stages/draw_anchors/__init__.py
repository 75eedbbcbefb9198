"""The server's public image-text pairs."""
