"""Models that make or score rows while a data set is built: the policy, a teacher, the chat model of the run."""
