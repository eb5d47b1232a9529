"""Mathematics of guarantees: what bounds every attacker, known or not. numpy only, pure."""
