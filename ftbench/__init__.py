"""Benchmark tasks: the embedded ones, which need no hub, and their files."""
