"""What crosses a process border: events, candidates, memories, changes, outcomes. Imports nothing of ours.

Read in the order of one event: `conversation` (what publishers send), `candidate` (what record and extract propose),
`memory` (the consolidated record and its changes), `indexed` (what the store now has), `outcome` (what became of every
consumed event). `codec` turns all of them into bytes and back; `ids` derives every id; `evolution` says how types grow.
"""
