"""Training: data recipes, training plans, methods, kinds of weights, jobs and launchers."""
