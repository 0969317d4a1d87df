"""What a run says of an image or of a class, in the words of its training texts."""
