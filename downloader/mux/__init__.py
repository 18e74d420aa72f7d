"""The muxer: tracks on disk become one file, in a contained process.

``engine`` runs in the stage's process and never loads FFmpeg; ``child`` and all it imports run behind the walls of
``containment``.
"""
