"""The three modules of MARNet: alignment (EMA), reconstruction (CDR) and fusion."""
