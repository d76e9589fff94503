"""`python -m node` is `ai-node`."""

from node.cli import main

if __name__ == "__main__":
    main()
