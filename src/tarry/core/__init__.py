"""What things are and what may happen next: no I/O, no clock, no random numbers."""
