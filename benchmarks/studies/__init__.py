"""Studies: one question each, answered by a command, its result kept in results/."""
