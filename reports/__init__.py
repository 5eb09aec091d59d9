"""Frames in; text, HTML and files out."""
