"""The batch engine: a batch is a transaction. Knows librdkafka, knows no Faust and no stage by name.

Read `stage` (what a stage is and what it decides), then `runner` (what happens to one micro-batch, step by step), then
`poller` (how records get in), `transactions` (how results get out), `ladder` (what happens when something fails).
"""
