"""The rooms, arms, choices and tables that the four label-free methods are compared by."""
