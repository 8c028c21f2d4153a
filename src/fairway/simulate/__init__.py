"""What a policy would do before it is trusted: modelled arms, the real gates and decisions, virtual time."""
