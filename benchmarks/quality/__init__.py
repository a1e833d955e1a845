"""How well passages, documents and tables are found, measured on sets that others made."""
