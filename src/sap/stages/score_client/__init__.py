"""Gradients of the anchors' alignment at one client's weights."""
