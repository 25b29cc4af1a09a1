"""What the faces and the workers do with the ports: use cases, one file each."""
