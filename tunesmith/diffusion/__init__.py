"""Image generation by diffusion: captioned pictures, noise, samples, their scores. It knows no loop and no report."""
