"""The example domain: the vegetation index of a scene, and the scenes it is computed from.

Nothing outside this folder imports it: delete it, empty ``DOMAIN_APPS``, and the rest runs on.
"""
