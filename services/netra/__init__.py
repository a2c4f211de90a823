"""Fundus photographs: a retinopathy verdict and lesion boxes, as a job."""
