"""From an object's bytes to grey values, the network's input, and the way back."""
