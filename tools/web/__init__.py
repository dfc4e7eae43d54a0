"""Web search, pages and papers, over one HTTP client with limits, a cache and protection against private addresses."""
