"""Every table and the summary."""
