"""Points judged on a target."""
