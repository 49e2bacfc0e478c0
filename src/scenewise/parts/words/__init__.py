"""Between words and features: scores, classes, questions and their answers."""
