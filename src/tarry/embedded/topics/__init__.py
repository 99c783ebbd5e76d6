"""Topics with HTTP subscribers, in the server's database."""
