"""Real photographs: the public data set, and a person's own focal stacks."""
