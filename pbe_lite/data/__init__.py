"""Pictures to training triplets: the miniature world, Open Images, your own folders."""
