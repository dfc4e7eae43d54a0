"""The LangGraph state machine: the tree, the search, the Researcher and the Executor, the API and the commands.

Open `app.py` first.
"""
