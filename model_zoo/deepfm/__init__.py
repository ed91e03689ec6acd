"""DeepFM for click-through rates."""
