"""LangChain tools for agents: web, papers, hub, rows, history, preview, checks, training, evaluation on dev.

A tool has typed input and output of bounded length, and uses only what its constructor was given.
"""
