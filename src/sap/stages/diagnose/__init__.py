"""Where the updates agree, where they conflict, and in which layers the saliency lies."""
