"""The ledger: whether each claim of experiments/claims.yml holds, by the stored runs."""
