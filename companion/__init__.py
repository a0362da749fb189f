"""What makes `fcl`, the method, a companion to its paper: runs, evidence, tables and figures, claims."""
