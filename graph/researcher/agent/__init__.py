"""The Researcher agent: a chat model with tools."""
