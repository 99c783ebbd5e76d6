"""The door: a translator between AWS's wire protocols and Tarry's own values."""
