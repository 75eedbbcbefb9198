"""Gram matrices, Fisher information or sums of features of one client."""
