"""An object store in a data directory."""
