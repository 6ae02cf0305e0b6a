"""Faces in videos and cameras: reading, following, smoothing, writing."""
