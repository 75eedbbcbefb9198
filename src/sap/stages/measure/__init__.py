"""Gram matrices, Fisher information, sums of features or the accuracy curve of one client."""
