"""Pictures for people: instances drawn on photos, eigenvectors as heat maps, curves, and the page that shows them."""
