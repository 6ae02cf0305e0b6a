"""``fanlight serve``: a page for looking at landmarks and correcting them, and a JSON API behind it."""
