"""Seeds that belong to the task and the replicate, never to the method."""

import hashlib


def derive_seed(*parts: str | int) -> int:
    """Turn the names of a random choice into its seed.

    Args:
        parts: What the choice belongs to, such as ``("digits", "final", 3, "order")``. Whatever
            takes part in a comparison and shares these parts shares the random numbers.

    Returns:
        An integer in [0, 2**63), the same on every machine and in every version.

    Example:
        >>> derive_seed("digits", 0) == derive_seed("digits", 0) != derive_seed("digits", 1)
        True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
