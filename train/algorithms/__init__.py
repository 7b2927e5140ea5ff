"""What trains a controller: Stable-Baselines3's algorithms and an evolution strategy, and validation beside them."""
