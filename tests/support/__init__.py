"""What several tests share: fabricated captures, folders, networks and loops to compare with."""
