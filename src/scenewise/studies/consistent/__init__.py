"""What ConDense's study is made of."""
