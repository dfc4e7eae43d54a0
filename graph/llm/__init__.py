"""Chat models: one interface for every provider. Every call is counted, bounded and recorded."""
