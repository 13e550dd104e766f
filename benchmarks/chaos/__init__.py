"""A chaos campaign: requests on real nodes, each on a host of its own, while hosts, links and coordinators fail.

    python -m benchmarks.chaos --requests 200 --seed 1 --out out/chaos

Needs root: the hosts are network namespaces (tests/network/lan.py), slowed by cgroups (tests/network/quota.py).
"""
