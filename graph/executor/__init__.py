"""The Executor carries plans out: data, training, evaluation; it repairs what fails and says so."""
