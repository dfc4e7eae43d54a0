"""The end of a run: finalists, the winner, the sealed test split, the files in `best/`."""
