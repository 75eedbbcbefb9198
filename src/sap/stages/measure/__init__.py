"""Gram matrices or Fisher information of one client's own model."""
