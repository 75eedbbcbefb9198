"""What a person types: `sap NAME`, and `python workflow/scripts/NAME.py`, which is the same."""
