"""The Researcher: `protocol.py` says what it is asked, `builtin.py` answers without a language model."""
