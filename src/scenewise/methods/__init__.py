"""One folder per paper; each README maps equation to function."""
