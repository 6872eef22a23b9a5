"""Pure decisions over frozen values: no I/O, clock, log, thread or randomness in here."""
