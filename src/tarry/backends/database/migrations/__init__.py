"""The history of the schema: one file a revision in ``versions``."""
