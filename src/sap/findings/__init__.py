"""What a study found: the tables and figures that join the rows of several stages, and the claims."""
