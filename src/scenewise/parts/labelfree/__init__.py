"""What the label-free methods share: lifting, partitions, votes, classification."""
