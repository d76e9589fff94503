"""What a running node is made of, for one configuration after the other."""
