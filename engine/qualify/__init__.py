"""May this engine go on the line: self-checks, strip by strip results, the decision and its page."""
