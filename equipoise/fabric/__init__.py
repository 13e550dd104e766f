"""The network between coordinator and nodes: one interface, in-process and Zenoh behind it."""
