"""Large pictures: a network looks at every patch of a slide, as a job, and leaves a heatmap."""
