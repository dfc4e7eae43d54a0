"""One module a task, each with `load(smoke=False) -> Task`; found by the entry-point group `trex.tasks`."""
