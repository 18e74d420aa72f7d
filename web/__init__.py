"""The gevent Flask frontend: HTTP in, SSE and artifacts out."""
