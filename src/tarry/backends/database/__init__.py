"""SQL: one schema, plain functions on a connection, one writer."""
