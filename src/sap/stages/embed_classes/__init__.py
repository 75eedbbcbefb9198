"""Text features of the class prompts."""
