"""What stands in the kernel beside what should: kproxy's own rules object by object, kube-proxy's frontend by frontend.

Everything here is pure: texts, netlink messages and plans in, differences out. The doors are `kproxy.wiring.audit`'s.
"""
