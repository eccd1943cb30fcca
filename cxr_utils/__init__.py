"""What more than one of the seven notebooks needs: the work behind the chest X-ray pipeline."""
