"""The method: rollouts, rewards, advantages, losses and everything the training scripts compose."""
