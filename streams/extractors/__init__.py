"""Windows of turns to facts: one protocol, one file per extractor."""
