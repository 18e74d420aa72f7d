"""Fetching: every track of a plan at once, by parallel ranges, resumable at any byte.

``engine`` is the way in. It runs one loop per job over ``transfer`` (the façade over curl) and one ``Download`` per
track: ``ranged`` for plain URLs (``chunk`` is one of its requests), ``programme`` for HLS and ``sabr``, both of which
come in ``pieces`` and as a ``sequence``. ``trackfile`` and ``journal`` keep what is on disk, ``identity`` which object
it belongs to. ``route``, ``guard`` and ``hosts`` decide whom a request may reach and how it looks; ``budget`` how many
may go to one host; ``failures`` says what went wrong. docs/fetch.md draws it.
"""
