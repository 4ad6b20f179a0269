"""Operations on a whole platform: first start, backup, consistency check."""
