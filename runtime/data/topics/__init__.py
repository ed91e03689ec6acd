"""Records from Kafka topics, whose partitions are like files that grow: a task is a range of offsets of one partition.

`address` reads kafka:// URLs, and `names` says what stands for partitions. `client` connects, `offsets` reads ranges of
offsets, and `parsing` turns their records into columns that `schema` has found; `examplescan` reads Examples for it.
`eventtime` says when their events took place, and `identity` whether the topic is still the same. `reader` does it all
behind the interface of readers. `growth` finds new offsets, and `deadletters` keeps records that cannot be used.
Nothing here subscribes to a topic: which records have been used is known to the job alone.
"""
