"""8 Deliver: how report sets get to who is to have them."""
