"""From a plan to an adapter: data recipes, training plans, the worker, and the runners that start it."""
