"""One run: its settings, its directory, its session and everything its nodes use."""
