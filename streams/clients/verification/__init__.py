"""Do log, store and cache tell one history? Each law is a pure check in a file of its own; `verifier` applies them all.

```
hanging     no transaction holds up its partition for good
positions   every stage stands within its log, at the end of what it has settled
books       every record that a stage has passed has one outcome, and every dead letter its record
revisions   users' revisions are gapless, and heads sum up what the changes give
watermarks  they never fall back and never run ahead of what they speak of
stored      the store has what the log says, and Redis names no revision that the store has not
```
"""
