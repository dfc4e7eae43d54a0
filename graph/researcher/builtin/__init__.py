"""The built-in Researcher: a policy without a language model."""
