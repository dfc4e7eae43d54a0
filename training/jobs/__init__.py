"""Training jobs: trials, their folders on disk, the worker process, and the store of results."""
