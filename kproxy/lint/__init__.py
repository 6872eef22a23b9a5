"""Findings about a cluster's Services: what is unsafe, what does not work, what is not what its author thinks.

A check is a row of a table with a pure function; `catalogue` has them all, and what is common to them.
"""
