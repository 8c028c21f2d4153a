"""The local target: each instance of an arm is a supervised process group on loopback.

``target.LocalTarget`` implements the port; ``ephemeral.serving`` runs a service for the length of a block; ``process``,
``probe``, ``restarts`` and ``log`` are what both are made of.
"""
