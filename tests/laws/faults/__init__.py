"""Broken objects, each with the law that must catch it; `test_faults.py` tries them.

A module here holds ``FAULTS``, a list of :class:`~tests.laws.cases.Fault`; it may hold ``SOUND``,
examples of the objects as they were before they were broken, which obey all laws.
"""
