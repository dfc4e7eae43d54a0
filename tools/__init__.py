"""What agents call, as LangChain tools: data preparation, training (TRL), evaluation on dev.

A tool has typed input and bounded output, and reaches only what its constructor was given.
"""
