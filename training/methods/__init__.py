"""Training methods: what a stage of a training plan can do."""
