"""The processes: one pool per stage, and the janitor."""
