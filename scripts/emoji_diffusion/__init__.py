"""A small text-to-image latent diffusion model, learned from captioned emoji. It knows nothing of Tunesmith."""
