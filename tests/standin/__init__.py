"""A stand-in for TypeType-Server that serves real media: for the demo, end-to-end tests and benchmarks."""
