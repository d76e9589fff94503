"""What runs when: completeness, the durable jobs, their queue, the sweeps."""
