"""The frozen CLIP in open_clip's own format."""
