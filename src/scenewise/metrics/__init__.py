"""Numbers that judge a result; never differentiated."""
