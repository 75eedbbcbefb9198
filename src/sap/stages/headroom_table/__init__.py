"""The headroom as a table, before any sweep."""
