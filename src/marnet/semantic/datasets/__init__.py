"""What texts say of a data set: what they are worth, which labels are wrong, what to label next."""
