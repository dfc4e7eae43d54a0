"""Web search, web pages and papers."""
