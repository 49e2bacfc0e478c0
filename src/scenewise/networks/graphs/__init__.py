"""Networks that read a scan cut into things and say what they are and what holds between them."""
