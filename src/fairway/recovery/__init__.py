"""Going back: rehearsals, derived releases, the procedure around a rollback. Wires what the decisions are made of."""
