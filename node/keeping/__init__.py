"""What keeps a node's data: backups. Each step is repeatable, whenever it is killed."""
