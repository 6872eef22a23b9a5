"""What the lock files let in: hashes, licences, known weaknesses."""
