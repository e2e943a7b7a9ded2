"""One paper, one file: its facts, what it provides, how it enters a race and its oracles."""
