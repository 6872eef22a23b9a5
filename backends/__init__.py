"""The kernel backends. Each compiles a NodePlan to its own Document and knows no other backend."""
