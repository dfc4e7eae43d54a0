"""The Executor agent: a chat model that repairs plans."""
