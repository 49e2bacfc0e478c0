"""One folder per operator: a readable twin in plain torch, fast backends beside it, dispatch in each ``__init__``."""
