"""The description of the HTTP interface: what the code says of itself, and in words what it cannot."""
