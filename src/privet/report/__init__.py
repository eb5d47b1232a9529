"""From finished runs to rows, figures and one self-contained page."""
