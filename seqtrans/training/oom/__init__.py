"""What training does when memory runs out."""
