"""A worker under Nuclio's own processor: what its options mean, its events, its signals, and replies as it reads them.

Sources: nuclio/nuclio pkg/processor/runtime/python and runtime/rpc, 1.11 to 1.15; nuclio/nuclio-sdk-py 0.6.
"""
