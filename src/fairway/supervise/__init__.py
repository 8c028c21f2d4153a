"""What ``fairway up`` is made of: a supervisor of the gateway, the controller and the mock model server."""
