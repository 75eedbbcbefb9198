"""One client trains one adapter on its own domain."""
