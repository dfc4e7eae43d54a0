"""Chat models: one way to call them, whatever they can do; every call is counted, bounded, and recorded."""
