"""The rooms, arms and tables that read-outs of a frozen teacher are compared by."""
