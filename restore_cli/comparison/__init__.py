"""One page that shows images before and after, with a slider between them and what was changed in numbers."""
