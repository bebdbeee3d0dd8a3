"""Where memories are kept to be searched: one protocol, one contract suite, one file per store."""
