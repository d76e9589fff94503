"""Foreign bytes: how anything is read out of them."""
