"""From records to verdicts: statistics, rules of fairness, comparisons."""
