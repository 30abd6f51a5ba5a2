"""What a study computes: experiments, each with its tasks, its rows and its tables."""
