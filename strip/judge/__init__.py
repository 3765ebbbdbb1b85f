"""How good an answer is: metrics, verdicts, thresholds, and whether one model may replace another."""
