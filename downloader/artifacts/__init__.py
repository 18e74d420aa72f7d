"""Finished files: their names, and the stores that keep them (local disk, S3) behind one port."""
